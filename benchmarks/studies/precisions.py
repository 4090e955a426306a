"""What each precision of a bundle costs in scores and saves in size and time, as a table in Markdown.

    python -m edgebird.benchmarks.studies.precisions BUNDLE...

The differences are the worst that the export found, over the golden windows and those held out, in each way an engine
may compute the graph (docs/precision.md); of bf16, which is a choice of OpenVINO, they are measured here on the golden
windows where the export did not. `beyond` counts the windows that are beyond the tolerance by themselves, `is another`
those with another label on top, however close, both in the worst way. Times are fastest / median of one window after
another on one thread, all precisions in turns.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
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
    "| folds | precision | largest score difference | 99 % within | beyond | top label agrees, is another "
    "| multiplications | file | kept in FP32 | ONNX Runtime, ms | OpenVINO, ms |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)
_ENGINES = ("ort-cpu", "openvino")
_ROUNDS = 30


def rows(bundle: Bundle) -> Iterator[str]:
    """A row for each graph of the bundle, more for what is made of them in bf16 where this machine has it."""
    opened = dict(_opened(bundle))
    try:
        times = _times(bundle, opened)
        for name, precision in bundle.card.precisions.items():
            own = {what: proof for what, proof in precision.proofs.items() if _way(what) not in BF16_OF}
            yield _row(bundle, name, own or {"golden, ": precision.parity}, precision, times)
        size = max(bundle.card.batches)
        for name, graph in BF16_OF.items():
            if runtime := opened.get(("openvino", name)):
                of = bundle.card.precisions[graph]
                made = {what: proof for what, proof in of.proofs.items() if _way(what) == name}
                if not made:
                    proof = prove(runtime.infer, bundle.golden(), (size,), bundle.card.tolerance(name), size)
                    made = {f"golden, {name}": proof.parity.to_json()}
                yield _row(bundle, name, made, of, times)
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


def _way(proof: str) -> str:
    """In which way it was computed, of a proof's name: `golden, rounded`."""
    return proof.rpartition(", ")[2]


def _row(
    bundle: Bundle,
    name: str,
    proofs: Mapping[str, Mapping[str, Any]],
    precision: Precision,
    times: Mapping[tuple[str, str], str],
) -> str:
    card = bundle.card
    share = (
        "all in FP32" if name == "fp32" else "the backbone's" if precision.share is None else f"{precision.share:.1%}"
    )
    worst = {key: max(parity[key] for parity in proofs.values()) for key in ("max_abs", "p99")}
    agrees = min(parity["top1_agreement"] for parity in proofs.values())
    beyond: Counter[str] = Counter()
    other: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for what, parity in proofs.items():
        for count, key in ((beyond, "beyond"), (other, "top1_other"), (windows, "windows")):
            count[_way(what)] += parity[key]
    return (
        f"| {' + '.join(fold.experiment for fold in card.folds)}, {len(card.labels)} labels | {name} "
        f"| {worst['max_abs']:.1e} | {worst['p99']:.1e} | {max(beyond.values())} of {max(windows.values())} "
        f"| {agrees:.0%}, {max(other.values())} | {share} "
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
