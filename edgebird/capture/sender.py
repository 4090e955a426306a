"""Sends decoded audio to the parent, see wire.py, in its place: what is lost is left out of the positions."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from edgebird.capture import wire
from edgebird.capture.blocks import Beginnings, Boundaries
from edgebird.capture.timeline import Loss, Timeline

if TYPE_CHECKING:
    from av import AudioFrame

_AHEAD_S = 10.0  # servers begin with some seconds from their memory; more is a recording, which is read as it sounds
_CATCH_UP = 1.01  # seconds of a recording read in a second: more than a live source's clock can be fast


@dataclass(slots=True)
class _Sound:
    """Decoded audio: frames of interleaved float32, when it came, what is known to be lost before it."""

    samples: bytes
    frames: int
    at: float
    before: Loss


class Sender:
    """Sends decoded audio as interleaved float32, at the rate and channels of its frames; both may change.

    name: of the stream, without credentials. block_s, beginnings: see blocks.py. segmented: see `Timeline`.
    """

    def __init__(
        self, pipe: BinaryIO, name: str, block_s: float, beginnings: Beginnings, segmented: bool = False
    ) -> None:
        self._pipe, self._name, self._block_s, self._segmented = pipe, name, block_s, segmented
        self._beginnings = beginnings
        self._format = ""
        self._held: deque[_Sound] = deque()  # until it is clear whether something was lost before it

    def send(self, frame: AudioFrame, missed: int = 0) -> None:
        """Send a frame; wait if the server is far ahead of the clock. missed: packets known to be lost before it."""
        if _format(frame) != self._format:
            self.finish()
            self._begin(frame)
        now = time.monotonic()
        stamp = None
        if frame.pts is not None and frame.time_base is not None:
            stamp = round(frame.pts * frame.time_base * self._rate)
        told, before = self._timeline.observe(stamp, frame.samples, now, missed)
        for converted in self._convert.resample(frame):
            samples = bytes(converted.planes[0])[: converted.samples * self._channels * 4]  # planes are padded
            self._held.append(_Sound(samples, converted.samples, now, told))
        if before is not None:
            self._release(before)
        surplus = self._timeline.ahead_s - _AHEAD_S - (_CATCH_UP - 1) * (now - self._opened)
        if surplus > 0:
            time.sleep(surplus)

    def finish(self) -> None:
        """Send all that waits, as nothing more comes, or not in this format."""
        if self._format:
            self._release(self._timeline.give_up())
            self._flush()

    def _begin(self, frame: AudioFrame) -> None:
        from av import AudioResampler

        self._rate, self._channels = frame.sample_rate, frame.layout.nb_channels
        self._format = _format(frame)
        self._convert = AudioResampler(format="flt")  # the sample format alone
        self._timeline = Timeline(self._rate, self._segmented)
        self._boundaries = Boundaries(self._rate, self._block_s, self._beginnings)
        self._block, self._at, self._next = bytearray(), 0.0, 0  # what waits to be sent, and the position after it
        self._opened = time.monotonic()
        wire.say(self._pipe, wire.OPEN, rate=self._rate, channels=self._channels, device=self._name)

    def _release(self, before: Loss) -> None:
        """Send what was held back, after a loss."""
        if self._held:
            self._skip(before)
        while self._held:
            sound = self._held.popleft()
            self._skip(sound.before)
            self._send(sound)

    def _skip(self, loss: Loss) -> None:
        if not loss.frames:
            return
        self._flush()
        self._next += loss.frames
        self._boundaries.begin(self._next)
        if loss.reason != wire.DROPPED:
            wire.say(self._pipe, wire.LOST, reason=loss.reason)

    def _send(self, sound: _Sound) -> None:
        self._block += sound.samples
        self._next += sound.frames
        self._at = sound.at
        if self._boundaries.advance(self._next):
            self._flush()

    def _flush(self) -> None:
        """Send what waits for its block to be full."""
        if self._block:
            start = self._next - len(self._block) // (4 * self._channels)
            wire.write(self._pipe, wire.Message(wire.DATA, bytes(self._block), self._at, start))
            self._block.clear()


def _format(frame: AudioFrame) -> str:
    return f"{frame.sample_rate} Hz, {frame.layout.name}, {frame.format.name}"
