"""How loud a source is: the same however its audio is cut, and trouble is told when it is certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.live.levels import LevelWatch


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
