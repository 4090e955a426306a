"""Many recordings through one runtime: each is analysed, its results go to every sink, a bad one stops no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain, groupby
from operator import attrgetter
from typing import Protocol

from edgebird.detection import Analysis, Result, Scored, Settings, reported, results_of, windows_of
from edgebird.errors import AudioError
from edgebird.events import Events
from edgebird.prefetch import prefetch
from edgebird.runtimes import Runtime
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.sinks import Recorded, Sink, begun
from edgebird.sources import FileSource, FoundAudio
from edgebird.types import Summary, Window

_AHEAD = 16  # windows, and ends, that are read before they are asked for; more where more are scored at once


class Watcher(Protocol):
    """Who is told how far the work is."""

    def begin(self, source: FileSource) -> None:
        """The results of a recording begin."""
        ...

    def advance(self, seconds: float) -> None:
        """So much more audio of it is scored."""
        ...

    def done(self, source: FileSource, summary: Summary) -> None:
        """A recording is through."""
        ...

    def failed(self, error: AudioError) -> None:
        """A recording could not be read, or not to its end."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What to do with recordings.

    timezone: where names without an offset were recorded, None for what fits. explain: tell rejected candidates too.
    """

    runtime: Runtime
    settings: Settings
    timezone: tzinfo | None = None
    explain: bool = False


def process(recordings: Sequence[FoundAudio], work: Work, sinks: Sequence[Sink], watcher: Watcher) -> int:
    """Analyse recordings one after the other; return how many could not be read, or not to their end.

    The next ones are read while windows are scored, and short ones are scored together. sinks: opened. Raises what the
    runtime and the sinks raise.
    """
    failed = 0
    reading = prefetch(_steps(recordings, work), max(_AHEAD, work.runtime.concurrency * work.runtime.batch_size))
    with closing(reading), closing(score_steps(reading, work.runtime)) as steps:
        for recording, its in groupby(steps, key=attrgetter("source")):
            try:
                _finish(recording, its, _Telling(work, sinks, watcher))
            except AudioError as error:
                failed += 1
                watcher.failed(error)
    return failed


@dataclass(slots=True, eq=False)
class _Recording:
    """A recording on its way. source: None until it is opened, and if it cannot be."""

    found: FoundAudio
    analysis: Analysis
    source: FileSource | None = None

    def windows(self, work: Work) -> Iterator[Window]:
        """Open it, which sets `source`, and cut it; called on the thread that reads ahead."""
        self.source = FileSource(self.found.path, work.runtime.card.sample_rate, timezone=work.timezone)
        yield from windows_of(self.analysis, self.source.blocks())


def _steps(recordings: Sequence[FoundAudio], work: Work) -> Iterator[Step[_Recording]]:
    for found in recordings:
        recording = _Recording(found, Analysis(work.runtime.card, work.settings))
        yield from source_steps(recording, recording.windows(work), str(found.path))


@dataclass(frozen=True, slots=True)
class _Telling:
    """Who is told of recordings, and what."""

    work: Work
    sinks: Sequence[Sink]
    watcher: Watcher

    def tell(self, recording: Recorded, result: Result) -> None:
        if isinstance(result, Scored):
            for sink in self.sinks:
                sink.score(recording, result.window, result.scores)
        elif told := reported(result, self.work.explain, live=False):
            card = self.work.runtime.card
            event = Events(card.labels, card.sample_rate).tell(recording.origin, told)
            for sink in self.sinks:
                sink.take(event, recording)


def _finish(recording: _Recording, steps: Iterator[Step[_Recording]], telling: _Telling) -> None:
    """Give the results of a recording to every sink. Raises the AudioError that kept it from being read."""
    first = next(steps)
    if first.error:
        raise first.error
    source, heard = recording.source, 0
    assert source is not None  # it has a first step
    telling.watcher.begin(source)
    told = Recorded(source.origin, recording.found.relative, source.rate)
    with begun(telling.sinks, told):
        for result in results_of(recording.analysis, chain([first], steps)):
            telling.tell(told, result)
            if isinstance(result, Scored):
                telling.watcher.advance((result.window.end - heard) / source.rate)
                heard = result.window.end
    assert isinstance(result, Summary)  # the last one
    telling.watcher.done(source, result)
