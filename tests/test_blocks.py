"""Blocks of audio: as long as they may be, and windows end where they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.capture.blocks import Boundaries, block_s, lead


@pytest.mark.parametrize(
    ("window_s", "hop_s", "seconds"),
    [(5, 2.5, 0.5), (5, 2, 0.5), (5, 5, 0.5), (5, 1.25, 0.3125), (5, 0.3, 0.1), (5, 1.2, 0.2), (3, 0.01, 0.1)],
)
def test_windows_end_where_blocks_do(window_s: float, hop_s: float, seconds: float) -> None:
    assert block_s(round(window_s * 32000), round(hop_s * 32000), 32000) == seconds


@given(st.lists(st.integers(1, 100_000), max_size=40))
def test_audio_that_comes_in_crumbs_is_joined_to_blocks(sizes: list[int]) -> None:
    boundaries, come, passed = Boundaries(48000, block_s=0.5), 0, []
    for size in sizes:
        come += size
        if boundaries.advance(come):
            passed.append(come)
    ends = [2880 + 24000 * count for count in range(200)]
    firsts = {next((total for total in np.cumsum(sizes) if total >= end), None) for end in ends}
    assert passed == sorted(firsts - {None})


@given(st.integers(1, 400_000), st.integers(1, 400_000), st.sampled_from([8000, 32000, 48000]))
def test_a_block_is_never_too_long_nor_too_short(window: int, hop: int, rate: int) -> None:
    """Longer ones tell a bird late; shorter ones wake a small computer too often. Samples are whole."""
    seconds = block_s(window, hop, rate)
    assert 0.1 <= seconds <= 0.5
    assert seconds * rate == pytest.approx(round(seconds * rate), abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
def test_the_lead_is_more_than_a_resampler_holds_back(rate: int) -> None:
    """Else a window's last samples would come a whole block after it was heard."""
    held_back_s = {8000: 0.115, 16000: 0.058, 44100: 0.02, 48000: 0.018, 96000: 0.01}[rate]  # soxr HQ, to 32 kHz
    assert lead(rate) / rate > held_back_s
    assert lead(rate) / rate <= 0.12


def test_a_source_that_was_opened_again_begins_with_a_lead() -> None:
    boundaries = Boundaries(48000, block_s=0.5)
    assert not boundaries.advance(2879)
    assert boundaries.advance(2880)
    assert not boundaries.advance(2881)
    boundaries.begin(100_000)
    assert not boundaries.advance(100_000 + 2879)
    assert boundaries.advance(100_000 + 2880)
    assert not boundaries.advance(100_000 + 2880 + 23_999)
    assert boundaries.advance(100_000 + 2880 + 3 * 24_000), "several at once are told once"
    assert not boundaries.advance(100_000 + 2880 + 3 * 24_000 + 1)
