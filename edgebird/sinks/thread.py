"""The thread of sinks of a station: a disk that is slow or hangs costs events, never sound."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from weakref import WeakKeyDictionary

from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.backlog import Backlog
from edgebird.sinks.chain import Chain, head
from edgebird.sinks.lines import now

log = logging.getLogger(__name__)

CAPACITY = 4096  # events, about 6 MB: those of some hours, were all sinks to hang
ROOM = 100  # events: with as many waiting, files wait
AHEAD_S = 15.0  # of sound that a file may be ahead of the sinks: clips are cut from what its source remembers
_LOOK_S = 5.0  # of sound of a file, after which the sinks look at what they can do with it
_BUSY_S = 5.0  # at one piece of work: longer is worth telling
_LONGEST_S = 60.0  # for all that is left at the end; systemd waits for 90 s
_NAME = "queue"  # what events call it


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for sinks: to open, and at the end without any of them getting on."""

    opening_s: float = 10.0
    closing_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SinkDelay:
    """Sinks are behind. sink: which is at work, "" for none, busy_s: for how long; events that wait, and are lost."""

    sink: str
    busy_s: float
    waiting: int
    lost: int

    def __str__(self) -> str:
        work = f"{self.sink} has been busy for {self.busy_s:.0f} s, " if self.sink else ""
        return f"{work}{self.waiting} events wait" + (f", {self.lost} are lost" if self.lost else "")


@dataclass(slots=True, eq=False)
class _Progress:
    """How far the sinks have come in a file. asked, handled: positions. ticks: (number, position) of those to come."""

    asked: int = 0
    handled: int = 0
    ticks: deque[tuple[int, int]] = field(default_factory=deque)


class SinkThread:
    """Gives events to sinks on one thread of its own, in order, by a `Chain`; who tells them never waits.

    CAPACITY events may wait. More are lost, the least worthy first (`backlog`): that is told as a failure of the sink
    "queue", and as its recovery when the sinks have caught up. at_once: gets every event before it waits, on the thread
    that tells it. A sink that ends the program (SystemExit, of a stdout whose reader has gone) gets nothing more; the
    others go on, and `ended` says so to who tells events.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        at_once: Callable[[Event], None] = lambda event: None,
        capacity: int = CAPACITY,
        patience: Patience = Patience(),
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._chain = Chain(sinks, clock)
        self._backlog = Backlog(capacity, ROOM)
        self._at_once, self._capacity, self._patience, self._clock = at_once, capacity, patience, clock
        self._thread = threading.Thread(target=self._run, name="sinks", daemon=True)
        self._is_open, self._is_done = threading.Event(), threading.Event()
        self._refused: Exception | None = None  # what time does not heal
        self._progress: WeakKeyDictionary[Memory, _Progress] = WeakKeyDictionary()
        self._ticked = 0  # number of the last tick that is done
        self._wake: Callable[[], None] = lambda: None
        self._settled = 0  # lost events whose loss is told and over
        self._since = ""  # when the loss that is told began
        self._warned = False

    # ------------------------------------------------------------------------------------------- who tells events
    def open(self) -> None:
        """Start the thread and open the sinks, or begin without those that take too long.

        Raises UsageError and WrongOutputError of a sink.
        """
        self._thread.start()
        if not self._is_open.wait(self._patience.opening_s):
            log.warning("the sinks are not open yet: %s", self._delay(self._chain.busy))
        if self._refused is not None:
            raise self._refused

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take an event."""
        self._at_once(event)
        self._backlog.put(event, memory)
        if self._backlog.lost > self._settled and not self._warned:
            self._warned = True
            log.warning("events are lost: %s", self._delay(self._chain.busy))

    def tick(self) -> None:
        """Let sinks do what waits, after what was told before."""
        self._backlog.put_tick()

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether the events of files may come; if not, wake is called when they may."""
        return self._backlog.has_room(wake)

    def follows(self, memory: Memory, wake: Callable[[], None]) -> bool:
        """Whether the sinks are near what was last heard of a file, so that the file may be read on.

        If not, wake is called when they have come nearer. All events so far of the file were told before.
        """
        progress = self._progress.setdefault(memory, _Progress())
        if memory.newest - progress.asked >= _LOOK_S * memory.rate:
            progress.asked = memory.newest
            progress.ticks.append((self._backlog.put_tick(), memory.newest))
        self._wake = wake  # before the look: else the tick that is done meanwhile would wake nobody
        while progress.ticks and progress.ticks[0][0] <= self._ticked:
            progress.handled = progress.ticks.popleft()[1]
        return memory.newest - progress.handled < AHEAD_S * memory.rate

    def delay(self) -> SinkDelay | None:
        """How far behind the sinks are, None if they are not."""
        delay = self._delay(self._chain.busy)
        return delay if delay.busy_s >= _BUSY_S or delay.lost else None

    def close(self) -> None:
        """Let the sinks do what is left and close; what hangs is left behind, and told on stderr."""
        self._backlog.close()
        if self._thread.ident is None:
            return
        end = time.monotonic() + _LONGEST_S
        steps = -1
        while not self._is_done.is_set() and steps != self._chain.steps and time.monotonic() < end:
            steps = self._chain.steps
            self._is_done.wait(min(self._patience.closing_s, end - time.monotonic()))
        if not self._is_done.is_set():
            delay = self._delay(self._chain.busy)
            log.error("%s hangs: what it was writing and %d events are lost", delay.sink or _NAME, delay.waiting)

    @property
    def hangs(self) -> bool:
        """Whether a sink was left behind when this was closed."""
        return not self._is_done.is_set()

    @property
    def ended(self) -> bool:
        """Whether a sink wants the program to end, in order."""
        return self._chain.ended

    def _delay(self, busy: tuple[str, float] | None) -> SinkDelay:
        sink, since = busy or ("", time.monotonic())
        lost = self._backlog.lost - self._settled
        return SinkDelay(sink, time.monotonic() - since, self._backlog.waiting, lost)

    def made(self, event: Event) -> None:
        """Take note of an event that a sink has made, and all sinks have; called on their thread."""
        return

    # ------------------------------------------------------------------------------------------------ the thread
    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._is_done.set()

    def _work(self) -> None:
        try:
            self._chain.open()
        except Exception as error:  # noqa: BLE001  it is raised where the sinks are opened
            self._refused = error
            self._backlog.close()
        finally:
            self._is_open.set()
        while waiting := self._backlog.get():
            self._do(self._tell_losses)
            if waiting.event is None:
                self._do(partial(self._tell_made, self._chain.tick))
                self._ticked = waiting.number
                self._wake()
            else:
                self._do(partial(self._chain.take, waiting.event, waiting.memory))
        for _ in range(2):  # that events are lost, and that this is over
            self._do(self._tell_losses)
        self._do(partial(self._tell_made, self._chain.close))

    def _tell_made(self, work: Callable[[], list[Event]]) -> None:
        for event in work():
            self.made(event)

    def _do(self, work: Callable[[], object]) -> None:
        """Do something; the thread goes on whatever it raises."""
        try:
            work()
        except BaseException:  # the chain has those of sinks
            log.exception("a fault in edgebird")

    def _tell_losses(self) -> None:
        """Say once that events are lost, and once that no more are."""
        lost = self._backlog.lost - self._settled
        if not lost:
            return
        event = head(_NAME, self._clock())
        if not self._since:
            self._since = event["time"]
            error = f"the queue of events is full: {lost} lost"
            self._chain.tell({**event, "state": "failed", "error": error})
        elif self._backlog.waiting <= self._capacity // 2:
            since, self._since = self._since, ""
            self._settled += lost
            self._warned = False
            self._chain.tell({**event, "state": "recovered", "lost": lost, "since": since})
