"""A live source's intake that is given the messages of a capture one by one, at times that are told, not waited for."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from edgebird.capture import wire
from edgebird.live.intake import Intake, LiveOptions
from edgebird.live.ring import Heard, Lost

RATE = 8000


class Scripted:
    """A capture of one channel. rate: its own, Hz; the model's is RATE. clocked: see `LiveOptions`."""

    def __init__(self, rate: int = RATE, clocked: bool = True) -> None:
        self.intake = Intake("mic", LiveOptions(rate=RATE, clocked=clocked), 0.5, lambda _: None)
        self.sent, self._rate = 0, rate

    def open(self, rate: int = 0, channels: int = 1) -> None:
        opened = {"rate": rate or self._rate, "channels": channels, "device": ""}
        self.intake.take(wire.Message(wire.OPEN, json.dumps(opened).encode(), 0, 0))

    def block(self, at: float, position: int, size: int = RATE, spoiled: Sequence[int] = ()) -> None:
        samples = np.full(size, 0.5, "<f4")
        samples[list(spoiled)] = np.nan
        self.intake.take(wire.Message(wire.DATA, samples.tobytes(), at, position))
        self.sent += size

    def pieces(self) -> list[Heard | Lost]:
        found = []
        while (piece := self.intake.ring.read()) is not None:
            found.append(piece)
        return found
