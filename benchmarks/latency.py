"""Latency of one engine in a few lines, for programs: parity first, then one inference after another."""

from __future__ import annotations

from typing import Any

from edgebird.benchmarks.material import read_material
from edgebird.benchmarks.method import Duration
from edgebird.benchmarks.scenarios import batches
from edgebird.benchmarks.subjects import Subject, prove, require_proven
from edgebird.bundle import Bundle
from edgebird.detection import HOP_S
from edgebird.runtimes import Runtime

__all__ = ["Duration", "measure"]


def measure(runtime: Runtime, bundle: Bundle, precision: str, duration: Duration) -> dict[str, Any]:
    """Time an open engine on the demo's recording, as many windows at once as detection takes; the run as reported.

    Raises ParityError if the scores are not the original's: a fast wrong engine gets no figure.
    """
    size = max(bundle.card.batches)
    subject = Subject(runtime, precision, None)
    prove(subject, bundle, size)
    require_proven(subject)
    hop_s = min(HOP_S, bundle.card.window_samples / bundle.card.sample_rate)
    material = read_material((), bundle.card, hop_s)
    (run,) = batches.measure([(subject, size)], material, duration)
    return run
