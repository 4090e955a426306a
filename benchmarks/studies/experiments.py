"""The table of the README: each experiment's graph against its original, in exactness, size and time.

    python -m edgebird.benchmarks.studies.experiments folds/exp105_eca_nfnet_l0 folds/exp107_eca_nfnet_l0

Each folder holds a fold (.bin) and its TorchScript twin (.pt, called in batches of four as in the original code).
Everything runs on one thread; graph, frontend alone and TorchScript take turns, and minima and medians are shown.
Needs the extras `export` and `cpu`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import FLOOR_GROUP
from edgebird.runtimes.ort_session import session_of

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """An experiment: how exact, how large, and its times in ms a window, (minimum, median) each."""

    experiment: str
    max_abs: float
    megabytes: float
    nodes: int
    times: Mapping[str, tuple[float, float]]

    def text(self) -> str:
        """A line of a Markdown table."""
        graph, frontend, original = (self.times[name] for name in ("graph", "frontend", "original"))
        return (
            f"| {self.experiment} | {self.max_abs:.1e} | {self.megabytes:.1f} MB | {self.nodes} "
            f"| {graph[0]:.1f} / {graph[1]:.1f} | {frontend[0] / graph[0]:.1%} / {frontend[1] / graph[1]:.1%} "
            f"| {original[0]:.1f} / {original[1]:.1f} |"
        )


HEADER = (
    "| experiment | largest score difference | file | nodes | ms a window | share of the frontend "
    "| TorchScript, ms a window |\n|---|---|---|---|---|---|---|"
)


def take_turns(steps: Mapping[str, Step], rounds: int) -> dict[str, tuple[float, float]]:
    """Time steps in turn, after three rounds that do not count; (minimum, median) of each in ms."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(-3, rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_ >= 0:
                samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: (min(values), float(np.median(values))) for name, values in samples.items()}


def measure(folder: Path, out: Path, rounds: int) -> Row:
    """Export the fold in a folder into `out`, and time it against its TorchScript twin."""
    from edgebird.export.exporter import ExportRequest, export_bundle

    (fold,), (twin,) = folder.glob("*.bin"), folder.glob("*.pt")
    bundle = export_bundle(ExportRequest((fold,), out))
    times = take_turns(_steps(bundle, twin), rounds)
    times["original"] = (times["original"][0] / FLOOR_GROUP, times["original"][1] / FLOOR_GROUP)
    return Row(
        experiment=bundle.card.folds[0].experiment,
        max_abs=bundle.card.precisions["fp32"].parity["max_abs"],
        megabytes=bundle.model().stat().st_size / 1e6,
        nodes=_nodes(bundle),
        times=times,
    )


def _nodes(bundle: Bundle) -> int:
    import onnx

    return len(onnx.load_model(bundle.model()).graph.node)


def _steps(bundle: Bundle, twin: Path) -> dict[str, Step]:
    import onnx
    import torch
    from onnx.utils import Extractor

    card = bundle.card
    frontend = Extractor(onnx.load_model(bundle.model())).extract_model([card.input.name], list(card.images))
    whole, part = session_of(bundle.model(), threads=1), session_of(frontend.SerializeToString(), threads=1)
    windows = bundle.golden().windows()
    feed = {card.input.name: windows[:1]}
    original = torch.jit.load(str(twin)).eval()  # type: ignore[no-untyped-call]
    unread = {
        "rating": torch.ones(4, 1),
        "loss_target": torch.ones(4, 1),
        "embedding": torch.zeros(4, 1, len(card.labels)),
    }
    wave = {"wave": torch.from_numpy(windows[:FLOOR_GROUP]), **unread}
    return {
        "graph": lambda: whole.run(None, feed),
        "frontend": lambda: part.run(None, feed),
        "original": lambda: original(wave),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="each with a fold (.bin) and its TorchScript twin (.pt)")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(HEADER)
    for folder in args.folders:
        with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
            print(measure(folder, Path(scratch) / "bundle", args.rounds).text(), flush=True)


if __name__ == "__main__":
    main()
