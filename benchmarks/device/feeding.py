"""How edgebird's own runtime feeds the GPU: what an inference costs beyond the GPU, and whether copies hold it up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from edgebird.benchmarks.device.attempts import Finding, attempt, float_graphs, golden_batch, milliseconds
from edgebird.bundle import Bundle
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions, open_runtime, probe
from edgebird.runtimes.ort import OrtRuntime
from edgebird.types import FloatArray

_CALLS = 200
_SECONDS = 1.0  # at most, for each figure
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_ROUNDING = 1e-5  # between the same windows in other batches


def feeding(bundle: Bundle, calls: str = str(_CALLS)) -> Iterator[Finding]:
    """For each batch: the GPU's time for copies and inference, what the CPU adds, windows a second of 1 and 2 callers.

    calls: how often each is measured, as far as time allows.
    """
    probe("ort-cuda")
    for precision in float_graphs(bundle):
        yield from attempt(precision, partial(_of, bundle, precision, int(calls)))


def _of(bundle: Bundle, precision: str, calls: int) -> Iterator[Finding]:
    begun = time.perf_counter()
    runtime = open_runtime(bundle, "ort-cuda", RuntimeOptions(precision, throughput=True, measure=True))
    if not isinstance(runtime, OrtRuntime):
        raise RuntimeUnavailableError("ort-cuda: another runtime was opened")
    yield {"open_s": round(time.perf_counter() - begun, 2), "sizes": runtime.sizes, "group": runtime.batch_size}
    for batch in _BATCHES:
        windows = golden_batch(bundle, batch)
        found: dict[str, Any] = {"batch": batch, "includes": runtime.includes(batch)}
        found |= {"ms": milliseconds(partial(runtime.infer, windows), _SECONDS, min(5, calls), calls)}
        if batch <= runtime.batch_size:
            parts, end = [runtime.split(windows)], time.perf_counter() + _SECONDS
            while len(parts) < calls and time.perf_counter() < end:
                parts.append(runtime.split(windows))
            found["median_ms"] = {name: round(float(np.median([one[name] for one in parts])), 4) for name in parts[0]}
        seconds = min(_SECONDS, 0.005 * calls)
        yield found | {f"windows_per_s_{some}": _throughput(runtime, windows, some, seconds) for some in (1, 2)}
    yield _same_from_two_threads(runtime, bundle)
    runtime.close()


def _throughput(runtime: OrtRuntime, windows: FloatArray, callers: int, seconds: float) -> float:
    """Windows a second, of callers that give one batch after the other."""

    def call(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            runtime.infer(windows)
            count += len(windows)
        return count

    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        scored = sum(pool.map(call, [begun + seconds] * callers))
        return round(scored / (time.perf_counter() - begun), 1)


def _same_from_two_threads(runtime: OrtRuntime, bundle: Bundle) -> Finding:
    """Whether two callers have the scores that one has: each slot has memory and graphs of its own."""
    batches = [np.roll(golden_batch(bundle, size), turn, axis=0) for turn, size in enumerate((1, 8, 3, 8, 2, 5) * 8)]
    alone = [runtime.infer(batch) for batch in batches]
    with ThreadPoolExecutor(runtime.concurrency) as pool:
        beside = list(pool.map(runtime.infer, batches))
    apart = max(float(np.abs(one - other).max()) for one, other in zip(alone, beside, strict=True))
    wrong = {} if apart <= _ROUNDING else {"failed": f"two callers have other scores than one, by {apart:g}"}
    return {"two_callers_max_abs": apart} | wrong
