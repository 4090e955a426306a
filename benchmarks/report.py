"""The parts of a report that others read too: runs, and how they compare within it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgebird.benchmarks.figures import ratio

FORMAT = 1

Run = dict[str, Any]


def ratios(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """How many times longer a window takes than in the first run of the same scenario, by rounds that took turns."""
    found = []
    for scenario in dict.fromkeys(run["scenario"] for run in runs):
        timed = [run for run in runs if run["scenario"] == scenario and "rounds" in run]
        for other in timed[1:]:
            value = ratio(window_rounds(other), window_rounds(timed[0]), paired=True)
            found.append(
                {"scenario": scenario, "run": runs.index(other), "to": runs.index(timed[0])}
                | {"value": value.value, "low": value.low, "high": value.high}
            )
    return found


def window_rounds(run: Run) -> list[list[float]]:
    """The samples of a run by rounds, in ms a window."""
    windows = run["streams"] if run["scenario"] == "multi" else run["batch"]
    samples = iter(run["samples_ms"])
    return [[next(samples) / windows for _ in range(size)] for size in run["rounds"]]
