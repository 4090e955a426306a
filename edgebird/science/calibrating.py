"""Probabilities of scores: a logistic curve for each species, all of them near a common one as far as they know little.

log(p / (1 - p)) = shift + slope * log(score / (1 - score)), Platt's (1999) on the score's own logit. The shifts and
slopes of species are normal around those of all (partial pooling): with few judged detections a species has nearly the
common slope, with many its own. What is fitted is the most likely curve (maximum a posteriori), by Newton's method.
Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.calibration import logit
from edgebird.science.bounds import JudgedDetections

Array: TypeAlias = NDArray[np.float64]
SHIFT_SD, SLOPE_SD = 1.5, 0.5  # of species around the common curve
COMMON_SD = 5.0  # of the common shift and slope around 0
_STEPS, _EXACT = 100, 1e-10
_MOST_PARTS = 200  # of what is left out one by one


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Judged detections of all species together [n]. x: logits of scores. weights: of each species its effective size.

    species, groups: their numbers; a group, such as a recording, is left out as a whole.
    """

    x: Array
    right: NDArray[np.bool_]
    weights: Array
    species: NDArray[np.int_]
    groups: NDArray[np.int_]
    many: int

    @classmethod
    def of(cls, judged: Mapping[str, JudgedDetections], groups: Mapping[str, Sequence[str]]) -> Samples:
        """Put evidence by code together; species are numbered in its order."""
        names = {name: number for number, name in enumerate(sorted({one for its in groups.values() for one in its}))}
        return cls(
            np.concatenate([logit(one.scores) for one in judged.values()]),
            np.concatenate([one.right for one in judged.values()]),
            # Their sum is how much all that is known of a species weighs against the pooling.
            np.concatenate([one.weights * one.kish / one.weights.sum() for one in judged.values()]),
            np.concatenate([np.full(len(one.scores), number) for number, one in enumerate(judged.values())]),
            np.concatenate([[names[one] for one in groups[code]] for code in judged]).astype(int),
            len(judged),
        )

    def only(self, kept: NDArray[np.bool_]) -> Samples:
        """Return some of them; species keep their numbers."""
        return Samples(
            self.x[kept], self.right[kept], self.weights[kept], self.species[kept], self.groups[kept], self.many
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Curves: shift and slope of each species [s, 2], and the common ones [2]."""

    species: Array
    common: Array

    def probability(self, samples: Samples) -> Array:
        """Return how likely each of these is right [n]."""
        return _probability(self.species, samples)


def fit(samples: Samples, start: Fitted | None = None) -> Fitted:
    """Fit. start: from where on, if something near is known."""
    found = start or Fitted(np.zeros((samples.many, 2)), np.zeros(2))
    value = _penalty(found, samples)
    for _ in range(_STEPS):
        species, common = _step(found, samples)
        size = 1.0
        while True:
            tried = Fitted(found.species + size * species, found.common + size * common)
            after = _penalty(tried, samples)
            if after <= value or size < _EXACT:
                break
            size /= 2
        done = value - after < _EXACT * (1 + abs(value))
        found, value = (tried, after) if after <= value else (found, value)
        if done:
            break
    return found


def leave_one_out(samples: Samples, fitted: Fitted) -> Array | None:
    """Return how likely each [n] is right by the others: those of other groups; None if there is one group only.

    Above 200 groups they are left out several at a time. A species without another group is told by the common curve.
    """
    names = np.unique(samples.groups)
    if len(names) < 2:
        return None
    parts = np.searchsorted(names, samples.groups) % _MOST_PARTS
    told = np.empty(len(samples.x))
    for part in range(min(len(names), _MOST_PARTS)):
        out = parts == part
        told[out] = fit(samples.only(~out), fitted).probability(samples.only(out))
    return told


def brier(probabilities: Array, samples: Samples) -> float:
    """Return the mean square of what probabilities are off by (Brier, 1950); 0 is best, 0.25 is tossing a coin."""
    return float(samples.weights @ (probabilities - samples.right) ** 2 / samples.weights.sum())


def _probability(species: Array, samples: Samples) -> Array:
    its = species[samples.species]
    result: Array = 1 / (1 + np.exp(-np.clip(its[:, 0] + its[:, 1] * samples.x, -700, 700)))
    return result


_PRECISION = np.array([SHIFT_SD**-2, SLOPE_SD**-2])


def _penalty(fitted: Fitted, samples: Samples) -> float:
    """What is made small: minus the logarithm of the posterior."""
    its = fitted.species[samples.species]
    eta = its[:, 0] + its[:, 1] * samples.x
    misfit = samples.weights @ np.logaddexp(0, np.where(samples.right, -eta, eta))
    away = ((fitted.species - fitted.common) ** 2 @ _PRECISION).sum() / 2
    return float(misfit + away + (fitted.common**2).sum() / (2 * COMMON_SD**2))


def _step(fitted: Fitted, samples: Samples) -> tuple[Array, Array]:
    """Newton's step of species [s, 2] and of the common curve [2]: species touch each other through that alone."""
    p = _probability(fitted.species, samples)
    curved, off = samples.weights * p * (1 - p), samples.weights * (samples.right - p)

    def sums(values: Array) -> Array:
        return np.bincount(samples.species, values, minlength=samples.many).astype(float)

    hessian = np.zeros((samples.many, 2, 2))
    hessian[:, 0, 0] = sums(curved) + _PRECISION[0]
    hessian[:, 1, 1] = sums(curved * samples.x**2) + _PRECISION[1]
    hessian[:, 0, 1] = hessian[:, 1, 0] = sums(curved * samples.x)
    away = (fitted.species - fitted.common) * _PRECISION
    gradient = np.stack([sums(off), sums(off * samples.x)], axis=1) - away
    inverse = np.linalg.inv(hessian)
    own = np.einsum("sij,sj->si", inverse, gradient)
    pulled = np.diag(samples.many * _PRECISION + COMMON_SD**-2)
    pulled -= np.einsum("i,sij,j->ij", _PRECISION, inverse, _PRECISION)
    of_common = away.sum(axis=0) - fitted.common / COMMON_SD**2 + _PRECISION * own.sum(axis=0)
    common = np.linalg.solve(pulled, of_common)
    return own + np.einsum("sij,j->si", inverse, _PRECISION * common), common
