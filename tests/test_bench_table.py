"""A report in a terminal: columns line up, an engine that is wrong has no figures, and what is unknown is said."""

from __future__ import annotations

from typing import Any

import pytest

from edgebird.benchmarks.table import aligned, label, lines, times

LATENCY = {"min": 9.0, "p50": 10.0, "p90": 11.0, "p99": 12.0, "max": 13.0, "cv": 0.012}


def run(**changes: Any) -> dict[str, Any]:
    content = {
        "scenario": "single", "runtime": "ort-cpu", "precision": "fp32", "batch": 1, "provider": "CPU",
        "parity": {"max_abs": 2e-6}, "latency_ms": LATENCY, "samples_ms": [10.0] * 50, "window_ms": 10.0,
        "windows_per_s": 100.0, "verdict": "STEADY", "reasons": [],
    }  # fmt: skip
    return content | changes


def wrong() -> dict[str, Any]:
    known = {"scenario", "runtime", "precision", "batch", "parity"}
    return {key: value for key, value in run(runtime="null").items() if key in known} | {
        "verdict": "INVALID",
        "reasons": ["scores differ"],
    }


def report(*runs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    machine = {
        "cpu": "Cortex-A76", "cores": 4, "gpu": None, "power_mode": None, "governor": "ondemand",
        "sensors": [], "missing_sensors": {},
    }  # fmt: skip
    conditions = {"before": {"load": 0.5}, "after": {"temperatures_c": {"cpu": 61.2, "board": 40.0}}}
    return {"runs": list(runs), "ratios": [], "refused": [], "machine": machine, "conditions": conditions} | changes


def told(*runs: dict[str, Any], **changes: Any) -> list[str]:
    return list(lines(report(*runs, **changes), window_s=5.0))


def test_figures_stand_under_their_names() -> None:
    head, row, *_ = told(run())
    assert head.split() == "single (ms) min p50 p90 p99 max cv a window x real time n verdict".split()
    assert row.split() == "ort-cpu fp32 9.0 10.0 11.0 12.0 13.0 1.2% 10.00 500 50 STEADY".split()
    assert len(head) == len(row)


def test_an_engine_that_is_wrong_has_no_figure_and_says_why() -> None:
    """The fastest engine is one that hears nothing."""
    _, row, why, *about = told(wrong())
    assert set(row.split()[2:-1]) == {"-"}
    assert row.endswith("INVALID")
    assert why == "  null fp32 is INVALID: scores differ"
    assert not [line for line in about if "null" in line]


def test_each_scenario_has_a_table_of_its_own() -> None:
    multi = run(scenario="multi", streams=8, capacity={"streams": 31, "at_least": True, "queries": 50})
    listen = run(scenario="listen", streams=2, missed_deadlines=1, gap_s=0.5, cpu_percent=12.3, peak_memory_mb=None)
    shown = told(run(), multi, run(scenario="offline", batch=4), listen)
    heads = [line.split("(ms)")[0].strip() for line in shown if "(ms)" in line]
    assert heads == ["single", "multi", "offline", "listen"]
    (row,) = [line.split() for line in shown if ">= 31" in line]
    assert row == "ort-cpu fp32 8 9.0 10.0 12.0 13.0 50 >= 31 50 STEADY".split()
    (row,) = [line.split() for line in shown if line.startswith("ort-cpu fp32 x4")]
    assert row == "ort-cpu fp32 x4 9.0 10.0 12.0 10.00 100.0 500 50 STEADY".split()
    (row,) = [line.split() for line in shown if "12.3" in line]
    assert row == "ort-cpu fp32 2 10.0 12.0 13.0 1 0.5 12.3 ? 50 STEADY".split()


@pytest.mark.parametrize(("batch", "name"), [(1, "ort-cpu fp32"), (4, "ort-cpu fp32 x4")])
def test_a_batch_is_named_where_it_is_not_one(batch: int, name: str) -> None:
    assert label(run(batch=batch)) == name


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(aligned([["run", "n"], ["a long name", "5"], ["b", "12345"]])) == [
        "run              n",
        "a long name      5",
        "b            12345",
    ]


def test_a_ratio_names_both_runs_and_its_interval() -> None:
    one = {"scenario": "single", "run": 1, "to": 0, "value": 0.5, "low": 0.4, "high": 0.6}
    shown = told(run(), run(precision="int8"), ratios=[one])
    assert "  ort-cpu int8 takes 0.500 times as long a window as ort-cpu fp32 (95 %: 0.400 to 0.600)" in shown


def test_what_was_not_measured_is_told_after_what_was() -> None:
    shown = told(run(), refused=["ort-cpu fp16: no fp16 graph in this bundle"])
    assert "not measured: ort-cpu fp16: no fp16 graph in this bundle" in shown


@pytest.mark.parametrize(
    ("sensors", "heading"),
    [([], "no energy figures, no sensor answers:"), (["rapl"], "sensors that do not answer:")],
)
def test_why_there_is_no_energy_is_told(sensors: list[str], heading: str) -> None:
    """Without the reason nobody knows that a right is missing."""
    full = report(run())
    full["machine"] |= {"sensors": sensors, "missing_sensors": {"nvml": "no driver"}}
    assert list(lines(full, 5.0))[-2:] == [heading, "  nvml: no driver"]


def test_the_machine_is_told_with_its_hottest_part_and_no_gap_for_what_it_lacks() -> None:
    assert told(run())[-1] == "on Cortex-A76, 4 cores, ondemand; load 0.5, 61 C"
    cold = report(run())
    cold["conditions"]["after"]["temperatures_c"] = {}
    assert list(lines(cold, 5.0))[-1].endswith("temperature unknown")


def test_energy_parts_and_memory_are_told_where_they_are_known() -> None:
    energy = {"VDD_IN": {"joules_per_window": 0.5, "busy_w": 7.0, "idle_w": 3.0}}
    shown = told(
        run(
            energy=energy, split={"parts_ms": {"frontend": 2.0, "rest": 8.0}}, memory_mb={"before": 90.0, "peak": 150.0}
        )
    )
    assert "  ort-cpu fp32: VDD_IN: 0.50 J a window, 7.0 W busy, 3.0 W idle" in shown
    assert "  ort-cpu fp32: parts frontend 2.00 ms, rest 8.00 ms" in shown
    assert "  ort-cpu fp32: CPU, largest score difference 2.0e-06; process 90 -> 150 MB to load it" in shown
    assert "  ort-cpu fp32: parts unknown: no onnx" in told(run(split={"unknown": "no onnx"}))


@pytest.mark.parametrize(
    ("factor", "shown"), [(0.034, "0.034"), (0.43, "0.43"), (3.74, "3.7"), (9.97, "10"), (62.4, "62")]
)
def test_a_slow_computer_is_not_called_one_that_does_nothing(factor: float, shown: str) -> None:
    """A Pi under load takes longer for a window than it lasts: `0 x real time` is what nobody can use."""
    assert times(factor) == shown
