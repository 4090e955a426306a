"""A live source: a capture process whose audio goes into a ring, and that comes back whatever happens to it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from edgebird.capture.blocks import SHORTEST_S
from edgebird.capture.wire import DATA, FAIL, NOTE, STALLED, Message
from edgebird.errors import AudioError
from edgebird.live.feed import Change
from edgebird.live.intake import Intake, LiveOptions
from edgebird.live.process import Capture, CaptureProcess
from edgebird.live.ring import Piece

log = logging.getLogger(__name__)

OPENING_S = 15.0  # without a first block, after which a capture is given up
STALL_S = 6.0  # without a block
LATE_S = 5.0  # without a first block, after which a source that has just been started counts as deaf
STEADY_S = 10.0  # of audio, after which a capture counts as good
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
_PATIENCE_S = 0.25  # between two looks at what is asked of us, while nothing comes
_HEARING_S = 1.0  # the same while we hear: blocks wake us
_MOMENT_S = 0.01
_NOTE_S = 60.0  # between two notes in the log


class LiveSource:
    """Fills a ring from a capture process in a thread of its own; see `Feed`.

    Position 0 is the first sample ever heard, but where the first attempt to hear it fails or takes longer than LATE_S:
    then it is the start, so that a source that is deaf from the start has a gap from the start. While it is lost,
    positions go on with the clock.
    """

    live = True

    def __init__(self, name: str, capture: Capture, options: LiveOptions) -> None:
        self.name = name
        self._capture, self._options = capture, options
        block_s = capture.options.get("block_s", SHORTEST_S)
        self._intake = Intake(name, options, block_s, self._opened)
        self._changes: deque[Change] = deque()
        self._stopping = threading.Event()
        self._wake: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._began = 0.0  # monotonic seconds
        self._was_heard = False
        self._state, self._why_lost = "starting", ("", "")
        self._next_note = 0.0
        self._process: CaptureProcess | None = None  # the last

    @property
    def waiting(self) -> int:
        """See `Feed`."""
        return self._intake.ring.waiting

    @property
    def finished(self) -> bool:
        """See `Feed`."""
        return self._state == "closed" and self._intake.ring.empty

    @property
    def failure(self) -> str | None:
        """See `Feed`."""
        reason, text = self._why_lost
        return None if self._was_heard or not reason else f"{self.name} was never heard: {reason}: {text}"

    @property
    def drift_ppm(self) -> float | None:
        """See `Feed`."""
        return self._intake.drift_ppm

    @property
    def pid(self) -> int | None:
        """See `Feed`."""
        return self._process.pid if self._process and self._intake.hears else None

    def start(self, wake: Callable[[], None]) -> None:
        """See `Feed`."""
        self._wake, self._began = wake, time.monotonic()
        self._thread.start()

    def expect(self, position: int) -> None:
        """See `Feed`."""
        self._intake.window_end = position
        self._intake.ring.expect(position, self._wake)

    def read(self) -> Piece | None:
        """See `Feed`."""
        return self._intake.ring.read()

    def changes(self) -> list[Change]:
        """See `Feed`."""
        return [self._changes.popleft() for _ in range(len(self._changes))]

    def stop(self) -> None:
        """See `Feed`."""
        self._stopping.set()

    # ------------------------------------------------------------------------------------------- in the source's thread
    def _run(self) -> None:
        try:
            self._keep_hearing()
        finally:  # also where we have made a mistake: a source must not be deaf in silence
            self._change("closed", "")

    def _keep_hearing(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            why = self._guarded(self._hear_once)
            heard_s = self._intake.heard_s
            reason, text = self._guarded(partial(self._end_capture, why))
            if self._stopping.is_set():
                break
            self._lose(reason, text)
            pause = FIRST_PAUSE_S if heard_s > STEADY_S else pause
            self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if self._state == "starting" and self._is_late:
            self._lose(STALLED, "nothing came")
        if self._state == "lost":
            self._intake.lose_until(time.monotonic())

    @property
    def _is_late(self) -> bool:
        """Whether it should have been heard by now."""
        return time.monotonic() - self._began > LATE_S

    def _guarded(self, work: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        """Why a capture has ended, whatever goes wrong in that: a source must not be deaf for ever by one bad message.

        An AudioError, or a fault of ours, is the reason `error`, and the source is opened again.
        """
        try:
            return work()
        except AudioError as error:
            return "error", str(error)
        except Exception as error:
            log.exception("%s: a fault in edgebird", self.name)
            return "error", f"a fault in edgebird: {type(error).__name__}: {error}"

    def _end_capture(self, why: tuple[str, str]) -> tuple[str, str]:
        """Write what is held back of a capture that has ended; why it did."""
        self._intake.end_capture(wait=not self._stopping.is_set())  # what we do not wait for is not lost
        return why

    def _hear_once(self) -> tuple[str, str]:
        """Take the audio of one capture until it ends; why it did: a reason (`wire.REASONS`) and one line."""
        if self._process and self._process.exit_code is None:
            return "busy", "its last capture cannot be ended: the driver hangs"
        try:
            process = CaptureProcess(self._capture.having(self._intake.rejoin.told))
        except OSError as error:
            return "error", f"cannot start its capture: {error.strerror}"
        with process:
            self._process = process
            last, patience = time.monotonic(), self._options.opening_s or OPENING_S
            while not self._stopping.is_set():
                nap_s = _HEARING_S if self._intake.hears else _PATIENCE_S
                for message in process.messages(max(0.0, min(nap_s, last + patience - time.monotonic()))):
                    if message.kind == FAIL:
                        fault = message.json()
                        self._intake.rejoin.tell(fault.get("resume"))
                        return str(fault["reason"]), str(fault["text"])
                    if message.kind == DATA:
                        last, patience = time.monotonic(), self._options.stall_s or STALL_S
                        if self._state == "starting" and self._is_late:
                            self._intake.begin_at(self._began, STALLED)
                        self._let_read(message)
                    self._take(message)
                if process.ended:
                    return "disconnected", f"its capture ended (exit code {process.exit_code})"
                if time.monotonic() - last > patience:
                    return "stalled", f"nothing came for {patience:g} s"
                if not self._intake.hears:
                    self._intake.lose_until(time.monotonic() - self._intake.rejoin.behind_s)
        return "closed", ""

    def _let_read(self, message: Message) -> None:
        """Wait for the reader of a full ring, half as long as the audio lasts.

        A stream that catches up brings more at once than the ring holds; a sound card would lose more by our waiting.
        """
        until = time.monotonic() + 0.5 * self._intake.seconds(message)
        while not self._options.clocked and self._intake.is_crowded and time.monotonic() < until:
            if self._stopping.wait(_MOMENT_S):
                return

    def _take(self, message: Message) -> None:
        if message.kind == NOTE:
            self._note(message.json(), message.position)
            return
        self._intake.take(message)
        begin = self._intake.wanted_beginning()
        if begin is not None and self._process is not None:
            self._process.begin(begin)

    def _note(self, note: dict[str, Any], position: int) -> None:
        if note["kind"] == "resumed":
            self._intake.rejoin.resumed(note["lost_s"])
            return
        if note["kind"] == "overflow":
            self._intake.suspect(position)
        if remember := note.get("remember"):
            self._capture = self._capture.having(remember)
        if time.monotonic() >= self._next_note:
            self._next_note = time.monotonic() + _NOTE_S
            log.warning("%s: %s", self.name, note["text"])

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping.wait(min(_PATIENCE_S, max(0.0, until - time.monotonic()))):
            self._intake.lose_until(time.monotonic() - self._intake.rejoin.behind_s)
            if time.monotonic() >= until:
                return

    def _opened(self, device: str) -> None:
        """The first audio of a capture has come."""
        self._change("recovered" if self._was_heard else "open", device)
        self._was_heard = True

    def _lose(self, reason: str, text: str) -> None:
        """Tell once why it is not heard."""
        if self._state != "lost" or (reason, text) != self._why_lost:
            self._why_lost, self._intake.why_lost = (reason, text), reason
            self._intake.begin_at(self._began, reason)  # one that is deaf from the start was deaf all the time
            self._change("lost", f"{reason}: {text}")

    def _change(self, state: str, detail: str) -> None:
        self._changes.append(Change(state, detail, time.monotonic(), self._intake.ring.end))
        self._state = "open" if state == "recovered" else state  # last: a closed source is not asked again
        self._wake()
