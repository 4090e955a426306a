"""Recordings scored by a pool of workers, and made into results here: a pooler for each, as if it were read here."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from edgebird.archives.pool import Pool, WorkerDiedError
from edgebird.archives.spans import ScoredSpan, WindowSpan, is_exact, spans_of, steps_of
from edgebird.card import floor_group
from edgebird.detection import Analysis, Settings
from edgebird.errors import AudioError
from edgebird.events import moment_of
from edgebird.fingerprint import fingerprint
from edgebird.readers import EACH, BegunRecording, Channel
from edgebird.recordings import Listened, Outcome, Watcher, Work, tell_all
from edgebird.scoring import Step
from edgebird.sinks import Sink
from edgebird.sources import FileSource, FoundAudio, tell_log

_SPAN_S = 300.0  # so long that opening a recording costs little beside it
_LEAST_S = 30.0  # of the last ones, so that workers end at about the same time
_ROUNDS = 4  # that are left when spans become shorter


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
    results = pool.run(_spans(recordings, work, begun, pool.size))
    while True:
        first = next(results, None)
        while begun and begun[0].error:
            unit = begun.popleft()
            yield Step(unit.listened, unit.name, error=unit.error)
        if first is None:
            return
        unit = begun.popleft()
        found = _found(unit, pool, chain([first], results))
        yield from _unit_steps(unit, found, len(work.runtime.card.labels))


def _found(
    unit: _Unit, pool: Pool[WindowSpan], results: Iterator[tuple[WindowSpan, ScoredSpan | WorkerDiedError]]
) -> Iterator[ScoredSpan | WorkerDiedError]:
    """What the spans of a channel came to. From the first on in which something is missing, all is read in one."""
    for number, span in enumerate(unit.spans):
        _, found = next(results)
        if len(unit.spans) > 1 and isinstance(found, ScoredSpan) and not is_exact(span, found):
            for _ in unit.spans[number + 1 :]:
                next(results)
            pool.again(replace(span, count=None, seeks=False))
            yield next(results)[1]
            return
        yield found


def _unit_steps(unit: _Unit, results: Iterator[ScoredSpan | WorkerDiedError], classes: int) -> Iterator[Step[Listened]]:
    """The steps of a channel. results: what its spans came to."""

    def scored() -> Iterator[ScoredSpan]:
        for found in results:
            if isinstance(found, WorkerDiedError):
                lost.append(found)
            elif not lost:
                for note in found.notes:
                    tell_log(*note)
                unit.listened.analysis.account(*found.account)
                yield found

    lost: list[WorkerDiedError] = []
    for step in steps_of(unit.listened, unit.name, scored(), classes):
        if not (step.is_end and lost):
            yield step
    if lost:
        error = AudioError(f"cannot score {unit.name}: several workers died with it: {lost[0]}")
        yield Step(unit.listened, unit.name, error=error)


def _spans(recordings: Sequence[FoundAudio], work: Work, begun: deque[_Unit], workers: int) -> Iterator[WindowSpan]:
    for number, found in enumerate(recordings, 1):
        for unit in _units(found, work, workers if number == len(recordings) else None):
            begun.append(unit)
            yield from unit.spans


def _units(found: FoundAudio, work: Work, workers: int | None) -> Iterator[_Unit]:
    """The channels of a recording. workers: that will have nothing else to do, None if there is more."""
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
    hop, size = work.settings.hop, floor_group(work.runtime.card.db_floor)
    windows = 0
    if first.seeks and first.duration_s is not None:  # one sample more or less is a matter of rounding
        windows = (int(first.duration_s * rate) - 1 - work.runtime.card.window_samples) // hop + 1
    least, most = (max(1, round(span_s * rate / hop / size)) * size for span_s in (min(_LEAST_S, _SPAN_S), _SPAN_S))

    def size_of(left: int) -> int:
        return min(most, max(least, left // (_ROUNDS * workers) // size * size)) if workers else most

    for number in range(1, first.channels + 1) if work.channel == EACH else [channel]:
        source = first if number == channel else first.of_channel(number or 1)
        spans = spans_of(found.path, number, windows, size_of)
        yield _Unit(_listened(Channel(recording, source), work), name, spans)


def _listened(channel: Channel, work: Work) -> Listened:
    source = channel.source
    when = partial(moment_of, source.origin, rate=source.rate) if source else lambda position: None
    return Listened(channel, Analysis(work.runtime.card, work.settings, when))
