"""Events on their way from a station to a program that takes them one by one on another thread."""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import now

log = logging.getLogger(__name__)


class EventQueue(Sink):
    """A sink that keeps events until `get` takes them.

    size: how many events may wait. What happens when as many do depends on the sources.
    waits: all sources are files, which are read no further while `has_room` says no; nothing is lost but statistics,
    which come by the clock: those that find no room are left out. Else, as a
    microphone does not wait, events that find no room are lost: each is an OutputError for the other sinks, and when
    half of the queue is free the next that `get` gives is an event `sink` with state `recovered`, the number of lost
    events and since when (`closed` at the end).
    """

    name = "python"

    def __init__(self, size: int, waits: bool, clock: Callable[[], datetime] = now) -> None:
        self._size, self._waits, self._clock = size, waits, clock
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._abandoned = self._ended = False
        self._lost, self._since = 0, ""
        self._wake: Callable[[], None] | None = None

    def take(self, event: Event, memory: Memory | None) -> None:
        """Keep an event. Raises OutputError if there is no room for it."""
        if event["event"] == "sink" and event["sink"] == self.name:
            return  # its own account is told where events are missing
        with self._changed:
            if self._abandoned:
                return
            if self._waits and event["event"] == "stats" and len(self._events) >= self._size:
                return
            room = self._size // 2 if self._lost else self._size - 1
            if not self._waits and len(self._events) > room:
                self._lose()
            self._tell_loss("recovered")
            self._put(copy.deepcopy(event))  # what a program does to its events is not seen by other sinks

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether files may be read further; if not, `wake` is called when half of the events are taken."""
        with self._changed:
            if not self._waits or len(self._events) < self._size or self._abandoned:
                return True
            self._wake = wake
            return False

    def close(self) -> list[Event]:
        """Tell what was lost, if that is not told yet."""
        with self._changed:
            self._tell_loss("closed")
        return []

    def finish(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def get(self) -> Event | None:
        """Take the oldest event, and wait for one if there is none; None after the last."""
        with self._changed:
            while not (self._events or self._ended or self._abandoned):
                self._changed.wait()
            if self._abandoned or not self._events:
                return None
            event = self._events.popleft()
            if self._wake and len(self._events) <= self._size // 2:
                wake, self._wake = self._wake, None
                wake()
            return event

    def abandon(self) -> None:
        """Keep nothing any more, as nobody will take it.

        It takes no lock: it may be called while Python collects garbage, wherever a thread is at that moment.
        """
        self._abandoned = True

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._changed.notify_all()

    def _lose(self) -> None:
        if not self._lost:
            self._since = self._time()
            log.warning("%d events wait to be taken and there is no room for more: the next are lost", self._size)
        self._lost += 1
        raise OutputError(f"{self._size} events wait to be taken: the program takes them too slowly")

    def _tell_loss(self, state: str) -> None:
        """Tell an episode of losses, if there was one, and end it."""
        if self._lost:
            account = {"state": state, "lost": self._lost, "since": self._since}
            self._put({"event": "sink", "source": None, "time": self._time(), "sink": self.name, **account})
            self._lost = 0

    def _time(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")
