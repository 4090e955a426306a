"""Precision, recall and what is made of them, at every threshold: pure functions of arrays.

They are those of scikit-learn, to which tests hold them, but for many samples at once: a bootstrap over recordings is a
matrix product. Average precision is the sum of precision times the recall gained, without interpolation; the area under
the ROC curve counts ties by half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.science.matching import NEVER

Array: TypeAlias = NDArray[np.float64]
PADS = 5  # rows of ones that BirdCLEF 2023 adds to truth and predictions


@dataclass(frozen=True, slots=True, eq=False)
class ScoredEvidence:
    """What was told of one species, and what was there.

    scores, right, recordings [n]: of each detection or window its score, whether it is right, and the number of its
    recording. found, places [m]: of each annotation the highest score at which it was found, `NEVER` if not, and its
    recording. Of windows annotations are the right ones among them. by_window: there are wrong ones that were not told.
    """

    scores: Array
    right: NDArray[np.bool_]
    recordings: NDArray[np.int_]
    found: Array
    places: NDArray[np.int_]
    by_window: bool

    @classmethod
    def of_windows(cls, scores: Array, right: NDArray[np.bool_], recordings: NDArray[np.int_]) -> ScoredEvidence:
        """Return that of windows [n]."""
        return cls(scores, right, recordings, scores[right], recordings[right], True)

    @classmethod
    def joined(cls, species: list[ScoredEvidence], by_window: bool) -> ScoredEvidence:
        """Return that of several species together, or of none."""
        no_scores, no_places = np.empty(0), np.empty(0, np.int_)
        several = [cls(no_scores, np.empty(0, np.bool_), no_places, no_scores, no_places, by_window), *species]
        return cls(
            np.concatenate([one.scores for one in several]),
            np.concatenate([one.right for one in several]),
            np.concatenate([one.recordings for one in several]),
            np.concatenate([one.found for one in several]),
            np.concatenate([one.places for one in several]),
            by_window,
        )

    def together(self) -> ScoredEvidence:
        """Return it with all recordings as one."""
        return replace(self, recordings=np.zeros_like(self.recordings), places=np.zeros_like(self.places))

    def padded(self, recording: int) -> ScoredEvidence:
        """Return it with five right ones of score 1 more, in a recording of their own."""
        ones, places = np.ones(PADS), np.full(PADS, recording)
        return ScoredEvidence(
            np.append(self.scores, ones), np.append(self.right, ones.astype(np.bool_)),
            np.append(self.recordings, places), np.append(self.found, ones), np.append(self.places, places),
            self.by_window,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdCounts:
    """Counts at each threshold [k], falling, for each recording or sample [r].

    told, right, found [r, k]: detections at or above it, the right ones of them, and annotations that they found.
    all_told, total [r]: at any score; annotations.
    """

    thresholds: Array
    told: Array
    right: Array
    found: Array
    all_told: Array
    total: Array

    def weighted(self, weights: Array) -> ThresholdCounts:
        """Return the sums over recordings, with weights [s, r]: of a sample each."""
        parts = (self.told, self.right, self.found, self.all_told, self.total)
        return ThresholdCounts(self.thresholds, *(weights @ part for part in parts))


def thresholds_of(evidence: ScoredEvidence, most: int | None = None) -> Array:
    """Return the thresholds that make a difference, falling; at most some `most` of them, evenly among the right ones.

    They are the scores of what is right, where recall grows, and those next above, so that what is between counts too.
    """
    found = evidence.found[evidence.found > NEVER]
    every = np.unique(np.concatenate([evidence.scores, found]))
    grows = np.unique(np.concatenate([evidence.scores[evidence.right], found]))
    if most is not None and len(grows) > most:
        grows = grows[np.unique(np.linspace(0, len(grows) - 1, most).astype(int))]
    at = np.searchsorted(every, grows)
    kept = np.unique(np.concatenate([at, np.minimum(at + 1, len(every) - 1)])) if len(every) else at
    thresholds: Array = every[kept][::-1]
    return thresholds


def count(evidence: ScoredEvidence, recordings: int, thresholds: Array) -> ThresholdCounts:
    """Count at thresholds [k], falling. recordings: how many there are."""
    right = evidence.right
    counted = [
        _counts(scores, places, thresholds, recordings)
        for scores, places in (
            (evidence.scores, evidence.recordings),
            (evidence.scores[right], evidence.recordings[right]),
            (evidence.found, evidence.places),
        )
    ]
    sums = [np.bincount(which, minlength=recordings).astype(float) for which in (evidence.recordings, evidence.places)]
    return ThresholdCounts(thresholds, counted[0], counted[1], counted[2], sums[0], sums[1])


def _counts(scores: Array, recordings: NDArray[np.int_], thresholds: Array, many: int) -> Array:
    """How many scores are at or above each threshold, by recording: [many, k]."""
    width = len(thresholds)
    first = np.searchsorted(-thresholds, -scores)  # the first threshold that is not above the score
    kept = first < width
    flat = np.bincount(recordings[kept] * width + first[kept], minlength=many * width)
    counts: Array = flat.reshape(many, width).cumsum(axis=1).astype(float)
    return counts


def precision_recall(counts: ThresholdCounts) -> tuple[Array, Array]:
    """Return precision [r, k], 1 where nothing is told, and recall [r, k], NaN without an annotation."""
    precision = _ratio(counts.right, counts.told, 1.0)
    return precision, _ratio(counts.found, counts.total[:, None], np.nan)


def average_precision(counts: ThresholdCounts) -> Array:
    """Return it [r]: the sum of precision times the recall gained at each threshold; NaN without an annotation."""
    precision, recall = precision_recall(counts)
    gained = np.diff(recall, axis=1, prepend=0.0)
    result: Array = (precision * gained).sum(axis=1)
    return np.where(counts.total > 0, result, np.nan)


def roc_auc(counts: ThresholdCounts) -> Array:
    """Return the chance [r] that a right window scores above a wrong one; NaN if there are none of a kind."""
    wrong = counts.told - counts.right
    negatives = counts.all_told - counts.total
    gained = np.diff(counts.right, axis=1, prepend=0.0)
    above = np.concatenate([np.zeros((len(wrong), 1)), wrong[:, :-1]], axis=1)
    beaten = negatives[:, None] - (above + wrong) / 2
    return _ratio((gained * beaten).sum(axis=1), counts.total * negatives, np.nan)


def f_beta(precision: Array, recall: Array, beta: float) -> Array:
    """Return the weighted harmonic mean: recall counts beta times as much as precision."""
    square = beta * beta
    return _ratio((1 + square) * precision * recall, square * precision + recall, 0.0)


def samples(recordings: int, many: int, seed: int) -> Array:
    """Return how often each recording is in each of many samples, with replacement: [many, recordings]."""
    draws = np.random.default_rng(seed).multinomial(recordings, np.full(recordings, 1 / recordings), size=many)
    weights: Array = draws.astype(float)
    return weights


def interval(values: Array, confidence: float) -> tuple[float, float] | None:
    """Return the percentiles of a bootstrap; None where more than half of its samples have no value."""
    known = values[np.isfinite(values)]
    if 2 * len(known) <= len(values):
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _ratio(above: Array, below: Array, otherwise: float) -> Array:
    above, below = np.broadcast_arrays(above, below)
    result: Array = np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0)
    return result
