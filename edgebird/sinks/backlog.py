"""Events that wait for the sinks: never more than a fixed number, and those of least worth go first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edgebird.events import Event
from edgebird.sinks import Memory

# From what is lost first to what is lost last; other kinds are worth as much as `source`.
_WORTH = (("stats", "rejected", "stopped"), ("onset",), ("source",), ("gap",), ("detection",), ("summary",))
_KINDS = {kind: worth for worth, kinds in enumerate(_WORTH) for kind in kinds}


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """What waits, in the order of its number: an event and its source's memory, or with no event a tick."""

    number: int
    event: Event | None = None
    memory: Memory | None = None


class Backlog:
    """What one thread puts and another takes, in order. Putting never waits: when all is full the oldest of the least
    worthy kind goes, and is counted.

    capacity: events that may wait. room: files are to wait when as many events do, so that nothing of them is lost.
    """

    def __init__(self, capacity: int, room: int) -> None:
        self._capacity, self._room = capacity, min(room, capacity)
        self._events: tuple[deque[Waiting], ...] = tuple(deque() for _ in _WORTH)
        self._ticks: deque[Waiting] = deque()
        self._number = 0
        self._wake: Callable[[], None] | None = None
        self._closed = False
        self._changed = threading.Condition(threading.Lock())
        self.waiting = 0  # events
        self.lost = 0  # events, since the beginning

    def put(self, event: Event, memory: Memory | None) -> None:
        """Add an event."""
        worth = _KINDS.get(event["event"], _KINDS["source"])
        with self._changed:
            self._number += 1
            self._events[worth].append(Waiting(self._number, event, memory))
            self.waiting += 1
            if self.waiting > self._capacity:
                next(kind for kind in self._events if kind).popleft()
                self.waiting -= 1
                self.lost += 1
            self._changed.notify()

    def put_tick(self) -> int:
        """Add a tick, unless one is the newest already; its number, which none of what was put before exceeds."""
        with self._changed:
            if not self._ticks or self._ticks[-1].number != self._number:
                self._number += 1
                self._ticks.append(Waiting(self._number))
                if len(self._ticks) > self._capacity:
                    self._ticks.popleft()
                self._changed.notify()
            return self._ticks[-1].number

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether few events wait; if not, `wake` is called when only half as many do."""
        with self._changed:
            if self.waiting < self._room:
                return True
            self._wake = wake
            return False

    def get(self) -> Waiting | None:
        """Take the oldest, and wait until there is one; None when it is closed and empty."""
        with self._changed:
            while not (filled := [kind for kind in (*self._events, self._ticks) if kind]):
                if self._closed:
                    return None
                self._changed.wait()
            oldest = min(filled, key=lambda kind: kind[0].number).popleft()
            self.waiting -= oldest.event is not None
            wake = self._wake if self.waiting <= self._room // 2 else None
            if wake:
                self._wake = None
        if wake:
            wake()
        return oldest

    def close(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._closed = True
            self._changed.notify()
