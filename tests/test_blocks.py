"""Blocks of audio: as long as they may be, and windows end where they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.capture.blocks import Boundaries, block_s


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
