"""Reading ahead must be invisible: the same items, the same errors, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edgebird.errors import AudioError
from edgebird.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgebird-prefetch")]


def test_items_come_in_order_and_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    reading = prefetch(items(), most=3)
    assert next(reading) == 0
    until = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < until:
        time.sleep(0.001)
    assert made == [0, 1, 2, 3]
    assert list(reading) == list(range(1, 10))
    assert made == list(range(10))
    assert not threads()


def test_it_reads_no_further_ahead_than_it_may() -> None:
    """A recording of a day must not end up in memory."""
    made = 0

    def endless() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    reading = prefetch(endless(), most=4)
    for _ in range(5):
        next(reading)
    reading.close()
    assert made <= 5 + 4
    assert not threads()


def test_what_was_read_before_damage_is_given_before_the_error() -> None:
    def damaged() -> Iterator[int]:
        yield 1
        yield 2
        raise AudioError("damaged")

    reading = prefetch(damaged())
    assert [next(reading), next(reading)] == [1, 2]
    with pytest.raises(AudioError, match="damaged"):
        next(reading)
    assert not threads()


def test_nothing_is_nothing() -> None:
    assert list(prefetch(())) == []
