"""How sure a share is: exact bounds of counts, and of weighted samples by their effective size.

The bound is Clopper and Pearson's (1934), for weighted samples with the effective size in place of the size, as Korn
and Graubard (1998) have it. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
_TINY, _EXACT = 1e-300, 1e-15


def lower_bound(share: float, size: float, confidence: float) -> float:
    """Return the one-sided lower bound of a share, 0 to 1, of a sample of an (effective) size."""
    right = share * size
    if right <= 0 or size <= 0:
        return 0.0
    wrong = size - right
    return _bisected(lambda x: incomplete_beta(right, wrong + 1, x) - (1 - confidence))


def is_sure(share: float, size: float, wanted: float, confidence: float) -> bool:
    """Whether the lower bound is at least what is wanted."""
    right = share * size
    return right > 0 and incomplete_beta(right, size - right + 1, wanted) <= 1 - confidence


def wanted_size(share: float, wanted: float, confidence: float) -> int | None:
    """Return how large a sample has to be for a lower bound of `wanted`, if so much of it is right; None if none is."""
    if share <= wanted:
        return None
    low, high = 0, 1
    while not is_sure(share, high, wanted, confidence):
        low, high = high, 2 * high
        if high > 1_000_000:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_sure(share, middle, wanted, confidence) else (middle, high)
    return high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    above, below = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    fraction = below
    for m in range(1, 10_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            below = 1 / _not_zero(1 + factor * below)
            above = _not_zero(1 + factor / above)
            fraction *= below * above
        if abs(below * above - 1) < _EXACT:
            break
    return math.exp(scale) * fraction / a


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _bisected(function: Callable[[float], float]) -> float:
    """Where a function that grows from 0 to 1 is zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return low


@dataclass(frozen=True, slots=True, eq=False)
class JudgedDetections:
    """Detections of one species that somebody has judged.

    scores, right [n]. weights [n]: how many detections each stands for. clusters [n]: which of them may be alike, such
    as those of one recording; all different for a random sample.
    """

    scores: Array
    right: NDArray[np.bool_]
    weights: Array
    clusters: NDArray[np.int_]

    def above(self, threshold: float) -> JudgedDetections:
        """Return those at or above a score."""
        kept = self.scores >= threshold
        return JudgedDetections(self.scores[kept], self.right[kept], self.weights[kept], self.clusters[kept])

    @property
    def share(self) -> float:
        """How much of what they stand for is right; 0 without any."""
        return float(self.weights @ self.right / self.weights.sum()) if len(self.scores) else 0.0

    @property
    def kish(self) -> float:
        """The size of an unweighted sample that is as good, by the weights alone (Kish, 1965)."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum()) if len(self.scores) else 0.0

    @property
    def size(self) -> float:
        """The effective size: that of Kish, or less where those that are wrong weigh more, or are in few clusters."""
        share, most = self.share, self.kish
        if not 0 < share < 1:
            return most
        errors = self.weights * (self.right - share)
        _, cluster = np.unique(self.clusters, return_inverse=True)
        sums = np.bincount(cluster, errors)
        many = len(sums)
        variance = float((sums**2).sum() / self.weights.sum() ** 2) * (many / (many - 1) if many > 1 else 1)
        return min(most, share * (1 - share) / variance) if variance > 0 else most
