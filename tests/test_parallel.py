"""Sequences made side by side must look as if they were made one after the other, and take no more than they may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator

import pytest

from edgebird.errors import AudioError
from edgebird.parallel import Ahead, chained

WAIT_S = 20.0


def ahead(threads: int, most: int = 1000) -> Ahead[int]:
    return Ahead(threads, lambda _item: 1, most)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgebird-reading")]


def soon(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + WAIT_S
    while not happened() and time.monotonic() < until:
        time.sleep(0.001)
    return happened()


class Counted:
    """A sequence of whole numbers that tells how far it is."""

    def __init__(self, count: int) -> None:
        self.made = 0
        self.closed = False
        self.items = self._items(count)

    def _items(self, count: int) -> Generator[int, None, None]:
        try:
            for number in range(count):
                self.made += 1
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("count", [1, 2, 5])
def test_items_come_in_the_order_of_the_sequences(count: int) -> None:
    lengths = (3, 0, 40, 1, 7)
    wanted = [number for length in lengths for number in range(length)]
    assert list(chained([Counted(length).items for length in lengths], ahead(count))) == wanted
    assert not threads()


def test_with_one_thread_there_is_none() -> None:
    """Where one core is allowed, a second reader would only take it from the engine."""
    first = Counted(3)
    assert next(chained([first.items, Counted(3).items], ahead(1))) == 0
    assert first.made == 1
    assert not threads()


def test_the_next_sequence_is_made_while_the_first_is_waited_for() -> None:
    second_is_made = threading.Event()

    def first() -> Generator[int, None, None]:
        yield 1
        yield 2
        assert second_is_made.wait(WAIT_S), "nobody makes the next one"
        yield 3

    def second() -> Generator[int, None, None]:
        yield 4
        second_is_made.set()

    assert list(chained([first(), second()], ahead(2))) == [1, 2, 3, 4]


def test_nothing_is_made_for_someone_who_is_slow() -> None:
    """An engine that is slower than one reader keeps its cores, and no other recording fills the memory."""
    first, others = Counted(200), [Counted(200) for _ in range(3)]
    items = chained([first.items, *(other.items for other in others)], ahead(4))
    for given in range(100):
        if given:
            assert soon(lambda: first.made >= given + 2)  # noqa: B023  it is over when the loop goes on
        next(items)
        if not given:  # this one was waited for, while the others made what they could
            begun = sum(other.made for other in others)
    items.close()
    assert sum(other.made for other in others) <= begun + 3 + 3  # a stock of three, and what was being made


def test_no_more_waits_than_may() -> None:
    """Recordings of a day each must not end up in memory, however long the first one takes."""
    most, held = 10, list[int]()
    others = [Counted(1000) for _ in range(3)]

    def slow() -> Generator[int, None, None]:
        for number in range(60):
            time.sleep(0.001)
            held.append(sum(other.made for other in others))
            yield number

    items = chained([slow(), *(other.items for other in others)], ahead(4, most))
    assert [next(items) for _ in range(60)] == list(range(60))
    items.close()
    assert max(held) <= most + 3
    assert max(held) >= most, "the others were not made at all"


def test_a_sequence_alone_is_never_far_ahead() -> None:
    """A recording of a day takes no more memory than a short one, also where scoring is fast and then slow."""
    alone = Counted(10**6)
    items = chained([alone.items], ahead(4))
    for _ in range(200):
        next(items)
    time.sleep(0.1)
    assert alone.made <= 200 + 2
    items.close()


def test_an_error_comes_in_its_place() -> None:
    def damaged() -> Generator[int, None, None]:
        yield 7
        raise AudioError("damaged")

    given: list[int] = []
    with pytest.raises(AudioError, match="damaged"):
        given.extend(chained([Counted(30).items, damaged(), Counted(5).items], ahead(3)))
    items = chained([Counted(30).items, damaged()], ahead(2))
    assert [next(items) for _ in range(31)] == [*range(30), 7]
    with pytest.raises(AudioError, match="damaged"):
        next(items)
    assert not threads()


def test_leaving_ends_all_of_it() -> None:
    """Ctrl-C: no thread goes on to read, and files are closed."""
    sequences = [Counted(10**9) for _ in range(4)]
    items = chained([sequence.items for sequence in sequences], ahead(3))
    for _ in range(50):
        next(items)
    items.close()
    assert not threads()
    assert all(sequence.closed for sequence in sequences if sequence.made)
    assert sequences[0].made < 200
