"""Spectrogram columns: a tone is where it sounds, as loud as it is, and no moment is shown twice or left out."""

from __future__ import annotations

import numpy as np
import pytest

from edgebird.live.columns import LEAST_DB, STEP_DB, ColumnMaker, ColumnReader
from edgebird.live.history import History
from edgebird.types import AudioBlock, FloatArray, Origin


def tone(hertz: float, amplitude: float, seconds: float, rate: int) -> FloatArray:
    clock = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * clock)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 48000])
@pytest.mark.parametrize("hertz", [700.0, 3300.0])
def test_a_tone_is_in_its_band_with_its_level_at_every_rate(rate: int, hertz: float) -> None:
    maker = ColumnMaker(rate)
    levels = maker.make(tone(hertz, 0.1, 2.0, rate)[: maker.needed(10)], 10)
    assert levels.shape == (10, maker.bands)
    assert maker.top_hz <= min(12_000, rate / 2)
    for column in levels:
        band = int(column.argmax())
        assert abs((band + 0.5) / maker.bands * maker.top_hz - hertz) <= 1.1 * maker.top_hz / maker.bands
        assert LEAST_DB + STEP_DB * column[band] == pytest.approx(-20, abs=1.6)  # the window's scalloping


def test_silence_has_the_lowest_level_and_sound_beyond_full_scale_the_highest() -> None:
    maker = ColumnMaker(32000)
    assert not maker.make(np.zeros(maker.needed(3), np.float32), 3).any()
    assert maker.make(tone(3000, 1e6, 1.0, 32000)[: maker.needed(3)], 3).max() == 255


def test_columns_follow_one_another_however_the_sound_comes() -> None:
    """The same sound in other pieces gives the same columns, each once."""
    rate = 8000
    maker, sound = ColumnMaker(rate), np.random.default_rng(1).normal(0, 0.1, 3 * rate).astype(np.float32)
    whole = maker.make(sound[: maker.needed(30)], 30)
    for size in (123, 1000, 4321):
        memory = History(Origin("garden"), rate, 5 * rate)
        reader, rows, expected = ColumnReader(maker, memory), [], 0
        for start in range(0, len(sound), size):
            memory.push(AudioBlock(sound[start : start + size], start))
            if made := reader.take():
                begin, levels = made
                assert begin == expected
                expected += len(levels) * maker.column
                rows.extend(levels)
        assert len(rows) == maker.complete(len(sound))
        assert np.abs(np.array(rows[:30], int) - whole.astype(int)).max() <= 1  # it remembers 16 bit


def test_who_comes_late_begins_two_seconds_ago_and_who_slept_goes_on_with_what_is_left() -> None:
    rate = 8000
    maker, memory = ColumnMaker(rate), History(Origin("garden"), rate, 5 * rate)
    sound = np.random.default_rng(1).normal(0, 0.1, 60 * rate).astype(np.float32)
    memory.push(AudioBlock(sound[: 10 * rate], 0))
    reader = ColumnReader(maker, memory)
    made = reader.take()
    assert made is not None
    assert made[0] == 8 * rate
    assert reader.take() is None
    memory.push(AudioBlock(sound[10 * rate :], 10 * rate))
    made = reader.take()
    assert made is not None
    assert made[0] == 58 * rate
