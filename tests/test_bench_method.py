"""How a benchmark times: warm up, take turns, keep every sample. The clock is a double: no speed matters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from edgebird.benchmarks.method import ROUNDS, Duration, take_turns


class Machine:
    """A clock, and steps that take a time of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def step(self, name: str, seconds: float, after_another: float = 0.0) -> Callable[[], None]:
        """after_another: what it takes longer when another subject was the last to run."""

        def run() -> None:
            self.now += seconds + (after_another if self.ran[-1:] != [name] else 0.0)
            self.ran.append(name)

        return run

    def take_turns(self, *steps: Callable[[], None], duration: Duration) -> Any:
        return take_turns(steps, duration, lambda: {"meter": 2 * self.now}, lambda: self.now)


def test_at_least_so_long_and_so_often_after_a_warm_up() -> None:
    for step_s, least in ((0.001, 3000), (0.5, 50)):
        machine = Machine()
        (turns,) = machine.take_turns(machine.step("a", step_s), duration=Duration(3.0, 50, 1.0, 5))
        assert len(turns.samples) >= least
        assert turns.samples == pytest.approx([1e3 * step_s] * len(turns.samples))
        assert len(machine.ran) - len(turns.samples) == pytest.approx(max(5, 1.0 / step_s), abs=1)  # of warm-up


def test_subjects_take_turns_and_none_pays_for_the_other() -> None:
    machine = Machine()
    steps = [machine.step(name, seconds, 0.3) for name, seconds in (("a", 0.01), ("b", 0.02))]
    a, b = machine.take_turns(*steps, duration=Duration(0.0, 20, 0.0, 1))
    assert [len(samples) for samples in a.rounds] == [2] * ROUNDS
    assert a.samples == pytest.approx([10.0] * 20)  # not 310
    assert b.samples == pytest.approx([20.0] * 20)
    first, second = machine.ran[2], machine.ran[5]
    assert {first, second} == {"a", "b"}
    assert machine.ran[2:14] == [first] * 3 + [second] * 6 + [first] * 3  # nobody is always second


def test_nobody_always_runs_after_the_same_neighbour() -> None:
    """Who comes after the engine that heats the machine would be the slower one for that."""
    machine = Machine()
    names = "abcd"
    machine.take_turns(*(machine.step(name, 0.01) for name in names), duration=Duration(0.0, 10, 0.0, 1))
    turns = machine.ran[len(names) :: 2]  # a first step that is not counted, and one that is
    before: dict[str, set[str]] = {name: set() for name in names}
    for round_ in (turns[start : start + 4] for start in range(0, len(turns), 4)):
        assert sorted(round_) == list(names)
        for this, that in pairwise(round_):
            before[that].add(this)
    assert all(len(neighbours) == 3 for neighbours in before.values())


def test_energy_is_that_of_the_subjects_own_turns() -> None:
    machine = Machine()
    a, b = machine.take_turns(machine.step("a", 0.01), machine.step("b", 0.02), duration=Duration(0.0, 20, 0.0, 1))
    assert (a.steps, b.steps) == (30, 30)
    assert a.joules["meter"] == pytest.approx(2 * 30 * 0.01)  # 2 W
    assert b.joules["meter"] == pytest.approx(2 * b.seconds)


def test_no_turn_is_shorter_than_its_meters_need() -> None:
    machine = Machine()
    turns = machine.take_turns(machine.step("a", 0.1), machine.step("b", 0.1), duration=Duration(0.0, 10, 0.0, 1, 2.0))
    for one in turns:
        assert [len(samples) for samples in one.rounds] == pytest.approx([20] * ROUNDS, abs=1)
