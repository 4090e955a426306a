"""Windows: no sample is missed, counted twice or scored across a gap, however the audio arrives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.types import AudioBlock, Window
from edgebird.windows import Windower

properties = settings(derandomize=True, deadline=None, max_examples=200)


@dataclass(frozen=True)
class Case:
    """window, hop, min_tail: of the Windower. pieces: (gap before, length) of each unbroken piece of audio."""

    window: int
    hop: int
    min_tail: int
    pieces: list[tuple[int, int]]

    def spans(self) -> list[tuple[int, int]]:
        """Start and end of each piece, those without a gap between them joined."""
        spans: list[tuple[int, int]] = []
        end = 0
        for gap, length in self.pieces:
            if gap == 0 and spans:
                spans[-1] = (spans[-1][0], end + length)
            else:
                spans.append((end + gap, end + gap + length))
            end += gap + length
        return spans


@st.composite
def cases(draw: st.DrawFn) -> Case:
    window = draw(st.integers(1, 12))
    pieces = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), min_size=1, max_size=4)
    return Case(window, draw(st.integers(1, window)), draw(st.integers(0, window)), draw(pieces))


block_sizes = st.lists(st.integers(0, 15), min_size=1, max_size=6).filter(any)


def block(start: int, end: int) -> AudioBlock:
    """Audio in which every sample says where it is, counted from 1 so that none looks like padding."""
    return AudioBlock(np.arange(start + 1, end + 1, dtype=np.float32), start)


def blocks(case: Case, sizes: list[int]) -> Iterator[AudioBlock]:
    for start, end in case.spans():
        yield block(start, start)
        for size in itertools.cycle(sizes):
            if start == end:
                break
            stop = min(start + size, end)
            yield block(start, stop)
            start = stop


def run(case: Case, sizes: list[int]) -> tuple[Windower, list[Window]]:
    windower = Windower(case.window, case.hop, case.min_tail)
    windows = [window for piece in blocks(case, sizes) for window in windower.push(piece)]
    return windower, windows + windower.finish()


def spans_by_definition(case: Case) -> list[tuple[int, int]]:
    """The spans of the windows, written down straight from the rule."""
    result: list[tuple[int, int]] = []
    for start, end in case.spans():
        full = [(first, first + case.window) for first in range(start, end - case.window + 1, case.hop)]
        uncovered = end - (full[-1][1] if full else start)
        last = [(start + len(full) * case.hop, end)] if uncovered and uncovered >= case.min_tail else []
        result += full + last
    return result


@properties
@given(cases(), block_sizes)
def test_windows_are_those_of_the_rule_however_the_stream_is_cut(case: Case, sizes: list[int]) -> None:
    """Else a live source and a file of the same audio would give different detections."""
    _, windows = run(case, sizes)
    assert [(window.start, window.end) for window in windows] == spans_by_definition(case)


@properties
@given(cases(), block_sizes)
def test_a_window_holds_the_audio_of_its_span_and_then_zeros(case: Case, sizes: list[int]) -> None:
    """Looked at after the end, so a window that shares memory with a later one would be found."""
    for window in run(case, sizes)[1]:
        padding = case.window - (window.end - window.start)
        np.testing.assert_array_equal(window.samples, np.pad(block(window.start, window.end).samples, (0, padding)))
        assert window.samples.dtype == np.float32
        assert window.samples.flags.c_contiguous


@properties
@given(cases(), block_sizes)
def test_the_account_closes_to_the_sample(case: Case, sizes: list[int]) -> None:
    """Else `scored_s + gap_s + tail_s` in the summary would hide lost audio."""
    windower, windows = run(case, sizes)
    scored = {position for window in windows for position in range(window.start, window.end)}
    heard = {position for start, end in case.spans() for position in range(start, end)}
    end = case.spans()[-1][1]
    assert windower.scored == len(scored)
    assert windower.tail == len(heard - scored)
    assert windower.gap == end - len(heard)
    assert windower.scored + windower.gap + windower.tail == end


def test_a_tail_of_exactly_half_a_second_is_scored_and_one_sample_less_is_not() -> None:
    def last_span(length: int) -> tuple[int, int]:
        _, windows = run(Case(window=50, hop=25, min_tail=5, pieces=[(0, length)]), [7])
        return windows[-1].start, windows[-1].end

    assert last_span(80) == (50, 80)
    assert last_span(79) == (25, 75)


def test_the_window_before_a_gap_comes_out_when_the_gap_is_seen() -> None:
    """A bird just before a drop-out is told at once, not when the source ends."""
    windower = Windower(10, 10, 5)
    assert windower.push(block(0, 6)) == []
    (before,) = windower.push(block(8, 9))
    assert (before.start, before.end) == (0, 6)


def test_an_empty_block_accounts_for_a_source_that_ends_deaf() -> None:
    windower = Windower(10, 10, 5)
    windower.push(block(0, 3))
    windower.push(block(20, 20))
    assert windower.finish() == []
    assert (windower.scored, windower.gap, windower.tail) == (0, 17, 3)


def test_audio_that_goes_back_in_time_is_refused() -> None:
    windower = Windower(10, 10, 5)
    windower.push(block(0, 8))
    with pytest.raises(ValueError, match="starts at 7"):
        windower.push(block(7, 9))


@pytest.mark.parametrize("hop", [0, -1, 11])
def test_a_hop_that_would_skip_audio_or_never_advance_is_refused(hop: int) -> None:
    with pytest.raises(ValueError, match=f"got {hop}"):
        Windower(10, hop, 5)


def test_a_negative_tail_is_refused() -> None:
    with pytest.raises(ValueError, match="min_tail"):
        Windower(10, 10, -1)
