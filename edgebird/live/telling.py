"""What a station asks of where its events go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgebird.events import Event
from edgebird.sinks import Memory
from edgebird.sinks.thread import SinkDelay


class Telling(Protocol):
    """Where events go: `sinks.groups.SinkGroups`, or one `sinks.thread.SinkThread`.

    It never keeps the scoring thread waiting, but in `close`.
    """

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take an event."""
        ...

    def tick(self) -> None:
        """Do what is due, after the events before."""
        return

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether the events of files may come; if not, wake is called when they may."""
        return True

    def follows(self, memory: Memory, wake: Callable[[], None]) -> bool:
        """Whether a file may be read on, all of whose events were told; if not, wake is called when it may."""
        return True

    def delay(self) -> SinkDelay | None:
        """How far behind the sinks are, None if they are not."""
        return None

    @property
    def ended(self) -> bool:
        """Whether the station should end, as nobody reads what it tells."""
        return False

    def close(self) -> None:
        """Finish."""
        return
