"""How a station is doing: figures for the live screen, the `stats` event and the summary, and what measures them.

Every run measures itself: how long inference takes, how late results are, what it costs.
"""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edgebird.events import Event
from edgebird.sinks.thread import SinkDelay

_STEP = math.log(1.01)  # a percentile is known to 1 %
_LEAST = 1e-6
_CPU_S = 10.0
LATENCY_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # in which the statistics count windows


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source now.

    state: starting, open, lost, silent, clipping, quiet or closed; detail: why, one line. level_dbfs, peak_dbfs: of
    the last second, None when nothing came. audio_s, scored_s, gap_s: since it first opened. waiting_s: heard, but not
    scored yet. drift_ppm: its clock against the machine's, None while unknown.
    """

    name: str
    state: str
    detail: str
    level_dbfs: float | None
    peak_dbfs: float | None
    audio_s: float
    scored_s: float
    gap_s: float
    waiting_s: float
    drift_ppm: float | None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a figure."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Performance:
    """What listening costs and how late it is.

    inference_ms: of one window. latency_s: from the last sample heard to the onset event. misses: windows scored after
    the next one of their source was due. real_time_factor: seconds of inference per second of audio, all sources.
    cpu_percent: of one core, this process and its capture processes; memory_mb: the same, resident.
    """

    windows: int
    inference_ms: Percentiles | None
    latency_s: Percentiles | None
    misses: int
    real_time_factor: float
    cpu_percent: float
    memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """As the events tell it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Status:
    """A station now. sinks: None while they are not behind."""

    wall_s: float
    runtime: str
    sources: tuple[SourceStatus, ...]
    performance: Performance
    sinks: SinkDelay | None = None


class Distribution:
    """Percentiles of any number of figures in little memory: counts in bins of 1 %; the maximum is exact."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.max = 0.0

    def add(self, value: float) -> None:
        """Take a figure >= 0."""
        self._bins[round(math.log(max(value, _LEAST)) / _STEP)] += 1
        self.count += 1
        self.total += value
        self.max = max(self.max, value)

    def percentiles(self) -> Percentiles | None:
        """None while there are no figures."""
        if not self.count:
            return None
        return Percentiles(self._at(0.5), self._at(0.9), self._at(0.99), self.max)

    def counts(self, bounds: Sequence[float]) -> dict[str, int]:
        """How many figures are above the bound before and at most each bound, to 1 %; `inf` beyond the last one.

        Bounds without any are left out.
        """
        edges = [round(math.log(bound) / _STEP) for bound in bounds]
        found: Counter[str] = Counter()
        for index, number in self._bins.items():
            place = bisect_left(edges, index)
            found[f"{bounds[place]:g}" if place < len(bounds) else "inf"] += number
        return dict(found)

    def _at(self, share: float) -> float:
        rank, seen = math.ceil(share * self.count), 0
        for index in sorted(self._bins):
            seen += self._bins[index]
            if seen >= rank:
                return min(math.exp(index * _STEP), self.max)
        return self.max


class PerformanceMeter:
    """Gathers the figures of a station. scored_s: seconds of audio that were scored, of all sources."""

    def __init__(self) -> None:
        self.inference_s = Distribution()
        self.latency_s = Distribution()
        self.misses = 0
        self.scored_s = 0.0

    def scored(self, windows: int, seconds: float) -> None:
        """A batch was scored."""
        for _ in range(windows):
            self.inference_s.add(seconds / windows)

    def performance(self, usage: Usage) -> Performance:
        """All so far."""
        inference = self.inference_s.percentiles()
        if inference:
            inference = Percentiles(*(1e3 * v for v in (inference.p50, inference.p90, inference.p99, inference.max)))
        return Performance(
            windows=self.inference_s.count,
            inference_ms=inference,
            latency_s=self.latency_s.percentiles(),
            misses=self.misses,
            real_time_factor=self.inference_s.total / self.scored_s if self.scored_s else 0.0,
            cpu_percent=usage.cpu_percent,
            memory_mb=usage.memory_mb,
        )


class Usage:
    """What this process and its capture processes take: CPU of one core over ten seconds or more, resident memory.

    In the first ten seconds CPU is that since the beginning.
    """

    def __init__(self) -> None:
        self.cpu_percent = self.memory_mb = 0.0
        self._before = {os.getpid(): _cpu_s(os.getpid())}
        self._since = time.monotonic()
        self._is_young = True

    def measure(self, children: Iterable[int]) -> Usage:
        """Look again. children: processes that count too, from when they are first seen."""
        pids = [os.getpid(), *children]
        self.memory_mb = sum(map(_memory_mb, pids))
        now, spent = time.monotonic(), {pid: _cpu_s(pid) for pid in pids}
        elapsed = now - self._since
        if elapsed >= _CPU_S or (self._is_young and elapsed > 0):
            cpu_s = sum(max(0.0, spent[pid] - self._before.get(pid, spent[pid])) for pid in pids)
            self.cpu_percent = 100 * cpu_s / elapsed
        if elapsed >= _CPU_S:
            self._is_young, self._since, self._before = False, now, spent
        else:
            self._before = {**spent, **self._before}
        return self


def _cpu_s(pid: int) -> float:
    """Seconds of CPU a process has had; 0 where that cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return time.process_time() if pid == os.getpid() else 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    """Resident memory; 0 where that cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def event_figures(performance: Performance) -> dict[str, Any]:
    """Rounded, for events."""
    figures = performance.to_json()
    for name in ("inference_ms", "latency_s"):
        if figures[name]:
            figures[name] = {key: round(value, 3) for key, value in figures[name].items()}
    for name in ("real_time_factor", "cpu_percent", "memory_mb"):
        figures[name] = round(figures[name], 4 if name == "real_time_factor" else 1)
    return figures


def stats_event(status: Status, meter: PerformanceMeter, place: tuple[float, float] | None) -> Event:
    """Return the event `stats`. meter: of the time since the last one. place: latitude and longitude, told too."""
    sources = [
        {"source": one.name, "state": one.state, "level_dbfs": one.level_dbfs, "audio_s": round(one.audio_s, 3)}
        | {"scored_s": round(one.scored_s, 3), "gap_s": round(one.gap_s, 3), "waiting_s": round(one.waiting_s, 3)}
        | {"drift_ppm": one.drift_ppm}
        for one in status.sources
    ]
    moment = datetime.now().astimezone().isoformat(timespec="milliseconds")
    event: Event = {"event": "stats", "source": None, "time": moment, "wall_s": round(status.wall_s, 3)}
    if place:
        event |= {"latitude": place[0], "longitude": place[1]}
    # Counts add up over time, as percentiles do not.
    latency = meter.latency_s
    counts = {"latency_counts": latency.counts(LATENCY_BOUNDS_S), "latency_total_s": round(latency.total, 3)}
    event |= event_figures(status.performance) | counts | {"sources": sources}
    return event | ({"sinks": asdict(status.sinks)} if status.sinks else {})
