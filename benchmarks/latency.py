"""Latency of one inference after another, with parity in the same run.

After warm-up by time and count, at least `seconds` and `iterations` are timed; every sample is kept and none is
clipped. A run whose coefficient of variation is above 5 % or whose halves differ by more than 5 % is NOISY.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.errors import ParityError
from edgebird.machine import cpu_name, usable_cores
from edgebird.parity import TOLERANCES, compare, score_in_groups
from edgebird.runtimes import Runtime
from edgebird.types import FloatArray

FORMAT = 1
WARM_UP_S, WARM_UP_RUNS = 1.0, 5
MAX_VARIATION = 0.05
_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}


@dataclass(frozen=True, slots=True)
class Duration:
    """How long to measure: at least both."""

    seconds: float = 3.0
    iterations: int = 50


def measure(runtime: Runtime, bundle: Bundle, precision: str, duration: Duration) -> dict[str, Any]:
    """Time the golden recordings, as many windows at once as detection takes; the run as in the report.

    Times are of one inference, of `batch` windows. Raises ParityError if the scores are not the original's: a fast
    wrong engine gets no figure.
    """
    golden = bundle.golden()
    size = max(bundle.card.batches)
    parity = compare(golden.scores, score_in_groups(runtime.infer, golden.windows(), size), TOLERANCES[precision])
    if not parity.passes(TOLERANCES[precision]):
        raise ParityError(
            f"{runtime.name} {precision}: scores differ from the original by up to {parity.max_abs:.2g}: not measured"
        )
    batches = np.split(golden.windows(), range(size, len(golden.names), size))
    for count, _ in enumerate(_samples(runtime, batches, WARM_UP_S)):
        if count + 1 >= WARM_UP_RUNS:
            break
    samples: list[float] = []
    until = time.perf_counter() + duration.seconds
    for sample in _samples(runtime, batches):
        samples.append(sample)
        if time.perf_counter() >= until and len(samples) >= duration.iterations:
            break
    return {
        "runtime": runtime.name,
        "provider": getattr(runtime, "provider", runtime.name),
        "precision": precision,
        "scenario": "single",
        "batch": size,
        "latency_ms": statistics(samples),
        "samples_ms": [round(sample, 4) for sample in samples],
        "parity": parity.to_json(),
        "verdict": verdict(samples),
    }


def _samples(runtime: Runtime, batches: Sequence[FloatArray], at_least_s: float = 0.0) -> Iterator[float]:
    """Milliseconds of one inference after another, for ever; what lies in the first `at_least_s` is not given."""
    begin = time.perf_counter()
    index = 0
    while True:
        batch = batches[index % len(batches)]
        start = time.perf_counter()
        runtime.infer(batch)
        end = time.perf_counter()
        index += 1
        if end - begin >= at_least_s:
            yield (end - start) * 1e3


def statistics(samples: Sequence[float]) -> dict[str, float]:
    """Minimum, mean, percentiles, maximum and coefficient of variation of samples."""
    values = np.asarray(samples)
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        **{name: float(np.percentile(values, q)) for name, q in _PERCENTILES.items()},
        "max": float(values.max()),
        "cv": float(values.std() / values.mean()),
    }


def verdict(samples: Sequence[float]) -> str:
    """STEADY, or NOISY where the samples scatter or drift by more than 5 %."""
    values = np.asarray(samples)
    first, second = np.median(values[: len(values) // 2]), np.median(values[len(values) // 2 :])
    drifts = abs(second / first - 1) > MAX_VARIATION
    return "NOISY" if drifts or values.std() > MAX_VARIATION * values.mean() else "STEADY"


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "edgebird": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "load": os.getloadavg()[0],
    }


def report(bundle: Bundle, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON report of runs on a bundle."""
    hashes = {name: precision.sha256 for name, precision in bundle.card.precisions.items()}
    return {"format": FORMAT, "machine": machine(), "bundle": {"sha256": hashes}, "runs": runs}
