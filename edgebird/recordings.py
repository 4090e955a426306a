"""Many recordings through one runtime: each is analysed, its results go to every sink, a bad one stops no other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain, groupby
from typing import Protocol

import numpy as np

from edgebird.detection import Analysis, Result, Scored, Settings, reported, results_of, windows_of
from edgebird.errors import AudioError, IncompleteAudioError
from edgebird.events import Events
from edgebird.prefetch import prefetch
from edgebird.runtimes import Runtime
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.sinks import Begun, Recorded, Sink, begun
from edgebird.sources import FileSource, FoundAudio
from edgebird.types import AudioBlock, Gap, Origin, Summary, Window

logger = logging.getLogger(__name__)

EACH = 0  # as a channel: each one apart
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
        """A recording could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What to do with recordings.

    timezone: where names without an offset were recorded, None for what fits. explain: tell rejected candidates too.
    channel: which one to listen to, from 1 on; 0 for each one apart, None for the mean of all.
    on_grid: windows begin at multiples of the hop also after a gap, which is made longer for it.
    """

    runtime: Runtime
    settings: Settings
    timezone: tzinfo | None = None
    explain: bool = False
    channel: int | None = None
    on_grid: bool = False


@dataclass(slots=True)
class Outcome:
    """How many recordings could not be read at all, of how many a part is missing, and how many are not fully written.

    unwritten: of these a sink failed to take the results.
    """

    failed: int = 0
    incomplete: int = 0
    unwritten: int = 0


def process(recordings: Sequence[FoundAudio], work: Work, sinks: Sequence[Sink], watcher: Watcher) -> Outcome:
    """Analyse recordings one after the other. If a part of one is missing, a warning says so; all else is told.

    The next ones are read while windows are scored, and short ones are scored together. sinks: opened. One that fails
    does not stop the others: an error in the log says so. Raises what the runtime raises, and what the last sink does.
    """
    outcome, telling, is_told = Outcome(), _Telling(work, list(sinks), watcher), False
    reading = prefetch(_steps(recordings, work), max(_AHEAD, work.runtime.concurrency * work.runtime.batch_size))
    with closing(reading), closing(score_steps(reading, work.runtime)) as steps:
        for recording, its in groupby(steps, key=lambda step: step.source.recording):
            try:
                incomplete = _finish(recording, its, telling)
            except AudioError as error:
                outcome.failed += 1
                watcher.failed(error)
                continue
            outcome.unwritten += telling.unwritten
            if incomplete:
                outcome.incomplete += 1
                logger.warning("%s", incomplete)
            if recording.origin and recording.origin.zone_assumed and not is_told:
                is_told = True
                warn_of_assumed_zone(recording.origin)
    return outcome


def warn_of_assumed_zone(origin: Origin) -> None:
    """Say of a recording, and of all others, what was assumed of its time zone; nothing if it tells its own."""
    if origin.zone_assumed:
        logger.warning(
            "%s: its time zone is not told; where it is not, UTC is assumed for AudioMoth's names and this computer's "
            "local time for others (`zone_assumed` in the events; --timezone sets it)",
            origin.name,
        )


@dataclass(slots=True, eq=False)
class _Recording:
    """A recording on its way. origin: None until it is opened."""

    found: FoundAudio
    origin: Origin | None = None


@dataclass(slots=True, eq=False)
class _Channel:
    """What is listened to of a recording: one channel, or all as one. source: None until it is opened."""

    recording: _Recording
    analysis: Analysis
    source: FileSource | None = None

    def windows(self, work: Work) -> Iterator[Window | Gap]:
        """Open it, which sets `source`, and cut it; called on the thread that reads ahead."""
        if self.source is None:
            rate, channel = work.runtime.card.sample_rate, 1 if work.channel == EACH else work.channel
            self.source = FileSource(self.recording.found.path, rate, timezone=work.timezone, channel=channel)
            self.recording.origin = self.source.origin
        blocks = self.source.blocks()
        yield from windows_of(self.analysis, _on_grid(blocks, work.settings.hop) if work.on_grid else blocks)


def _on_grid(blocks: Iterable[AudioBlock], hop: int) -> Iterator[AudioBlock]:
    """The same blocks, but what follows a gap begins at a multiple of the hop."""
    end = begins = told = 0
    lost = ""
    for block in blocks:
        if block.start > end:
            begins, lost = -(-block.start // hop) * hop, block.lost
        end = block.end
        if block.start < begins:
            block = AudioBlock(block.samples[begins - block.start :], begins, lost)
        if len(block.samples):
            yield block
            told = block.end
    if end > told:
        yield AudioBlock(np.empty(0, np.float32), end, lost)


def _steps(recordings: Sequence[FoundAudio], work: Work) -> Iterator[Step[_Channel]]:
    for found in recordings:
        first = _Channel(_Recording(found), Analysis(work.runtime.card, work.settings))
        yield from source_steps(first, first.windows(work), str(found.path))
        for number in range(2, first.source.channels + 1 if first.source and work.channel == EACH else 0):
            assert first.source is not None
            source = first.source.of_channel(number)
            other = _Channel(first.recording, Analysis(work.runtime.card, work.settings), source)
            yield from source_steps(other, other.windows(work), str(found.path))


@dataclass(slots=True)
class _Telling:
    """Who is told of recordings, and what.

    sinks: those that still take recordings. lost: one that failed does so no more. unwritten: the last recording is not
    written everywhere.
    """

    work: Work
    sinks: list[Sink]
    watcher: Watcher
    lost: bool = False
    unwritten: bool = False

    @contextmanager
    def begun(self, recording: Recorded) -> Iterator[Begun]:
        """Begin a recording in all sinks and end it; log which of them failed."""
        self.unwritten = self.lost
        with begun(self.sinks, recording) as its:
            yield its
        for sink, error in its.failures:
            if not isinstance(error, SystemExit):  # that is a reader of stdout who has enough
                logger.error("%s", error)
                self.unwritten = True
                self.lost = self.lost or not sink.each_apart

    def tell(self, its: Begun, origin: Origin, result: Result) -> None:
        """Tell a result of the recording."""
        if isinstance(result, Scored):
            its.each(lambda sink: sink.score(its.recording, result.window, result.scores))
        elif told := reported(result, self.work.explain, live=False):
            card = self.work.runtime.card
            event = Events(card.labels, card.sample_rate).tell(origin, told)
            its.each(lambda sink: sink.take(event, its.recording))


def _finish(recording: _Recording, steps: Iterator[Step[_Channel]], telling: _Telling) -> IncompleteAudioError | None:
    """Give the results of a recording to every sink; return what says that a part of it is missing.

    Raises the AudioError that kept it from being read.
    """
    first = next(steps)
    if (error := first.error) and not isinstance(error, IncompleteAudioError):
        raise error
    source, incomplete = first.source.source, None
    assert source is not None  # it has a first step
    told = Recorded(source.origin, recording.found.relative, source.rate)
    through = []
    with telling.begun(told) as its:
        for number in range(source.channels if telling.work.channel == EACH else 1):
            first = next(steps) if number else first
            summary, problem = _finish_channel(first.source, chain([first], steps), telling, its)
            through.append((first.source.source or source, summary))
            incomplete = incomplete or problem
    for one, summary in through:
        telling.watcher.done(one, summary)
    return incomplete


def _finish_channel(
    channel: _Channel, steps: Iterator[Step[_Channel]], telling: _Telling, its: Begun
) -> tuple[Summary, IncompleteAudioError | None]:
    """Give the results of a channel; return its account, and what says that a part of it is missing."""
    source, heard, incomplete = channel.source, 0, None
    assert source is not None  # it has a step
    telling.watcher.begin(source)
    try:
        for result in results_of(channel.analysis, steps):
            telling.tell(its, source.origin, result)
            if isinstance(result, Scored):
                telling.watcher.advance((result.window.end - heard) / source.rate)
                heard = result.window.end
    except IncompleteAudioError as error:
        incomplete = error
    assert isinstance(result, Summary)  # the last one
    return result, incomplete
