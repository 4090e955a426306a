"""Groups of sinks that do not wait for each other: a disk that hangs does not keep the network from telling so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.thread import SinkDelay, SinkThread

log = logging.getLogger(__name__)


class SinkGroups:
    """Several `SinkThread`s as one. Each group gets every event, in the order of telling.

    What the sinks of a group make themselves (clips, failures) goes to the other groups too, behind what was told
    before. groups: a group without sinks takes no thread. The first one may hold sinks that make events which the
    others want to the last, such as clips: it is closed first. at_once: see `SinkThread`.
    """

    def __init__(self, groups: Sequence[Sequence[Sink]], at_once: Callable[[Event], None] = lambda event: None) -> None:
        self._at_once = at_once
        self._threads = [_Group(sinks, self._pass_on) for sinks in groups if sinks]
        self._closed: list[_Group] = []

    def open(self) -> None:
        """Start the threads and open the sinks, see `SinkThread.open`. Where it raises, all are closed again."""
        try:
            for thread in self._threads:
                thread.open()
        except BaseException:
            self.close()
            raise

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take an event."""
        self._at_once(event)
        for thread in self._threads:
            thread.take(event, memory)

    def tick(self) -> None:
        """Let sinks do what waits, after what was told before."""
        for thread in self._threads:
            thread.tick()

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether the events of files may come; if not, wake is called when they may."""
        room = [thread.has_room(wake) for thread in self._threads]  # each is asked: each has to wake
        return all(room)

    def follows(self, memory: Memory, wake: Callable[[], None]) -> bool:
        """Whether all sinks are near what was last heard of a file; if not, wake is called when they are nearer."""
        near = [thread.follows(memory, wake) for thread in self._threads]
        return all(near)

    def delay(self) -> SinkDelay | None:
        """How far the group is behind that is furthest, None if none is."""
        delays = [delay for thread in self._threads if (delay := thread.delay()) is not None]
        return max(delays, key=lambda delay: (delay.lost, delay.busy_s), default=None)

    def close(self) -> None:
        """Let all sinks do what is left and close, a group after the other."""
        for thread in self._threads:
            thread.close()
            self._closed.append(thread)

    @property
    def hangs(self) -> bool:
        """Whether a sink was left behind when this was closed."""
        return any(thread.hangs for thread in self._closed)

    @property
    def ended(self) -> bool:
        """Whether a sink wants the program to end, in order."""
        return any(thread.ended for thread in self._threads)

    def _pass_on(self, event: Event, maker: _Group) -> None:
        """Give what the sinks of a group have made to the other groups; called on the thread of that group."""
        for thread in self._threads:
            if thread is not maker and thread not in self._closed:
                thread.take(event, None)
        if event["event"] == "sink" and any(thread in self._closed for thread in self._threads):
            error = f" ({event['error']})" if "error" in event else f", {event['lost']} events lost"
            log.warning("%s: %s%s", event["sink"], event["state"], error)  # those who would write it are closed


class _Group(SinkThread):
    """A group. made: is called with each event that its sinks make, and with the group."""

    def __init__(self, sinks: Sequence[Sink], made: Callable[[Event, _Group], None]) -> None:
        super().__init__(sinks)
        self._pass = made

    def made(self, event: Event) -> None:
        """Pass an event on to the other groups."""
        self._pass(event, self)
