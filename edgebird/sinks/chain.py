"""All sinks of a station as one: each gets every event, and one that fails does not stop the others."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edgebird.errors import EdgebirdError, UsageError, WrongOutputError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import now

log = logging.getLogger(__name__)

_OWN_WORK, _OPENING = "tick", "open"  # what a sink does by itself, beside the kinds of events it takes
_AGAIN_S = 60.0  # between two tries to open a sink


def failure(sink: str, error: BaseException, moment: datetime) -> Event:
    """The event of a sink that begins to fail."""
    text = str(error) if isinstance(error, EdgebirdError | OSError) else f"{type(error).__name__}: {error}"
    return {**head(sink, moment), "state": "failed", "error": " ".join(text.split())}


def head(sink: str, moment: datetime) -> Event:
    """What every event about a sink begins with."""
    return {"event": "sink", "source": None, "time": moment.isoformat(timespec="milliseconds"), "sink": sink}


@dataclass(slots=True, eq=False)
class _Member:
    """A sink and its failure episode: the kinds of work that failed (none: it is well), events lost, and since when.

    again: monotonic seconds when it is to be opened (again), None if it is not. is_open: whether it takes events.
    finished: it wants no more, as nobody reads what it writes.
    """

    sink: Sink
    failing: set[str] = field(default_factory=set)
    lost: int = 0
    since: str = ""
    again: float | None = 0.0
    is_open: bool = False
    finished: bool = False


class Chain:
    """Gives every event to every sink, in their order, and the events a sink makes to all the others.

    Whatever a sink raises costs it that event, and nothing else. The others are told so once: an event `sink` with
    state `failed`, and `recovered` with the number of lost events when it has done the kind of work again that failed
    (a table that cannot write detections has not recovered because it left out a gap); `closed` with that number if it
    never did. A sink that cannot be opened fails too: it is tried again every minute, and loses all events until then.
    One that fails at its work is opened again every minute, too, until it has recovered. A sink that raises SystemExit
    (stdout whose reader has gone) is finished: it gets nothing more, and the program should end (`ended`).

    sinks: those that make events of their own come last, for they are closed first. clock: the wall clock; monotonic:
    seconds. All methods are called from one thread.
    """

    name = "chain"

    def __init__(
        self,
        sinks: Sequence[Sink],
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = [_Member(sink) for sink in sinks]
        self._clock, self._monotonic = clock, monotonic
        self._queue: deque[tuple[Event, Memory | None, _Member | None]] = deque()
        self._made: list[Event] = []
        self.busy: tuple[str, float] | None = None  # which sink is at work, since when; other threads may look
        self.ended = False  # whether a sink is finished, and with it the program; other threads may look
        self.steps = 0  # pieces of work that sinks have done or failed at; other threads may look

    def open(self) -> None:
        """Open all sinks for the first time.

        Raises UsageError and WrongOutputError: time heals neither. A sink that cannot open for another reason joins as
        failed.
        """
        for member in self._open:
            self._try_to_open(member, (UsageError, WrongOutputError))
        self._spread()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Give an event to every sink."""
        self._queue.append((event, memory, None))
        self._spread()

    def tell(self, event: Event) -> None:
        """Give an event that is made here to every sink; `tick` and `close` return it too."""
        self._tell(event, but=None)
        self._spread()

    def tick(self) -> list[Event]:
        """Let the sinks do what waited; return all events made since the last time, those about sinks too."""
        for member in self._open:
            if member.again is not None and self._monotonic() >= member.again and not member.finished:
                self._try_to_open(member)
                self._spread()
            elif member.is_open and not member.finished:
                self._work(member, member.sink.tick)
        return self._told()

    def close(self) -> list[Event]:
        """Close the sinks, last to first: what one has still to tell reaches those before it."""
        while self._open:
            member = self._open.pop()
            if member.is_open:
                self._work(member, member.sink.close)
            if member.lost:
                self._conclude(member, "closed")
                self._spread()
        return self._told()

    def _told(self) -> list[Event]:
        made, self._made = self._made, []
        return made

    def _try_to_open(self, member: _Member, fatal: tuple[type[Exception], ...] = ()) -> None:
        if self._succeeds(member, _OPENING, member.sink.open, fatal):
            member.is_open = True
            self._has_worked(member, _OPENING)
        member.again = self._monotonic() + _AGAIN_S if member.failing else None

    def _work(self, member: _Member, work: Callable[[], list[Event]]) -> None:
        made: list[Event] = []
        # An empty tick proves nothing.
        if self._succeeds(member, _OWN_WORK, lambda: made.extend(work())) and made:
            self._has_worked(member, _OWN_WORK)
        for event in made:
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
        if member.finished:
            return
        if not member.is_open:
            member.lost += 1
        elif self._succeeds(member, event["event"], lambda: member.sink.take(event, memory)):
            self._has_worked(member, event["event"])

    def _succeeds(
        self, member: _Member, kind: str, work: Callable[[], None], fatal: tuple[type[Exception], ...] = ()
    ) -> bool:
        """Do a kind of work; whether it succeeded."""
        self.busy = member.sink.name, self._monotonic()
        try:
            work()
        except fatal:
            raise
        except SystemExit:
            self.ended = member.finished = True
            return False
        except BaseException as error:  # noqa: BLE001  whatever a sink raises is that sink's failure and no other's
            member.lost += kind != _OPENING
            self._has_failed(member, kind, error)
            return False
        finally:
            self.busy = None
            self.steps += 1
        return True

    def _has_failed(self, member: _Member, kind: str, error: BaseException) -> None:
        if kind not in member.failing:
            log.debug("%s failed", member.sink.name, exc_info=error)
        if not member.failing:
            member.again = self._monotonic() + _AGAIN_S
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
        event = {**head(member.sink.name, self._clock()), "state": state}
        self._tell({**event, "lost": member.lost, "since": member.since}, but=None)
        member.failing, member.lost, member.again = set(), 0, None
