"""How anything is timed: warm up, then take turns in rounds, keep every sample.

Several subjects take turns, so that whatever the machine does meanwhile meets all of them; the order is another one
every round, and whoever ran before another runs after it in the next. After another subject has run, caches and threads
are its own: the first step of a turn is not counted then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

ROUNDS = 10

Step = Callable[[], object]
Clock = Callable[[], float]
Counters = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Duration:
    """How long to measure: at least both, after a warm-up of at least both; and no turn is shorter than `turn_s`."""

    seconds: float = 3.0
    iterations: int = 50
    warm_up_s: float = 1.0
    warm_up_runs: int = 5
    turn_s: float = 0.0


@dataclass(slots=True)
class Turns:
    """What a subject did. rounds: its samples in ms. joules: what each sensor counted meanwhile, over `steps` steps
    that took `seconds`, the uncounted ones among them.
    """

    rounds: list[list[float]] = field(default_factory=list)
    joules: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0

    @property
    def samples(self) -> list[float]:
        """All, in the order of time."""
        return [sample for samples in self.rounds for sample in samples]


def take_turns(
    steps: Sequence[Step], duration: Duration, count: Counters = dict, clock: Clock = time.perf_counter
) -> list[Turns]:
    """Time each of the steps, one after another of the same, in rounds; the result is in the order of the steps.

    count: joules so far by sensor, read before and after each turn.
    """
    for step in steps:
        _warm_up(step, duration, clock)
    results = [Turns() for _ in steps]
    for order in islice(orders(len(steps)), ROUNDS):
        for position in order:
            _take_turn(steps[position], results[position], duration, count, clock, len(steps) > 1)
    return results


def orders(subjects: int) -> Iterator[list[int]]:
    """Of every round, without end: shuffled (seeded), so that nobody keeps a neighbour, then the same backwards."""
    shuffled = random.Random(0)
    while True:
        order = shuffled.sample(range(subjects), subjects)
        yield order
        yield order[::-1]


def _warm_up(step: Step, duration: Duration, clock: Clock) -> None:
    begin, runs = clock(), 0
    while runs < duration.warm_up_runs or clock() - begin < duration.warm_up_s:
        step()
        runs += 1


def _take_turn(
    step: Step, result: Turns, duration: Duration, count: Counters, clock: Clock, after_another: bool
) -> None:
    before, begin = count(), clock()
    if after_another:
        step()
    samples: list[float] = []
    start = begin_counted = clock()
    turn_s = max(duration.turn_s, duration.seconds / ROUNDS)
    while start - begin_counted < turn_s or len(samples) * ROUNDS < duration.iterations:
        step()
        end = clock()
        samples.append((end - start) * 1e3)
        start = clock()
    result.rounds.append(samples)
    result.steps += len(samples) + after_another
    result.seconds += start - begin
    for name, joules in count().items():
        result.joules[name] = result.joules.get(name, 0.0) + joules - before[name]
