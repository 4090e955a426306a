"""A live source: a capture process whose audio goes into a ring, and that comes back whatever happens to it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgebird.capture.devices import CARD_LATE_S
from edgebird.capture.wire import DATA, DROPPED, FAIL, LOST, NOTE, OPEN, Message
from edgebird.errors import AudioError
from edgebird.live.clock import FrameClock
from edgebird.live.feed import Change
from edgebird.live.process import Capture, CaptureProcess
from edgebird.live.ring import OVERRUN, Piece, Ring
from edgebird.live.stretch import CaptureStretch
from edgebird.reading.mixing import one_channel
from edgebird.reading.spoiled import NOT_FINITE, sound_parts
from edgebird.sources import warn_of_missing_band
from edgebird.types import AudioBlock, FloatArray

log = logging.getLogger(__name__)

OPENING_S = 15.0  # without a first block, after which a capture is given up
STALL_S = 6.0  # without a block
STEADY_S = 10.0  # of audio, after which a capture counts as good
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
_PATIENCE_S = 0.25  # between two looks at what is asked of us, while nothing comes
_HEARING_S = 1.0  # the same while we hear: blocks wake us
_NOTE_S = 60.0  # between two notes in the log
_BEHIND_S = 1.0  # how far a growing loss is told behind the clock: the next audio may reach back so far


@dataclass(frozen=True)
class LiveOptions:
    """How a source is heard.

    rate: of the model, Hz. buffer_s: of audio that may wait. channel: 1-based, None to average all. clocked: whether
    frames that never came can be told by the clock, as with a sound card; a network may be late by any time.
    opening_s, stall_s: without a first block, or without another, after which a capture is given up; None for
    OPENING_S and STALL_S. Streams notice it themselves, and send what they still have: theirs lies above that.
    """

    rate: int
    buffer_s: float = 15.0
    channel: int | None = None
    clocked: bool = True
    opening_s: float | None = None
    stall_s: float | None = None


class LiveSource:
    """Fills a ring from a capture process in a thread of its own; see `Feed`.

    Position 0 is the first sample ever heard. While it is lost, positions go on with the clock.
    """

    live = True
    failure: str | None = None

    def __init__(self, name: str, capture: Capture, options: LiveOptions) -> None:
        self.name = name
        self._capture, self._options = capture, options
        self._ring = Ring(round(options.buffer_s * options.rate))
        self._changes: deque[Change] = deque()
        self._stopping = threading.Event()
        self._wake: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._zero: float | None = None  # monotonic seconds of position 0
        self._state, self._why_lost = "starting", ("", "")
        self._stretch: CaptureStretch | None = None
        self._opened = (0, 0, "")  # rate, channels and device of the capture
        self._jump_s = CARD_LATE_S
        self._expected = 0  # position of its next frame
        self._why_missing = DROPPED  # what is missing before that
        self._heard_from = 0.0  # monotonic seconds of the first frame of the capture
        self._next_note = 0.0
        self._drift: float | None = None
        self._process: CaptureProcess | None = None  # the last

    @property
    def waiting(self) -> int:
        """See `Feed`."""
        return self._ring.waiting

    @property
    def finished(self) -> bool:
        """See `Feed`."""
        return self._state == "closed" and self._ring.empty

    @property
    def drift_ppm(self) -> float | None:
        """See `Feed`."""
        return self._drift

    @property
    def pid(self) -> int | None:
        """See `Feed`."""
        return self._process.pid if self._process and self._stretch else None

    def start(self, wake: Callable[[], None]) -> None:
        """See `Feed`."""
        self._wake = wake
        self._thread.start()

    def expect(self, position: int) -> None:
        """See `Feed`."""
        self._ring.expect(position, self._wake)

    def read(self) -> Piece | None:
        """See `Feed`."""
        return self._ring.read()

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
            reason, text = self._hear()
            heard_s = self._stretch.last_at - self._heard_from if self._stretch else 0.0
            self._close_stretch()
            if self._stopping.is_set():
                break
            if self._state != "lost" or (reason, text) != self._why_lost:
                self._why_lost = reason, text
                self._change("lost", f"{reason}: {text}")
            pause = FIRST_PAUSE_S if heard_s > STEADY_S else pause
            self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if self._state == "lost":
            self._grow_loss(0.0)

    def _hear(self) -> tuple[str, str]:
        """`_hear_once`, whatever goes wrong in it: a source must not be deaf for ever because of one bad message."""
        try:
            return self._hear_once()
        except AudioError as error:
            return "error", str(error)
        except Exception as error:
            log.exception("%s: a fault in edgebird", self.name)
            return "error", f"a fault in edgebird: {type(error).__name__}: {error}"

    def _hear_once(self) -> tuple[str, str]:
        """Take the audio of one capture until it ends; why it did: a reason (`wire.REASONS`) and one line."""
        if self._process and self._process.exit_code is None:
            return "busy", "its last capture cannot be ended: the driver hangs"
        try:
            process = CaptureProcess(self._capture)
        except OSError as error:
            return "error", f"cannot start its capture: {error.strerror}"
        with process:
            self._process = process
            last, patience = time.monotonic(), self._options.opening_s or OPENING_S
            while not self._stopping.is_set():
                nap_s = _HEARING_S if self._stretch else _PATIENCE_S
                for message in process.messages(max(0.0, min(nap_s, last + patience - time.monotonic()))):
                    if message.kind == FAIL:
                        fault = message.json()
                        return str(fault["reason"]), str(fault["text"])
                    if message.kind == DATA:
                        last, patience = time.monotonic(), self._options.stall_s or STALL_S
                    self._take(message)
                if process.ended:
                    return "disconnected", f"its capture ended (exit code {process.exit_code})"
                if time.monotonic() - last > patience:
                    return "stalled", f"nothing came for {patience:g} s"
                if self._stretch is None:
                    self._grow_loss(_BEHIND_S)
        return "closed", ""

    def _take(self, message: Message) -> None:
        if message.kind == OPEN:
            self._take_format(message.json())
        elif message.kind == LOST:
            self._why_missing = str(message.json()["reason"])
        elif message.kind == NOTE:
            self._note(message.json())
        elif message.kind == DATA and message.payload:
            self._take_audio(message)

    def _take_format(self, opened: dict[str, Any]) -> None:
        """Take what was opened, or that its format has changed: then the next audio follows without a loss."""
        rate = int(opened["rate"])
        if self._stretch is not None:
            self._flush()
            log.warning("%s: its format has changed to %d Hz, %d channels", self.name, rate, opened["channels"])
        if rate != self._opened[0]:
            warn_of_missing_band(self.name, rate, self._options.rate)
        self._opened = rate, opened["channels"], str(opened["device"])
        self._jump_s = float(opened.get("late_s", CARD_LATE_S))
        if (self._options.channel or 1) > opened["channels"]:
            raise AudioError(f"channel {self._options.channel}: it has {opened['channels']}")
        self._expected = 0
        if self._stretch is not None:
            last_at, self._stretch = self._stretch.last_at, self._new_stretch()
            self._stretch.last_at = last_at

    def _new_stretch(self) -> CaptureStretch:
        rate = self._opened[0]
        clock = FrameClock(rate, self._jump_s) if self._options.clocked else None
        return CaptureStretch(rate, self._options.rate, clock)

    def _note(self, note: dict[str, Any]) -> None:
        if note["kind"] == "overflow" and self._stretch:
            self._stretch.suspect()
        if remember := note.get("remember"):
            self._capture = replace(self._capture, options={**self._capture.options, **remember})
        if time.monotonic() >= self._next_note:
            self._next_note = time.monotonic() + _NOTE_S
            log.warning("%s: %s", self.name, note["text"])

    def _take_audio(self, message: Message) -> None:
        rate, channels, device = self._opened
        frames = np.frombuffer(message.payload, "<f4").reshape(-1, channels)
        if self._stretch is None:
            state = "open" if self._zero is None else "recovered"
            self._begin(message.time - len(frames) / rate)
            self._change(state, device)
        if message.position > self._expected:
            self._skip((message.position - self._expected) / rate, self._why_missing)
        self._why_missing = DROPPED
        self._expected = message.position + len(frames)
        assert self._stretch is not None
        mono = one_channel(frames, self._options.channel)
        self._take_certain(self._stretch.sort(mono, self._expected, message.time))
        self._drift = self._stretch.drift_ppm or self._drift

    def _take_certain(self, certain: list[tuple[FloatArray, float, float]]) -> None:
        for samples, at, lost_s in certain:
            if lost_s:
                self._skip(lost_s, OVERRUN)
            self._take_sound(samples, at)

    def _take_sound(self, samples: FloatArray, at: float) -> None:
        """Write what is sound of float32 [n] at the capture's rate, the last heard at `at`; the rest is lost."""
        rate, end = self._opened[0], 0
        for part, start in sound_parts(samples, 0, rate):
            if start > end:
                self._skip((start - end) / rate, NOT_FINITE)
            end = start + len(part)
            if len(part):
                assert self._stretch is not None
                self._write(*self._stretch.resampled(part, at - (len(samples) - end) / rate))

    def _begin(self, first: float) -> None:
        """Begin to hear: audio whose first sample was heard at `first`."""
        if self._zero is None:
            self._zero = first
        self._heard_from = first
        self._ring.lose(round((first - self._zero) * self._options.rate), self._why_lost[0])
        self._stretch = self._new_stretch()

    def _write(self, samples: FloatArray, at: float) -> None:
        self._ring.write(AudioBlock(samples, self._ring.end), at)

    def _skip(self, lost_s: float, reason: str) -> None:
        """End the unbroken stretch of audio, lose some, begin another in the same capture."""
        self._flush()
        assert self._stretch is not None
        self._ring.lose(self._ring.end + round(lost_s * self._options.rate), reason)
        self._stretch = self._stretch.continued()

    def _close_stretch(self) -> None:
        if self._stretch is not None:
            if not self._stopping.is_set():  # what we do not wait for is not lost
                self._take_certain(self._stretch.give_up())
            self._flush()
            # Sound cards do not keep time, and servers send ahead: from here on it is the clock that counts again, or
            # the gap that follows would be longer or shorter by all that has come together.
            self._zero = self._stretch.last_at - self._ring.end / self._options.rate
            self._stretch = None

    def _flush(self) -> None:
        """Write what the clock and the resampler still hold."""
        assert self._stretch is not None
        for samples, at in self._stretch.held():
            self._take_sound(samples, at)
        self._write(*self._stretch.rest())

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping.wait(min(_PATIENCE_S, max(0.0, until - time.monotonic()))):
            self._grow_loss(_BEHIND_S)
            if time.monotonic() >= until:
                return

    def _grow_loss(self, behind_s: float) -> None:
        """Say that what came until now, or shortly before, was not heard."""
        if self._zero is not None:
            until = time.monotonic() - behind_s - self._zero
            self._ring.lose(round(until * self._options.rate), self._why_lost[0])

    def _change(self, state: str, detail: str) -> None:
        self._changes.append(Change(state, detail, time.monotonic(), self._ring.end))
        self._state = "open" if state == "recovered" else state  # last: a closed source is not asked again
        self._wake()
