"""What is said of samples: statistics, whether they are steady, and ratios with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_VARIATION = 0.05
_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}
_RESAMPLES = 2000
_CONFIDENCE = (2.5, 97.5)

Rounds = Sequence[Sequence[float]]


def statistics(samples: Sequence[float]) -> dict[str, float]:
    """Minimum, mean, percentiles, maximum and coefficient of variation; nothing is left out as an outlier."""
    values = np.asarray(samples)
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        **{name: float(np.percentile(values, q)) for name, q in _PERCENTILES.items()},
        "max": float(values.max()),
        "cv": float(values.std() / values.mean()),
    }


def unsteady(samples: Sequence[float]) -> list[str]:
    """Why samples, in the order of time, are not steady, a phrase each: they scatter or drift by more than 5 %."""
    values = np.asarray(samples)
    reasons = []
    if (variation := float(values.std() / values.mean())) > MAX_VARIATION:
        reasons.append(f"samples vary by {variation:.1%}")
    if len(values) > 1:
        first, second = np.median(values[: len(values) // 2]), np.median(values[len(values) // 2 :])
        if abs(drift := float(second / first) - 1) > MAX_VARIATION:
            reasons.append(f"the second half is {drift:+.1%} off the first")
    return reasons


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of medians and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(these: Rounds, those: Rounds, paired: bool) -> Ratio:
    """How many times longer `these` samples are than `those`, both by rounds.

    paired: measured in turn, so that a round of one belongs to the same round of the other. The interval is a
    percentile bootstrap of whole rounds (seeded): samples within a round resemble each other too much to be drawn one
    by one.
    """
    a, b = _medians(these), _medians(those)
    generator = np.random.default_rng(0)
    if paired:
        value = np.median(a / b)
        drawn = np.median((a / b)[generator.integers(len(a), size=(_RESAMPLES, len(a)))], axis=1)
    else:
        value = np.median(a) / np.median(b)
        drawn = _resampled(a, generator) / _resampled(b, generator)
    low, high = np.percentile(drawn, _CONFIDENCE)
    return Ratio(float(value), float(low), float(high))


def _medians(rounds: Rounds) -> NDArray[np.float64]:
    return np.array([np.median(samples) for samples in rounds])


def _resampled(medians: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    drawn = medians[generator.integers(len(medians), size=(_RESAMPLES, len(medians)))]
    return np.asarray(np.median(drawn, axis=1))
