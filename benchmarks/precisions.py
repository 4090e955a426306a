"""What each precision of a bundle costs in scores and saves in size and time, as a table in Markdown.

    python -m edgebird.benchmarks.precisions BUNDLE...

The differences of a graph of its own are the worst that its export found, over the golden windows and those held out,
in each way an engine may compute it (docs/precision.md); bf16, which is a choice of OpenVINO, is measured here on the
golden windows. Times are the fastest of one window after another on one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgebird.benchmarks.latency import Duration, measure
from edgebird.bundle import Bundle, open_bundle
from edgebird.card import Precision
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions, open_runtime

HEADER = (
    "| folds | precision | largest score difference | 99 % within | top label agrees | multiplications | file "
    "| kept in FP32 | ms a window |\n|---|---|---|---|---|---|---|---|---|"
)


def rows(bundle: Bundle) -> Iterator[str]:
    """A row for each graph of the bundle, one more for bf16 where this machine has it."""
    for name, precision in bundle.card.precisions.items():
        parities = list(precision.proofs.values()) or [precision.parity]
        yield _row(bundle, name, parities, precision, _milliseconds(bundle, "ort-cpu", name))
    try:
        run = _run(bundle, "openvino", "bf16")
    except RuntimeUnavailableError:
        return
    time = f"{run['latency_ms']['min']:.0f} (OpenVINO; fp32 there {_milliseconds(bundle, 'openvino', 'fp32')})"
    yield _row(bundle, "bf16", [run["parity"]], bundle.card.precisions["fp32"], time)


def _row(bundle: Bundle, name: str, parities: list[Mapping[str, Any]], precision: Precision, time: str) -> str:
    card = bundle.card
    share = (
        "all in FP32" if name == "fp32" else "the backbone's" if precision.share is None else f"{precision.share:.1%}"
    )
    worst = {key: max(parity[key] for parity in parities) for key in ("max_abs", "p99")}
    agrees = min(parity["top1_agreement"] for parity in parities)
    return (
        f"| {' + '.join(fold.experiment for fold in card.folds)}, {len(card.labels)} labels | {name} "
        f"| {worst['max_abs']:.1e} | {worst['p99']:.1e} | {agrees:.0%} | {share} "
        f"| {(bundle.path / precision.file).stat().st_size / 1e6:.1f} MB | {len(precision.kept)} nodes | {time} |"
    )


def _milliseconds(bundle: Bundle, runtime: str, precision: str) -> str:
    return f"{_run(bundle, runtime, precision)['latency_ms']['min']:.0f}"


def _run(bundle: Bundle, runtime: str, precision: str) -> dict[str, Any]:
    engine = open_runtime(bundle, runtime, RuntimeOptions(precision, threads=1))
    try:
        return measure(engine, bundle, precision, Duration())
    finally:
        engine.close()


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
