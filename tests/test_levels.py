"""How loud a source is: the same however its audio is cut, and trouble is told when it is certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.live.levels import LevelWatch
from edgebird.types import FloatArray


@given(st.lists(st.integers(1, 1700), min_size=8, max_size=12))
def test_a_level_does_not_depend_on_how_audio_is_cut(sizes: list[int]) -> None:
    """Quiet seconds beside a DC offset a thousand times as large."""
    sound = (0.9 + 1e-3 * np.random.default_rng(1).standard_normal(12 * 1700)).astype(np.float32)
    watch, position = LevelWatch(1000), 0
    for size in sizes:
        watch.add(sound[position : position + size])
        position += size
    second = sound[position // 1000 * 1000 - 1000 :][:1000].astype(np.float64)
    if position < 1000:
        assert watch.level is None
        return
    assert watch.level is not None
    assert watch.level.rms_dbfs == pytest.approx(20 * np.log10(second.std()), abs=0.01)
    assert watch.level.peak_dbfs == pytest.approx(20 * np.log10(second.max()), abs=0.001)
    assert (watch.level.flat, watch.level.clipped) == (False, False)


RATE = 100
SECOND = np.ones(RATE, np.float32)
TONE = np.tile([0.1, -0.1], RATE // 2).astype(np.float32)


def verdicts(*seconds: FloatArray) -> list[str]:
    """What is said after each second."""
    watch, told = LevelWatch(RATE), []
    for second in seconds:
        watch.add(second)
        told.append(watch.verdict)
    return told


def test_a_dead_microphone_is_told_after_five_seconds_and_well_at_once_again() -> None:
    """A cable that was pulled gives equal samples: zeros, or any other level."""
    assert verdicts(*[0 * SECOND] * 6, TONE) == ["", "", "", "", "silent", "silent", ""]
    assert verdicts(*[0.25 * SECOND] * 5)[-1] == "silent"
    assert "silent" not in verdicts(*[0 * SECOND] * 4, TONE, *[0 * SECOND] * 4)


def test_clipping_is_told_after_three_such_seconds_of_ten() -> None:
    """One door that slams is no reason to turn the microphone down; loud seconds far apart are none either."""
    loud = TONE.copy()
    loud[0] = -1.0
    assert verdicts(loud, TONE, loud, TONE, loud) == ["", "", "", "", "clipping"]
    assert verdicts(loud, loud, loud, *[TONE] * 8)[-2:] == ["clipping", ""]
    assert "clipping" not in verdicts(*([loud] + [TONE] * 9) * 3)


def test_a_single_sample_of_a_thousand_at_full_scale_is_clipping_and_fewer_are_not() -> None:
    watch, second = LevelWatch(10_000), np.tile([0.1, -0.1], 5000).astype(np.float32)
    second[:9] = 1.0
    watch.add(second)
    assert watch.level is not None
    assert not watch.level.clipped
    second[9] = -0.9995
    watch.add(second)
    assert watch.level.clipped


def test_a_microphone_that_hears_next_to_nothing_is_told_after_a_minute() -> None:
    """A quiet night is at -62 dBFS; at -80 the gain is wrong. A muted one is `silent`, which says more."""
    quiet = np.float32(1e-3) * TONE  # -80 dBFS
    assert verdicts(*[quiet] * 61)[58:] == ["", "quiet", "quiet"]
    assert verdicts(*[0 * SECOND] * 61)[-1] == "silent"
    assert verdicts(*[quiet] * 59, TONE, *[quiet] * 59)[-1] == ""


def test_figures_are_those_of_the_last_whole_second() -> None:
    """A DC offset is no sound: rms is told without it, the peak with it."""
    watch = LevelWatch(RATE)
    watch.add(TONE[:-1])
    assert watch.level is None
    watch.add(TONE[-1:])
    watch.add(0.5 + TONE)
    assert watch.level is not None
    assert watch.level.rms_dbfs == pytest.approx(-20.0, abs=1e-3)
    assert watch.level.peak_dbfs == pytest.approx(20 * np.log10(0.6), abs=1e-3)
    watch.add(0 * SECOND)
    assert (watch.level.rms_dbfs, watch.level.peak_dbfs, watch.level.flat) == (-120.0, -120.0, True)
