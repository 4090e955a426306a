"""What an evaluation says in numbers, each with its interval: of a species, and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgebird.science import curves
from edgebird.science.compare import ComparedTruth
from edgebird.science.curves import Array, ScoredEvidence, ThresholdCounts

_MOST = 400  # thresholds of a bootstrap; the figures themselves are of all
_PARTS = 200  # samples of a bootstrap that are worked on at once


@dataclass(frozen=True, slots=True)
class Judging:
    """What figures are of.

    threshold: at which precision, recall and false alarms are told. beta: how many times as much as precision recall
    counts. samples: of the bootstrap over recordings, 0 for none. confidence: of its intervals.
    """

    threshold: float = 0.0
    beta: float = 1.0
    samples: int = 1000
    confidence: float = 0.95
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, and from where to where it is with the confidence that was asked for; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SpeciesFigures:
    """What is known of a species by window or by event, or of all. annotations: windows with it, by window.

    figures: by name. curve: thresholds, precision, recall, false alarms an hour [4, k].
    """

    annotations: int
    told: int
    figures: Mapping[str, Figure]
    best_threshold: float | None
    curve: Array


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All of it. species: by code, then by `event` and `window`. together: of all pooled; means: over species."""

    compared: ComparedTruth
    judging: Judging
    species: Mapping[str, Mapping[str, SpeciesFigures]]
    together: Mapping[str, SpeciesFigures] = field(default_factory=dict)
    means: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)


def evaluate(compared: ComparedTruth, judging: Judging) -> Evaluation:
    """Compute all figures."""
    sampling = _Sampling.of(compared, judging)
    species: dict[str, dict[str, SpeciesFigures]] = {code: {} for code in compared.windows}
    together, means = {}, {}
    for name, by_code in (("event", compared.events), ("window", compared.windows)):
        if name == "event" and not compared.has_events:
            continue
        several: dict[str, list[tuple[float, Array]]] = {"average_precision": [], "roc_auc": []}
        for code, evidence in by_code.items():
            measured = sampling.measures(evidence)
            species[code][name] = sampling.level(evidence, measured)
            for key, found in several.items():
                if key in measured and np.isfinite(measured[key][0]):
                    found.append(measured[key])
        pooled = ScoredEvidence.joined(list(by_code.values()), name == "window")
        together[name] = sampling.level(pooled, sampling.measures(pooled))
        means[name] = {f"mean_{key}": sampling.mean(found) for key, found in several.items() if found}
    if compared.annotated:
        means["window"]["padded_cmap"] = _padded_cmap(compared, sampling)
    return Evaluation(compared, judging, species, together, means)


@dataclass(frozen=True, slots=True, eq=False)
class _Sampling:
    """Measures evidence as it is, and in samples of recordings. weights [samples, recordings], None for no samples."""

    hours: Array
    weights: Array | None
    judging: Judging

    @classmethod
    def of(cls, compared: ComparedTruth, judging: Judging) -> _Sampling:
        many = len(compared.recordings)
        sampled = many > 1 and judging.samples > 0
        return cls(compared.hours, curves.samples(many, judging.samples, judging.seed) if sampled else None, judging)

    def measures(self, evidence: ScoredEvidence) -> dict[str, tuple[float, Array]]:
        """Return each measure: its value, and its values in the samples."""
        at, all_hours = np.array([self.judging.threshold]), self.hours.sum(keepdims=True)
        one = evidence.together()
        whole = self._measured(
            curves.count(one, 1, curves.thresholds_of(one)), curves.count(one, 1, at), (all_hours, evidence.by_window)
        )
        spread: dict[str, list[Array]] = {name: [] for name in whole}
        if self.weights is not None:
            many = len(self.hours)
            few = curves.count(evidence, many, curves.thresholds_of(evidence, _MOST))
            fixed = curves.count(evidence, many, at)
            for weights in np.array_split(self.weights, max(1, len(self.weights) // _PARTS)):
                hours = weights @ self.hours, evidence.by_window
                for name, values in self._measured(few.weighted(weights), fixed.weighted(weights), hours).items():
                    spread[name].append(values)
        return {
            name: (float(values[0]), np.concatenate(spread[name] or [np.empty(0)])) for name, values in whole.items()
        }

    def _measured(self, counts: ThresholdCounts, fixed: ThresholdCounts, how: tuple[Array, bool]) -> dict[str, Array]:
        """Return the measures of each row [r]. fixed: counts at the threshold. how: hours [r], and by window or not."""
        hours, by_window = how
        precision, recall = (values[:, 0] for values in curves.precision_recall(fixed))
        told, wrong = fixed.told[:, 0], (fixed.told - fixed.right)[:, 0]
        measured = {
            "average_precision": curves.average_precision(counts),
            "precision": np.where(told > 0, precision, np.nan),
            "recall": recall,
            "f_beta": np.where(fixed.total > 0, curves.f_beta(precision, recall, self.judging.beta), np.nan),
        }
        if by_window:
            return measured | {"roc_auc": curves.roc_auc(counts)}
        return measured | {"false_alarms_per_hour": np.where(hours > 0, wrong / np.maximum(hours, 1e-12), np.nan)}

    def level(self, evidence: ScoredEvidence, measured: Mapping[str, tuple[float, Array]]) -> SpeciesFigures:
        """Return what is told of a species, or of all."""
        one = evidence.together()
        counts = curves.count(one, 1, curves.thresholds_of(one))
        precision, recall = (values[0] for values in curves.precision_recall(counts))
        hours = float(self.hours.sum())
        alarms = (counts.told - counts.right)[0] / hours if hours else np.full(len(precision), np.nan)
        f_beta = curves.f_beta(precision, recall, self.judging.beta)
        figures = {name: self.figure(*values) for name, values in measured.items()}
        best = None
        if counts.total[0] and len(f_beta):
            best = float(counts.thresholds[int(f_beta.argmax())])
            figures["best_f_beta"] = Figure(float(f_beta.max()))
        told = int((evidence.scores >= self.judging.threshold).sum())
        return SpeciesFigures(
            int(counts.total[0]), told, figures, best, np.stack([counts.thresholds, precision, recall, alarms])
        )

    def mean(self, several: Sequence[tuple[float, Array]]) -> Figure:
        """Return the mean over species; in a sample over those that are in it."""
        spread = np.array([values for _, values in several])  # [species, samples]
        known = np.isfinite(spread)
        counts, sums = known.sum(axis=0), np.where(known, spread, 0.0).sum(axis=0)
        averages = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        return self.figure(float(np.mean([value for value, _ in several])), averages)

    def figure(self, value: float, spread: Array) -> Figure:
        """Return a value with its interval."""
        if not np.isfinite(value):
            return Figure(None)
        span = curves.interval(spread, self.judging.confidence) if len(spread) else None
        return Figure(value, *(span or (None, None)))


def _padded_cmap(compared: ComparedTruth, sampling: _Sampling) -> Figure:
    """The mean of average precisions over all species, each with five right windows of score 1 more.

    All species are the columns of a submission, or those that are told or there.
    """
    many = len(compared.recordings)
    sizes = np.zeros((0, many)) if sampling.weights is None else sampling.weights
    weights = np.concatenate([np.ones((1, many)), sizes])
    weights = np.append(weights, np.ones((len(weights), 1)), axis=1)  # the five are in every sample
    several: list[tuple[float, Array]] = []
    for evidence in compared.windows.values():
        padded = evidence.padded(many)
        counts = curves.count(padded, many + 1, curves.thresholds_of(padded))
        parts = np.array_split(weights, max(1, len(weights) // _PARTS))
        values = np.concatenate([curves.average_precision(counts.weighted(part)) for part in parts])
        several.append((float(values[0]), values[1:]))
    return sampling.mean(several)
