"""Which windows pass: the gate's and the head's thresholds, chosen on recordings that neither was fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgebird.cascade import FOLD, GATE, most_missed
from edgebird.types import FloatArray

CERTAINTY = 0.9  # with which the recordings that judge are to find the bound; of few, or very unlike ones, it is less
_STEPS = 60  # thresholds of each stage
_DRAWS = 400  # of the recordings
_DRAWN = 10_000  # values of F, for its 5th percentile
_LOWEST, _HIGHEST = 4.0, 0.05  # thresholds that are looked at: bandwidths below the lowest window, share of them lost


@dataclass(frozen=True, slots=True)
class Costs:
    """What stages take of a window, in multiplications: all that comes before the gate with it, the first fold, the
    rest.
    """

    gate: float
    first: float
    rest: float

    @property
    def whole(self) -> float:
        """Of a window that is stopped by nothing."""
        return self.gate + self.first + self.rest


@dataclass(frozen=True, slots=True)
class PassingThresholds:
    """gate_least, head_least: as in `Cascade`. cost: of what is stopped by nothing, how much a window takes."""

    gate_least: float
    head_least: float | None
    cost: float

    def stages(self, gate: FloatArray, head: FloatArray, sure: NDArray[np.bool_]) -> NDArray[np.int_]:
        """Which stage stops each window; 0 for none. gate, head, sure: as in `ChoosingWindows`."""
        stages = np.where(gate[:, 0] >= self.gate_least, 0, GATE)
        if self.head_least is not None:
            stages = np.where((stages == 0) & (head[:, 0] < self.head_least) & ~sure, FOLD, stages)
        return stages


@dataclass(frozen=True, slots=True, eq=False)
class ChoosingWindows:
    """What thresholds are chosen with.

    gate, head [windows, 1]: logits; head [windows, 0] where there is none. sure [windows]: no head stops it. hits
    [windows]: how many labels the full model has at or above the threshold. recordings [windows]: what each is of.
    """

    gate: FloatArray
    head: FloatArray
    sure: NDArray[np.bool_]
    hits: NDArray[np.int_]
    recordings: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class JudgingSize:
    """About how much will judge."""

    recordings: int
    windows: int


def choose(heard: ChoosingWindows, costs: Costs, judging: JudgingSize) -> PassingThresholds:
    """The cheapest thresholds with which the bound will be found in those recordings that judge.

    Their chance of that, as far as these windows tell it (`_chances`), is CERTAINTY. Where no thresholds reach it, they
    are the lowest ones.
    """
    if not heard.hits.any():
        return PassingThresholds(float(heard.gate.min()), float(heard.head.min()) if heard.head.size else None, 1.0)
    gates = _candidates(heard.gate[:, 0], heard.recordings, heard.hits > 0)
    unsure = (heard.hits > 0) & ~heard.sure
    heads = _candidates(heard.head[:, 0], heard.recordings, unsure) if heard.head.shape[1] else None
    chances = _chances(heard, gates, heads, judging)
    passing = heard.gate >= gates  # [windows, gates]
    cost = np.repeat(costs.gate + passing.mean(axis=0)[:, np.newaxis] * costs.first, chances.shape[1], axis=1)
    if heads is not None:
        further = (heard.head >= heads) | heard.sure[:, np.newaxis]
        cost += (passing.T.astype(np.float32) @ further.astype(np.float32)) / len(passing) * costs.rest
    cost[~(chances >= CERTAINTY)] = np.inf
    cost[0, 0] = min(cost[0, 0], costs.whole)
    gate, head = np.unravel_index(np.argmin(cost), cost.shape)
    least = None if heads is None else float(heads[head])
    return PassingThresholds(float(gates[gate]), least, float(cost[gate, head] / costs.whole))


def _candidates(logits: FloatArray, recordings: NDArray[np.str_], hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Thresholds [steps] from one that stops nothing here to one that loses too many of the windows that are `hits`."""
    hits = hits if hits.any() else ~hits
    heard = logits[hits]
    lowest = heard.min() - _LOWEST * _bandwidth(heard, recordings[hits])
    return np.array([min(lowest, logits.min()), *np.linspace(lowest, np.quantile(heard, _HIGHEST), _STEPS - 1)])


def _bandwidth(logits: FloatArray, recordings: NDArray[np.str_]) -> float:
    """How far windows of other recordings may be from these: Silverman's rule of thumb (1986), eq. 3.31.

    Its number is what the windows are worth.
    """
    quarter, three = np.quantile(logits, (0.25, 0.75))
    spread = min(float(logits.std()), float(three - quarter) / 1.34) or float(logits.std())
    return float(max(0.9 * spread * _worth(logits, recordings) ** -0.2, 1e-3))


def _worth(logits: FloatArray, recordings: NDArray[np.str_]) -> float:
    """How many independent windows these are worth. logits, recordings: [windows].

    Windows of one recording are alike. The number is Kish's effective one (1965). How alike they are is the intraclass
    correlation by the analysis of variance. Few recordings tell it badly, so its upper limit counts (95 % confidence,
    Searle 1971), which is exact for normal values and recordings of one size.
    """
    _, recording = np.unique(recordings, return_inverse=True)
    sizes = np.bincount(recording)
    count, total = len(sizes), len(logits)
    if count in (1, total):
        return float(count)
    means = np.bincount(recording, logits) / sizes
    between = float((sizes * (means - logits.mean()) ** 2).sum()) / (count - 1)
    within = float(((logits - means[recording]) ** 2).sum()) / (total - count)
    weighted = float((sizes**2).sum()) / total  # the size of the recording of a window, on average
    size = (total - weighted) / (count - 1)  # of a recording; less where they are unlike
    most = between / float(np.quantile(np.random.default_rng(0).f(count - 1, total - count, _DRAWN), 0.05))
    alike = max(0.0, (most - within) / (most + (size - 1) * within)) if most + within else 1.0
    return total / (1 + (weighted - 1) * alike)


def _losses(logits: FloatArray, recordings: NDArray[np.str_], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """[windows, thresholds]: the chance that a window like this is below each, normal around its logit."""
    return _normal((thresholds - logits[:, np.newaxis]) / _bandwidth(logits, recordings))


def _normal(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal distribution's cumulative function of each."""
    erf: NDArray[np.float64] = np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2))
    return (1 + erf) / 2


def _chances(
    heard: ChoosingWindows, gates: NDArray[np.float64], heads: NDArray[np.float64] | None, judging: JudgingSize
) -> NDArray[np.float64]:
    """[gates, heads]: the chance that the bound will hold, for each pair of thresholds.

    The recordings are drawn again, so few of them that a draw scatters as those that will judge do around these; of a
    single one nothing scatters. Of a draw's share of lost pairs comes a Poisson number of pairs that will be missed.
    """
    rows = np.flatnonzero(heard.hits)
    hits, (_, recording) = heard.hits[rows], np.unique(heard.recordings[rows], return_inverse=True)
    by_gate = _losses(heard.gate[rows, 0], heard.recordings[rows], gates)
    by_head = np.zeros((len(rows), 1 if heads is None else len(heads)))
    unsure = ~heard.sure[rows]
    if heads is not None and unsure.any():
        by_head[unsure] = _losses(heard.head[rows[unsure], 0], heard.recordings[rows[unsure]], heads)
    count = int(recording.max()) + 1
    lost = np.zeros((count, len(gates), by_head.shape[1]))
    pairs = np.bincount(recording, hits)
    for one in range(count):
        mine = recording == one
        gone, weights = by_gate[mine], hits[mine, np.newaxis]
        lost[one] = (
            (weights * gone).sum(axis=0)[:, np.newaxis]
            + (weights * by_head[mine]).sum(axis=0)
            - (weights * gone).T @ by_head[mine]
        )
    wanted = round(float(pairs.sum()) * judging.windows / len(heard.hits))
    others = judging.recordings * count / len(np.unique(heard.recordings))  # that have a pair
    few = max(1, round(1 / (1 / count + 1 / max(others, 1))))
    drawn = np.random.default_rng(0).integers(count, size=(_DRAWS, few))
    times = np.stack([np.bincount(draw, minlength=count) for draw in drawn])
    share = np.tensordot(times, lost, 1) / np.maximum(times @ pairs, 1)[:, np.newaxis, np.newaxis]
    chances: NDArray[np.float64] = _poisson(share * wanted, most_missed(wanted)).mean(axis=0)
    return chances


def _poisson(mean: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The chance of so many events at most; 0 for a negative number."""
    total, term = np.zeros_like(mean), np.exp(-mean)
    for count in range(most + 1):
        total += term
        term = term * mean / (count + 1)
    return total
