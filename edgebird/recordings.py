"""Many recordings through one runtime: each is analysed, its results go to every output, a bad one stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain, groupby
from operator import attrgetter
from pathlib import PurePath
from typing import Protocol, TypeAlias

from edgebird.detection import Analysis, Result, Scored, Settings, results_of, windows_of
from edgebird.errors import AudioError
from edgebird.prefetch import prefetch
from edgebird.runtimes import Runtime
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.sources import FileSource, FoundAudio
from edgebird.types import Origin, Summary, Window

_AHEAD = 16  # windows, and ends, that are read before they are asked for; more where more are scored at once

Take: TypeAlias = Callable[[Result], None]


class Output(Protocol):
    """Where results go."""

    def recording(self, origin: Origin, relative: PurePath) -> AbstractContextManager[Take]:
        """Begin a recording: gives what takes its results. Leaving by an exception means it could not be finished."""
        ...


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
    """What to do with recordings: the runtime, the settings, where names without an offset were recorded."""

    runtime: Runtime
    settings: Settings
    timezone: tzinfo | None = None


def process(recordings: Sequence[FoundAudio], work: Work, outputs: Sequence[Output], watcher: Watcher) -> int:
    """Analyse recordings one after the other; return how many could not be read, or not to their end.

    The next ones are read while windows are scored, and short ones are scored together. Raises what the runtime and the
    outputs raise.
    """
    failed = 0
    reading = prefetch(_steps(recordings, work), max(_AHEAD, work.runtime.concurrency * work.runtime.batch_size))
    with closing(reading), closing(score_steps(reading, work.runtime)) as steps:
        for recording, its in groupby(steps, key=attrgetter("source")):
            try:
                _finish(recording, its, outputs, watcher)
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


def _finish(
    recording: _Recording, steps: Iterator[Step[_Recording]], outputs: Sequence[Output], watcher: Watcher
) -> None:
    """Give the results of a recording to every output. Raises the AudioError that kept it from being read."""
    first = next(steps)
    if first.error:
        raise first.error
    source, heard = recording.source, 0
    assert source is not None  # it has a first step
    watcher.begin(source)
    with ExitStack() as stack:
        takers = [stack.enter_context(out.recording(source.origin, recording.found.relative)) for out in outputs]
        for result in results_of(recording.analysis, chain([first], steps)):
            for take in takers:
                take(result)
            if isinstance(result, Scored):
                watcher.advance((result.window.end - heard) / source.rate)
                heard = result.window.end
    assert isinstance(result, Summary)  # the last one
    watcher.done(source, result)
