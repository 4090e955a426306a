"""What becomes of a capture's audio: each sample in its place, short losses bridged, formats that change."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgebird.capture import wire
from edgebird.live.bridges import Bridged, Bridges
from edgebird.live.ring import Heard, Lost
from edgebird.types import FloatArray
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


def noise(seconds: float, seed: int = 5) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def heard_sound(pieces: list[Heard | Lost]) -> FloatArray:
    return np.concatenate([piece.block.samples for piece in pieces if isinstance(piece, Heard)])


@pytest.mark.parametrize("dead_ends", [1, 2])
def test_a_server_that_sends_its_memory_and_no_more_hides_no_loss(dead_ends: int) -> None:
    """Its encoder is away: each connection gives 4 s that were heard, and fails. Then it speaks again."""
    sound, stream = noise(40), Scripted(clocked=False, buffer_s=600)
    stream.serve(sound[: 20 * RATE], 1000.0)
    now = 1020.0
    for _ in range(dead_ends):
        stream.end()
        stream.serve(sound[16 * RATE : 20 * RATE], now, burst_s=4)
        now += 15
        stream.wait(now)
        stream.end()
        now += 30
        stream.wait(now)
        assert stream.intake.ring.end / RATE == pytest.approx(now - 1000, abs=8), "the loss is told as it grows"
    stream.serve(sound[17 * RATE : 40 * RATE], now, burst_s=4)
    stream.end()
    pieces = stream.pieces()
    np.testing.assert_allclose(heard_sound(pieces), sound, atol=1e-6)
    assert pieces[-1].end / RATE == pytest.approx(now + 19 - 1000, abs=0.2)


@pytest.mark.parametrize("outage_s", [5, 10, 20, 45])
@pytest.mark.parametrize("numbered", [False, True], ids=["by samples", "by numbers"])
def test_what_comes_after_its_sender_has_paused_is_all_heard_and_the_pause_is_lost(
    outage_s: int, numbered: bool
) -> None:
    """An encoder that is away makes nothing: what its server sends then was not told as lost, but is new."""
    sound, stream = noise(40), Scripted(clocked=False, buffer_s=600)
    stream.serve(sound[: 4 * RATE], 1004.0, burst_s=4)
    stream.end({"hls": {}, "reach_s": 2} if numbered else None)
    stream.serve(sound[4 * RATE : 20 * RATE], 1004.0)
    stream.end({"hls": {}, "reach_s": 2} if numbered else None)
    back = 1020 + outage_s
    for moment in range(1020, back):
        stream.wait(moment)
    if numbered:
        stream.intake.rejoin.resumed(0.0)
    stream.serve(sound[(20 if numbered else 17) * RATE :], back, burst_s=1 if numbered else 4)
    stream.end()
    pieces = stream.pieces()
    np.testing.assert_allclose(heard_sound(pieces), sound, atol=1e-6)
    (lost,) = lost_spans(pieces)
    assert (lost[0], lost[1] - lost[0]) == (20, pytest.approx(outage_s - 1, abs=0.1)), "one second is in the burst"


def test_what_one_capture_was_to_leave_out_the_next_one_does_not() -> None:
    """A playlist goes on in what was told as lost, and breaks off; then only the clock places what comes."""
    sound, stream = noise(20), Scripted(clocked=False, buffer_s=600)
    stream.serve(sound, 1000.0)
    stream.end({"hls": {}})
    stream.intake.lose_until(1040.0)
    stream.intake.rejoin.resumed(1.0)
    stream.serve(noise(4, seed=6), 1041.0, burst_s=4)
    stream.end({"hls": {}})
    other = noise(30, seed=7)
    stream.serve(other, 1050.0)
    stream.end()
    pieces = stream.pieces()
    np.testing.assert_allclose(heard_sound(pieces)[-len(other) :], other, atol=1e-6)
    assert pieces[-1].end == 80 * RATE


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
