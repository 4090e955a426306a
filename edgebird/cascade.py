"""The cascade: cheap stages before the full model, and the bound on what they miss (docs/cascade.md).

A window that a stage stops has no scores of the full model. In place of them it has the same number for every label,
which no score is: see `STOPPED`. Pure data and functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.parity import CONFIDENCE, share_bound
from edgebird.types import FloatArray

WANTED = 0.99  # of the pairs must be kept
RECORDINGS = 8  # in which there is a pair, at least: of fewer, drawing them again says nothing
GATE, FOLD = 1, 2  # stages that stop windows
STAGES = {GATE: "gate", FOLD: "fold"}
STOPPED = {GATE: np.float32(-1), FOLD: np.float32(-2)}  # in place of the scores of a window that a stage stopped
AUDIT = 0.05  # of the windows that are stopped are scored in full all the same, if nobody says how many
_DRAWS = 2000  # of the recordings


@dataclass(frozen=True, slots=True)
class StageFile:
    """A graph of the bundle: file name and SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Bound:
    """What was kept of the pairs (window, label) that the full model scores at or above the threshold.

    windows: of how many recordings, none of them used to fit or to choose anything; those with pairs are
    `recordings_with`. kept_least: the share that is kept, at least, with a confidence of 95 %: the smaller one of the
    exact binomial bound and of the percentile of recordings drawn again. stopped: windows by stage. detections: of the
    full model; detections_kept: those that the cascade has too, with the same label and half of the longer one shared.
    """

    windows: int
    recordings: int
    recordings_with: int
    pairs: int
    missed: int
    kept_least: float
    stopped: Mapping[str, int]
    detections: int = 0
    detections_kept: int = 0

    @property
    def holds(self) -> bool:
        """Whether enough is kept, in enough recordings."""
        return self.kept_least >= WANTED and self.recordings_with >= RECORDINGS

    def to_json(self) -> dict[str, Any]:
        """As `edgebird verify --json` prints it."""
        return asdict(self)

    def told(self) -> str:
        """In words."""
        stopped = told_stopped(self.stopped, self.windows)
        return (
            f"{self.pairs - self.missed} of {self.pairs} pairs kept, at least {self.kept_least:.1%} with "
            f"{CONFIDENCE:.0%} confidence ({self.windows} windows of {self.recordings} recordings: {stopped}); "
            f"{self.detections_kept} of {self.detections} detections kept"
        )


@dataclass(frozen=True, slots=True)
class Cascade:
    """What a card says of its cascade.

    gate: the graph that judges an image. head: the one that judges the first fold's scores; None where there is no such
    stage, as with a single fold. stages: precision -> part -> graph. The part `front` makes the image of audio,
    `first` the first fold's scores of the image, `rest` all scores; a single fold has no `rest`. Their weights are in
    the precision's own graph. image, first: tensors at which it is cut. threshold: of the pairs; nothing below may be
    a detection. gate_least, head_least: the logits that a window needs to pass; None where there is no head. share:
    the gate's multiplications, of one fold's. evidence: what the bounds were found with. bounds: by precision.
    """

    gate: StageFile
    head: StageFile | None
    stages: Mapping[str, Mapping[str, StageFile]]
    image: str
    first: str
    threshold: float
    gate_least: float
    head_least: float | None
    share: float
    evidence: str
    bounds: Mapping[str, Bound] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Cascade:
        """That of a card."""
        stages = {
            precision: {part: StageFile(**file) for part, file in parts.items()}
            for precision, parts in content["stages"].items()
        }
        bounds = {precision: Bound(**bound) for precision, bound in content["bounds"].items()}
        head = StageFile(**file) if (file := content["head"]) else None
        judges = {"gate": StageFile(**content["gate"]), "head": head}
        return cls(**{**content, **judges, "stages": stages, "bounds": bounds})

    def hashes(self) -> dict[str, str]:
        """Name and SHA-256 of its files."""
        files = [self.gate, *(file for parts in self.stages.values() for file in parts.values())]
        return {file.file: file.sha256 for file in (*files, *([self.head] if self.head else []))}


def told_stopped(stopped: Mapping[str, int], windows: int) -> str:
    """In words. stopped: windows by stage, of so many."""
    return ", ".join(f"{count / max(windows, 1):.0%} stopped by the {stage}" for stage, count in stopped.items())


@dataclass(frozen=True, slots=True)
class CascadeUse:
    """How a cascade is used. audit, song_s: see `drift.DriftTest`."""

    audit: float
    song_s: float = 0.0


def sure_of(first: FloatArray, threshold: float) -> NDArray[np.bool_]:
    """Windows that no head stops, [windows], of the first fold's scores [windows, classes].

    Their highest score is half way from the threshold to 1, or more: of a bird that was not heard while the head was
    fitted it knows nothing.
    """
    sure: NDArray[np.bool_] = first.max(axis=1) >= (1 + threshold) / 2
    return sure


def stage_of(scores: FloatArray) -> int:
    """Which stage stopped a window with these scores, [classes]; 0 for none."""
    return -int(scores[0]) if len(scores) and scores[0] < 0 else 0


@dataclass(frozen=True, slots=True, eq=False)
class JudgedWindows:
    """Windows that were scored in full although a stage would have stopped some.

    scores: [windows, classes]. stages: [windows], which would have stopped it, 0 for none. recordings: [windows], the
    number of the recording that each is of.
    """

    scores: FloatArray
    stages: NDArray[np.int_]
    recordings: NDArray[np.int_]


def bound_of(judged: JudgedWindows, threshold: float, seed: int = 0) -> Bound:
    """The bound on what is kept, of non-overlapping windows; without detections."""
    hits = (judged.scores >= threshold).sum(axis=1)
    missed = np.where(judged.stages > 0, hits, 0)
    pairs, lost = int(hits.sum()), int(missed.sum())
    of_recording = _sums(judged.recordings, hits), _sums(judged.recordings, missed)
    least = min(1 - share_bound(lost, pairs), _resampled(*of_recording, seed)) if pairs else 0.0
    return Bound(
        windows=len(hits),
        recordings=len(np.unique(judged.recordings)),
        recordings_with=int((of_recording[0] > 0).sum()),
        pairs=pairs,
        missed=lost,
        kept_least=least,
        stopped={name: int((judged.stages == stage).sum()) for stage, name in STAGES.items()},
    )


def _sums(recordings: NDArray[np.int_], counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """Of each recording."""
    _, index = np.unique(recordings, return_inverse=True)
    return np.bincount(index, counts).astype(np.float64)


def _resampled(pairs: NDArray[np.float64], missed: NDArray[np.float64], seed: int) -> float:
    """The 5th percentile of the share kept, of recordings drawn again with replacement (B. Efron, 1979)."""
    having = pairs > 0
    pairs, missed = pairs[having], missed[having]
    drawn = np.random.default_rng(seed).integers(len(pairs), size=(_DRAWS, len(pairs)))
    kept = 1 - missed[drawn].sum(axis=1) / pairs[drawn].sum(axis=1)
    return float(np.percentile(kept, 100 * (1 - CONFIDENCE), method="lower"))


def pairs_wanted(missed: int = 0) -> int:
    """The fewest pairs with which a bound can hold, if so many of them are missed: 299 for none, 473 for one."""
    few, enough = missed, math.ceil(10 * (missed + 1) / (1 - WANTED))
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if 1 - share_bound(missed, middle) >= WANTED else (middle, enough)
    return enough


def most_missed(pairs: int) -> int:
    """With how many of so many pairs missed the bound still holds; -1 if not even with none."""
    few, many = -1, math.ceil(pairs * (1 - WANTED)) + 1  # the binomial bound never holds at the share itself
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if 1 - share_bound(middle, pairs) >= WANTED else (few, middle)
    return few
