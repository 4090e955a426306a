"""A station: all sources through one runtime, as windows fall due, for as long as it is told to.

One thread takes what is due, has it scored in batches and tells events; each source has a thread of its own that fills
its ring, the engine has one, and the sinks have one. A runtime that is too slow loses audio in the rings, counted, and
never falls behind more than they hold. Sinks that are too slow lose events, counted, and no audio; those of files wait
for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgebird.errors import EdgebirdError, ScoreError
from edgebird.events import Event
from edgebird.live.engine import Engine
from edgebird.live.figures import (
    Performance,
    PerformanceMeter,
    SourceStatus,
    Status,
    Usage,
    event_figures,
    stats_event,
)
from edgebird.live.listener import Due, Listener
from edgebird.live.telling import Telling
from edgebird.runtimes import Runtime
from edgebird.sinks.thread import SinkDelay
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

ENGINE = "engine"  # the reason of gaps: it could not score them
_SPARED = 0.7  # of a ring
_TICK_S = 0.5  # between two looks at everything, when no window is due
_ADVICE_S = 60.0
_END_S = 10.0  # for sources to end after they were told to


@dataclass(frozen=True)
class StationOptions:
    """hop_s, buffer_s: as the settings have them. duration_s: wall clock, None for ever."""

    hop_s: float
    duration_s: float | None = None
    stats_every_s: float = 60.0
    place: tuple[float, float] | None = None  # latitude, longitude: told with the statistics
    buffer_s: float = 15.0


class Station:
    """Listeners, a runtime, and where events go; `run` returns when all sources have ended.

    runtime: an Engine, or a runtime that nobody can open again. tick: called twice a second.
    """

    def __init__(
        self,
        runtime: Runtime | Engine,
        telling: Telling,
        options: StationOptions,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = runtime if isinstance(runtime, Engine) else Engine(runtime)
        self._telling, self._options, self._tick = telling, options, tick
        self._listeners: list[Listener] = []
        self._waiting: list[Listener] = []
        self._removed: set[Listener] = set()  # on request
        self._meter = PerformanceMeter()  # of the whole run
        self._lately = PerformanceMeter()  # since the last statistics
        self._usage = Usage()
        self._in_work: list[Due] = []
        self._hurries = False  # no longer waits for room, where events of files go
        self._stopping = False  # no Event: a signal handler that sets one may wait for itself
        self._ending = False  # takes no more sources
        self._wake = threading.Event()
        self._requests: deque[Callable[[], None]] = deque()
        self._began = time.monotonic()
        self._next = {"tick": 0.0, "stats": self._began + options.stats_every_s, "advice": self._began + _ADVICE_S}
        self._overruns: dict[str, int] = {}
        self._told_fall = False
        self._unscored: dict[str, str] = {}  # source -> why its first window that was given up was not scored
        self.failures: list[str] = []  # of files not read to their end or not all scored, of live sources never heard

    @property
    def listeners(self) -> Sequence[Listener]:
        """Those that are not done, and those that wait until another of their name has ended."""
        return (*self._listeners, *self._waiting)

    def add(self, listener: Listener) -> None:
        """Listen to one more source, from now on, or from when another of its name has ended; never while it ends."""
        if not self._ending:
            self._waiting.append(listener)
            self._admit()

    def remove(self, listener: Listener) -> None:
        """Listen to a source no longer: what was heard is still scored. One that waits never begins."""
        if listener in self._waiting:
            self._waiting.remove(listener)
        else:
            self._removed.add(listener)
            listener.feed.stop()

    def _admit(self) -> None:
        for listener in list(self._waiting):
            if listener.name not in {other.name for other in self._listeners}:
                self._waiting.remove(listener)
                self._listeners.append(listener)
                listener.feed.start(self._wake.set)

    def _admit_no_more(self) -> None:
        self._ending = True
        self._waiting.clear()

    def stop(self) -> None:
        """End soon: sources stop, what was heard is scored. May be called from a signal handler or another thread."""
        self._stopping = True

    def request(self, work: Callable[[], None]) -> None:
        """Have something done between two passes; may be called as `stop`."""
        self._requests.append(work)

    def run(self) -> None:
        """Listen until all sources have ended, `stop` is called or the time is up.

        Raises RuntimeUnavailableError if the engine is lost for good, SystemExit when all is told and a sink wants it.
        """
        try:
            self._run()
        except EdgebirdError:
            self._admit_no_more()
            self._tell_of_engine()
            for listener in self._listeners:
                listener.abandon(ENGINE, self._in_work)
            self._hurries = True
            self._dismiss()
            raise
        finally:
            for listener in self._listeners:
                listener.feed.stop()
            self._engine.leave()
            self._telling.close()
        if self._telling.ended:
            raise SystemExit(0)

    def _run(self) -> None:
        end = None if self._options.duration_s is None else time.monotonic() + self._options.duration_s
        while self._listeners:
            now = time.monotonic()
            if self._stopping or self._telling.ended or (end is not None and now >= end):
                self._end(now + _END_S)
                break
            self._step(now)

    def _step(self, now: float) -> None:
        self._wake.clear()
        self._engine.tend()
        self._tell_of_engine()
        busy = self._pass()
        self._keep_house(now)
        self._dismiss()
        if self._listeners and not busy:
            self._wake.wait(_TICK_S)

    def _end(self, deadline: float) -> None:
        """Score what the sources still have; what is not scored at the deadline is told as a gap."""
        self._admit_no_more()
        self._engine.hurry()
        for listener in self._listeners:
            listener.feed.stop()
        while self._listeners:
            now = time.monotonic()
            if now >= deadline or self._engine.away:
                self._hurries = True
                for listener in self._listeners:
                    listener.abandon(ENGINE if self._engine.away else "shutdown")
            self._step(now)

    def status(self) -> Status:
        """How it is doing; the performance is that of the whole run."""
        return self._status(self._meter)

    def sources(self) -> tuple[SourceStatus, ...]:
        """How each source is doing; costs less than `status`."""
        return tuple(listener.status() for listener in self._listeners)

    def delay(self) -> SinkDelay | None:
        """How far behind the sinks are, None if they are not."""
        return self._telling.delay()

    def recent(self, name: str, seconds: float) -> FloatArray:
        """The last seconds of a source, float32 [at most seconds * rate]; any thread may ask."""
        for listener in self._listeners:
            if listener.name == name:
                memory = listener.memory
                return memory.read(max(memory.oldest, memory.newest - round(seconds * memory.rate)), memory.newest)
        return np.empty(0, np.float32)

    # ----------------------------------------------------------------------------------------------------------- inside
    def _pass(self) -> bool:
        """Score what is due, a window of each source at most; whether there was any."""
        if self._engine.away:
            self._spare()
        going_on = [] if self._engine.away else [one for one in self._listeners if self._may_go_on(one)]
        dues = [due for listener in going_on if (due := listener.next()) is not None]
        dues.sort(key=lambda due: due.heard_at)
        for start in range(0, len(dues), self._engine.batch_size):
            self._in_work = dues[start:]
            if self._engine.away or not self._score(dues[start : start + self._engine.batch_size]):
                for due in self._in_work:
                    due.listener.put_back(due)
                break
        self._in_work = []
        for listener in self._listeners:
            self._tell(listener)
        while self._requests:
            self._requests.popleft()()
        return bool(dues)

    def _score(self, group: list[Due]) -> bool:
        """Score windows; False if they are to wait, as the engine is lost."""
        began = time.monotonic()
        windows, names = [due.window for due in group], [due.listener.name for due in group]
        rows = self._engine.score(windows, names, lambda: self._keep_house(time.monotonic()))
        self._tell_of_engine()
        if rows is None:
            return False
        now = time.monotonic()
        scored = []
        for due, row in zip(group, rows, strict=True):
            if isinstance(row, ScoreError):
                due.listener.give_up(due, ENGINE)
                self._unscored.setdefault(due.listener.name, str(row))
            else:
                due.listener.take(due, row, now)
                scored.append(due)
            self._tell(due.listener)
        for meter in (self._meter, self._lately):
            meter.scored(len(scored), now - began)
            for due in scored:
                meter.scored_s += min(self._options.hop_s, (due.window.end - due.window.start) / self._rate)
                if due.listener.feed.live:
                    meter.latency_s.add(max(0.0, now - due.heard_at))
                    meter.misses += now - due.heard_at > self._options.hop_s
        return True

    def _spare(self) -> None:
        """Give up the oldest sound of live sources while the engine is away, before their rings lose it untold."""
        for listener in self._listeners:
            while listener.feed.live and listener.feed.waiting > _SPARED * self._options.buffer_s * self._rate:
                if (due := listener.next()) is None:
                    break
                listener.give_up(due, ENGINE)

    def _tell_of_engine(self) -> None:
        for event in self._engine.events():
            self._telling.take(event, None)

    @property
    def _rate(self) -> int:
        return self._engine.card.sample_rate

    def _tell(self, listener: Listener, more: Sequence[Event] = ()) -> None:
        """Tell its events, those of a file as far as there is room."""
        listener.untold.extend([*listener.events(), *more])
        while listener.untold and self._has_room(listener):
            self._telling.take(listener.untold.popleft(), listener.memory)

    def _has_room(self, listener: Listener) -> bool:
        """Whether it may go on: a source that is live always, for it would lose audio."""
        return listener.feed.live or self._hurries or self._telling.has_room(self._wake.set)

    def _may_go_on(self, listener: Listener) -> bool:
        """Whether to read on: a file only as far as sinks still find in its memory what they want of it."""
        if listener.feed.live or self._hurries:
            return True
        self._tell(listener)
        return (
            not listener.untold and self._has_room(listener) and self._telling.follows(listener.memory, self._wake.set)
        )

    def _dismiss(self) -> None:
        """Say good-bye to sources that have ended."""
        for listener in [one for one in self._listeners if one.done]:
            self._tell(listener, listener.close())
            if listener.untold:
                continue
            self._telling.tick()
            summary = listener.summary()
            if listener.feed.live:
                figures = event_figures(self._performance(self._meter))
                summary |= {name: figures[name] for name in figures if name != "windows"}  # those are of all sources
            self._telling.take(summary, listener.memory)
            unscored = self._unscored.pop(listener.name, None)
            failure = listener.feed.failure or (None if listener.feed.live else unscored)
            stopped = listener.feed.live and (self._stopping or listener in self._removed)
            if failure and not stopped:
                self.failures.append(failure)
            self._listeners.remove(listener)
            self._removed.discard(listener)
            self._admit()

    def _keep_house(self, now: float) -> None:
        if now >= self._next["tick"]:
            self._next["tick"] = now + _TICK_S
            self._telling.tick()
            self._tick()
        if now >= self._next["stats"]:
            self._next["stats"] = now + self._options.stats_every_s
            self._telling.take(self._stats(), None)
            self._lately = PerformanceMeter()
        if now >= self._next["advice"]:
            self._next["advice"] = now + _ADVICE_S
            self._advise()

    def _stats(self) -> Event:
        event = stats_event(self._status(self._lately), self._lately, self._options.place)
        drift = self._engine.drift()
        return event | ({"cascade": drift.to_json()} if drift else {})

    def _advise(self) -> None:
        """Say what to change where the engine was too late in the last minute, and that sinks are."""
        drift = self._engine.drift()
        if drift and drift.fallen and not self._told_fall:
            self._told_fall = True
            log.warning("%s; listen without --cascade, or export it again with recordings of this place", drift.told())
        if delay := self._telling.delay():
            log.warning("results are not written in time: %s", delay)
        for listener in self._listeners:
            lost = listener.overrun - self._overruns.get(listener.name, 0)
            self._overruns[listener.name] = listener.overrun
            if lost:
                share = lost / self._rate / _ADVICE_S
                log.warning(
                    "%s: %.0f %% lost in the last minute, the engine is too slow: use a longer --hop (now %g), fewer "
                    "sources, or a faster runtime",
                    listener.name, 100 * share, self._options.hop_s,
                )  # fmt: skip

    def _status(self, meter: PerformanceMeter) -> Status:
        performance = self._performance(meter)
        return Status(time.monotonic() - self._began, self._engine.name, self.sources(), performance, self.delay())

    def _performance(self, meter: PerformanceMeter) -> Performance:
        captures = [pid for one in self._listeners if (pid := one.feed.pid) is not None]
        return meter.performance(self._usage.measure(captures))
