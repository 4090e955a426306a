"""Which windows pass: the gate's and the first fold's thresholds, chosen on recordings that the gate was not fitted
to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgebird.cascade import FOLD, GATE
from edgebird.types import FloatArray

_ALLOWED = 0.002  # of the pairs may be missed where thresholds are chosen: fewer than the bound allows
_MARGIN = 0.3  # below the weakest window that must pass, in logits
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Costs:
    """What stages take of a window, in multiplications: all that comes before the gate with it, the first fold, the
    rest.
    """

    gate: float
    first: float
    rest: float


@dataclass(frozen=True, slots=True)
class PassingThresholds:
    """gate_least, fold_least: as in `Cascade`. cost: of what is stopped by nothing, how much a window takes."""

    gate_least: float
    fold_least: float | None
    cost: float

    def stages(self, logits: FloatArray, first: FloatArray) -> NDArray[np.int_]:
        """Which stage stops each window; 0 for none. logits [windows]; first [windows, classes]."""
        stages = np.where(logits >= self.gate_least, 0, GATE)
        if self.fold_least is not None:
            stages = np.where((stages == 0) & (first.max(axis=1) < self.fold_least), FOLD, stages)
        return stages


def choose(logits: FloatArray, first: FloatArray, hits: NDArray[np.int_], costs: Costs) -> PassingThresholds:
    """The cheapest thresholds that keep nearly all pairs.

    logits, hits [windows]: of the gate; how many labels the full model has at or above the threshold. first: [windows,
    classes], the first fold's scores. Where costs.rest is 0 there is no second stage.
    """
    best = first.max(axis=1)
    allowed = int(_ALLOWED * hits.sum())
    choices = []
    for gate_least in _candidates(logits, hits, allowed):
        passing = logits >= gate_least
        left = allowed - int(hits[~passing].sum())
        if not costs.rest:
            choices.append(PassingThresholds(float(gate_least), None, costs.gate + float(passing.mean()) * costs.first))
            continue
        fold_least = _least(best[passing], hits[passing], left)
        on = float((passing & (best >= fold_least)).mean())
        cost = costs.gate + float(passing.mean()) * costs.first + on * costs.rest
        choices.append(PassingThresholds(float(gate_least), fold_least, cost))
    whole = costs.gate + costs.first + costs.rest
    cheapest = min(choices, key=lambda choice: choice.cost)
    return PassingThresholds(cheapest.gate_least, cheapest.fold_least, cheapest.cost / whole)


def _candidates(logits: FloatArray, hits: NDArray[np.int_], allowed: int) -> NDArray[np.float64]:
    """Thresholds of the gate that miss no more than is allowed, with a margin, down to one that stops nothing."""
    ranked = np.sort(logits[hits > 0])
    if not len(ranked):
        return np.array([logits.min() - _MARGIN])
    order = np.argsort(logits)
    lost = np.cumsum(hits[order])
    within = logits[order][lost > allowed]  # the first that must pass
    highest = within[0] - _MARGIN
    return np.linspace(logits.min() - _MARGIN, max(highest, logits.min() - _MARGIN), _STEPS)


def _least(best: FloatArray, hits: NDArray[np.int_], allowed: int) -> float:
    """The highest threshold of the first fold's best score that misses no more pairs, with the same margin."""
    order = np.argsort(best)
    must = best[order][np.cumsum(hits[order]) > allowed]
    if not len(must):
        return 0.0
    weakest = float(np.clip(must[0], 1e-6, 1 - 1e-6))
    logit = np.log(weakest / (1 - weakest)) - _MARGIN
    return float(1 / (1 + np.exp(-logit)))
