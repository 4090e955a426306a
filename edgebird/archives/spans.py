"""Recordings in spans, which workers score each by itself: what becomes of them is what becomes of whole recordings.

A span is some windows of a recording, by their numbers. Whoever scores it reads from there on. Windows begin where they
would if all were read as long as nothing is missing before them: `is_exact` tells, by what was found in each span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.card import floor_group
from edgebird.conditioning import Conditioner, SoundOptions
from edgebird.detection import Analysis, settings_for, windows_of
from edgebird.errors import AudioError, IncompleteAudioError, ScoreError
from edgebird.reading.sound import CUT_OFF
from edgebird.runtimes import Runtime
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.sources import FileSource
from edgebird.types import AudioBlock, FloatArray, Gap, Window

_NO_SOUND = np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """Windows of a channel of a recording.

    first: number of the first. count: None for all to the end. seeks: what is before is not read.
    """

    path: Path
    channel: int | None = None
    first: int = 0
    count: int | None = None
    seeks: bool = True


@dataclass(frozen=True, slots=True)
class SpanOptions:
    """How to score spans. hop: samples. floor: lower scores are not sent. timezone, sound: see `Work`."""

    hop: int
    floor: float
    timezone: tzinfo | None = None
    sound: SoundOptions | None = None


@dataclass(frozen=True, slots=True)
class SentWindow:
    """A window: its span, the labels with a score at or above the floor, int32, and these scores, float32.

    problem: why it has none.
    """

    start: int
    end: int
    labels: NDArray[np.int32]
    scores: FloatArray
    problem: str = ""


@dataclass(slots=True)
class ScoredSpan:
    """What a worker sends: windows and gaps in order; with the last span of a recording the rest.

    account: scored, gap and tail of all of it, in samples. error: what broke it off. is_incomplete: all else was read.
    notes: what its reading told, see `sources.Tell`.
    """

    steps: list[SentWindow | Gap] = field(default_factory=list)
    account: tuple[int, int, int] = (0, 0, 0)
    error: str = ""
    is_incomplete: bool = False
    notes: list[tuple[int, str]] = field(default_factory=list)


def spans_of(path: Path, channel: int | None, windows: int, size_of: Callable[[int], int]) -> list[WindowSpan]:
    """The spans of a channel. windows: how many are full. size_of: windows of a span, by how many are left."""
    spans, first = [], 0
    while windows - first > (size := size_of(windows - first)):
        spans.append(WindowSpan(path, channel, first, size))
        first += size
    return [*spans, WindowSpan(path, channel, first)]


def is_exact(span: WindowSpan, found: ScoredSpan) -> bool:
    """Whether nothing is missing in a span, but at the end of a recording: what is behind stands where it should."""
    gaps = [step.reason for step in found.steps if isinstance(step, Gap)]
    if span.count is None:
        return set(gaps) <= {CUT_OFF}
    return not gaps and len(found.steps) == span.count


def score_span(span: WindowSpan, runtime: Runtime, how: SpanOptions) -> ScoredSpan:
    """Score a span. What is wrong with the recording is sent too. Raises what the runtime raises."""
    sent, rate = ScoredSpan(), runtime.card.sample_rate
    try:
        source = FileSource(span.path, rate, None, how.timezone, span.channel, lambda *note: sent.notes.append(note))
    except AudioError as error:
        sent.error = str(error)
        return sent
    analysis = Analysis(runtime.card, settings_for(runtime.card, how.hop / rate))
    # With a window before its own: what is too short for one at the end is told from where the last one ended.
    skipped = max(0, span.first - floor_group(runtime.card.db_floor)) if span.seeks else 0
    begin = skipped * how.hop
    blocks = source.blocks(decode_ahead=True, start=source.start_before(begin))
    if how.sound:
        blocks = map(Conditioner(how.sound, rate).apply, blocks)
    steps = source_steps(None, windows_of(analysis, _behind(blocks, begin)), str(span.path))
    for step in score_steps(_within(steps, span, skipped), runtime):
        if step.gap is not None:
            sent.steps.append(step.gap)
        elif step.window is not None:
            sent.steps.append(_sent(step, how.floor))
        else:
            sent.error = str(step.error or "")
            sent.is_incomplete = isinstance(step.error, IncompleteAudioError)
    summary = analysis.summary()
    before = min(begin, summary.gap)
    sent.account = summary.scored + before, summary.gap - before, summary.tail
    if span.count is not None:
        sent.notes.clear()  # the last span tells them
    return sent


def _behind(blocks: Iterable[AudioBlock], begin: int) -> Iterator[AudioBlock]:
    """The blocks from a position on."""
    for block in blocks:
        if block.end > begin or begin == 0:
            before = max(0, begin - block.start)
            yield AudioBlock(block.samples[before:], block.start + before, block.lost)


def _within(steps: Iterable[Step[None]], span: WindowSpan, number: int) -> Iterator[Step[None]]:
    """The steps of a span, its gaps among them; the end is of the last span. number: of the first window."""
    end = None if span.count is None else span.first + span.count
    for step in steps:
        if step.is_end and end is not None:
            return
        if number >= span.first or step.is_end:
            yield step
        number += step.window is not None
        if number == end:
            return


def _sent(step: Step[None], floor: float) -> SentWindow:
    assert step.window is not None
    start, end = step.window.start, step.window.end
    if step.scores is None:
        return SentWindow(start, end, np.empty(0, np.int32), _NO_SOUND, str(step.error))
    labels = np.flatnonzero(step.scores >= floor).astype(np.int32)
    return SentWindow(start, end, labels, step.scores[labels])


def steps_of(source: Any, name: str, spans: Iterable[ScoredSpan], classes: int) -> Iterator[Step[Any]]:
    """The steps of a channel again, its end last: windows without sound, and scores below the floor as 0."""
    span = ScoredSpan()
    for span in spans:
        for sent in span.steps:
            if isinstance(sent, Gap):
                yield Step(source, name, gap=sent)
                continue
            window = Window(_NO_SOUND, sent.start, sent.end)
            if sent.problem:
                yield Step(source, name, window, error=ScoreError(sent.problem))
                continue
            scores = np.zeros(classes, np.float32)
            scores[sent.labels] = sent.scores
            yield Step(source, name, window, scores)
    error = IncompleteAudioError(span.error) if span.is_incomplete else AudioError(span.error)
    yield Step(source, name, error=error if span.error else None)
