"""Gain and filters of a source: they change what is scored, not when it was, and not what was heard before a loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebird.conditioning import Conditioner, SoundOptions
from edgebird.detection import Settings
from edgebird.live.assembly import listen_options
from edgebird.live.hush import ListenOptions
from edgebird.live.listener import Listener
from edgebird.live.ring import Heard
from edgebird.settings.build import station_settings
from edgebird.settings.sources import make_source
from edgebird.types import AudioBlock, FloatArray, Origin
from tests.foreign import tone_card

RATE = 32000


def tone(hertz: float, seconds: float = 2.0, rate: int = RATE) -> FloatArray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def gain_db(options: SoundOptions, hertz: float, rate: int = RATE) -> float:
    heard = Conditioner(options, rate).apply(AudioBlock(tone(hertz, rate=rate), 0)).samples[rate:]
    return float(20 * np.log10(np.sqrt(np.mean(heard**2)) / (0.1 / np.sqrt(2))))


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 48000])
@pytest.mark.parametrize("cut", [100.0, 400.0])
def test_a_high_pass_takes_what_is_low_and_leaves_birds(rate: int, cut: float) -> None:
    options = SoundOptions(high_pass_hz=cut)
    assert gain_db(options, cut, rate) == pytest.approx(-3, abs=0.5)
    assert gain_db(options, cut / 2, rate) == pytest.approx(-24, abs=1)
    assert gain_db(options, 3 * cut, rate) == pytest.approx(0, abs=0.1)
    assert gain_db(options, 3000, rate) == pytest.approx(0, abs=0.05)


def test_a_low_pass_takes_what_is_high_and_gain_is_in_decibels() -> None:
    options = SoundOptions(gain_db=6, low_pass_hz=4000)
    assert gain_db(options, 1000) == pytest.approx(6, abs=0.1)
    assert gain_db(options, 8000) == pytest.approx(-18, abs=1)
    assert gain_db(SoundOptions(gain_db=-20), 1000) == pytest.approx(-20, abs=0.01)


def test_how_the_sound_is_cut_does_not_matter() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 3 * RATE).astype(np.float32)
    options = SoundOptions(gain_db=3, high_pass_hz=200, low_pass_hz=9000)
    whole = Conditioner(options, RATE).apply(AudioBlock(sound, 0)).samples
    for size in (1, 777, 16000, 50000):
        conditioner, end = Conditioner(options, RATE), 40 if size == 1 else len(sound)
        blocks = [AudioBlock(sound[start : min(start + size, end)], start) for start in range(0, end, size)]
        heard = np.concatenate([conditioner.apply(block).samples for block in blocks])
        assert np.abs(heard - whole[: len(heard)]).max() < 1e-5


def test_after_a_loss_nothing_is_left_of_what_was_before() -> None:
    conditioner = Conditioner(SoundOptions(high_pass_hz=200), RATE)
    conditioner.apply(AudioBlock(tone(300), 0))
    silence = np.zeros(RATE, np.float32)
    assert np.abs(conditioner.apply(AudioBlock(silence, 2 * RATE)).samples).max() > 1e-3  # without a loss it rings on
    conditioner.apply(AudioBlock(tone(300), 3 * RATE))
    assert not conditioner.apply(AudioBlock(silence, 6 * RATE)).samples.any()


def test_a_chirp_stays_where_it_was_heard() -> None:
    """Events tell times: a filter that delays would move them all."""
    chirp = np.zeros(RATE, np.float32)
    chirp[16000:16320] = tone(4000, 0.01)
    for options in (SoundOptions(high_pass_hz=150), SoundOptions(high_pass_hz=500, low_pass_hz=12000)):
        heard = Conditioner(options, RATE).apply(AudioBlock(chirp, 0)).samples
        middle = float((heard**2 * np.arange(RATE)).sum() / (heard**2).sum())
        assert middle == pytest.approx(16160, abs=0.001 * RATE)


class Feed:
    """Gives one piece of sound, then ends."""

    live, name, waiting, drift_ppm, failure, pid = True, "garden", 0, None, None, None

    def __init__(self, sound: FloatArray) -> None:
        self._pieces = [Heard(AudioBlock(sound, 0), 0.0)]

    def read(self) -> Heard | None:
        return self._pieces.pop() if self._pieces else None

    @property
    def finished(self) -> bool:
        return not self._pieces

    def changes(self) -> list[object]:
        return []


@pytest.mark.parametrize("in_clips", [False, True])
def test_windows_have_the_sound_as_it_is_made_and_clips_as_it_is_set(in_clips: bool) -> None:
    card = replace(tone_card(8000, "batch"), window_samples=8000)
    sound = tone(1000, 1.0, 8000)
    options = ListenOptions(history_s=2.0, sound=SoundOptions(gain_db=6.0, in_clips=in_clips))
    listener = Listener(Feed(sound), card, Settings(8000), options, Origin("garden"))  # type: ignore[arg-type]
    due = listener.next()
    assert due is not None
    louder = np.float32(10 ** (6 / 20)) * sound
    assert np.abs(due.window.samples - louder).max() < 1e-5
    assert np.abs(listener.memory.read(0, 8000) - (louder if in_clips else sound)).max() < 1e-4


def test_settings_of_a_source_reach_it_and_nothing_set_is_nothing_done(tmp_path: Path) -> None:
    plain = make_source("mic", "", "plain")
    made = make_source("mic", "", "made", **{"gain": 6, "high-pass": 150, "low-pass": 9000, "process-clips": True})
    station = station_settings(None, {"bundle": tmp_path}, [plain, made])
    assert listen_options(plain, station).sound is None
    assert listen_options(made, station).sound == SoundOptions(6.0, 150.0, 9000.0, True)
