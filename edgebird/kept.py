"""Which of the full model's detections another way has too, and what a cascade keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebird.cascade import Bound, JudgedWindows, bound_of
from edgebird.pooling import LONGEST_S, Pooler
from edgebird.sources import FileSource
from edgebird.types import Detection, FloatArray, Window
from edgebird.windows import MIN_TAIL_S, Windower

OVERLAP = 0.5  # of the longer of two detections of one label: they are the same
_SILENCE = np.empty(0, np.float32)


def windows_apart(path: Path, rate: int, samples: int) -> Iterator[Window]:
    """Windows of a recording, one after the other, without overlap. Raises AudioError after those before the damage."""
    windower = Windower(samples, samples, round(MIN_TAIL_S * rate))
    for block in FileSource(path, rate).blocks():
        yield from windower.push(block)
    yield from windower.finish()


def matches(wanted: Sequence[Sequence[Detection]], found: Sequence[Sequence[Detection]]) -> tuple[int, int]:
    """How many detections of recordings are among those found there, and how many were found besides; each once."""
    kept = new = 0
    for theirs, ours in zip(wanted, found, strict=True):
        left = list(theirs)
        for detection in ours:
            same = next((other for other in left if _same(other, detection)), None)
            if same is None:
                new += 1
            else:
                left.remove(same)
                kept += 1
    return kept, new


def _same(one: Detection, other: Detection) -> bool:
    shared = min(one.end, other.end) - max(one.start, other.start)
    return one.label == other.label and shared >= OVERLAP * max(one.end - one.start, other.end - other.start)


def kept_of(judged: JudgedWindows, spans: NDArray[np.int64], threshold: float, rate: int) -> Bound:
    """The bound of a cascade, and how many detections it keeps.

    spans: [windows, 2], start and end of each in its recording, in samples, in order and without overlap. rate: in Hz.
    """
    longest = round(LONGEST_S * rate)
    stopped = np.where(judged.stages[:, np.newaxis] > 0, 0, judged.scores).astype(np.float32)
    wanted: list[list[Detection]] = []
    found: list[list[Detection]] = []
    for recording in np.unique(judged.recordings):
        rows = np.flatnonzero(judged.recordings == recording)
        for scores, told in ((judged.scores, wanted), (stopped, found)):
            told.append(_detections(scores[rows], spans[rows], threshold, longest))
    kept, _ = matches(wanted, found)
    bound = bound_of(judged, threshold)
    return replace(bound, detections=sum(map(len, wanted)), detections_kept=kept)


def _detections(scores: FloatArray, spans: NDArray[np.int64], threshold: float, longest: int) -> list[Detection]:
    pooler = Pooler(np.full(scores.shape[1], max(threshold, 1e-9), np.float32), 1, longest)
    pooled = []
    for row, (start, end) in zip(scores, spans.tolist(), strict=True):
        pooled += pooler.push(Window(_SILENCE, start, end), row, end)
    pooled += pooler.finish()
    return [found for found in pooled if isinstance(found, Detection)]
