"""The engine of a station: it works on a thread of its own, is watched, and is opened again when it is lost.

Whatever it does costs the windows that it had, not the station: one that fails for good is closed and opened again,
with ever longer pauses, while the station goes on hearing. Two things end the station, so that a new process can begin:
a call that does not come back, and an engine that stays away. A process in which a driver failed is often of no use.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from edgebird.drift import DriftStatus
from edgebird.errors import EdgebirdError, RuntimeUnavailableError, ScoreError
from edgebird.events import Event
from edgebird.parity import Proof
from edgebird.runtimes import Runtime, apart
from edgebird.runtimes.cascade import drift_of
from edgebird.scoring import infer_each
from edgebird.types import FloatArray, Window

log = logging.getLogger(__name__)

ANSWER_S = 60.0  # in which windows must be scored; longer is a call that does not come back
LAST_ANSWER_S = 20.0  # the same while the station ends
AWAY_S = 300.0  # without a score: then the station ends
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LOOK_S = 0.5  # between two looks at everything else while windows are scored
_SAID_S = 60.0  # between two lines about windows that cannot be scored


@dataclass(eq=False)
class _Job:
    """A piece of work, and what became of it."""

    work: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001  it is looked at by who wanted the work
            self.error = error
        finally:
            self.done.set()


class _Thread:
    """Does one job after the other; a daemon, for a job may never come back."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, work: Callable[[], Any]) -> _Job:
        """Have something done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
            self._thread.start()
        job = _Job(work)
        self._jobs.put(job)
        return job

    def end(self) -> None:
        """End when all is done."""
        self._jobs.put(None)

    def _run(self) -> None:
        while job := self._jobs.get():
            job.run()
            del job  # it may hold an engine


class Engine:
    """A runtime that is open, and how to open it again; None where nobody can.

    All methods are called from one thread. hangs: whether a call did not come back; nothing may touch the runtime then.
    away: whether it is lost and not back yet. proof: what was proven of it before it listened, None for nothing.
    """

    def __init__(
        self,
        runtime: Runtime,
        reopen: Callable[[], Runtime] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime: Runtime | None = runtime
        self._reopen, self._clock = reopen, clock
        self.name, self.card, self.batch_size = runtime.name, runtime.card, runtime.batch_size
        self.hangs = False
        self.proof: Proof | None = None
        self._thread = _Thread()
        self._opening: _Job | None = None
        self._proven = True  # it has scored something since it was opened
        self._why, self._since, self._lost_at = "", "", 0.0  # of the failure that is told
        self._next_try, self._pause_s = 0.0, _FIRST_PAUSE_S
        self._said_at, self._unsaid = float("-inf"), 0
        self._events: list[Event] = []
        self._answer_s = ANSWER_S

    @property
    def away(self) -> bool:
        """Whether it cannot be asked."""
        return self._runtime is None

    def score(
        self, windows: Sequence[Window], names: Sequence[str], meanwhile: Callable[[], None]
    ) -> list[FloatArray | ScoreError] | None:
        """Scores of each window, float32 [classes], or why it has none; None if the engine is lost: ask again later.

        names: of the sources. meanwhile: called twice a second. Raises RuntimeUnavailableError if the engine does not
        come back from the call, or is lost and nobody can open it again.
        """
        assert self._runtime is not None
        job = self._thread.begin(partial(infer_each, self._runtime, windows, names))
        self._wait(job, meanwhile)
        if job.error is None:
            rows: list[FloatArray | ScoreError] = job.result
            self._has_scored(rows)
            return rows
        lost_again = not self._proven
        self._lose(job.error)
        # Windows that have lost it twice are perhaps the reason.
        return [ScoreError(self._why)] * len(windows) if lost_again else None

    def tend(self) -> None:
        """Go on with opening it again where it is lost. Raises RuntimeUnavailableError when that takes too long."""
        if self._runtime is not None:
            return
        now, opening = self._clock(), self._opening
        if opening is None and now >= self._next_try and self._reopen:
            self._opening = self._thread.begin(self._reopen)
        elif opening and opening.done.is_set():
            self._opening = None
            if opening.error is None:
                self._return(opening.result)
                return
            self._why = _line(opening.error)
            log.debug("%s cannot be opened again", self.name, exc_info=opening.error)
            self._next_try = now + self._pause()
        if now - self._lost_at > AWAY_S:
            self.hangs = self._opening is not None
            raise RuntimeUnavailableError(f"{self.name} is lost for {AWAY_S:.0f} s: {self._why}")

    def drift(self) -> DriftStatus | None:
        """How its cascade does since it was opened, None where there is none."""
        return None if self._runtime is None else drift_of(self._runtime)

    def hurry(self) -> None:
        """Wait less for it, as the station ends."""
        self._answer_s = LAST_ANSWER_S

    def events(self) -> list[Event]:
        """Take the events since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Close the runtime, unless a call is still in it."""
        self.leave()
        if not self.hangs and self._runtime is not None:
            self._runtime.close()

    def leave(self) -> None:
        """End the thread; the runtime stays open."""
        self._thread.end()

    # ----------------------------------------------------------------------------------------------------------- inside
    def _wait(self, job: _Job, meanwhile: Callable[[], None]) -> None:
        waited, looked = 0.0, self._clock()
        while not job.done.wait(_LOOK_S):
            meanwhile()
            before, looked = looked, self._clock()
            waited += min(looked - before, 2 * _LOOK_S)  # longer is a process that was stopped, and its engine with it
            if waited > self._answer_s:
                self.hangs, self._why = True, f"no answer in {self._answer_s:.0f} s"
                self._tell("failed", error=self._why)
                raise RuntimeUnavailableError(f"{self.name} hangs ({self._why})")

    def _has_scored(self, rows: Sequence[FloatArray | ScoreError]) -> None:
        errors = [row for row in rows if isinstance(row, ScoreError)]
        if len(errors) < len(rows):
            self._proven, self._pause_s = True, _FIRST_PAUSE_S
        self._unsaid += len(errors)
        if errors and self._clock() - self._said_at >= _SAID_S:
            log.warning("%d windows cannot be scored: %s", self._unsaid, errors[0])
            self._said_at, self._unsaid = self._clock(), 0

    def _lose(self, error: BaseException) -> None:
        """Close it, and begin to open it again."""
        self._why, now = _line(error), self._clock()
        self._tell("failed", error=self._why)
        log.debug("%s is lost", self.name, exc_info=error)
        if self._reopen is None:
            raise RuntimeUnavailableError(self._why) from error
        if self._proven:
            self._lost_at = now
        self._proven = False
        runtime, self._runtime = self._runtime, None
        assert runtime is not None
        apart.distrust()  # it is opened in a process of its own first: it may crash now
        self._thread.begin(partial(_close, runtime))
        self._next_try = now + self._pause()

    def _pause(self) -> float:
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause

    def _return(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tell("recovered", since=self._since)

    def _tell(self, state: str, **more: str) -> None:
        moment = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self._since = moment if state == "failed" else ""
        self._events.append(
            {"event": "engine", "source": None, "time": moment, "engine": self.name, "state": state, **more}
        )


def _close(runtime: Runtime) -> None:
    with suppress(Exception):  # that it is lost is told
        runtime.close()


def _line(error: BaseException) -> str:
    text = str(error) if isinstance(error, EdgebirdError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
