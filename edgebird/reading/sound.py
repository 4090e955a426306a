"""What a sound file is found to hold, and decoding it part by part with libsndfile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

import soundfile

from edgebird.reading.view import Piece, View
from edgebird.remote.file import RemoteFile
from edgebird.types import FloatArray

CUT_OFF, DAMAGED = "cut_off", "damaged"  # why sound is missing: at the end, or before other sound

UNKNOWN_FRAMES = 2**63 - 1  # libsndfile: the header does not say
_BLOCK_SECONDS = 10
_BLOCK_SAMPLES = 1 << 22  # of all channels: 16 MiB, also for files that claim absurd rates or channels
_STEP = 1024  # frames that are read at once where reading more failed


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Sound of all channels.

    samples: float32 [n, channels], at the file's rate.
    start: frames since the start of the recording.
    lost: why the frames since the last ones are missing, if this starts later than those ended.
    """

    samples: FloatArray
    start: int
    lost: str = ""


Decode: TypeAlias = Callable[[BinaryIO], Iterator[Decoded]]
DecodeFrom: TypeAlias = Callable[[BinaryIO, int], Iterator[Decoded]]


@dataclass(slots=True, eq=False)
class Sound:
    """What a file holds.

    rate: of the file, Hz.
    stated: frames that the file says it holds; None if it does not say.
    expected: the same, or a guess, for progress.
    decode: gives the frames of the open file in their order; what cannot be decoded is left out.
    notes: what is odd about the file, although no sound is missing.
    unread: bytes that are neither sound nor known to be something else.
    slack: frames at the end that may be missing without a meaning.
    decode_from: gives the same frames from a number on, without those before; None where that would not be exact.
    """

    rate: int
    channels: int
    stated: int | None
    expected: int | None
    decode: Decode
    notes: list[str] = field(default_factory=list)
    unread: int = 0
    slack: int = 0
    decode_from: DecodeFrom | None = None


@dataclass(frozen=True, slots=True)
class RawForm:
    """Samples without a header. subtype, endian: as libsndfile calls them."""

    subtype: str
    endian: str
    rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Part:
    """Sound of a file that can be decoded in one go.

    start: frames since the start of the recording. pieces: what to decode, None for the whole file.
    frames: how many at most. raw: where the pieces have no header.
    ends_at: where it ends, if that is known and the start is only where it begins at the earliest; delay: frames that
    the decoder drops before the first one that it gives.
    """

    start: int = 0
    pieces: tuple[Piece, ...] | None = None
    frames: int | None = None
    raw: RawForm | None = None
    ends_at: int | None = None
    delay: int = 0


class Decoder(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Reads straight on: soundfile otherwise seeks after every read, which garbles MP3 at each block."""

    def seekable(self) -> bool:
        """Return False."""
        return False


def open_decoder(file: BinaryIO, part: Part) -> Decoder:
    """Open a part of an open file. Raises LibsndfileError."""
    pieces = part.pieces
    if pieces is None:
        if not isinstance(file, RemoteFile):
            file.seek(0)
            return Decoder(file.fileno(), closefd=False)
        pieces = (range(file.size),)
    view = View(file, pieces)
    if part.raw is None:
        return Decoder(view)
    raw = part.raw
    return Decoder(
        view, format="RAW", subtype=raw.subtype, endian=raw.endian, samplerate=raw.rate, channels=raw.channels
    )


def block_frames(rate: int, channels: int) -> int:
    """Decoded to decode at once."""
    return max(1, min(_BLOCK_SECONDS * rate, _BLOCK_SAMPLES // channels))


def decode_parts(parts: Sequence[Part]) -> Decode:
    """Return what decodes the parts one after the other; a part that cannot be opened is left out."""

    def decode(file: BinaryIO) -> Iterator[Decoded]:
        for part in parts:
            try:
                yield from _decode(file, part)
            except soundfile.LibsndfileError:
                continue

    return decode


def _decode(file: BinaryIO, part: Part) -> Iterator[Decoded]:
    with open_decoder(file, part) as decoder:
        most = decoder.frames if part.frames is None else min(part.frames, decoder.frames)
        start = part.start
        if part.ends_at is not None:
            start = max(start, part.ends_at - decoder.frames - part.delay)
        size, done = block_frames(decoder.samplerate, decoder.channels), 0
        try:
            while done < most and len(samples := read(decoder, min(size, most - done))):
                yield Decoded(samples, start + done, DAMAGED)
                done += len(samples)
            return
        except soundfile.LibsndfileError:
            pass
    yield from _in_steps(file, part, start, done, most)


def _in_steps(file: BinaryIO, part: Part, start: int, done: int, most: int) -> Iterator[Decoded]:
    """Decode anew what could not be decoded in one go, as far as it can be."""
    with open_decoder(file, part) as decoder:
        try:
            skipped = 0
            while skipped < done and (count := len(read(decoder, min(_STEP, done - skipped)))):
                skipped += count
            while done < most and len(samples := read(decoder, min(_STEP, most - done))):
                yield Decoded(samples, start + done, DAMAGED)
                done += len(samples)
        except soundfile.LibsndfileError:
            return


def read(decoder: Decoder, frames: int) -> FloatArray:
    """Decode up to so many frames, float32 [n, channels]; none at the end. Raises LibsndfileError."""
    samples: FloatArray = decoder.read(frames, dtype="float32", always_2d=True)
    return samples
