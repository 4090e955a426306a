"""Recordings read side by side, on as many threads as there are cores, and given one after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from edgebird.errors import AudioError
from edgebird.fingerprint import Fingerprint, fingerprint
from edgebird.machine import usable_cores, usable_memory
from edgebird.parallel import Ahead, chained
from edgebird.sources import FileSource, FoundAudio
from edgebird.types import AudioBlock, Origin

EACH = 0  # as a channel: each one apart
_MOST_READERS = 16
_AHEAD = 256 << 20  # bytes of audio that each reader but the first may have waiting: 35 minutes at 32 kHz
_OF_MEMORY = 8  # the part of the machine's memory that all of them may take
_LEAST = 1 << 16  # bytes that a piece counts for, so that files without audio do not pile up


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read recordings.

    rate: samples per second of the blocks. timezone: see `FileSource`. channel: which one to listen to, from 1 on;
    EACH for each one apart, None for the mean of all. readers: how many recordings at the same time, None for one on
    each core. fingerprints: take that of each, before it is read.
    """

    rate: int
    timezone: tzinfo | None = None
    channel: int | None = None
    readers: int | None = None
    fingerprints: bool = False


@dataclass(slots=True, eq=False)
class BegunRecording:
    """A recording on its way. origin: None until it is opened. fingerprint: if that was asked for."""

    found: FoundAudio
    origin: Origin | None = None
    fingerprint: Fingerprint | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """What is listened to of a recording: one channel, or all as one. source: None if it could not be opened."""

    recording: BegunRecording
    source: FileSource | None


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What comes next of a channel: audio, or its end.

    notes: what its reading told before, for the log, see `sources.Tell`. error: what broke it off, at its end.
    """

    channel: Channel
    block: AudioBlock | None = None
    notes: tuple[tuple[int, str], ...] = ()
    error: AudioError | None = None


def read_recordings(recordings: Sequence[FoundAudio], how: ReadOptions) -> Generator[Piece, None, None]:
    """The pieces of all channels of all recordings, in order; the last one of a channel has no block.

    Nothing is logged: what there is to tell comes in order too. Close it to end its threads.
    """
    threads = min(how.readers or usable_cores(), _MOST_READERS)
    most = min(_AHEAD * (threads - 1), usable_memory() // _OF_MEMORY)
    return chained(_Unbegun(recordings, how, decode_ahead=threads > 1), Ahead(threads, _bytes_of, most))


class _Unbegun(Sequence[Generator[Piece, None, None]]):
    """The pieces of each recording, made when it is its turn: of a season's all at once would be 40 MB."""

    def __init__(self, recordings: Sequence[FoundAudio], how: ReadOptions, decode_ahead: bool) -> None:
        self._recordings, self._how, self._decode_ahead = recordings, how, decode_ahead

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, index: Any) -> Any:
        return _pieces(self._recordings[index], self._how, self._decode_ahead)


def _bytes_of(piece: Piece) -> int:
    return max(_LEAST, piece.block.samples.nbytes if piece.block else 0)


def _pieces(found: FoundAudio, how: ReadOptions, decode_ahead: bool) -> Generator[Piece, None, None]:
    recording, notes = BegunRecording(found), list[tuple[int, str]]()
    if how.fingerprints:  # first: one that changes while it is read is not the one that was read
        recording.fingerprint = fingerprint(found.path)
    try:
        channel = 1 if how.channel == EACH else how.channel
        first = FileSource(found.path, how.rate, None, how.timezone, channel, lambda *note: notes.append(note))
    except AudioError as error:
        yield Piece(Channel(recording, None), notes=tuple(notes), error=error)
        return
    recording.origin = first.origin
    yield from _channel(Channel(recording, first), first.blocks(decode_ahead), notes)
    for number in range(2, first.channels + 1 if how.channel == EACH else 0):
        other = first.of_channel(number)
        yield from _channel(Channel(recording, other), other.blocks(decode_ahead), notes)


def _channel(
    channel: Channel, blocks: Iterator[AudioBlock], notes: list[tuple[int, str]]
) -> Generator[Piece, None, None]:
    def told() -> tuple[tuple[int, str], ...]:
        taken = tuple(notes)
        notes.clear()
        return taken

    try:
        for block in blocks:
            yield Piece(channel, block, told())
    except AudioError as error:
        yield Piece(channel, notes=told(), error=error)
    else:
        yield Piece(channel, notes=told())
