"""What comes of one live source: messages of its captures in; audio and losses, in order, out."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebird.capture.devices import CARD_LATE_S
from edgebird.capture.wire import DATA, DROPPED, LOST, OPEN, Message
from edgebird.errors import AudioError
from edgebird.live.alignment import Alignment
from edgebird.live.clock import FrameClock
from edgebird.live.rejoin import Joined, Rejoin, began, without
from edgebird.live.ring import OVERRUN, Ring
from edgebird.live.stretch import CaptureStretch
from edgebird.reading.mixing import one_channel
from edgebird.reading.spoiled import NOT_FINITE, sound_parts
from edgebird.sources import warn_of_missing_band
from edgebird.types import AudioBlock, FloatArray

log = logging.getLogger(__name__)

_CROWDED = 0.7  # of the ring
BRIDGED_S = 0.1  # a loss no longer than this is bridged with silence, so that windows go on over it


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


class Intake:
    """Puts the audio of one capture after another into a ring, at the model's rate, each sample where it belongs.

    Position 0 is the first sample ever heard, or what `begin_at` says. While nothing is heard positions go on with the
    clock. block_s: of the captures' blocks. opened: called with what was opened, when the first audio of a capture has
    come.
    """

    def __init__(self, name: str, options: LiveOptions, block_s: float, opened: Callable[[str], None]) -> None:
        self.name, self._options, self._block_s, self._tell_opened = name, options, block_s, opened
        self.ring = Ring(round(options.buffer_s * options.rate))
        self.rejoin = Rejoin(options.channel, joins=not options.clocked)
        self._zero: float | None = None  # monotonic seconds of position 0
        self._stretch: CaptureStretch | None = None
        self._stretch_from = 0  # position of its first sample
        self._bridges: deque[tuple[int, int]] = deque()  # positions of silence that is still to be written
        self._format = (0, 0, "")  # rate, channels and device of the capture
        self._late_s = CARD_LATE_S
        self._heard_end = 0  # position after what was heard last
        self._untaken = 0  # frames that come and were told as lost
        self._expected = 0  # position of its next frame
        self._why_missing = DROPPED  # what is missing before that
        self._heard_from = 0.0  # monotonic seconds of the first frame of the capture
        self.why_lost = ""  # reason of the loss that grows, or ends with the next audio
        self.drift_ppm: float | None = None
        self._alignment = Alignment(1, 1.0, 0)  # of the capture's blocks
        self.window_end: int | None = None  # position where the next window ends, set by the reader

    @property
    def hears(self) -> bool:
        """Whether audio has come from this capture."""
        return self._stretch is not None

    @property
    def heard_s(self) -> float:
        """Seconds that this capture was heard."""
        return self._stretch.last_at - self._heard_from if self._stretch else 0.0

    def begin_at(self, moment: float, reason: str) -> None:
        """Count from a moment of the monotonic clock, if nothing was heard yet: all since then is lost so far."""
        if self._zero is None:
            self._zero, self.why_lost = moment, reason

    def suspect(self, position: int) -> None:
        """Look more closely: the capture says that frames were lost, and begins anew."""
        if self._stretch:
            self._stretch.suspect()
        self._alignment.begin(position)

    def wanted_beginning(self) -> int | None:
        """From where the capture should count its blocks, in its frames, so that they end where the next window does;
        None if they do.
        """
        window_end, unwritten_s = self.window_end, self._stretch.unwritten_s if self._stretch else None
        if window_end is None or unwritten_s is None:
            return None
        to_come_s = (window_end - self.ring.end) / self._options.rate - unwritten_s
        return self._alignment.wanted(self._expected + to_come_s * self._format[0], self._expected)

    @property
    def is_crowded(self) -> bool:
        """Whether the ring is nearly full, so that more at once would cost what nobody has read yet."""
        return self.ring.waiting > _CROWDED * self._options.buffer_s * self._options.rate

    def seconds(self, message: Message) -> float:
        """How long the audio of a message lasts."""
        rate, channels, _ = self._format
        return len(message.payload) / (4 * rate * channels) if rate else 0.0

    def lose_until(self, moment: float) -> None:
        """Say that what came until a moment of the monotonic clock was not heard."""
        if self._zero is not None:
            self.ring.lose(round((moment - self._zero) * self._options.rate), self.why_lost)

    def take(self, message: Message) -> None:
        """Take a message of the capture: what was opened, audio, or why some is missing. Raises AudioError."""
        if message.kind == OPEN:
            channels = int(message.json()["channels"])
            if (self._options.channel or 1) > channels:
                raise AudioError(f"channel {self._options.channel}: it has {channels}")
            if not self.rejoin.changes(message):
                self._take_format(message.json())
        elif message.kind == LOST:
            self._why_missing = str(message.json()["reason"])
        elif message.kind == DATA and message.payload:
            self._take_joined(self.rejoin.take(message))

    def end_capture(self, wait: bool) -> None:
        """Take that no more comes from this capture. wait: we would have gone on, what was late by now is lost."""
        try:
            self._take_joined(self.rejoin.ended())
            if self._stretch is not None:
                if wait:
                    self._take_certain(self._stretch.give_up())
                self._flush()
        finally:  # the next capture begins anew, whatever became of this one
            self._untaken = 0
            self._bridges.clear()
            if self._stretch is not None:
                # Sound cards do not keep time, and servers send ahead: from here on it is the clock that counts again,
                # or the gap that follows would be longer or shorter by all that has come together.
                self._heard_end = self.ring.end
                self._zero = self._stretch.last_at - self.ring.end / self._options.rate
                self._stretch = None

    # ----------------------------------------------------------------------------------------------------------- inside
    def _take_format(self, opened: dict[str, Any]) -> None:
        """Take what was opened, or that its format has changed: then the next audio follows without a loss."""
        self._untaken = 0
        self.rejoin.opened(int(opened["rate"]), int(opened["channels"]), again=self._stretch is None)
        self._set_format(opened)

    def _set_format(self, opened: dict[str, Any]) -> None:
        rate, channels = int(opened["rate"]), int(opened["channels"])
        if self._stretch is not None:
            self._flush()
            log.warning("%s: its format has changed to %d Hz, %d channels", self.name, rate, channels)
        if rate != self._format[0]:
            warn_of_missing_band(self.name, rate, self._options.rate)
        self._untaken = round(self._untaken * rate / (self._format[0] or rate))
        self._format = rate, channels, str(opened["device"])
        self._late_s = float(opened.get("late_s", CARD_LATE_S))
        self._expected = 0
        self._alignment = Alignment(rate, self._block_s, opened.get("period", 0))
        if self._stretch is not None:
            last_at = self._stretch.last_at
            self._set_stretch(self._new_stretch()).last_at = last_at

    def _take_joined(self, joined: Joined | None) -> None:
        """Take audio of which nothing was heard before; what was told as lost meanwhile stays lost, see `_place`."""
        placed = False
        for message in joined.messages if joined else []:
            if message.kind == OPEN:
                self._set_format(message.json())
                continue
            if joined and not placed and self._stretch is None:
                self._place(joined, message)
            placed = True
            channels = self._format[1]
            cut = min(self._untaken, len(message.payload) // (4 * channels))
            self._untaken -= cut
            for rest in without([message], cut, channels):
                if self._stretch is None:
                    self._expected = rest.position
                self._take_audio(rest)

    def _place(self, joined: Joined, message: Message) -> None:
        """Say where a message, the first audio of a capture, begins, if samples or numbers know better than the clock.

        If the clock says that it is much later, the sender has paused: the clock counts, no sound was made meanwhile.
        Audio is left out only where it was told as lost and the clock, too, places it before the end of that.
        """
        if joined.after_s is None or self._zero is None:
            return
        (rate, channels, _), per_s = self._format, self._options.rate
        first = began(message, rate, channels)
        place, by_clock = self._heard_end + round(joined.after_s * per_s), round((first - self._zero) * per_s)
        if by_clock - place > joined.off_s * per_s:
            place = by_clock
        told = max(0, self.ring.end - max(place, by_clock))
        self._untaken = round(told * rate / per_s)
        self._zero = first - max(place, self.ring.end - told) / per_s

    def _take_audio(self, message: Message) -> None:
        rate, channels, device = self._format
        frames = np.frombuffer(message.payload, "<f4").reshape(-1, channels)
        first_at = message.time - len(frames) / rate
        if self._stretch is None:
            self._begin(first_at)
            self._tell_opened(device)
        if message.position > self._expected:
            self._miss(message.position - self._expected, first_at)
            self._alignment.begin(message.position)
        self._why_missing = DROPPED
        self._expected = message.position + len(frames)
        assert self._stretch is not None
        mono = one_channel(frames, self._options.channel)
        self.rejoin.heard(mono, rate, message.time)
        self._take_certain(self._stretch.sort(mono, self._expected, message.time), self._alignment.surplus)
        self.drift_ppm = self._stretch.drift_ppm or self.drift_ppm

    def _begin(self, first: float) -> None:
        """Begin to hear: audio whose first sample was heard at `first`."""
        self.begin_at(first, "")
        self.lose_until(first)
        self._heard_from = first
        self.window_end = None
        self._set_stretch(self._new_stretch())

    def _new_stretch(self) -> CaptureStretch:
        rate = self._format[0]
        # Over a network audio may be late by any time: there the clock tells the drift alone.
        clock = FrameClock(rate, self._late_s if self._options.clocked else math.inf)
        return CaptureStretch(rate, self._options.rate, clock)

    def _set_stretch(self, stretch: CaptureStretch) -> CaptureStretch:
        self._stretch, self._stretch_from = stretch, self.ring.end
        return stretch

    def _take_certain(self, certain: list[tuple[FloatArray, float, float]], surplus: int = 0) -> None:
        """Write it, after what was lost before. surplus: frames to leave out there, see `Alignment`."""
        for samples, at, lost_s in certain:
            left_out = min(surplus, len(samples)) if lost_s else 0
            if lost_s:
                self._skip(lost_s + left_out / self._format[0], OVERRUN)
            self._take_sound(samples[left_out:], at)

    def _take_sound(self, samples: FloatArray, at: float) -> None:
        """Write what is sound of float32 [n] at the capture's rate, the last heard at `at`; the rest is lost."""
        rate, end = self._format[0], 0
        for part, start in sound_parts(samples, 0, rate):
            if start > end:
                self._skip((start - end) / rate, NOT_FINITE)
            end = start + len(part)
            if len(part):
                assert self._stretch is not None
                self._write(*self._stretch.resampled(part, at - (len(samples) - end) / rate))

    def _miss(self, frames: int, until: float) -> None:
        """Lose frames of the capture, the next of which was heard at `until`: a short loss becomes silence."""
        rate, stretch = self._format[0], self._stretch
        if self._why_missing != DROPPED or frames > BRIDGED_S * rate:
            self._skip(frames / rate, self._why_missing)
            return
        assert stretch is not None
        for samples, at in stretch.held():
            self._take_sound(samples, at)
        begin = stretch.due
        silence = stretch.resampled(np.zeros(frames, np.float32), until)
        self._bridges.append((self._stretch_from + begin, self._stretch_from + stretch.due))
        self._write(*silence)

    def _skip(self, lost_s: float, reason: str) -> None:
        """End the unbroken stretch of audio, lose some, begin another in the same capture."""
        self._flush()
        assert self._stretch is not None
        self.ring.lose(self.ring.end + round(lost_s * self._options.rate), reason)
        self.window_end = None  # until the reader knows of the loss
        self._set_stretch(self._stretch.continued())

    def _flush(self) -> None:
        """Write what the clock and the resampler still hold."""
        assert self._stretch is not None
        for samples, at in self._stretch.held():
            self._take_sound(samples, at)
        self._write(*self._stretch.rest())
        self._bridges.clear()

    def _write(self, samples: FloatArray, at: float) -> None:
        """Write samples, the last heard at `at`; those that bridge a loss are marked."""
        while len(samples):
            start = self.ring.end
            while self._bridges and self._bridges[0][1] <= start:
                self._bridges.popleft()
            begin, end = self._bridges[0] if self._bridges else (start + len(samples),) * 2
            bridged = begin <= start
            part = samples[: (end if bridged else begin) - start]
            samples = samples[len(part) :]
            self.ring.write(AudioBlock(part, start), at - len(samples) / self._options.rate, bridged)
