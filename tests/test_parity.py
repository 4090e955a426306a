"""Proofs: an engine that does not score as the original network is refused, and told so in a sentence that helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgebird.errors import ParityError, ScoreError
from edgebird.parity import TOLERANCES, Proof, Tolerance, compare, prove, share_bound
from edgebird.types import FloatArray
from tests.foreign import tone_card

LOOSE = Tolerance(p99=0.5, max=0.6)


@dataclass(frozen=True)
class Heard:
    """Windows of one sample, which is the first of their three scores."""

    scores: NDArray[np.float64]
    names: tuple[str, ...]

    def windows(self) -> FloatArray:
        return self.scores[:, :1].astype(np.float32)


FIRST = np.linspace(0.4, 0.9, 6)
HEARD = Heard(np.stack([FIRST, FIRST / 4, FIRST / 8], axis=1), ("robin", "wren", "owl", "crane", "quail", "rook"))


def right(windows: FloatArray) -> FloatArray:
    """What the original scores."""
    return np.concatenate([windows, windows / 4, windows / 8], axis=1)


def wrong(change: Callable[[FloatArray, FloatArray], Any]) -> Callable[[FloatArray], FloatArray]:
    """An engine whose scores are changed where `change(windows, scores)` changes them."""

    def score(windows: FloatArray) -> FloatArray:
        scores = right(windows)
        change(windows, scores)
        return scores

    return score


def proof(score: Callable[[FloatArray], FloatArray], *sizes: int, tolerance: Tolerance = TOLERANCES["fp32"]) -> Proof:
    return prove(score, HEARD, sizes or (1,), tolerance)


def crane(windows: FloatArray) -> Any:
    """Which of the windows are the crane's."""
    return np.isclose(windows[:, 0], HEARD.scores[3, 0])


def test_an_engine_that_scores_as_the_original_passes() -> None:
    proven = proof(right, 1, 4)
    assert proven.passed
    assert proven.require("it differs") is proven.parity
    assert proven.parity.top1_agreement == 1


@pytest.mark.parametrize("sizes", [(1,), (4,), (1, 4), (4, 1), (5,), (16,)])
def test_the_worst_window_is_named_whatever_the_batch_sizes(sizes: tuple[int, ...]) -> None:
    """The index counts through the windows of all sizes: alone it tells nobody what to listen to."""

    def off(windows: FloatArray, scores: FloatArray) -> None:
        scores[crane(windows), 1] += 0.02

    refused = proof(wrong(off), *sizes)
    assert (refused.worst, refused.name, refused.passed) == (3, "crane", False)
    with pytest.raises(
        ParityError, match=r"^step 'x' changed it: scores differ by up to 0\.02 \(.*window 'crane', class 1$"
    ):
        refused.require("step 'x' changed it")


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 32])
def test_an_engine_is_given_whole_batches_of_each_size_and_all_of_them_count(size: int) -> None:
    """An engine that is wrong at one place of a large batch must not pass as there are fewer golden windows."""
    given: list[int] = []

    def last_is_off(windows: FloatArray, scores: FloatArray) -> None:
        given.append(len(windows))
        scores[-1] += 0.1

    assert not proof(wrong(last_is_off), size).passed
    assert given == [size] * -(-len(HEARD.names) // size)


def test_windows_that_share_a_floor_are_not_scored_beside_others_than_they_were_recorded_with() -> None:
    given: list[int] = []
    score = wrong(lambda windows, _scores: given.append(len(windows)))
    assert prove(score, HEARD, (4,), TOLERANCES["fp32"], group=4).parity.windows == len(HEARD.names)
    assert given == [4, 2]
    assert prove(score, HEARD, (6, 9), TOLERANCES["fp32"], group=3).parity.windows == 6
    assert given[2:] == [6, 9]


def one_score(windows: FloatArray, scores: FloatArray) -> None:
    scores[crane(windows), 2] += 0.75


def every_score(_windows: FloatArray, scores: FloatArray) -> None:
    scores += 0.55


def top_label(windows: FloatArray, scores: FloatArray) -> None:
    scores[crane(windows)] = scores[crane(windows)][:, [1, 0, 2]]


@pytest.mark.parametrize(
    ("change", "tolerance", "told"),
    [
        (one_score, Tolerance(1.0, 0.6), r"differ by up to 0\.75 \(allowed 0\.6; 99 %: 0\.75, allowed 1\), .*'crane'"),
        (every_score, LOOSE, r"differ by up to 0\.55 \(allowed 0\.6; 99 %: 0\.55, allowed 0\.5\), .* in 100%"),
        (top_label, Tolerance(0.6, 0.4), r"the top label agrees in 83% of the windows, worst window 'crane'"),
    ],
    ids=["largest", "99 %", "top label"],
)
def test_each_way_to_fail_is_told_with_its_figure_and_what_is_allowed(
    change: Callable[[FloatArray, FloatArray], None], tolerance: Tolerance, told: str
) -> None:
    refused = proof(wrong(change), tolerance=tolerance)
    assert not refused.passed
    with pytest.raises(ParityError, match=told):
        refused.require("it")
    assert "worst golden window '" in refused.explain("golden")
    assert "\n" not in refused.explain()


def test_scores_that_are_not_finite_are_no_proof() -> None:
    def broken(windows: FloatArray, scores: FloatArray) -> None:
        scores[crane(windows), 1] = np.nan

    with pytest.raises(ScoreError, match="1 of 18 scores are not finite") as caught:
        proof(wrong(broken), 1)
    assert list(caught.value.windows) == [3]


@pytest.mark.parametrize(
    ("db_floor", "largest", "sizes"),
    [
        ("window", None, (1, 4)),
        ("window", 1, (1,)),
        ("window", 2, (1, 2)),
        ("window", 4, (1, 4)),
        ("window", 32, (1, 4, 32)),
        ("batch", None, (4,)),
        ("batch", 32, (4,)),
    ],
)
def test_an_engine_is_proven_at_the_batches_it_will_be_given(
    db_floor: str, largest: int | None, sizes: tuple[int, ...]
) -> None:
    """Alone, in fours, and as many as it takes; windows that share a floor in their groups and no other way."""
    assert tone_card(8000, "batch", db_floor=db_floor).proof_sizes(largest) == sizes


# --------------------------------------------------------------------------------------------- what follows for others
@pytest.mark.parametrize(
    ("found", "windows", "bound"),
    [
        (0, 60, 1 - 0.05 ** (1 / 60)),
        (0, 1, 0.95),
        (1, 12, 0.3387),  # the exact ones of Clopper and Pearson, one-sided
        (3, 20, 0.3437),
        (10, 100, 0.1637),
        (60, 60, 1.0),
    ],
)
def test_the_bound_on_other_windows_is_the_exact_binomial_one(found: int, windows: int, bound: float) -> None:
    """Twelve windows without a fault say little: up to a fifth of others may be wrong."""
    assert share_bound(found, windows) == pytest.approx(bound, abs=2e-4)


def test_the_bound_of_very_many_windows_can_be_computed() -> None:
    assert share_bound(50, 100_000) == pytest.approx(6.3e-4, rel=0.05)


def test_windows_beyond_the_tolerance_are_counted_once_each() -> None:
    """Scored alone and in fours, one window is still one."""

    def off(windows: FloatArray, scores: FloatArray) -> None:
        scores[crane(windows), 1] += 0.02

    parity = proof(wrong(off), 1, 4).parity
    assert (parity.windows, parity.beyond) == (6, 1)
    assert parity.beyond_bound == share_bound(1, 6)
    assert parity.window_p99 == pytest.approx(0.02, abs=1e-6)
    assert proof(right, 1, 4).parity.beyond == 0


def test_another_label_on_top_counts_however_close_it_was() -> None:
    """The tolerant count lets it pass; a list of species shows it."""
    reference, scores = np.array([[0.5, 0.49], [0.9, 0.1]]), np.array([[0.49, 0.5], [0.9, 0.1]])
    parity = compare(reference, scores, Tolerance(0.05, 0.15))
    assert (parity.top1_agreement, parity.top1_other, parity.top1_windows) == (1.0, 1, 2)
