"""Parity: do these scores equal those of the original network?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ParityError, ScoreError
from edgebird.types import FloatArray

MIN_TOP_SCORE = 0.3  # windows whose best label scores less have no top label to agree on
MIN_TOP1_AGREEMENT = 0.99


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far scores may be from the original's: 99th percentile and maximum of the difference, as in `Parity`."""

    p99: float
    max: float


TOLERANCES = {
    "fp32": Tolerance(1e-5, 1e-4),
    "fp16": Tolerance(0.01, 0.03),
    "bf16": Tolerance(0.06, 0.15),
    "int8": Tolerance(0.05, 0.15),
    "int8+bf16": Tolerance(0.05, 0.15),
}
# Precisions without a graph of their own: the graph of another, its backbone's floating-point part computed in bf16.
BF16_OF = {"bf16": "fp32", "int8+bf16": "int8"}


@dataclass(frozen=True, slots=True)
class Parity:
    """How far scores are from the original's, over all windows and labels.

    max_abs, p99: of the absolute difference. p99 is never interpolated but the larger neighbour, so that windows which
    are scored twice do not change it; of 100 differences or fewer it is the largest.
    top1_agreement: share of the windows with a top label (`top1_windows`) in which both agree on it. worst_window:
    index of the window with the largest difference.
    """

    windows: int
    max_abs: float
    p99: float
    top1_agreement: float
    top1_windows: int
    worst_window: int

    def passes(self, tolerance: Tolerance) -> bool:
        """Whether it is within the tolerance and agrees on the top label in at least 99 % of the windows."""
        close = self.p99 <= tolerance.p99 and self.max_abs <= tolerance.max
        return close and self.top1_agreement >= MIN_TOP1_AGREEMENT

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a card."""
        return asdict(self)


class Evidence(Protocol):
    """Real audio and the scores that a model must give of it: golden data, or what else it is held to."""

    @property
    def scores(self) -> NDArray[Any]:
        """[windows, classes], 0 to 1."""

    @property
    def names(self) -> Sequence[str]:
        """What is heard in each window."""

    def windows(self) -> FloatArray:
        """float32 [windows, samples], -1 to 1."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came out when an engine, or a graph, was held to evidence.

    parity: over all windows at all batch sizes; its `worst_window` counts through them. worst, name: index and name of
    that window in the evidence.
    """

    parity: Parity
    tolerance: Tolerance
    worst: int
    name: str

    @property
    def passed(self) -> bool:
        """Whether the scores are the original's, within the tolerance."""
        return self.parity.passes(self.tolerance)

    def explain(self, evidence: str = "") -> str:
        """What differs, by how much, what is allowed, in which window most. evidence: what it is called, `golden`."""
        parity, allowed = self.parity, self.tolerance
        window = f"{evidence} window" if evidence else "window"
        return (
            f"scores differ by up to {parity.max_abs:.2g} (allowed {allowed.max:g}; 99 %: {parity.p99:.2g}, allowed "
            f"{allowed.p99:g}), the top label agrees in {parity.top1_agreement:.0%} of the windows, worst "
            f"{window} {self.name!r}"
        )

    def require(self, claim: str) -> Parity:
        """The parity. Raises ParityError with what failed (`the engine does not score as ...`) unless it passed."""
        if not self.passed:
            raise ParityError(f"{claim}: {self.explain()}")
        return self.parity


def prove(
    score: Callable[[FloatArray], FloatArray],
    evidence: Evidence,
    sizes: Iterable[int],
    tolerance: Tolerance,
    group: int = 1,
) -> Proof:
    """Score all windows at each batch size, and compare with the scores they must have.

    score: windows [batch, samples] -> scores [batch, classes]. sizes: the last batch of each is filled up with windows
    from the first on. group: windows that share a floor; where they are no whole groups, nothing is filled up.

    Raises ScoreError if a score is not finite.
    """
    windows, count = evidence.windows(), len(evidence.names)
    orders, scores = [], []
    for size in sizes:
        rows = -(-count // size) * size if count % group == 0 else count
        orders.append(np.arange(rows) % count)
        scores.append(score_in_groups(score, windows[orders[-1]], size))
    order = np.concatenate(orders)
    parity = compare(evidence.scores[order], np.concatenate(scores), tolerance)
    worst = int(order[parity.worst_window])
    return Proof(parity, tolerance, worst, evidence.names[worst])


def score_in_groups(score: Callable[[FloatArray], FloatArray], windows: FloatArray, size: int) -> FloatArray:
    """Scores [windows, classes] of windows [windows, samples], `size` of them at a time."""
    return np.concatenate([score(windows[i : i + size]) for i in range(0, len(windows), size)])


def compare(reference: NDArray[Any], scores: NDArray[Any], tolerance: Tolerance) -> Parity:
    """Compare scores with the original's, both [windows, classes], 0 to 1.

    A window's top label agrees if the original scores it within `tolerance.max` of its best. Raises ScoreError if a
    score is not finite, ValueError if the shapes differ.
    """
    if reference.shape != scores.shape:
        raise ValueError(f"{scores.shape = } but {reference.shape = }")
    check_finite(scores)
    difference = np.abs(scores.astype(np.float64) - reference)
    best = reference.max(axis=1)
    chosen = np.take_along_axis(reference, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
    counted = best >= MIN_TOP_SCORE
    agrees = chosen[counted] >= best[counted] - tolerance.max
    return Parity(
        windows=len(scores),
        max_abs=float(difference.max()),
        p99=float(np.percentile(difference, 99, method="higher")),
        top1_agreement=float(agrees.mean()) if len(agrees) else 1.0,
        top1_windows=int(counted.sum()),
        worst_window=int(difference.max(axis=1).argmax()),
    )


def check_finite(scores: NDArray[Any]) -> None:
    """Raise ScoreError unless every score [windows, classes] is finite: such a score must never be a detection."""
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        window, label = bad[0]
        raise ScoreError(
            f"{len(bad)} of {scores.size} scores are not finite (first: window {window}, label {label}, "
            f"{scores[window, label]}): this engine cannot be trusted with this model",
            np.unique(bad[:, 0]).tolist(),
        )
