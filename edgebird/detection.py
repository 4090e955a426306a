"""Detection: a source's audio, cut into windows, scored, pooled. The one path that files and live sources share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.card import Card
from edgebird.errors import ScoreError, UsageError
from edgebird.events import Event, Events
from edgebird.pooling import Onset, Pooler
from edgebird.runtimes import Runtime
from edgebird.sources import FileSource
from edgebird.types import AudioBlock, Detection, FloatArray, Rejected, Summary, Window
from edgebird.windows import Windower

HOP_S = 2.5
THRESHOLD = 0.3
MIN_TAIL_S = 0.5  # a shorter rest at the end is not scored
LONGEST_S = 60.0  # a longer detection comes in pieces


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """How windows become detections.

    hop: samples between the starts of windows. threshold: lowest score that counts, one for all labels or float32
    [classes]. min_windows: consecutive windows that confirm a detection. allowed: bool [classes], None for all.
    """

    hop: int
    threshold: float | FloatArray = THRESHOLD
    min_windows: int = 1
    allowed: NDArray[np.bool_] | None = None


def settings_for(
    card: Card,
    hop_s: float = HOP_S,
    threshold: float = THRESHOLD,
    min_windows: int = 1,
    allowed: NDArray[np.bool_] | None = None,
) -> Settings:
    """Settings in a user's units, checked against the model. Raises UsageError."""
    window_s = card.window_samples / card.sample_rate
    hop = round(hop_s * card.sample_rate) if np.isfinite(hop_s) else 0
    if not 0 < hop <= card.window_samples:
        raise UsageError(f"hop {hop_s:g} s: wanted more than 0 and at most the window, {window_s:g} s")
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold:g}: wanted 0 to 1")
    if min_windows < 1:
        raise UsageError(f"min-windows {min_windows}: wanted 1 or more")
    return Settings(hop, threshold, min_windows, allowed)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A window's span and its scores, float32 [classes]."""

    window: Window
    scores: FloatArray


Result: TypeAlias = Scored | Detection | Rejected | Onset | Summary


def analyse(blocks: Iterable[AudioBlock], runtime: Runtime, settings: Settings) -> Iterator[Result]:
    """Score the blocks of one source and give its results as they become certain, the Summary last.

    Windows are scored in consecutive groups of the card's largest batch from the start of the source.
    Raises what the blocks and the runtime raise.
    """
    started = time.monotonic()
    card = runtime.card
    windower = Windower(card.window_samples, settings.hop, round(MIN_TAIL_S * card.sample_rate))
    thresholds = np.broadcast_to(np.float32(settings.threshold), len(card.labels))
    longest = round(LONGEST_S * card.sample_rate)
    pooler = Pooler(thresholds, settings.min_windows, longest, settings.allowed)
    counted = detections = 0
    for group in _grouped(_windows(blocks, windower), max(card.batches)):
        scores = _infer(runtime, group)
        for window, row in zip(group, scores, strict=True):
            yield Scored(window, row)
            for result in pooler.push(window, row, window.start + settings.hop):
                detections += isinstance(result, Detection)
                yield result
        counted += len(group)
    for result in pooler.finish():
        detections += isinstance(result, Detection)
        yield result
    wall = time.monotonic() - started
    yield Summary(windower.scored, windower.gap, windower.tail, counted, detections, wall)


def _windows(blocks: Iterable[AudioBlock], windower: Windower) -> Iterator[Window]:
    for block in blocks:
        yield from windower.push(block)
    yield from windower.finish()


def _grouped(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    group: list[Window] = []
    for window in windows:
        group.append(window)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _infer(runtime: Runtime, group: list[Window]) -> FloatArray:
    try:
        return runtime.infer(np.stack([window.samples for window in group]))
    except ScoreError as error:
        rate = runtime.card.sample_rate
        span = f"{group[0].start / rate:g}-{group[-1].end / rate:g} s"
        raise ScoreError(f"{runtime.name}, audio at {span}: {error}") from error


def detect(
    path: str | os.PathLike[str],
    runtime: Runtime,
    hop_s: float = HOP_S,
    threshold: float = THRESHOLD,
    min_windows: int = 1,
) -> Iterator[Event]:
    """Give the detections of a recording as events: the objects that `edgebird detect --format jsonl` prints.

    Raises AudioError for a file that cannot be read, UsageError for settings that do not fit.
    """
    card = runtime.card
    source = FileSource(Path(path), card.sample_rate)
    events = Events(card.labels, card.sample_rate)
    for result in analyse(source.blocks(), runtime, settings_for(card, hop_s, threshold, min_windows)):
        if isinstance(result, Detection):
            yield events.tell(source.origin, result)
