"""How a station is doing: percentiles of any number of figures, what a window costs, and what the processes take."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from edgebird.live import figures
from edgebird.live.figures import Distribution, Percentiles, PerformanceMeter, Usage


def test_percentiles_are_known_to_one_per_cent_and_the_maximum_exactly() -> None:
    """The latency that is told decides whether a computer is fast enough."""
    values = np.random.default_rng(1).lognormal(-3, 1, 5000)
    distribution = Distribution()
    for value in values:
        distribution.add(float(value))
    found = distribution.percentiles()
    assert found is not None
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert getattr(found, name) == pytest.approx(np.percentile(values, 100 * share, method="higher"), rel=0.011)
    assert found.max == values.max()
    assert (distribution.count, distribution.total) == (5000, pytest.approx(values.sum()))


def test_months_of_figures_take_no_memory() -> None:
    distribution = Distribution()
    for number in range(20_000):
        distribution.add(number % 1000 / 1000)
    assert len(distribution._bins) < 1500
    assert distribution.count == 20_000


@pytest.mark.parametrize("values", [[0.25], [0.25] * 9, [0.0]])
def test_no_percentile_is_above_the_maximum(values: list[float]) -> None:
    """Bins are rounded: `p99 0.251, max 0.25` would look like a fault."""
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    assert distribution.percentiles() == Percentiles(*[pytest.approx(values[0], rel=0.011, abs=1e-6)] * 3, values[0])
    found = distribution.percentiles()
    assert found is not None
    assert max(found.p50, found.p90, found.p99) <= found.max


def test_before_the_first_figure_there_are_none() -> None:
    """And not zero, which would be a wonderful latency."""
    assert Distribution().percentiles() is None
    told = PerformanceMeter().performance(Usage())
    assert (told.inference_ms, told.latency_s, told.windows, told.real_time_factor) == (None, None, 0, 0.0)
    json.dumps(told.to_json(), allow_nan=False)


def test_a_batch_costs_each_of_its_windows_a_part() -> None:
    """Four windows at once in 0.4 s are 100 ms a window, four times over."""
    meter = PerformanceMeter()
    meter.scored(4, 0.4)
    meter.scored_s = 8.0
    told = meter.performance(Usage())
    assert told.windows == 4
    assert told.inference_ms is not None
    assert told.inference_ms.max == pytest.approx(100.0)
    assert told.real_time_factor == pytest.approx(0.05)


class Processes:
    """A clock, and the CPU seconds and megabytes of processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu, self.memory = 100.0, {os.getpid(): 5.0, 7: 50.0}, {os.getpid(): 100.0, 7: 10.0}
        monkeypatch.setattr(figures.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(figures, "_cpu_s", lambda pid: self.cpu[pid])
        monkeypatch.setattr(figures, "_memory_mb", lambda pid: self.memory[pid])


def test_captures_count_from_when_they_are_first_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a capture took before would be told as hundreds of per cent of a core."""
    processes = Processes(monkeypatch)
    usage = Usage()
    usage.measure([])
    processes.now += 10
    processes.cpu[os.getpid()] += 1.0
    told = usage.measure([7])
    assert (told.cpu_percent, told.memory_mb) == (pytest.approx(10.0), 110.0)
    processes.now += 10
    processes.cpu[os.getpid()] += 1.0
    processes.cpu[7] += 2.0
    assert usage.measure([7]).cpu_percent == pytest.approx(30.0)


def test_the_first_figures_tell_what_the_station_has_taken_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first statistics may come after a second, and 0 % would be a wonderful load."""
    processes = Processes(monkeypatch)
    usage = Usage()
    assert usage.measure([]).cpu_percent == 0.0, "no time has passed"
    for _ in range(3):
        processes.now += 1
        processes.cpu[os.getpid()] += 0.4
        processes.cpu[7] += 0.1
        told = usage.measure([7]).cpu_percent
    assert told == pytest.approx(100 * (3 * 0.4 + 2 * 0.1) / 3)
    processes.now += 10
    assert usage.measure([7]).cpu_percent == pytest.approx(100 * (3 * 0.4 + 2 * 0.1) / 13)


def test_cpu_is_told_over_ten_seconds_and_memory_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the second between two frames of the screen it would jump."""
    processes = Processes(monkeypatch)
    usage = Usage()
    usage.measure([])
    processes.now += 10
    processes.cpu[os.getpid()] += 2.0
    assert usage.measure([]).cpu_percent == pytest.approx(20.0)
    processes.now += 1
    processes.cpu[os.getpid()] += 1.0
    processes.memory[os.getpid()] = 150.0
    told = usage.measure([])
    assert (told.cpu_percent, told.memory_mb) == (pytest.approx(20.0), 150.0)
    processes.now += 9
    assert usage.measure([]).cpu_percent == pytest.approx(10.0)


def test_a_capture_that_has_ended_takes_nothing_and_is_no_error() -> None:
    """Its process may be gone between the list and the look."""
    assert figures._memory_mb(2**30) == figures._cpu_s(2**30) == 0.0
    assert 1 < figures._memory_mb(os.getpid()) < 1e5
    assert math.isfinite(figures._cpu_s(os.getpid()))
    assert figures._cpu_s(os.getpid()) > 0
