"""Probabilities of scores: a curve for each species, as a card has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Curve:
    """How likely detections of a species are right: 1 / (1 + exp(-(shift + slope * logit(score)))).

    right, wrong: detections that it was made from.
    """

    slope: float
    shift: float
    right: int
    wrong: int

    def probability(self, score: float) -> float:
        """Return how likely a detection of this score, 0 to 1, is right."""
        return float(1 / (1 + np.exp(-(self.shift + self.slope * logit(np.float64(score))))))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes probabilities of scores, and what it was made from.

    curves: by code. source: who said what is right. lowest: the lowest score that was judged. brier: mean square
    of what probabilities are off by, of recordings that were left out, None if nobody knows; brier_of_scores: of the
    scores, taken as probabilities.
    """

    curves: Mapping[str, Curve]
    source: str
    lowest: float
    brier: float | None
    brier_of_scores: float
    edgebird: str
    created: str

    @classmethod
    def of(cls, content: dict[str, Any]) -> Calibration:
        """Return that of a card."""
        curves = {code: Curve(**curve) for code, curve in content["curves"].items()}
        return cls(**{**content, "curves": curves})


def logit(scores: Any) -> Any:
    """Return log(score / (1 - score)) of float64; scores are kept 1e-6 away from 0 and 1, as events round them."""
    kept = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(kept / (1 - kept))
