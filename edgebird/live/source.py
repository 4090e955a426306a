"""A live source: a capture process whose audio goes into a ring, and that comes back whatever happens to it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from edgebird.live.clock import FrameClock
from edgebird.live.feed import Change
from edgebird.live.levels import Level, LevelWatch
from edgebird.live.process import Capture, CaptureProcess
from edgebird.live.ring import Piece, Ring
from edgebird.live.wire import DATA, FAIL, NOTE, OPEN, Message
from edgebird.sources import Resampler
from edgebird.types import AudioBlock, FloatArray

log = logging.getLogger(__name__)

OPENING_S = 15.0  # without a first block, after which a capture is given up
STALL_S = 5.0  # without a block
STEADY_S = 60.0  # of audio, after which a capture counts as good
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
_PATIENCE_S = 0.25
_BEHIND_S = 1.0  # how far a growing loss is told behind the clock: the next audio may reach back so far


@dataclass(frozen=True)
class LiveOptions:
    """How a source is heard.

    rate: of the model, Hz. buffer_s: of audio that may wait. channel: 1-based, None to average all. clocked: whether
    frames that never came can be told by the clock, as with a sound card; a network may be late by any time.
    """

    rate: int
    buffer_s: float = 15.0
    channel: int | None = None
    clocked: bool = True


class _Piece:
    """An unbroken piece of one capture: its resampler, its clock, and the audio that the clock is not sure of."""

    def __init__(self, rate_in: int, rate_out: int, clock: FrameClock | None) -> None:
        self._rate_in, self._rate_out, self._clock = rate_in, rate_out, clock
        self._resampler = Resampler(rate_in, rate_out)
        self._held: list[tuple[FloatArray, float]] = []
        self._inside_s = 0.0  # audio in the resampler

    @property
    def drift_ppm(self) -> float | None:
        return self._clock.drift.ppm if self._clock else None

    def sort(self, mono: FloatArray, frames: int, at: float) -> list[tuple[FloatArray, float, float]]:
        """Take audio, of whose capture `frames` have come by now; give what is certain: samples, time, lost before."""
        lost_s = self._clock.observe(frames, at) if self._clock else 0.0
        self._held.append((mono, at))
        if lost_s is None:
            return []
        return [(samples, time, lost_s if index == 0 else 0.0) for index, (samples, time) in enumerate(self.held())]

    def held(self) -> list[tuple[FloatArray, float]]:
        """Take the audio that was held back."""
        held, self._held = self._held, []
        return held

    def resampled(self, mono: FloatArray) -> FloatArray:
        samples = self._resampler.push(mono)
        self._inside_s += len(mono) / self._rate_in - len(samples) / self._rate_out
        return samples

    def heard_at(self, at: float) -> float:
        """When the last sample that `resampled` gave was heard, if the last it took was at `at`."""
        return at - self._inside_s

    def rest(self) -> FloatArray:
        """End it."""
        return self._resampler.finish()

    def continued(self) -> _Piece:
        """The piece after a loss in the same capture."""
        return _Piece(self._rate_in, self._rate_out, self._clock)


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
        self._watch = LevelWatch(options.rate)
        self._changes: deque[Change] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._zero: float | None = None  # monotonic seconds of position 0
        self._state, self._why_lost = "starting", ("", "")
        self._piece: _Piece | None = None
        self._opened = (0, 0, "")  # rate, channels and device of the capture
        self._expected = 0  # position of its next frame
        self._drift: float | None = None
        self._pid: int | None = None

    @property
    def waiting(self) -> int:
        """See `Feed`."""
        return self._ring.waiting

    @property
    def finished(self) -> bool:
        """See `Feed`."""
        return self._state == "closed" and self._ring.empty

    @property
    def level(self) -> Level | None:
        """See `Feed`."""
        return self._watch.level if self._piece else None

    @property
    def drift_ppm(self) -> float | None:
        """See `Feed`."""
        return self._drift

    @property
    def pid(self) -> int | None:
        """See `Feed`."""
        return self._pid

    def start(self) -> None:
        """See `Feed`."""
        self._thread.start()

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
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            reason, text = self._hear()
            self._close_piece()
            if self._stopping.is_set():
                break
            if self._state != "lost" or (reason, text) != self._why_lost:
                self._why_lost = reason, text
                self._change("lost", f"{reason}: {text}")
            pause = FIRST_PAUSE_S if time.monotonic() - began > STEADY_S else pause
            self._rest(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if self._state == "lost":
            self._grow_loss(0.0)
        self._change("closed", "")

    def _hear(self) -> tuple[str, str]:
        """Take the audio of one capture until it ends; why it did: a reason (`wire.REASONS`) and one line."""
        try:
            process = CaptureProcess(self._capture)
        except OSError as error:
            return "error", f"cannot start its capture: {error.strerror}"
        with process:
            self._pid = process.pid
            last, patience = time.monotonic(), OPENING_S
            while not self._stopping.is_set():
                for message in process.messages(_PATIENCE_S):
                    if message.kind == FAIL:
                        fault = message.json()
                        return str(fault["reason"]), str(fault["text"])
                    if message.kind == DATA:
                        last, patience = time.monotonic(), STALL_S
                    self._take(message)
                if process.ended:
                    return "disconnected", f"its capture ended (exit code {process.exit_code})"
                if time.monotonic() - last > patience:
                    return "stalled", f"nothing came for {patience:g} s"
                if self._piece is None:
                    self._grow_loss(_BEHIND_S)
        return "closed", ""

    def _take(self, message: Message) -> None:
        if message.kind == OPEN:
            opened = message.json()
            self._opened = opened["rate"], opened["channels"], str(opened["device"])
            self._expected = 0
        elif message.kind == NOTE:
            log.warning("%s: %s", self.name, message.json()["text"])
        elif message.kind == DATA and message.payload:
            self._take_audio(message)

    def _take_audio(self, message: Message) -> None:
        rate, channels, device = self._opened
        frames = np.frombuffer(message.payload, "<f4").reshape(-1, channels)
        if self._piece is None:
            self._change("open" if self._zero is None else "recovered", device)
            self._begin(message.time - len(frames) / rate, rate)
        piece = self._piece
        assert piece is not None
        if message.position > self._expected:
            piece = self._skip((message.position - self._expected) / rate, "dropped")
        self._expected = message.position + len(frames)
        self._drift = piece.drift_ppm or self._drift
        for samples, at, lost_s in piece.sort(self._mono(frames), self._expected, message.time):
            if lost_s:
                piece = self._skip(lost_s, "overrun")
            self._write(piece.resampled(samples), piece.heard_at(at))

    def _mono(self, frames: FloatArray) -> FloatArray:
        """[n, channels] -> [n], finite."""
        channel = self._options.channel
        mono = frames[:, min(channel, frames.shape[1]) - 1] if channel else frames.mean(axis=1, dtype=np.float32)
        return mono if np.isfinite(mono).all() else np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0)

    def _begin(self, first: float, rate: int) -> None:
        """Begin to hear: audio whose first sample was heard at `first`."""
        if self._zero is None:
            self._zero = first
        self._ring.lose(round((first - self._zero) * self._options.rate), self._why_lost[0])
        clock = FrameClock(rate) if self._options.clocked else None
        self._piece = _Piece(rate, self._options.rate, clock)

    def _write(self, samples: FloatArray, at: float) -> None:
        self._ring.write(AudioBlock(samples, self._ring.end), at)
        if len(samples):
            self._watch.add(samples)
            bad = self._watch.verdict
            if bad and bad != self._state:
                level = self._watch.level
                self._change(bad, f"rms {level.rms_dbfs:.0f} dBFS, peak {level.peak_dbfs:.0f} dBFS" if level else "")
            elif not bad and self._state in ("silent", "clipping", "quiet"):
                self._change("recovered", f"no longer {self._state}")

    def _skip(self, lost_s: float, reason: str) -> _Piece:
        """End the unbroken piece of audio, lose some, begin another in the same capture."""
        old = self._piece
        assert old is not None
        self._write(old.rest(), time.monotonic())
        self._ring.lose(self._ring.end + round(lost_s * self._options.rate), reason)
        self._piece = old.continued()
        return self._piece

    def _close_piece(self) -> None:
        self._pid = None
        if self._piece is not None:
            for samples, at in self._piece.held():
                self._write(self._piece.resampled(samples), at)
            self._write(self._piece.rest(), time.monotonic())
            self._piece = None

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
        self._state = "open" if state == "recovered" else state
        self._changes.append(Change(state, detail, time.monotonic(), self._ring.end))
