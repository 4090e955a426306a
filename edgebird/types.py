"""The values that flow through edgebird: blocks of audio, windows, detections.

Time is an integer count of samples at the model's rate since the start of the source; seconds appear where a user
reads them, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a model: its eBird code (or any unique code), scientific and common name."""

    code: str
    scientific_name: str
    common_name: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where audio comes from.

    name: what events call it. path: the file, None for live sources. started: wall-clock time of the first sample,
    with its UTC offset; None where nobody knows. zone_assumed: which time zone was taken for it, as nothing says where
    it was recorded; None where something does. channel: which one of the file was asked for, from 1 on; None for the
    mean of all.
    """

    name: str
    path: Path | None = None
    started: datetime | None = None
    zone_assumed: str | None = None
    channel: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """A piece of a source.

    samples: float32 [n], mono, -1 to 1, at the model's rate; not written to after it is handed over.
    start: position of the first sample since the start of the source.
    lost: why the audio before it is missing, if the block before it ended earlier.
    """

    samples: FloatArray
    start: int
    lost: str = ""

    @property
    def end(self) -> int:
        """Position just after the last sample."""
        return self.start + len(self.samples)


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio that is missing. start, end: samples since the start of the source. reason: a word, as events have it."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What a model scores at once.

    samples: float32 [window_samples], zeros after `end - start` if the source ended earlier.
    start, end: the span of real audio in it, in samples since the start of the source.
    """

    samples: FloatArray
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Detection:
    """A label heard in consecutive windows.

    label: index into the card's labels. score: the highest of its windows, 0 to 1.
    start, end: samples since the start of the source. windows: how many were at or above the threshold.
    streak: the longest run of them without one below the threshold in between.
    """

    label: int
    score: float
    start: int
    end: int
    windows: int
    streak: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that did not become a detection, and why.

    reason: a word, such as `below_min_windows` (docs/formats.md has all). detail: more of it, as events have it.
    """

    candidate: Detection
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A window that a stage of a cascade stopped. start, end: samples. stage: `gate` or `fold`."""

    start: int
    end: int
    stage: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The account of one source: scored + gap + tail = its audio, in samples.

    scored: samples inside at least one scored window; gap: samples lost; tail: the unscored rest at the end.
    windows: how many were scored. detections: how many were reported. wall_s: seconds of wall clock from its beginning
    to its end; recordings that are worked on together overlap. voices: detections that were not reported as somebody
    spoke; None where that does not matter. stopped: windows by the stage of a cascade that stopped them; None without.
    """

    scored: int
    gap: int
    tail: int
    windows: int
    detections: int
    wall_s: float
    voices: int | None = None
    stopped: Mapping[str, int] | None = None
