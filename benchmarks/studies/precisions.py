"""What each precision of a bundle costs in scores and saves in size and time, as a table in Markdown.

    python -m edgebird.benchmarks.studies.precisions BUNDLE...

The differences of a graph of its own are the worst that its export found, over the golden windows and those held out,
in each way an engine may compute it (docs/precision.md); bf16, which is a choice of OpenVINO, is measured here on the
golden windows. Times are fastest / median of one window after another on one thread, all precisions in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.bundle import Bundle, open_bundle
from edgebird.card import Precision
from edgebird.errors import RuntimeUnavailableError
from edgebird.parity import BF16_OF, prove
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime

HEADER = (
    "| folds | precision | largest score difference | 99 % within | top label agrees | multiplications | file "
    "| kept in FP32 | ONNX Runtime, ms | OpenVINO, ms |\n|---|---|---|---|---|---|---|---|---|---|"
)
_ENGINES = ("ort-cpu", "openvino")
_ROUNDS = 30


def rows(bundle: Bundle) -> Iterator[str]:
    """A row for each graph of the bundle, more for what is made of them in bf16 where this machine has it."""
    opened = dict(_opened(bundle))
    try:
        times = _times(bundle, opened)
        for name, precision in bundle.card.precisions.items():
            own = [proof for what, proof in precision.proofs.items() if what.rpartition(", ")[2] not in BF16_OF]
            yield _row(bundle, name, own or [precision.parity], precision, times)
        size = max(bundle.card.batches)
        for name, graph in BF16_OF.items():
            if runtime := opened.get(("openvino", name)):
                proof = prove(runtime.infer, bundle.golden(), (size,), bundle.card.tolerance(name), size)
                yield _row(bundle, name, [proof.parity.to_json()], bundle.card.precisions[graph], times)
    finally:
        for runtime in opened.values():
            runtime.close()


def _opened(bundle: Bundle) -> Iterator[tuple[tuple[str, str], Runtime]]:
    """(Engine, precision) -> runtime, of those that can be opened here."""
    for engine in _ENGINES:
        for precision in (*bundle.card.precisions, *(_made_of(bundle) if engine == "openvino" else [])):
            try:
                yield (engine, precision), open_runtime(bundle, engine, RuntimeOptions(precision, threads=1))
            except RuntimeUnavailableError:
                continue


def _made_of(bundle: Bundle) -> list[str]:
    return [name for name, graph in BF16_OF.items() if graph in bundle.card.precisions]


def _times(bundle: Bundle, opened: Mapping[tuple[str, str], Runtime]) -> dict[tuple[str, str], str]:
    """Fastest / median milliseconds a window of each, taken in turns."""
    size = max(bundle.card.batches)
    windows = bundle.golden().windows()[:size]
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in opened}
    for _ in range(_ROUNDS):
        for key, runtime in opened.items():
            start = time.perf_counter()
            runtime.infer(windows)
            samples[key].append((time.perf_counter() - start) / size * 1e3)
    return {key: f"{min(taken):.0f} / {np.median(taken):.0f}" for key, taken in samples.items()}


def _row(
    bundle: Bundle,
    name: str,
    parities: list[Mapping[str, Any]],
    precision: Precision,
    times: Mapping[tuple[str, str], str],
) -> str:
    card = bundle.card
    share = (
        "all in FP32" if name == "fp32" else "the backbone's" if precision.share is None else f"{precision.share:.1%}"
    )
    worst = {key: max(parity[key] for parity in parities) for key in ("max_abs", "p99")}
    agrees = min(parity["top1_agreement"] for parity in parities)
    return (
        f"| {' + '.join(fold.experiment for fold in card.folds)}, {len(card.labels)} labels | {name} "
        f"| {worst['max_abs']:.1e} | {worst['p99']:.1e} | {agrees:.0%} | {share} "
        f"| {(bundle.path / precision.file).stat().st_size / 1e6:.1f} MB | {len(precision.kept)} nodes "
        f"| {' | '.join(times.get((engine, name), '-') for engine in _ENGINES)} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What each precision of a bundle costs and saves.")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    args = parser.parse_args()
    print(HEADER)
    for path in args.bundles:
        for row in rows(open_bundle(path)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
