"""What becomes of a capture's audio: each sample in its place, short losses bridged, formats that change."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgebird.capture import wire
from edgebird.live.bridges import Bridged, Bridges
from edgebird.live.ring import Heard, Lost
from tests.scripted import RATE, Scripted


def lost_spans(pieces: list[Heard | Lost]) -> list[tuple[float, float, str]]:
    return [(p.start / RATE, p.end / RATE, p.reason) for p in pieces if isinstance(p, Lost)]


@pytest.mark.parametrize("rate", [RATE, 2 * RATE, 44100], ids=["as it is", "halved", "44100 Hz"])
def test_a_short_loss_is_silence_that_is_known_to_be_none(rate: int) -> None:
    """Each sample of it counts as lost, whatever a resampler holds back, and none of what was heard."""
    stream = Scripted(rate, clocked=False)
    stream.open()
    lost = rate // 25
    for second in range(10):
        stream.block(1001.0 + second * (1 + lost / rate), second * (rate + lost), rate)
    stream.intake.end_capture(wait=True)
    pieces = stream.pieces()
    assert lost_spans(pieces) == []
    assert pieces[-1].end == round((10 + 9 * 0.04) * RATE)
    silence = np.concatenate([p.block.samples for p in pieces if isinstance(p, Heard) and p.bridged])
    sound = np.concatenate([p.block.samples for p in pieces if isinstance(p, Heard) and not p.bridged])
    assert len(silence) == pytest.approx(9 * 0.04 * RATE)
    assert np.abs(silence).mean() < 0.05 < 0.45 < np.abs(sound).mean()


def test_a_longer_loss_ends_the_windows_and_says_why() -> None:
    stream = Scripted(clocked=False)
    stream.open()
    stream.block(1001.0, 0)
    stream.block(1002.2, RATE + 801)
    stream.intake.take(wire.Message(wire.LOST, json.dumps({"reason": wire.STALLED}).encode(), 0, 0))
    stream.block(1006.2, 5 * RATE + 801)
    assert [(round(b - a, 6), reason) for a, b, reason in lost_spans(stream.pieces())] == [
        (0.100125, "dropped"),
        (3.0, "stalled"),
    ]


def test_a_stream_whose_format_changes_goes_on_without_a_loss(caplog: pytest.LogCaptureFixture) -> None:
    """A radio station changes it at every track."""
    stream = Scripted(2 * RATE, clocked=False)
    stream.open()
    stream.block(1001.0, 0, 2 * RATE)
    stream.open(rate=3 * RATE)
    stream.block(1002.0, 0, 3 * RATE)
    stream.open(rate=RATE)
    stream.block(1003.0, 0, RATE)
    stream.intake.end_capture(wait=True)
    pieces = stream.pieces()
    assert lost_spans(pieces) == []
    assert pieces[-1].end == 3 * RATE
    assert "its format has changed to 24000 Hz, 1 channels" in caplog.text


def test_a_sender_whose_clock_is_off_has_a_drift_and_no_gap() -> None:
    for ppm in (-400, 400):
        stream = Scripted(clocked=False)
        stream.open()
        for second in range(330):
            late = 0.03 * (second % 7) if second % 5 else 0.0
            stream.block(1000.0 + (second + 1) / (1 + ppm / 1e6) + late, second * RATE)
            assert lost_spans(stream.pieces()) == []
        assert stream.intake.drift_ppm == pytest.approx(ppm, abs=40)


def test_nothing_heard_from_the_start_is_lost_from_the_start() -> None:
    stream = Scripted(clocked=False)
    stream.intake.begin_at(1000.0, "refused")
    stream.intake.lose_until(1005.0)
    stream.open()
    stream.block(1011.0, 0)
    assert lost_spans(stream.pieces()) == [(0.0, 10.0, "refused")]


def test_bridged_losses_are_told_together_and_only_when_they_are_scored() -> None:
    bridges = Bridges(every=100)
    bridges.add(10, 12)
    bridges.add(12, 13)  # the same loss, in two pieces
    bridges.add(40, 44)
    bridges.add(95, 99)
    assert bridges.due(200) is None, "not scored yet: it may still be given up for another reason"
    bridges.score(96)
    assert bridges.due(50) is None, "too soon"
    bridges.score(97)
    assert bridges.due(110) == Bridged(10, 3 + 4 + 2, 3)
    assert bridges.scored == 9
    bridges.finish()
    assert bridges.left == 2
    assert bridges.due() == Bridged(97, 2, 1)
