"""Which windows pass: the gate's and the first fold's thresholds, chosen on recordings that the gate was not fitted
to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.cascade import FOLD, GATE
from edgebird.types import FloatArray

_MARGIN = 0.5  # below the weakest window that must pass, in logits
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


def choose(
    logits: FloatArray, first: FloatArray, hits: NDArray[np.int_], costs: Costs, more: tuple[NDArray[Any], float]
) -> PassingThresholds:
    """The cheapest thresholds that keep nearly all pairs.

    logits, hits [windows]: of the gate; how many labels the full model has at or above the threshold. first: [windows,
    classes], the first fold's scores. more: the fold's best scores of those windows the gate was fitted to in which
    the full model hears something, for the fold was not fitted to them; and the share of the pairs that each stage may
    miss. Where costs.rest is 0 there is no second stage.
    """
    best, (further, allowed) = first.max(axis=1), more
    heard = np.concatenate([best[hits > 0], further])
    fold_least = _lowered(np.sort(heard)[int(allowed * len(heard))]) if costs.rest and len(heard) else None
    choices = []
    for gate_least in _candidates(logits, hits, allowed):
        passing = logits >= gate_least
        cost = costs.gate + float(passing.mean()) * costs.first
        if fold_least is not None:
            cost += float((passing & (best >= fold_least)).mean()) * costs.rest
        choices.append(PassingThresholds(float(gate_least), fold_least, cost))
    whole = costs.gate + costs.first + costs.rest
    cheapest = min(choices, key=lambda choice: choice.cost)
    return PassingThresholds(cheapest.gate_least, cheapest.fold_least, cheapest.cost / whole)


def _candidates(logits: FloatArray, hits: NDArray[np.int_], allowed: float) -> NDArray[np.float64]:
    """Thresholds of the gate that miss hardly any pair, with a margin, down to one that stops nothing."""
    lowest = logits.min() - _MARGIN
    order = np.argsort(logits)
    must = logits[order][np.cumsum(hits[order]) > int(allowed * hits.sum())]  # these pass
    return np.linspace(lowest, max(lowest, must[0] - _MARGIN), _STEPS) if len(must) else np.array([lowest])


def _lowered(score: float) -> float:
    """A score with the margin below it."""
    kept = np.clip(score, 1e-6, 1 - 1e-6)
    return float(1 / (1 + np.exp(_MARGIN - np.log(kept / (1 - kept)))))
