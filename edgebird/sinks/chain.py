"""All sinks of a station as one: each gets every event, and one that fails does not stop the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edgebird.errors import EdgebirdError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import now

_OWN_WORK = "tick"  # what a sink does by itself, beside the kinds of events it takes


def failure(sink: str, error: Exception, moment: datetime) -> Event:
    """The event of a sink that begins to fail."""
    return {**_head(sink, moment), "state": "failed", "error": " ".join(str(error).split())}


def _head(sink: str, moment: datetime) -> Event:
    return {"event": "sink", "source": None, "time": moment.isoformat(timespec="milliseconds"), "sink": sink}


@dataclass(slots=True, eq=False)
class _Member:
    """A sink and its failure episode: the kinds of work that failed (none: it is well), events lost, and since when."""

    sink: Sink
    failing: set[str] = field(default_factory=set)
    lost: int = 0
    since: str = ""


class Chain:
    """Gives every event to every sink, in their order, and the events a sink makes to all the others.

    A sink that raises OSError or EdgebirdError loses that event. The others are told so once: an event `sink` with
    state `failed`, and `recovered` with the number of lost events when it has done the kind of work again that failed
    (a table that cannot write detections has not recovered because it left out a gap); `closed` with that number if it
    never did. A closed stdout ends the program, as everywhere (SystemExit).

    sinks: those that make events of their own come last, for they are closed first.
    """

    name = "chain"

    def __init__(self, sinks: Sequence[Sink], clock: Callable[[], datetime] = now) -> None:
        self._open = [_Member(sink) for sink in sinks]
        self._clock = clock
        self._queue: deque[tuple[Event, Memory | None, _Member | None]] = deque()
        self._made: list[Event] = []

    def take(self, event: Event, memory: Memory | None) -> None:
        """Give an event to every sink."""
        self._queue.append((event, memory, None))
        self._spread()

    def tick(self) -> list[Event]:
        """Let the sinks do what waited; return all events made since the last time, those about sinks too."""
        for member in self._open:
            self._work(member, member.sink.tick)
        return self._told()

    def close(self) -> list[Event]:
        """Close the sinks, last to first: what one has still to tell reaches those before it."""
        while self._open:
            member = self._open.pop()
            self._work(member, member.sink.close)
            if member.lost:
                self._conclude(member, "closed")
                self._spread()
        return self._told()

    def _told(self) -> list[Event]:
        made, self._made = self._made, []
        return made

    def _work(self, member: _Member, work: Callable[[], list[Event]]) -> None:
        try:
            events = work()
        except (OSError, EdgebirdError) as error:
            self._has_failed(member, _OWN_WORK, error)
        else:
            if events:  # an empty tick proves nothing
                self._has_worked(member, _OWN_WORK)
            for event in events:
                self._tell(event, but=member)
        self._spread()

    def _tell(self, event: Event, but: _Member | None) -> None:
        self._made.append(event)
        self._queue.append((event, None, but))

    def _spread(self) -> None:
        """Give what is queued; failures queue more, at most one for each sink."""
        while self._queue:
            event, memory, but = self._queue.popleft()
            for member in self._open:
                if member is not but:
                    self._give(member, event, memory)

    def _give(self, member: _Member, event: Event, memory: Memory | None) -> None:
        try:
            member.sink.take(event, memory)
        except (OSError, EdgebirdError) as error:
            self._has_failed(member, event["event"], error)
        else:
            self._has_worked(member, event["event"])

    def _has_failed(self, member: _Member, kind: str, error: Exception) -> None:
        member.lost += 1
        if not member.failing:
            event = failure(member.sink.name, error, self._clock())
            member.since = event["time"]
            self._tell(event, but=member)
        member.failing.add(kind)

    def _has_worked(self, member: _Member, kind: str) -> None:
        if kind not in member.failing:
            return
        self._conclude(member, "recovered")

    def _conclude(self, member: _Member, state: str) -> None:
        """End a failure episode."""
        event = {**_head(member.sink.name, self._clock()), "state": state}
        self._tell({**event, "lost": member.lost, "since": member.since}, but=None)
        member.failing, member.lost = set(), 0
