"""Scenario `multi`: streams whose windows are due together, all through one engine, and how many it carries.

The worst case of a station: every stream's window ends in the same moment, and all must be scored before the next ones
are due, one hop later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from edgebird.benchmarks.material import Material
from edgebird.benchmarks.method import Clock, Counters, Duration, Step, take_turns
from edgebird.benchmarks.scenarios.batches import run_of
from edgebird.benchmarks.subjects import Subject
from edgebird.scoring import infer

_QUERIES = 5  # that must all be in time while one looks for the number
_CONFIRMED = 50  # that must all be in time at the number that is told
_CONFIRM_S = 60.0  # with so many streams that their queries take long, fewer of them: those of this time, at least
_NARROW = 0.05  # the largest number is known to 5 %
_MOST = 2**20  # which no GPU carries: more windows than Python can give to an engine in a hop

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Streams:
    """How many streams, and seconds between windows of one stream."""

    count: int
    hop_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """A trial of so many streams: its queries in ms; the last may be one that was given up at the hop."""

    streams: int
    queries_ms: tuple[float, ...]
    carried: bool

    def to_json(self) -> dict[str, Any]:
        """As in the report."""
        return {
            "streams": self.streams,
            "max_ms": round(max(self.queries_ms), 3),
            "queries": len(self.queries_ms),
            "carried": self.carried,
        }


def measure(
    subjects: Sequence[Subject], material: Material, streams: Streams, duration: Duration, count: Counters, tell: Tell
) -> list[dict[str, Any]]:
    """Time queries of one window of every stream, subjects in turns, then look for the largest number of streams."""
    turns = take_turns([_step(subject, material, streams) for subject in subjects], duration, count)
    runs = []
    for subject, taken in zip(subjects, turns, strict=True):
        run = run_of(subject, "multi", min(subject.runtime.batch_size, streams.count), taken, streams.count)
        tell(f"{subject.name}: how many streams at a hop of {streams.hop_s:g} s")
        run |= {"streams": streams.count, "hop_s": streams.hop_s, "parity": subject.parity(sizes_of(subject))}
        run["capacity"] = capacity(subject, material, streams, run["window_ms"], tell)
        runs.append(run)
    return runs


def sizes_of(subject: Subject, most: int = _MOST) -> range:
    """The batch sizes that come up with at most so many streams: full groups, and a rest of any smaller size."""
    return range(1, min(subject.runtime.batch_size, most) + 1)


def _step(subject: Subject, material: Material, streams: Streams) -> Step:
    windows, group = material.groups(1), subject.runtime.batch_size

    def step() -> None:
        due = [window for (window,) in islice(windows, streams.count)]
        for start in range(0, streams.count, group):
            infer(subject.runtime, due[start : start + group])

    return step


def capacity(subject: Subject, material: Material, streams: Streams, window_ms: float, tell: Tell) -> dict[str, Any]:
    """The largest number of streams none of whose queries missed the next hop, and every trial on the way to it.

    queries: how many of that number were all in time.
    """
    probes: list[Probe] = []

    def carries(number: int, queries: int = _QUERIES) -> bool:
        probes.append(_try(subject, material, Streams(number, streams.hop_s), queries))
        tell(f"  {number} streams: {'carried' if probes[-1].carried else 'too many'}")
        return probes[-1].carried

    guess = min(_MOST, max(1, int(streams.hop_s * 1e3 / window_ms)))
    most = confirmed(lambda number: carries(number, _CONFIRMED), largest(carries, guess))
    queries = len(probes[-1].queries_ms) if most else 0
    told = [probe.to_json() for probe in probes]
    return {"streams": most, "queries": queries, "at_least": most == _MOST, "probes": told}


def confirmed(carries: Callable[[int], bool], number: int) -> int:
    """The largest number from `number` down, in steps of 5 %, that is carried; 0 if not even one is."""
    while number and not carries(number):
        number = min(number - 1, int(number * (1 - _NARROW)))
    return number


def largest(carries: Callable[[int], bool], guess: int) -> int:
    """The largest number that is carried, known to 5 %, at most `_MOST`; 0 if not even one is."""
    low, high = 0, 0
    number = guess
    while not (low and high):
        if carries(number):
            low = number
            if number == _MOST:
                return low
            number = min(_MOST, 2 * number)
        else:
            high = number
            if number == 1:
                return 0
            number = max(1, number // 2)
    while high - low > max(1.0, _NARROW * low):
        middle = (low + high) // 2
        low, high = (middle, high) if carries(middle) else (low, middle)
    return low


def _try(
    subject: Subject, material: Material, streams: Streams, wanted: int, clock: Clock = time.perf_counter
) -> Probe:
    """So many queries of so many streams, fewer if they take long; a query is given up when the next one is due."""
    windows, queries, group = material.groups(1), list[float](), subject.runtime.batch_size
    for size in {min(group, streams.count), streams.count % group} - {0}:  # which may not have run for long
        infer(subject.runtime, [window for (window,) in islice(windows, size)])
    started = clock()
    while len(queries) < _QUERIES or (len(queries) < wanted and clock() - started < _CONFIRM_S):
        begin, left = clock(), streams.count
        while left and clock() - begin <= streams.hop_s:
            size = min(group, left)
            infer(subject.runtime, [window for (window,) in islice(windows, size)])
            left -= size
        queries.append((clock() - begin) * 1e3)
        if left or queries[-1] > streams.hop_s * 1e3:
            return Probe(streams.count, tuple(queries), False)
    return Probe(streams.count, tuple(queries), True)
