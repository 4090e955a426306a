"""Parts of a check of which one may fail and the others go on, and what several checks need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import floor_group
from edgebird.parity import prove
from edgebird.runtimes.contract import prepared
from edgebird.runtimes.outputs import to_scores
from edgebird.types import FloatArray

Finding = Mapping[str, Any]
Run = Callable[[FloatArray], FloatArray]  # windows [batch, samples] -> what the model gives [batch, classes]


def attempt(what: str, findings: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a part, each with its name; where it fails, what it said."""
    begun = time.perf_counter()
    try:
        for finding in findings():
            yield {"part": what, **finding}
    except Exception as error:  # noqa: BLE001  whatever a library does on a device that nobody has seen
        reason = " ".join(str(error).split())[:500]
        seconds = round(time.perf_counter() - begun, 2)
        yield {"part": what, "failed": f"{what}: {type(error).__name__}: {reason}", "seconds": seconds}


def milliseconds(work: Callable[[], object], seconds: float, least: int = 5, most: int = 4000) -> dict[str, float]:
    """Median and 99th percentile of what `work` takes, measured for so long."""
    for _ in range(3):
        work()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < least or (time.perf_counter() - begun < seconds and len(taken) < most):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e3)
    return {"p50": round(float(np.median(taken)), 4), "p99": round(float(np.percentile(taken, 99)), 4)}


def parity_of(bundle: Bundle, precision: str, run: Run, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """How far the scores of the golden windows are from the original's at each batch size."""
    card, tolerance, found = bundle.card, bundle.card.tolerance(precision), []
    for size in sizes:
        proof = prove(
            lambda some: to_scores(run(prepared(some, card)), len(some), card),
            bundle.golden(),
            (size,),
            tolerance,
            floor_group(card.db_floor),
        )
        found.append({"batch": size, "max_abs": proof.parity.max_abs, "p99": proof.parity.p99, "passes": proof.passed})
    return found


def golden_batch(bundle: Bundle, size: int) -> FloatArray:
    """So many golden windows, again from the first where there are fewer: float32 [size, samples]."""
    windows = bundle.golden().windows()
    return np.ascontiguousarray(windows[np.arange(size) % len(windows)])


def float_graphs(bundle: Bundle) -> list[str]:
    """The precisions of the bundle whose graphs ONNX Runtime's CUDA provider computes as they are."""
    return [name for name in bundle.card.precisions if not name.startswith("int8")]
