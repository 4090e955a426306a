"""Which detections are right, and which annotations were found: rules without files, in seconds.

A rule says when two spans are of each other. `Overlap`: they share at least so many seconds, or half of the shorter one
if that is less. `IoU`: what they share is at least so large a part of what both cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
NEVER = -1.0  # the score at which an annotation was found that was not


@dataclass(frozen=True, slots=True)
class Rule:
    """How spans are matched. overlap_s: seconds that they share. iou: instead of it, if not None."""

    overlap_s: float = 0.5
    iou: float | None = None

    def __str__(self) -> str:
        if self.iou is not None:
            return f"one detection for one annotation, the highest score first, with an IoU of at least {self.iou:g}"
        return f"they share at least {self.overlap_s:g} s, or half of the shorter one"


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Of one species in one recording. right: bool, of each detection. found: score at which each annotation was."""

    right: NDArray[np.bool_]
    found: Array


def shared(one: Array, other: Array) -> Array:
    """Return how many seconds spans [n, 2] and spans [m, 2] share: [n, m]."""
    starts = np.maximum(one[:, None, 0], other[None, :, 0])
    ends = np.minimum(one[:, None, 1], other[None, :, 1])
    seconds: Array = np.maximum(0.0, ends - starts)
    return seconds


def overlapping(one: Array, other: Array, overlap_s: float) -> NDArray[np.bool_]:
    """Return which spans [n, 2] and [m, 2] share enough, by `Overlap`: bool [n, m]."""
    common = shared(one, other)
    lengths = np.minimum(_lengths(one)[:, None], _lengths(other)[None, :])
    enough: NDArray[np.bool_] = (common > 0) & (common >= np.minimum(overlap_s, lengths / 2) - 1e-9)
    return enough


def match(detections: Array, scores: Array, annotations: Array, rule: Rule) -> Matched:
    """Match detections [n, 2] with scores [n] and annotations [m, 2].

    By `Overlap` a detection may hold several annotations, and one annotation several detections: a song is often marked
    note by note. By `IoU` each has one partner at most.
    """
    if rule.iou is not None:
        return _one_to_one(detections, scores, annotations, rule.iou)
    pairs = overlapping(detections, annotations, rule.overlap_s)
    best = np.where(pairs, scores[:, None], NEVER)
    found = best.max(axis=0, initial=NEVER)
    return Matched(np.asarray(pairs.any(axis=1)), found)


def _one_to_one(detections: Array, scores: Array, annotations: Array, least: float) -> Matched:
    common = shared(detections, annotations)
    union = _lengths(detections)[:, None] + _lengths(annotations)[None, :] - common
    iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    right, found = np.zeros(len(detections), np.bool_), np.full(len(annotations), NEVER)
    free = np.ones(len(annotations), np.bool_)
    for one in np.argsort(-scores, kind="stable"):
        candidates = np.where(free, iou[one], 0.0)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= least - 1e-9:
            right[one], found[best], free[best] = True, scores[one], False
    return Matched(right, found)


def windows(length_s: float, window_s: float, gaps: Sequence[tuple[float, float]] = ()) -> Array:
    """Return windows [n, 2] side by side; the last one counts if half of it is there, one half in gaps does not."""
    many = int(length_s / window_s + 0.5 + 1e-9)
    starts = np.arange(many) * window_s
    spans = np.stack([starts, starts + window_s], axis=1)
    lost = shared(spans, spans_of(gaps)).sum(axis=1)
    kept: Array = spans[lost < window_s / 2 - 1e-9]
    return kept


def in_windows(places: Array, spans: Array, overlap_s: float) -> NDArray[np.bool_]:
    """Return in which windows [n, 2] one of the spans [m, 2] is heard, by `Overlap`: bool [n]."""
    return np.asarray(overlapping(places, spans, overlap_s).any(axis=1))


def window_scores(places: Array, detections: Array, scores: Array, overlap_s: float) -> Array:
    """Return the score of each window [n, 2]: the highest of the detections that are in it, 0 without one."""
    pairs = overlapping(places, detections, overlap_s)
    best: Array = np.where(pairs, scores[None, :], 0.0).max(axis=1, initial=0.0)
    return best


def audible(annotations: Array, gaps: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Return which annotations [n, 2] are not wholly in gaps: nobody could find those."""
    lengths = _lengths(annotations)
    lost = shared(annotations, spans_of(gaps)).sum(axis=1)
    return np.asarray((lost < lengths - 1e-9) | (lengths == 0))


def spans_of(pairs: Sequence[tuple[float, float]]) -> Array:
    """Return pairs of seconds as an array [n, 2], also if there are none."""
    return np.array(list(pairs), np.float64).reshape(-1, 2)


def _lengths(spans: Array) -> Array:
    lengths: Array = spans[:, 1] - spans[:, 0]
    return lengths
