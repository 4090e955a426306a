"""A live source's intake that is given the messages of a capture one by one, at times that are told, not waited for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from edgebird.capture import wire
from edgebird.live.intake import Intake, LiveOptions
from edgebird.live.ring import Heard, Lost
from edgebird.types import FloatArray

RATE = 8000


class Scripted:
    """A capture of one channel. rate: its own, Hz; the model's is RATE. clocked, buffer_s: see `LiveOptions`."""

    def __init__(self, rate: int = RATE, clocked: bool = True, buffer_s: float = 15.0) -> None:
        self.intake = Intake("mic", LiveOptions(RATE, buffer_s, clocked=clocked), 0.5, lambda _: None)
        self.sent, self._rate = 0, rate

    def open(self, rate: int = 0, channels: int = 1) -> None:
        opened = {"rate": rate or self._rate, "channels": channels, "device": ""}
        self.intake.take(wire.Message(wire.OPEN, json.dumps(opened).encode(), 0, 0))

    def block(self, at: float, position: int, size: int = RATE, spoiled: Sequence[int] = ()) -> None:
        samples = np.full(size, 0.5, "<f4")
        samples[list(spoiled)] = np.nan
        self.give(samples, at, position)

    def give(self, samples: FloatArray, at: float, position: int) -> None:
        """Give a block whose last sample comes `at`."""
        self.intake.take(wire.Message(wire.DATA, samples.astype("<f4").tobytes(), at, position))
        self.sent += len(samples)

    def serve(self, sound: FloatArray, at: float, burst_s: float = 0.0) -> None:
        """Open the capture at a moment and give it what a server sends: the burst at once, the rest as it sounds."""
        self.open()
        size = self._rate // 10
        for end in range(size, len(sound) + 1, size):
            came = at + 0.01 * min(burst_s, end / self._rate) + max(0.0, end / self._rate - burst_s)
            self.give(sound[end - size : end], came, end - size)

    def end(self, resume: dict[str, object] | None = None) -> None:
        """End the capture by a failure."""
        self.intake.rejoin.tell(resume)
        self.intake.end_capture(wait=True)
        self.intake.why_lost = "stalled"

    def wait(self, until: float) -> None:
        """Tell the loss that grows as a source does, until a moment."""
        self.intake.lose_until(until - self.intake.rejoin.behind_s)

    def pieces(self) -> list[Heard | Lost]:
        found = []
        while (piece := self.intake.ring.read()) is not None:
            found.append(piece)
        return found
