"""Many recordings through one runtime: each is analysed, its results go to every output, a bad one stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import PurePath
from typing import Protocol, TypeAlias

from edgebird.ahead import ahead
from edgebird.detection import Result, Settings, analyse
from edgebird.errors import AudioError
from edgebird.runtimes import Runtime
from edgebird.sources import FileSource, FoundAudio
from edgebird.types import AudioBlock, Origin, Summary

Take: TypeAlias = Callable[[Result], None]


class Output(Protocol):
    """Where results go."""

    def recording(self, origin: Origin, relative: PurePath) -> AbstractContextManager[Take]:
        """Begin a recording: gives what takes its results. Leaving by an exception means it could not be finished."""
        ...


class Watcher(Protocol):
    """Who is told how far the work is."""

    def begin(self, source: FileSource) -> None:
        """A recording is opened."""
        ...

    def advance(self, seconds: float) -> None:
        """So much more audio of it is read."""
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

    Raises what the runtime and the outputs raise.
    """
    failed = 0
    for found in recordings:
        try:
            source = FileSource(found.path, work.runtime.card.sample_rate, timezone=work.timezone)
            watcher.begin(source)
            summary = _process_one(source, found.relative, work, outputs, watcher)
        except AudioError as error:
            failed += 1
            watcher.failed(error)
        else:
            watcher.done(source, summary)
    return failed


def _process_one(
    source: FileSource, relative: PurePath, work: Work, outputs: Sequence[Output], watcher: Watcher
) -> Summary:
    with ExitStack() as stack:
        takers = [stack.enter_context(output.recording(source.origin, relative)) for output in outputs]
        for result in analyse(_watched(source, work, watcher), work.runtime, work.settings):
            for take in takers:
                take(result)
    assert isinstance(result, Summary)  # the last one
    return result


def _watched(source: FileSource, work: Work, watcher: Watcher) -> Iterator[AudioBlock]:
    for block in ahead(source.blocks()):
        yield block
        watcher.advance(len(block.samples) / work.runtime.card.sample_rate)
