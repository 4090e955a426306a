"""Many recordings through one runtime: each is analysed, its results go to every sink, a bad one stops no other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import tzinfo
from functools import partial
from itertools import chain, groupby
from typing import Protocol, TypeAlias

import numpy as np

from edgebird.conditioning import Conditioner, SoundOptions
from edgebird.detection import Analysis, Result, Scored, Settings, reported, results_of, windows_of
from edgebird.errors import AudioError, EdgebirdError, IncompleteAudioError, ScoreError
from edgebird.events import Events, moment_of
from edgebird.prefetch import prefetch
from edgebird.readers import EACH, BegunRecording, Channel, Piece, ReadOptions, read_recordings
from edgebird.runtimes import Runtime
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.sinks import Begun, Recorded, Sink, begun
from edgebird.sources import FileSource, FoundAudio, tell_log
from edgebird.types import AudioBlock, Origin, Summary
from edgebird.voices import Voices, VoiceWatch

logger = logging.getLogger(__name__)

Incomplete: TypeAlias = IncompleteAudioError | ScoreError  # of a recording: a part of it is not told

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
    readers: how many recordings may be read at the same time, None for one on each core.
    sound: what is done with it before it is scored, None for nothing.
    voices: finds those for which a detection is not reported, None if all are.
    fingerprints: sinks are told the state of each recording.
    """

    runtime: Runtime
    settings: Settings
    timezone: tzinfo | None = None
    explain: bool = False
    channel: int | None = None
    on_grid: bool = False
    readers: int | None = None
    sound: SoundOptions | None = None
    voices: Voices | None = None
    fingerprints: bool = False


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

    A part is missing where a file is damaged, and where the engine gives a window no scores: that is a gap.
    The next ones are read while windows are scored, several at a time where scoring would wait for them (`readers.py`),
    and short ones are scored together. sinks: opened. One that fails does not stop the others: an error in the log says
    so. Raises what the runtime raises, and what the last sink does.
    """
    how = ReadOptions(work.runtime.card.sample_rate, work.timezone, work.channel, work.readers, work.fingerprints)
    pieces = read_recordings(recordings, how)
    reading = prefetch(_steps(pieces, work), max(_AHEAD, work.runtime.concurrency * work.runtime.batch_size))
    with closing(pieces), closing(reading), closing(score_steps(reading, work.runtime)) as steps:
        return tell_all(steps, work, sinks, watcher)


def tell_all(steps: Iterable[Step[Listened]], work: Work, sinks: Sequence[Sink], watcher: Watcher) -> Outcome:
    """Make results of the scored steps of recordings, one after the other, and give them to every sink."""
    outcome, telling, is_told = Outcome(), _Telling(work, list(sinks), watcher), False
    for recording, its in groupby(steps, key=lambda step: step.source.channel.recording):
        try:
            incomplete = _finish(recording, its, telling)
        except AudioError as error:
            outcome.failed += 1
            telling.fail(recording.found, error)
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


@dataclass(frozen=True, slots=True, eq=False)
class Listened:
    """A channel on its way from blocks to results."""

    channel: Channel
    analysis: Analysis


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


def _steps(pieces: Iterable[Piece], work: Work) -> Iterator[Step[Listened]]:
    for channel, its in groupby(pieces, key=lambda piece: piece.channel):
        source = channel.source
        when = partial(moment_of, source.origin, rate=source.rate) if source else lambda position: None
        rate = work.runtime.card.sample_rate
        voices = VoiceWatch(work.voices, rate) if work.voices else None
        listened = Listened(channel, Analysis(work.runtime.card, work.settings, when, voices))
        blocks = _blocks(its)
        if voices:
            blocks = _overheard(blocks, voices)
        if work.sound:
            blocks = map(Conditioner(work.sound, rate).apply, blocks)
        windows = windows_of(listened.analysis, _on_grid(blocks, work.settings.hop) if work.on_grid else blocks)
        yield from source_steps(listened, windows, str(channel.recording.found.path))


def _blocks(pieces: Iterable[Piece]) -> Iterator[AudioBlock]:
    """The audio of one channel; what its reading told goes to the log. Raises the AudioError that broke it off."""
    for piece in pieces:
        for level, line in piece.notes:
            tell_log(level, line)
        if piece.error:
            raise piece.error
        if piece.block:
            yield piece.block


def _overheard(blocks: Iterable[AudioBlock], voices: VoiceWatch) -> Iterator[AudioBlock]:
    """The same blocks, of which `voices` hears too."""
    for block in blocks:
        voices.push(block)
        yield block


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

    def fail(self, found: FoundAudio, error: AudioError) -> None:
        """Tell that a recording could not be read."""
        self.watcher.failed(error)
        for sink in self.sinks:
            try:
                sink.fail(found, error)
            except (OSError, EdgebirdError) as problem:
                logger.error("%s", problem)

    def tell(self, its: Begun, listened: Recorded, result: Result) -> None:
        """Tell a result of the recording. listened: it, as the channel that the result is of."""
        if isinstance(result, Scored):
            its.each(lambda sink: sink.score(listened, result.window, result.scores))
        elif told := reported(result, self.work.explain, live=False):
            card = self.work.runtime.card
            event = Events.of(card).tell(listened.origin, told)
            its.each(lambda sink: sink.take(event, its.recording))


def _finish(recording: BegunRecording, steps: Iterator[Step[Listened]], telling: _Telling) -> Incomplete | None:
    """Give the results of a recording to every sink; return what says that a part of it is missing.

    Raises the AudioError that kept it from being read.
    """
    first = next(steps)
    if first.is_end and first.error and not isinstance(first.error, IncompleteAudioError):
        raise first.error
    source, incomplete = first.source.channel.source, None
    assert source is not None  # it has a first step
    told = Recorded(source.origin, recording.found.relative, source.rate, recording.fingerprint)
    through = []
    with telling.begun(told) as its:
        for number in range(source.channels if telling.work.channel == EACH else 1):
            first = next(steps) if number else first
            summary, problem = _finish_channel(first.source, chain([first], steps), telling, its)
            through.append((first.source.channel.source or source, summary))
            incomplete = incomplete or problem
            if problem:
                its.lack(problem)
    for one, summary in through:
        telling.watcher.done(one, summary)
    return incomplete


def _finish_channel(
    listened: Listened, steps: Iterator[Step[Listened]], telling: _Telling, its: Begun
) -> tuple[Summary, Incomplete | None]:
    """Give the results of a channel; return its account, and what says that a part of it is missing."""
    source, heard = listened.channel.source, 0
    incomplete: Incomplete | None = None
    assert source is not None  # it has a step
    telling.watcher.begin(source)
    told = replace(its.recording, origin=source.origin)
    try:
        for result in results_of(listened.analysis, steps):
            telling.tell(its, told, result)
            if isinstance(result, Scored):
                telling.watcher.advance((result.window.end - heard) / source.rate)
                heard = result.window.end
    except (IncompleteAudioError, ScoreError) as error:
        incomplete = error
    assert isinstance(result, Summary)  # the last one
    return result, incomplete
