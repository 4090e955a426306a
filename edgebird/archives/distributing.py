"""Recordings scored by a pool of workers, and made into results here: a pooler for each, as if it were read here."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgebird.archives.pool import Pool, WorkerDiedError
from edgebird.archives.spans import ScoredSpan, WindowSpan, spans_of, steps_of
from edgebird.card import Card, floor_group
from edgebird.detection import Analysis, Settings
from edgebird.errors import AudioError
from edgebird.events import moment_of
from edgebird.fingerprint import fingerprint
from edgebird.readers import EACH, BegunRecording, Channel
from edgebird.recordings import Listened, Outcome, Watcher, Work, tell_all
from edgebird.scoring import Step
from edgebird.sinks import Sink
from edgebird.sources import FileSource, FoundAudio, tell_log

# Each span is read from the start of its recording: more of them would cost more than they gain.
_SPAN_S, _MOST_SPANS = 3600.0, 8


@dataclass(slots=True, eq=False)
class _Unit:
    """A channel on its way. error: why it cannot be opened."""

    listened: Listened
    name: str
    spans: list[WindowSpan]
    error: AudioError | None = None


def floor_of(settings: Settings, scores: float | None) -> float:
    """The lowest score that anything here depends on. scores: from where on all are kept."""
    floors = [float(np.min(settings.threshold)), 1.0 if scores is None else scores]
    return min(floors + ([settings.suppression.threshold] if settings.suppression else []))


def process_on(
    pool: Pool[WindowSpan], recordings: Sequence[FoundAudio], work: Work, sinks: Sequence[Sink], watcher: Watcher
) -> Outcome:
    """Do what `recordings.process` does, with the workers of a pool. Raises what those raise, and what a sink does."""
    with closing(_steps(pool, recordings, work)) as steps:
        return tell_all(steps, work, sinks, watcher)


def _steps(
    pool: Pool[WindowSpan], recordings: Sequence[FoundAudio], work: Work
) -> Generator[Step[Listened], None, None]:
    begun: deque[_Unit] = deque()
    results = pool.run(_spans(recordings, work, begun))
    while True:
        first = next(results, None)
        while begun and begun[0].error:
            unit = begun.popleft()
            yield Step(unit.listened, unit.name, error=unit.error)
        if first is None:
            return
        yield from _unit_steps(begun.popleft(), first[1], results, work.runtime.card)


def _unit_steps(
    unit: _Unit, first: ScoredSpan | WorkerDiedError, results: Iterator[tuple[WindowSpan, ScoredSpan]], card: Card
) -> Iterator[Step[Listened]]:
    """The steps of a channel. first: what its first span came to."""

    def scored() -> Iterator[ScoredSpan]:
        for number in range(len(unit.spans)):
            found = next(results)[1] if number else first
            if isinstance(found, WorkerDiedError):
                lost.append(found)
            elif not lost:
                for note in found.notes:
                    tell_log(*note)
                unit.listened.analysis.account(*found.account)
                yield found

    lost: list[WorkerDiedError] = []
    for step in steps_of(unit.listened, unit.name, scored(), len(card.labels)):
        if not (step.is_end and lost):
            yield step
    if lost:
        error = AudioError(f"cannot score {unit.name}: several workers died with it: {lost[0]}")
        yield Step(unit.listened, unit.name, error=error)


def _spans(recordings: Sequence[FoundAudio], work: Work, begun: deque[_Unit]) -> Iterator[WindowSpan]:
    for found in recordings:
        for unit in _units(found, work):
            begun.append(unit)
            yield from unit.spans


def _units(found: FoundAudio, work: Work) -> Iterator[_Unit]:
    recording, rate, name = BegunRecording(found), work.runtime.card.sample_rate, str(found.path)
    if work.fingerprints:
        recording.fingerprint = fingerprint(found.path)
    try:
        channel = 1 if work.channel == EACH else work.channel
        first = FileSource(found.path, rate, None, work.timezone, channel, lambda *note: None)
    except AudioError as error:
        yield _Unit(_listened(Channel(recording, None), work), name, [], error)
        return
    recording.origin = first.origin
    windows = None if first.duration_s is None else int(first.duration_s * rate / work.settings.hop)
    size = floor_group(work.runtime.card.db_floor)
    most = max(round(_SPAN_S * rate / work.settings.hop), (windows or 0) // _MOST_SPANS) // size * size
    for number in range(1, first.channels + 1) if work.channel == EACH else [channel]:
        source = first if number == channel else first.of_channel(number or 1)
        spans = spans_of(found.path, number, windows, max(size, most))
        yield _Unit(_listened(Channel(recording, source), work), name, spans)


def _listened(channel: Channel, work: Work) -> Listened:
    source = channel.source
    when = partial(moment_of, source.origin, rate=source.rate) if source else lambda position: None
    return Listened(channel, Analysis(work.runtime.card, work.settings, when))
