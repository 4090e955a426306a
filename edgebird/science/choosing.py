"""Thresholds that make detections as right as is wanted, with a bound that holds although the threshold was chosen.

Who tries every threshold and takes one whose bound is good enough finds one by chance. So thresholds are tested in an
order that verdicts have no part in: from the highest score down, begun where there are enough detections above, and no
further than the first that fails (fixed sequence; Angelopoulos and others, 2021, "Learn then test"). There are three
beginnings, with once, twice and four times as many detections; they share the chance of an error. Pure functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgebird.science.bounds import Array, JudgedDetections, is_sure, lower_bound, wanted_size

_BEGINNINGS = (1, 2, 4)
CLUSTERS = 5  # such as recordings, of which what is above a threshold has to be
_LOWER = 0.9  # of the lowest score that was judged: nobody knows what is below it
_TRIED = 40  # thresholds, to say how much evidence is missing


@dataclass(frozen=True, slots=True)
class ChosenThreshold:
    """A threshold.

    share: how much of what is at or above it is right, at least `bound`. kept: how much of what is right is there.
    judged: how many detections above it were judged.
    """

    threshold: float
    share: float
    bound: float
    kept: float
    judged: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No threshold. judged: how many there are. more: how many more of them may be enough, None if that cannot be said,
    0 if they are of too few recordings. least: how many it takes if all of them are right.

    share: how much is right, at the threshold that comes nearest.
    """

    judged: int
    more: int | None
    share: float
    threshold: float
    least: int


def choose(judged: JudgedDetections, wanted: float, confidence: float) -> ChosenThreshold | Refused:
    """Return the lowest threshold with a precision of at least `wanted`, or why there is none."""
    held = 1 - (1 - confidence) / len(_BEGINNINGS)
    thresholds = np.unique(judged.scores)[::-1]
    least = math.ceil(math.log(1 - held) / math.log(wanted))  # all right: fewer are never enough
    sizes, clusters = _sizes(judged, thresholds)
    passed = -1
    for times in _BEGINNINGS:
        enough = np.flatnonzero((sizes >= times * least) & (clusters >= CLUSTERS))
        at = int(enough[0]) if len(enough) else len(thresholds)
        while at < len(thresholds) and _is_right(judged.above(thresholds[at]), wanted, held):
            passed, at = max(passed, at), at + 1
    if passed < 0:
        return _refused(judged, wanted, held, least)
    threshold = float(thresholds[passed])
    above = judged.above(threshold)
    kept = float(above.weights @ above.right / (judged.weights @ judged.right))
    below = float(thresholds[passed + 1]) if passed + 1 < len(thresholds) else _LOWER * threshold
    bound = lower_bound(above.share, above.size, held)
    return ChosenThreshold(_short(threshold, below), above.share, bound, kept, len(above.scores))


def _short(threshold: float, below: float) -> float:
    """A number with few digits, at most the threshold and above what is below it."""
    for digits in range(2, 7):
        scale = 10**digits
        short = float(math.floor(threshold * scale + 1e-9) / scale)
        if short > below:
            return short
    return threshold


def _sizes(judged: JudgedDetections, thresholds: Array) -> tuple[Array, Array]:
    """Kish's size of what is at or above each threshold, and its clusters; verdicts have no part in them."""
    falling = np.argsort(-judged.scores, kind="stable")
    weights = judged.weights[falling]
    last = np.searchsorted(-judged.scores[falling], -thresholds, side="right") - 1
    is_new = np.zeros(len(falling))
    is_new[np.unique(judged.clusters[falling], return_index=True)[1]] = 1
    return (np.cumsum(weights) ** 2 / np.cumsum(weights**2))[last], np.cumsum(is_new)[last]


def _is_right(above: JudgedDetections, wanted: float, confidence: float) -> bool:
    return is_sure(above.share, above.size, wanted, confidence)


def _refused(judged: JudgedDetections, wanted: float, confidence: float, least: int) -> Refused:
    """Say how many more it takes, at the threshold where they are fewest."""
    if len(judged.scores) >= least and len(np.unique(judged.clusters)) < CLUSTERS:
        return Refused(len(judged.scores), 0, judged.share, float(judged.scores.min()), least)
    best: Refused | None = None
    scores = np.unique(judged.scores)
    for threshold in scores[np.unique(np.linspace(0, len(scores) - 1, min(len(scores), _TRIED)).astype(int))]:
        above = judged.above(threshold)
        needed = wanted_size(above.share, wanted, confidence)
        if needed is None:
            continue
        sizes = max(needed, least) / above.size
        more = max(1, math.ceil(len(above.scores) * sizes) - len(above.scores))
        if best is None or best.more is None or more < best.more:
            best = Refused(len(judged.scores), more, above.share, float(threshold), least)
    if best is not None:
        return best
    if len(judged.scores):
        highest = float(judged.scores.max())
        return Refused(len(judged.scores), None, judged.above(highest).share, highest, least)
    return Refused(0, least, 0.0, 0.0, least)
