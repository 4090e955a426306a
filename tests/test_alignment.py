"""Blocks of a capture end where windows do, whatever was lost: a bird is not told later for the rest of the night."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgebird.capture import wire
from edgebird.capture.blocks import Beginnings, Boundaries, lead
from edgebird.detection import Settings
from edgebird.live.captured import LiveOptions, LiveSource
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.process import Capture
from edgebird.types import Origin
from tests.foreign import tone_card

RATE = 8000
PERIOD = 2000  # frames that the card hands over at once
BLOCK_S = 0.5


class Card(Beginnings):
    """A sound card and its capture, in a time of its own, and a listener of what comes, with how late it was."""

    begin = Beginnings.tell  # as `CaptureProcess` has it

    def __init__(self) -> None:
        super().__init__()
        self.boundaries = Boundaries(RATE, BLOCK_S, self)
        self.source = LiveSource("mic", Capture("", {"block_s": BLOCK_S}), LiveOptions(rate=RATE, buffer_s=5))
        process: Any = self
        self.source._process = process
        card = replace(tone_card(RATE, "batch"), window_samples=RATE)
        self.listener = Listener(self.source, card, Settings(RATE // 2), ListenOptions(), Origin("mic"))
        self.now, self.position, self.told = 1000.0, 0, 0  # frames that came, and that the parent has
        self.busy = False  # whether the engine has no time
        self.spoiled: list[int] = []  # frames of the next block
        self.late: list[float] = []  # of each window, seconds
        opened = {"rate": RATE, "channels": 1, "device": "", "period": PERIOD}
        self.source._take(wire.Message(wire.OPEN, json.dumps(opened).encode(), 0, 0))

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds * RATE / PERIOD)):
            self.now += PERIOD / RATE
            self.position += PERIOD if self.position else lead(RATE)
            if self.boundaries.advance(self.position):
                self.send()

    def send(self) -> None:
        sound = np.full(self.position - self.told, 0.5, "<f4")
        sound[self.spoiled] = np.nan
        self.spoiled = []
        self.source._take(wire.Message(wire.DATA, sound.tobytes(), self.now, self.told))
        self.told = self.position
        while not self.busy and (due := self.listener.next()):
            self.late.append(self.now - due.heard_at)
            self.listener.take(due, np.zeros(3, np.float32), self.now)


def lose(card: Card) -> None:
    card.now += 0.77
    card.play(5)


def spoil(card: Card) -> None:
    card.spoiled = [700]


def keep_busy(card: Card) -> None:
    """For longer than the ring holds."""
    card.busy = True
    card.play(8)
    card.busy = False


def overflow(card: Card) -> None:
    """The capture begins anew, as it does not know where windows do."""
    card.play(0.25)
    card.send()
    card.boundaries.begin(card.position)
    card.source._take(wire.Message(wire.NOTE, b'{"kind": "overflow", "text": ""}', card.now, card.position))


@pytest.mark.parametrize(
    ("happens", "later_s"), [(lose, 0.0), (overflow, 0.0), (spoil, PERIOD / RATE), (keep_busy, PERIOD / RATE)]
)
def test_windows_are_told_as_soon_after_a_loss_as_before(happens: Callable[[Card], None], later_s: float) -> None:
    """But for a hand-over of the card, where they begin in the middle of one."""
    card = Card()
    card.play(10)
    assert max(card.late) == pytest.approx(lead(RATE) / RATE, abs=0.01)
    happens(card)
    card.play(3)
    card.late.clear()
    card.play(20)
    assert len(card.late) in (39, 40, 41)
    assert max(card.late) <= lead(RATE) / RATE + later_s + 0.03


def test_what_is_left_out_after_a_loss_is_less_than_a_hand_over() -> None:
    card = Card()
    card.play(10)
    lose(card)
    gaps = [event for event in card.listener.events() if event["event"] == "gap"]
    assert [gap["reason"] for gap in gaps] == ["overrun"]
    assert 0.77 <= gaps[0]["end_s"] - gaps[0]["start_s"] < 0.77 + PERIOD / RATE


def test_a_capture_that_is_well_is_told_nothing() -> None:
    card = Card()
    card.play(30)
    assert card.take() is None
