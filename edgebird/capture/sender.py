"""Sends decoded audio to the parent, see wire.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, BinaryIO

from edgebird.capture import wire
from edgebird.capture.blocks import Boundaries
from edgebird.capture.serve import CaptureError
from edgebird.capture.timeline import Timeline

if TYPE_CHECKING:
    from av import AudioFrame

_AHEAD_S = 10.0  # servers begin with some seconds from their memory; more is a recording, which is read as it sounds
_CATCH_UP = 1.01  # seconds of a recording read in a second: more than a live source's clock can be fast


class Sender:
    """Sends decoded audio to the parent as interleaved float32, at the rate and channels of its first frame."""

    def __init__(self, pipe: BinaryIO, name: str, first: AudioFrame, block_s: float) -> None:
        from av import AudioResampler

        self._pipe, self._name = pipe, name
        self._block, self._at = bytearray(), 0.0
        self._rate, self._channels = first.sample_rate, first.layout.nb_channels
        self._format = _format(first)
        self._convert = AudioResampler(format="flt")  # the sample format alone
        self._timeline, self._boundaries = Timeline(self._rate), Boundaries(self._rate, block_s)
        self._next = 0  # position after what waits
        self._opened = time.monotonic()
        wire.say(pipe, wire.OPEN, rate=self._rate, channels=self._channels, device=name)

    def send(self, frame: AudioFrame) -> None:
        """Send a frame; wait if the server is far ahead of the clock. Raises CaptureError if the format changed."""
        if _format(frame) != self._format:
            changed = f"the stream changed from {self._format} to {_format(frame)}"
            raise CaptureError("ended", f"{self._name}: {changed}")
        now = time.monotonic()
        stamp = None
        if frame.pts is not None and frame.time_base is not None:
            stamp = round(frame.pts * frame.time_base * self._rate)
        position = self._timeline.place(stamp, frame.samples, now)
        if position > self._next:
            self.flush()
            self._boundaries.begin(position)
            self._next = position
        self._at = now
        for converted in self._convert.resample(frame):
            self._block += bytes(converted.planes[0])[: converted.samples * self._channels * 4]  # planes are padded
            self._next += converted.samples
        if self._boundaries.advance(self._next):
            self.flush()
        surplus = self._timeline.ahead_s - _AHEAD_S - (_CATCH_UP - 1) * (now - self._opened)
        if surplus > 0:
            time.sleep(surplus)

    def flush(self) -> None:
        """Send what waits for its block to be full."""
        if self._block:
            start = self._next - len(self._block) // (4 * self._channels)
            wire.write(self._pipe, wire.Message(wire.DATA, bytes(self._block), self._at, start))
            self._block.clear()


def _format(frame: AudioFrame) -> str:
    return f"{frame.sample_rate} Hz, {frame.layout.name}, {frame.format.name}"
