"""Parity: do these scores equal those of the original network?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgebird.causes import likely_cause
from edgebird.errors import ParityError, ScoreError
from edgebird.types import FloatArray

MIN_TOP_SCORE = 0.3  # windows whose best label scores less have no top label to agree on
MIN_TOP1_AGREEMENT = 0.99
CONFIDENCE = 0.95  # of the bound on the share of windows beyond the tolerance
FURTHER_SIZES = 12  # windows that are scored at batch sizes but the first, which must make no difference


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
    "int8+fp16": Tolerance(0.05, 0.15),
}
# Of a model that was adopted: what its scores are compared with is float32 itself.
ADOPTED_FP32 = Tolerance(5e-5, 1e-4)
# Precisions without a graph of their own: the graph of another, its backbone's floating-point part computed in bf16.
BF16_OF = {"bf16": "fp32", "int8+bf16": "int8"}


@dataclass(frozen=True, slots=True)
class Parity:
    """How far scores are from the original's, over all windows and labels.

    windows: how many, each counted once. max_abs, p99: of the absolute difference. p99 is never interpolated but the
    larger neighbour, so that windows which are scored twice do not change it; of 100 differences or fewer it is the
    largest. top1_agreement: share of the windows with a top label (`top1_windows`) in which both agree on it within the
    tolerance; top1_other: in how many of them another label is on top, however close. worst_window: index of the window
    with the largest difference. window_p99: the 99 % of the window whose own is largest. beyond: windows that alone are
    beyond the tolerance, their own 99 % or their largest difference; beyond_bound: the share of windows that are, at
    most, with a confidence of 95 %.
    """

    windows: int
    max_abs: float
    p99: float
    top1_agreement: float
    top1_windows: int
    worst_window: int
    top1_other: int = 0
    window_p99: float = 0.0
    beyond: int = 0
    beyond_bound: float = 1.0

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
    that window in the evidence. cause: what mistake it looks like, "" if it looks like none, or passed.
    label: index of the class that differs most there.
    """

    parity: Parity
    tolerance: Tolerance
    worst: int
    name: str
    cause: str = ""
    label: int = 0

    @property
    def passed(self) -> bool:
        """Whether the scores are the original's, within the tolerance."""
        return self.parity.passes(self.tolerance)

    def explain(self, evidence: str = "", codes: Sequence[str] = ()) -> str:
        """What differs, by how much, what is allowed, in which window and class most.

        evidence: what it is called, `golden`. codes: of the classes; none: their numbers are told.
        """
        parity, allowed = self.parity, self.tolerance
        window = f"{evidence} window" if evidence else "window"
        return (
            f"scores differ by up to {parity.max_abs:.2g} (allowed {allowed.max:g}; 99 %: {parity.p99:.2g}, allowed "
            f"{allowed.p99:g}), the top label agrees in {parity.top1_agreement:.0%} of the windows, worst "
            f"{window} {self.name!r}, class {self.of_class(codes)}{f' ({self.cause})' if self.cause else ''}"
        )

    def bound(self) -> str:
        """How many windows were beyond the tolerance, and how many others may be."""
        return told_bound(self.parity.beyond, self.parity.windows)

    def of_class(self, codes: Sequence[str]) -> str:
        """The class that differs most in the worst window, by its code where these are given."""
        return repr(codes[self.label]) if codes else str(self.label)

    def require(self, claim: str, codes: Sequence[str] = ()) -> Parity:
        """The parity. Raises ParityError with what failed (`the engine does not score as ...`) unless it passed.

        codes: of the classes.
        """
        if not self.passed:
            raise ParityError(f"{claim}: {self.explain(codes=codes)}")
        return self.parity


def prove(
    score: Callable[[FloatArray], FloatArray],
    evidence: Evidence,
    sizes: Iterable[int],
    tolerance: Tolerance,
    group: int = 1,
) -> Proof:
    """Score all windows at the first batch size and some at each other one, and compare with the scores they must have.

    score: windows [batch, samples] -> scores [batch, classes]. sizes: the last batch of each is filled up with windows
    from the first on. group: windows that share a floor; where they are no whole groups, nothing is filled up.

    Raises ScoreError if a score is not finite.
    """
    windows, total = evidence.windows(), len(evidence.names)
    orders: list[NDArray[np.intp]] = []
    scores: list[FloatArray] = []
    for size in sizes:
        count = min(total, max(FURTHER_SIZES, size)) if orders else total
        rows = -(-count // size) * size if total % group == 0 else count
        orders.append(np.arange(rows) % total)
        scores.append(score_in_groups(score, windows[orders[-1]], size))
    order = np.concatenate(orders)
    found = np.concatenate(scores)
    parity = compare(evidence.scores[order], found, tolerance, order)
    worst = int(order[parity.worst_window])
    cause = ""
    if not parity.passes(tolerance):
        cause = likely_cause(evidence.scores, found, order, evidence.names, tolerance.max)
    label = int(np.abs(found[parity.worst_window] - evidence.scores[worst]).argmax())
    return Proof(parity, tolerance, worst, evidence.names[worst], cause, label)


def score_in_groups(score: Callable[[FloatArray], FloatArray], windows: FloatArray, size: int) -> FloatArray:
    """Scores [windows, classes] of windows [windows, samples], `size` of them at a time."""
    return np.concatenate([score(windows[i : i + size]) for i in range(0, len(windows), size)])


def compare(
    reference: NDArray[Any], scores: NDArray[Any], tolerance: Tolerance, windows: NDArray[np.intp] | None = None
) -> Parity:
    """Compare scores with the original's, both [rows, classes], 0 to 1.

    A window's top label agrees if the original scores it within `tolerance.max` of its best. windows: which window each
    row is of, [rows]; None: each of its own.

    Raises ScoreError if a score is not finite, ValueError if the shapes differ.
    """
    if reference.shape != scores.shape:
        raise ValueError(f"{scores.shape = } but {reference.shape = }")
    check_finite(scores)
    windows = np.arange(len(scores)) if windows is None else windows
    difference = np.abs(scores.astype(np.float64) - reference)
    largest, p99 = difference.max(axis=1), np.percentile(difference, 99, axis=1, method="higher")
    beyond = len(np.unique(windows[(largest > tolerance.max) | (p99 > tolerance.p99)]))
    count = len(np.unique(windows))
    best = reference.max(axis=1)
    top = scores.argmax(axis=1)
    chosen = np.take_along_axis(reference, top[:, None], axis=1)[:, 0]
    counted = best >= MIN_TOP_SCORE
    agrees = chosen[counted] >= best[counted] - tolerance.max
    other = counted & (chosen < best)
    return Parity(
        windows=count,
        max_abs=float(difference.max()),
        p99=float(np.percentile(difference, 99, method="higher")),
        top1_agreement=float(agrees.mean()) if len(agrees) else 1.0,
        top1_windows=len(np.unique(windows[counted])),
        worst_window=int(largest.argmax()),
        top1_other=len(np.unique(windows[other])),
        window_p99=float(p99.max()),
        beyond=beyond,
        beyond_bound=share_bound(beyond, count),
    )


def share_bound(found: int, windows: int, confidence: float = CONFIDENCE) -> float:
    """The share of all windows that is like the `found` ones among `windows`, at most: the exact binomial bound.

    C. J. Clopper, E. S. Pearson, Biometrika 26 (1934), one-sided: with a larger share, so few would be found with a
    probability below 1 - confidence. Windows of one recording are alike, so of few recordings it promises too much.
    """
    if found >= windows:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        share = (low + high) / 2
        if _at_most(found, windows, share) > 1 - confidence:
            low = share
        else:
            high = share
    return high


def _at_most(found: int, windows: int, share: float) -> float:
    """Probability of `found` or fewer of `windows`, each with the probability `share`, 0 to 1 exclusive."""
    hit, miss = math.log(share), math.log1p(-share)
    ways = (math.lgamma(windows + 1) - math.lgamma(k + 1) - math.lgamma(windows - k + 1) for k in range(found + 1))
    return math.fsum(math.exp(way + k * hit + (windows - k) * miss) for k, way in enumerate(ways))


def told_bound(beyond: int, windows: int, recordings: int = 0) -> str:
    """Evidence in words: how many windows of how many recordings (0: nobody counted), and what follows for others."""
    of = f" of {recordings} recordings" if recordings else ""
    bound = f"of others at most {share_bound(beyond, windows):.1%}, confidence {CONFIDENCE:.0%}"
    return f"{beyond} of {windows} windows{of} beyond the tolerance ({bound})"


def check_finite(scores: NDArray[Any]) -> None:
    """Raise ScoreError unless every score [windows, classes] is finite: such a score must never be a detection."""
    if np.isfinite(scores).all():
        return
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        window, label = bad[0]
        raise ScoreError(
            f"{len(bad)} of {scores.size} scores are not finite (first: window {window}, label {label}, "
            f"{scores[window, label]}): this engine cannot be trusted with this model",
            np.unique(bad[:, 0]).tolist(),
        )
