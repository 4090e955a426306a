"""Several sequences made at the same time, and given one after the other, as if nothing of that had happened."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_AT_HAND = 2  # items of the sequence that is being given, made before they are asked for


@dataclass(frozen=True, slots=True)
class Ahead(Generic[T]):
    """How far sequences may be made ahead.

    threads: how many are made at the same time. size: bytes of an item. most: bytes of items that wait, in all; each
    thread may go beyond it by the item it makes.
    """

    threads: int
    size: Callable[[T], int]
    most: int


@dataclass(slots=True, eq=False)
class _Lane(Generic[T]):
    """A sequence that is being made. items: those that wait. over: it has no more. error: what broke it off."""

    making: Generator[T, None, None]
    items: deque[T] = field(default_factory=deque)
    over: bool = False
    error: BaseException | None = None


def chained(sequences: Sequence[Generator[T, None, None]], ahead: Ahead[T]) -> Generator[T, None, None]:
    """Give the items of all sequences, first to last: `itertools.chain.from_iterable`, made by several threads.

    Each sequence is made by one thread. What making an item raises is raised in its place. Who asks sets the pace: only
    while an item is waited for are others made than those of the sequence that is given; and each item that was waited
    for lets the other threads have one more in stock. Where items are used more slowly than one thread makes them, one
    thread makes them. Closing the iterator ends the threads.
    """
    if ahead.threads == 1:
        for sequence in sequences:
            yield from sequence
        return
    making = _Making(sequences, ahead)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(ahead.threads, "edgebird-reading"))
        stack.callback(making.stop)  # before the pool waits for its threads
        for _ in range(min(ahead.threads, len(sequences))):
            pool.submit(making.work)
        yield from making.items()


class _Making(Generic[T]):
    """What the threads share. All that changes is changed under one lock, in which nothing is made."""

    def __init__(self, sequences: Sequence[Generator[T, None, None]], ahead: Ahead[T]) -> None:
        self._waiting, self._left, self._ahead = iter(sequences), len(sequences), ahead
        self._lanes: deque[_Lane[T]] = deque()  # begun and not all given, in order
        self._held = self._allowed = 0  # bytes
        self._stopped = self._is_waited_for = False
        self._changed = threading.Condition()

    def stop(self) -> None:
        """End the threads, each after the item it makes."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # -------------------------------------------------------------------------------------------- the threads that make
    def work(self) -> None:
        """Make one sequence after the other, until none is left."""
        while (lane := self._begin()) is not None:
            with closing(lane.making):
                while self._may_go_on(lane) and self._make(lane):
                    pass

    def _begin(self) -> _Lane[T] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._left or not self._lanes or self._has_room())
            if self._stopped or not self._left:
                return None
            self._left -= 1
            lane = _Lane(next(self._waiting))
            self._lanes.append(lane)
            self._changed.notify_all()
            return lane

    def _may_go_on(self, lane: _Lane[T]) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._is_wanted(lane))
            return not self._stopped

    def _is_wanted(self, lane: _Lane[T]) -> bool:
        return len(lane.items) < _AT_HAND if lane is self._lanes[0] else self._has_room()

    def _has_room(self) -> bool:
        return self._held < (self._ahead.most if self._is_waited_for else self._allowed)

    def _make(self, lane: _Lane[T]) -> bool:
        """Make an item; whether there was one."""
        made: list[T] = []
        error = None
        try:
            made.extend(_next(lane.making))
        except BaseException as raised:  # noqa: BLE001  it is raised where the item is asked for
            error = raised
        with self._changed:
            lane.items.extend(made)
            size = sum(map(self._ahead.size, made))
            self._held += size
            lane.over, lane.error = not made, error
            if self._is_waited_for and lane is self._lanes[0]:
                self._is_waited_for = False
                self._allowed = min(self._ahead.most, self._allowed + (self._ahead.threads - 1) * size)
            self._changed.notify_all()
        return bool(made)

    # ----------------------------------------------------------------------------------------------------- who is given
    def items(self) -> Iterator[T]:
        """All items, in order."""
        while (lane := self._first()) is not None:
            while self._wait_for(lane):
                yield self._take(lane)
            if lane.error:
                raise lane.error
            with self._changed:
                self._lanes.popleft()
                self._changed.notify_all()

    def _first(self) -> _Lane[T] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._lanes or not self._left)
            return self._lanes[0] if self._lanes else None

    def _wait_for(self, lane: _Lane[T]) -> bool:
        """Whether it has another item; one that is waited for lets the other threads make as much more."""
        with self._changed:
            if lane.items or lane.over:
                return bool(lane.items)
            self._is_waited_for = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: lane.items or lane.over)
            return bool(lane.items)

    def _take(self, lane: _Lane[T]) -> T:
        with self._changed:
            item = lane.items.popleft()
            self._held -= self._ahead.size(item)
            self._changed.notify_all()
            return item


def _next(making: Iterable[T]) -> list[T]:
    """The next item, or none."""
    for item in making:
        return [item]
    return []
