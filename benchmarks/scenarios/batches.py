"""Scenarios `single` and `offline`: groups of windows, one after another, through the product's own path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgebird.benchmarks.figures import statistics, unsteady
from edgebird.benchmarks.material import Material
from edgebird.benchmarks.method import Counters, Duration, Step, Turns, take_turns
from edgebird.benchmarks.split import includes
from edgebird.benchmarks.subjects import Subject
from edgebird.scoring import infer

OFFLINE_BATCHES = (1, 2, 4, 8)


def measure(
    subjects: Sequence[tuple[Subject, int]],
    material: Material,
    duration: Duration,
    count: Counters = dict,
    scenario: str = "single",
) -> list[dict[str, Any]]:
    """Time subjects, each with a batch size, in turns; a run each as in the report.

    A sample is one inference of `batch` windows, from windows that lie in memory to their scores: stacking, checks and
    copies to and from the device are in it, decoding and pooling are not.
    """
    turns = take_turns([_step(subject, material, batch) for subject, batch in subjects], duration, count)
    return [
        run_of(subject, scenario, batch, taken, batch) for (subject, batch), taken in zip(subjects, turns, strict=True)
    ]


def _step(subject: Subject, material: Material, batch: int) -> Step:
    groups = material.groups(batch)

    def step() -> None:
        infer(subject.runtime, next(groups))

    return step


def run_of(subject: Subject, scenario: str, batch: int, turns: Turns, windows: int) -> dict[str, Any]:
    """The run of the report. batch: windows in an inference; windows: in a sample."""
    samples = turns.samples
    latency = statistics(samples)
    reasons = unsteady(samples)
    return {
        **subject.facts(),
        "scenario": scenario,
        "batch": batch,
        "includes": includes(subject, batch),
        "latency_ms": latency,
        "window_ms": latency["p50"] / windows,
        "windows_per_s": 1e3 * windows / latency["mean"],
        "samples_ms": [round(sample, 4) for sample in samples],
        "rounds": [len(samples) for samples in turns.rounds],
        "parity": subject.proofs[batch].to_json(),
        "energy": energy_of(turns, windows),
        "verdict": "NOISY" if reasons else "STEADY",
        "reasons": reasons,
    }


def energy_of(turns: Turns, windows: int) -> dict[str, dict[str, float]]:
    """By sensor: joules a window and watts while busy; of the whole device that the sensor sees, idle power too."""
    return {
        name: {"joules_per_window": joules / (turns.steps * windows), "busy_w": joules / turns.seconds}
        for name, joules in turns.joules.items()
    }
