"""Pooling: every song is told once, with the right span, and as early as it is certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import ScoreError
from edgebird.pooling import Onset, Pooled, Pooler
from edgebird.types import Detection, FloatArray, Rejected, Window

WINDOW = 10  # samples; every test thinks in windows of this length
THRESHOLD = 0.5


@dataclass(frozen=True)
class Step:
    """One push: a window of real audio from start to end, and where the next was expected."""

    start: int
    end: int
    next_start: int
    scores: tuple[float, ...]


def steps(rows: list[tuple[float, ...]], hop: int = 5) -> list[Step]:
    return [Step(i * hop, i * hop + WINDOW, (i + 1) * hop, row) for i, row in enumerate(rows)]


def pool(
    table: list[Step], min_windows: int = 1, max_samples: int = 1000, allowed: list[bool] | None = None
) -> list[list[Pooled]]:
    """The results of each push, and of finish as the last."""
    thresholds: FloatArray = np.full(len(table[0].scores), THRESHOLD, dtype=np.float32)
    pooler = Pooler(thresholds, min_windows, max_samples, None if allowed is None else np.array(allowed))
    silence: FloatArray = np.zeros(WINDOW, dtype=np.float32)
    results = [
        pooler.push(Window(silence, step.start, step.end), np.array(step.scores, dtype=np.float32), step.next_start)
        for step in table
    ]
    return [*results, pooler.finish()]


def told(results: list[list[Pooled]]) -> list[Pooled]:
    """All but onsets, in one list."""
    return [result for pushed in results for result in pushed if not isinstance(result, Onset)]


def test_touching_windows_are_one_detection_with_the_highest_score() -> None:
    # hop = window: neighbours touch but do not overlap
    assert told(pool(steps([(0.5,), (0.75,), (0.5,)], hop=10))) == [Detection(0, 0.75, 0, 30, 3, 3)]


def test_a_window_below_the_threshold_ends_the_streak_but_not_the_song_it_overlaps() -> None:
    assert told(pool(steps([(0.5,), (0.5,), (0.25,), (0.5,)]))) == [Detection(0, 0.5, 0, 25, 3, 2)]


def test_windows_further_apart_than_their_length_are_two_detections() -> None:
    results = told(pool(steps([(0.5,), (0.0,), (0.0,), (0.5,)])))
    assert results == [Detection(0, 0.5, 0, 10, 1, 1), Detection(0, 0.5, 15, 25, 1, 1)]


def test_a_run_is_closed_with_the_push_that_makes_it_certain() -> None:
    # it ends at 10; the window at 5 may extend it and so may the one at 10, but none that starts at 15
    results = pool(steps([(0.5,), (0.0,), (0.0,), (0.0,)]))
    assert [len(told([pushed])) for pushed in results] == [0, 0, 1, 0, 0]


def test_lost_audio_closes_a_song_and_its_streak() -> None:
    table = [Step(0, 10, 5, (0.5,)), Step(40, 50, 45, (0.5,))]
    results = pool(table, min_windows=2)
    assert told(results[:2]) == [Rejected(Detection(0, 0.5, 0, 10, 1, 1), "below_min_windows")]
    assert results[2] == [Rejected(Detection(0, 0.5, 40, 50, 1, 1), "below_min_windows")]


def test_a_long_song_is_told_in_pieces_and_no_piece_of_it_is_rejected() -> None:
    # 61 s of song against pieces of 60 s: the rest alone would be too short to be confirmed
    results = pool(steps([(0.5,)] * 6), min_windows=3, max_samples=30)
    assert told(results) == [Detection(0, 0.5, 0, 30, 5, 5), Detection(0, 0.5, 25, 35, 1, 6)]
    assert told(results[:5]) == [Detection(0, 0.5, 0, 30, 5, 5)]  # without waiting for the end of the song
    assert [isinstance(r, Onset) for pushed in results for r in pushed] == [True, False, False]  # one onset a song


def test_onset_comes_with_the_window_that_confirms_and_says_what_is_known_then() -> None:
    results = pool(steps([(0.5,), (0.75,), (1.0,)]), min_windows=2)
    assert results[1] == [Onset(Detection(0, 0.75, 0, 15, 2, 2))]
    assert told(results) == [Detection(0, 1.0, 0, 20, 3, 3)]


def test_onset_comes_before_the_detection_of_the_same_push() -> None:
    detection = Detection(0, 0.5, 0, 10, 1, 1)
    assert pool(steps([(0.5,)], hop=15))[0] == [Onset(detection), detection]


def test_labels_outside_the_species_list_are_rejected_without_an_onset() -> None:
    results = pool(steps([(0.5, 0.5)]), allowed=[False, True])
    kept = Detection(1, 0.5, 0, 10, 1, 1)
    assert results == [[Onset(kept)], [Rejected(Detection(0, 0.5, 0, 10, 1, 1), "not_in_species_list"), kept]]


def test_results_of_one_push_are_ordered_by_start_then_label() -> None:
    results = pool(steps([(0.0, 0.0, 0.5), (0.5, 0.5, 0.5)]))[-1]
    assert [(r.start, r.label) for r in results if isinstance(r, Detection)] == [(0, 2), (5, 0), (5, 1)]


def test_an_end_clipped_to_the_audio_stays_clipped() -> None:
    table = [Step(0, 10, 5, (0.5,)), Step(5, 12, 10, (0.5,))]
    assert told(pool(table)) == [Detection(0, 0.5, 0, 12, 2, 2)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_are_an_error_and_never_a_detection(bad: float) -> None:
    with pytest.raises(ScoreError, match=r"2 of 4 scores are not finite in the window at sample 0, first label 1"):
        pool(steps([(0.5, bad, 0.0, bad)]))


@st.composite
def tables(draw: st.DrawFn) -> list[Step]:
    """Two labels over up to 25 windows, with lost audio here and there and a last window that may be clipped."""
    hop = draw(st.sampled_from([3, 5, 10, 12]))
    score = st.sampled_from([0.0, 0.5, 0.75, 1.0])
    rows = draw(st.lists(st.tuples(score, score), min_size=1, max_size=25))
    start, table = 0, []
    for i, row in enumerate(rows):
        end = start + draw(st.integers(1, WINDOW)) if i == len(rows) - 1 else start + WINDOW
        table.append(Step(start, end, start + hop, row))
        start += hop + draw(st.sampled_from([0, 0, 0, 0, 1, 30]))
    return table


def reference(table: list[Step], min_windows: int, max_samples: int, allowed: list[bool]) -> list[list[Pooled]]:
    """The same in the plainest way: split each label's windows into songs, songs into pieces, then judge the pieces."""
    results: list[list[Pooled]] = [[] for _ in range(len(table) + 1)]
    for label in range(len(allowed)):
        hits = [i for i, step in enumerate(table) if step.scores[label] >= THRESHOLD]
        for song in split_songs(table, hits):
            streaks = [streak_ending_at(table, song, n) for n in range(len(song))]
            confirmed = [n for n, streak in enumerate(streaks) if streak >= min_windows]
            first = 0
            for n in range(len(song)):
                long = table[song[n]].end - table[song[first]].start >= max_samples
                score = max(table[i].scores[label] for i in song[first : n + 1])
                span = table[song[first]].start, table[song[n]].end
                piece = Detection(label, score, *span, n + 1 - first, max(streaks[: n + 1]))
                if confirmed and confirmed[0] == n and allowed[label]:
                    results[song[n]].append(Onset(piece))
                if long or n == len(song) - 1:
                    certain = song[n] if long else certain_end(table, song[n])
                    results[certain].append(judge(piece, min_windows, allowed))
                    first = n + 1
    return results


def split_songs(table: list[Step], hits: list[int]) -> list[list[int]]:
    songs: list[list[int]] = []
    for i in hits:
        if songs and table[i].start <= table[songs[-1][-1]].end:
            songs[-1].append(i)
        else:
            songs.append([i])
    return songs


def streak_ending_at(table: list[Step], song: list[int], n: int) -> int:
    i, streak = song[n], 1
    while i - 1 in song and table[i].start == table[i - 1].next_start:
        i, streak = i - 1, streak + 1
    return streak


def certain_end(table: list[Step], last: int) -> int:
    """The first push at which nothing can touch the end of window `last` any more; len(table) is finish."""
    end = table[last].end
    for i, step in enumerate(table[last:], start=last):
        if step.next_start > end or step.start > end:
            return i
    return len(table)


def judge(piece: Detection, min_windows: int, allowed: list[bool]) -> Pooled:
    if not allowed[piece.label]:
        return Rejected(piece, "not_in_species_list")
    return piece if piece.streak >= min_windows else Rejected(piece, "below_min_windows")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(tables(), st.integers(1, 4), st.sampled_from([10, 25, 40, 1000]), st.sampled_from([[True, True], [True, False]]))
def test_equals_a_slow_reference_push_by_push(
    table: list[Step], min_windows: int, max_samples: int, allowed: list[bool]
) -> None:
    def order(result: Pooled) -> tuple[int, int]:
        piece = result if isinstance(result, Detection) else result.candidate
        return piece.start, piece.label

    expected = [sorted(results, key=order) for results in reference(table, min_windows, max_samples, allowed)]
    assert pool(table, min_windows, max_samples, allowed) == expected
