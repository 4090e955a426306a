"""What a sound file holds, whatever its container: the way in to this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import soundfile

from edgebird.reading.ffmpeg import has_ffmpeg, open_ffmpeg
from edgebird.reading.flac import open_flac
from edgebird.reading.mpeg import open_mp3, open_mpeg
from edgebird.reading.ogg import open_ogg
from edgebird.reading.pcm import MPEG_TAGS, PcmLayout, pcm_layout
from edgebird.reading.sound import (
    UNKNOWN_FRAMES,
    Decoded,
    DecodeFrom,
    Part,
    RawForm,
    Sound,
    decode_parts,
    open_decoder,
)
from edgebird.reading.view import Piece

_HUGE = 2**32


class NotSoundError(Exception):
    """A file that nothing here can read; the text says why."""


def open_sound(path: Path, file: BinaryIO, size: int) -> Sound:
    """Find what an open file of `size` bytes holds. Raises NotSoundError."""
    try:
        if (layout := pcm_layout(file, size)) is not None:
            return _of_layout(file, size, layout)
        for find in (open_flac, open_ogg, open_mp3):
            if (sound := find(file, size)) is not None:
                return sound
        return _of_libsndfile(file, size, Part())
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).removeprefix("Error : ").rstrip(".")
    if has_ffmpeg() and (sound := open_ffmpeg(path, file)) is not None:
        return sound
    raise NotSoundError(reason)


def _of_layout(file: BinaryIO, size: int, layout: PcmLayout) -> Sound:
    """Samples, or a codec, between what a header says and what is there."""
    if layout.tag in MPEG_TAGS and layout.stated != 0:
        mpeg = open_mpeg(file, layout.offset, layout.offset + layout.present)
        if mpeg is not None:
            return mpeg
    notes = [layout.note] if layout.note else []
    raw, unit = layout.raw, layout.frame_bytes
    if raw is not None and not layout.is_honest:
        decode_from = _raw_from(layout, raw)
        stated = None if layout.stated is None else max(layout.stated, layout.present) // unit
        frames = layout.present // unit
        return Sound(
            raw.rate, raw.channels, stated, frames, lambda file: decode_from(file, 0), notes, decode_from=decode_from
        )
    part = Part()
    if layout.size_at and not layout.is_honest and layout.present < _HUGE:
        told = layout.present.to_bytes(4, "little")
        pieces: tuple[Piece, ...] = (range(layout.size_at), told, range(layout.offset, size))
        part = Part(pieces=pieces)
    sound = _of_libsndfile(file, size, part)
    if layout.stated is None:
        sound.stated = None
    elif layout.stated > layout.present and sound.stated is not None:
        sound.stated = layout.frames or round(sound.stated * layout.stated / max(1, layout.present))
    sound.notes += notes
    sound.decode_from = _raw_from(layout, raw) if raw else None
    return sound


def _raw_from(layout: PcmLayout, raw: RawForm) -> DecodeFrom:
    """What decodes plain samples from a frame on."""
    unit = layout.frame_bytes
    end = layout.offset + layout.present // unit * unit

    def decode(file: BinaryIO, frame: int) -> Iterator[Decoded]:
        part = Part(frame, (range(min(layout.offset + frame * unit, end), end),), raw=raw)
        return decode_parts([part])(file)

    return decode


def _of_libsndfile(file: BinaryIO, size: int, part: Part) -> Sound:
    """What libsndfile makes of a part. Raises LibsndfileError."""
    with open_decoder(file, part) as decoder:
        rate, channels, frames = decoder.samplerate, decoder.channels, decoder.frames
    stated = None if frames == UNKNOWN_FRAMES else frames
    return Sound(rate, channels, stated, stated, decode_parts([part]))
