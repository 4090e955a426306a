"""The parts of a report that others read: rounds by window, and how runs of one scenario compare."""

from __future__ import annotations

from typing import Any

import pytest

from edgebird.benchmarks.report import Run, ratios, window_rounds


def run(scenario: str, samples: list[float], batch: int = 1, **more: Any) -> Run:
    """Two rounds of equal length."""
    half = len(samples) // 2
    return {"scenario": scenario, "samples_ms": samples, "rounds": [half, half], "batch": batch, **more}


def test_a_run_of_several_windows_is_told_by_window() -> None:
    """Else four windows at once would look four times slower than one."""
    assert window_rounds(run("offline", [8.0, 10.0, 12.0, 14.0], batch=4)) == [[2.0, 2.5], [3.0, 3.5]]


def test_windows_of_several_streams_are_those_of_the_streams_whatever_the_engine_takes_at_once() -> None:
    assert window_rounds(run("multi", [30.0, 60.0], batch=4, streams=3)) == [[10.0], [20.0]]


def test_runs_are_compared_with_the_first_of_their_own_scenario_alone() -> None:
    """A latency and a throughput say nothing of each other."""
    runs = [
        run("single", [10.0] * 4),
        run("offline", [5.0] * 4),
        run("single", [20.0] * 4),
        run("offline", [15.0] * 4),
    ]
    found = ratios(runs)
    assert [(one["scenario"], one["run"], one["to"]) for one in found] == [("single", 2, 0), ("offline", 3, 1)]
    assert [one["value"] for one in found] == pytest.approx([2.0, 3.0])
    assert all(one["low"] <= one["value"] <= one["high"] for one in found)


def test_a_run_without_figures_is_compared_with_none() -> None:
    """A wrong engine has no samples: what is right is compared with the next right one."""
    wrong: Run = {"scenario": "single", "verdict": "INVALID"}
    runs = [wrong, run("single", [10.0] * 4), run("single", [11.0] * 4)]
    assert [(one["run"], one["to"]) for one in ratios(runs)] == [(2, 1)]
    assert ratios([wrong]) == []
