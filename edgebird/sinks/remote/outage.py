"""Failures of what is sent in the background: told once, and once more when they are over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from edgebird.events import Event
from edgebird.sinks.chain import head
from edgebird.sinks.lines import now


class Outage:
    """What a sink has to tell of its failures, as `sinks.chain` tells those of other sinks. Any thread may use it.

    sink: its name. clock: the wall clock.
    """

    def __init__(self, sink: str, clock: Callable[[], datetime] = now) -> None:
        self._sink, self._clock, self._lock = sink, clock, threading.Lock()
        self._events: list[Event] = []
        self._since, self._lost = "", 0

    @property
    def lasts(self) -> bool:
        """Whether it fails now."""
        return bool(self._since)

    def fail(self, error: str) -> None:
        """It fails. error: one line; it may name no password."""
        with self._lock:
            if not self._since:
                event = head(self._sink, self._clock())
                self._since = event["time"]
                self._events.append({**event, "state": "failed", "error": " ".join(error.split())})

    def lose(self, events: int = 1) -> None:
        """Events were given up."""
        with self._lock:
            self._lost += events

    def end(self, state: str = "recovered") -> None:
        """It works again. state: `closed` at the end of the program."""
        with self._lock:
            if self._since:
                account = {"state": state, "lost": self._lost, "since": self._since}
                self._events.append({**head(self._sink, self._clock()), **account})
                self._since, self._lost = "", 0

    def events(self) -> list[Event]:
        """Take what is to be told since the last call."""
        with self._lock:
            events, self._events = self._events, []
            return events
