"""MPEG audio, which is MP3: how many frames there are, whatever the header says of them, and where some are missing.

libsndfile believes the first frame's count, or guesses a length from the bit rate where there is none, and goes over
damage as if nothing were missing. So the frames are counted here, and libsndfile is told how many there are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from edgebird.reading.sound import Part, Sound, decode_parts, open_decoder
from edgebird.reading.view import Piece, read_at

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_READ = 1 << 22
_LONGEST = 8192  # bytes: more than any frame, and what is needed to see what follows it
_BITRATES = {  # kbit/s by version 1 or not, and layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")
_XING_BYTES = 64  # of a frame that only says how many there are


@dataclass(frozen=True, slots=True)
class MpegFrame:
    """What the header of a frame says. size: bytes. samples: per channel."""

    size: int
    samples: int
    rate: int
    layer: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Decoded without damage between them. pieces: where they are. lost: bytes between the last run and this one."""

    pieces: tuple[range, ...]
    frames: int
    lost: int = 0

    @property
    def bytes(self) -> int:
        return sum(map(len, self.pieces))


@dataclass(frozen=True, slots=True)
class _Stated:
    """What the first frame says of the others. frames: how many. frames_at, bytes_at: where it says so, or 0."""

    frames: int
    frames_at: int
    bytes_at: int


def open_mp3(file: BinaryIO, size: int) -> Sound | None:
    """Find what a file that begins as MPEG audio does holds; None if it is none. Raises LibsndfileError."""
    head = read_at(file, 4, 0)
    return open_mpeg(file, 0, size) if head[:3] == b"ID3" or _frame(head) else None


def open_mpeg(file: BinaryIO, begin: int, end: int) -> Sound | None:
    """Find what MPEG audio between two positions of a file holds; None if it is none. Raises LibsndfileError."""
    begin = _behind_tags(file, begin)
    runs, unread = _runs(file, begin, end)
    if sum(run.frames for run in runs) < 2:
        return None
    first = runs[0].pieces[0].start
    head = read_at(file, _LONGEST, first)
    frame = _frame(head)
    assert frame is not None
    stated = _stated(head, frame, first)
    if stated:  # that frame is no sound itself
        runs[0] = replace(runs[0], frames=runs[0].frames - 1)
    counted = sum(run.frames for run in runs)
    if len(runs) > 1 or frame.layer != 3:
        return _broken(file, runs, frame, stated.frames if stated else None, unread)
    view = _told_frames(head, frame, runs[0], stated)
    with open_decoder(file, Part(pieces=view)) as decoder:
        rate, channels, frames = decoder.samplerate, decoder.channels, decoder.frames
    sound = Sound(rate, channels, None, frames, decode_parts([Part(pieces=view)]), unread=unread)
    if stated:
        sound.stated = frames
        is_whole = counted >= stated.frames
        sound.slack = 3 * frame.samples if is_whole else 0  # encoders count what they add in several ways
        if counted > stated.frames + 1:
            told, there = (count * frame.samples / rate for count in (stated.frames, counted))
            sound.notes.append(f"its header tells of {told:.1f} s of sound, and {there:.1f} s are there: all are read")
    return sound


def _broken(file: BinaryIO, runs: list[_Run], frame: MpegFrame, stated: int | None, unread: int) -> Sound:
    """What is left of a file with holes, each part in its place as far as that can be told."""
    head = read_at(file, 4, runs[0].pieces[0].start)
    counted = sum(run.frames for run in runs)
    mean_bytes = sum(run.bytes for run in runs) / counted
    missing = stated - counted if stated else 0
    parts, at = [], 0
    for run in runs:
        if run.lost:
            guess = max(1, round(run.lost / mean_bytes))
            at += missing if missing > 0 and len(runs) == 2 else guess
        told: tuple[Piece, ...] = (_told(head, run.frames),) if frame.layer == 3 else ()
        parts.append(Part(at * frame.samples, (*told, *run.pieces)))
        at += run.frames
    with open_decoder(file, parts[0]) as decoder:
        rate, channels = decoder.samplerate, decoder.channels
    total = max(stated or 0, at) * frame.samples
    return Sound(rate, channels, total if stated else None, total, decode_parts(parts), unread=unread)


# ------------------------------------------------------------------------------------------------------------ frames
def _frame(head: bytes) -> MpegFrame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE2:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    is_one = version == 3
    bits = 1000 * _BITRATES[is_one, layer][bitrate - 1]
    hertz, padding = _RATES[version][rate], head[2] >> 1 & 1
    if layer == 1:
        return MpegFrame((12 * bits // hertz + padding) * 4, 384, hertz, layer)
    samples = 576 if layer == 3 and not is_one else 1152
    return MpegFrame(samples // 8 * bits // hertz + padding, samples, hertz, layer)


def _kind(head: bytes) -> tuple[int, int]:
    """What all frames of a stream have in common: version and layer, and rate."""
    return head[1] & 0xFE, head[2] & 0x0C


def _runs(file: BinaryIO, begin: int, end: int) -> tuple[list[_Run], int]:
    """All frames between two positions, in runs; and how many bytes are neither frames nor tags."""
    runs: list[_Run] = []
    pieces: list[range] = []
    frames = lost = unread = 0
    at, kind = begin, None
    while (place := _sync(file, at, end, kind)) is not None:
        start, kind = place
        gap = start - at
        if gap and not (runs or pieces):
            unread, gap = unread + gap, 0
        if gap and not _is_tag(file, at):
            unread += gap
            if pieces:
                runs.append(_Run(tuple(pieces), frames, lost))
            pieces, frames, lost = [], 0, gap
        at, count = _follow(file, start, end, kind)
        pieces.append(range(start, at))
        frames += count
    if pieces:
        runs.append(_Run(tuple(pieces), frames, lost))
    if at < end and not _is_tag(file, at) and any(read_at(file, min(_READ, end - at), at)):
        unread += end - at
    return runs, unread


def _follow(file: BinaryIO, at: int, end: int, kind: tuple[int, int]) -> tuple[int, int]:
    """Where the frames that follow one another end, and how many they are."""
    sizes: dict[bytes, int] = {}  # by the bytes that decide
    count = 0
    while at < end:
        data = read_at(file, min(_READ, end - at), at)
        inside, limit = 0, len(data)
        while inside + 4 <= limit:
            key = data[inside : inside + 3]
            size = sizes.get(key)
            if size is None:
                frame = _frame(data[inside : inside + 4])
                size = sizes[key] = frame.size if frame and _kind(key) == kind else 0
            if not size or inside + size > limit:
                break
            inside += size
            count += 1
        at += inside
        if inside + _LONGEST <= limit or inside == 0:
            break
    return at, count


def _sync(file: BinaryIO, at: int, end: int, kind: tuple[int, int] | None) -> tuple[int, tuple[int, int]] | None:
    """The next place where frames follow one another: three of them, or as many as there are before the end."""
    while at < end:
        data = read_at(file, min(_READ, end - at), at)
        for match in _SYNC.finditer(data):
            place, found = match.start(), None
            for _ in range(3):
                head = data[place : place + 4]
                frame = _frame(head)
                if frame is None or (found or kind or _kind(head)) != _kind(head):
                    found = None if at + place < end else found
                    break
                found = _kind(head)
                place += frame.size
            if found and at + place <= end:
                return at + match.start(), found
        if len(data) < _READ:
            return None
        at += len(data) - 4 * _LONGEST
    return None


def _behind_tags(file: BinaryIO, begin: int) -> int:
    while (head := read_at(file, 10, begin))[:3] == b"ID3" and len(head) == 10:
        begin += 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return begin


def _is_tag(file: BinaryIO, at: int) -> bool:
    return read_at(file, 16, at).startswith(_TAGS)


# ------------------------------------------------------------------------------------- what the first frame may say
def _stated(head: bytes, frame: MpegFrame, offset: int) -> _Stated | None:
    """What a Xing or VBRI header says; its place is that behind the side information of an empty frame."""
    found = next((at for name in (b"Xing", b"Info") if (at := head.find(name, 4, 64)) >= 0), -1)
    if found >= 0 and len(head) >= found + 16:
        flags = int.from_bytes(head[found + 4 : found + 8], "big")
        if flags & 1:
            (frames,) = struct.unpack(">I", head[found + 8 : found + 12])
            return _Stated(frames, offset + found + 8, offset + found + 12 if flags & 2 else 0)
    if head[36:40] == b"VBRI":
        return _Stated(struct.unpack(">I", head[50:54])[0], 0, 0)
    return None


def _told_frames(head: bytes, frame: MpegFrame, run: _Run, stated: _Stated | None) -> tuple[Piece, ...]:
    """The frames, with a first one that says how many there are."""
    if stated is None or not stated.frames_at:
        skipped = frame.size if stated else 0
        return _told(head, run.frames), *_without(run.pieces, skipped)
    frames = max(run.frames, stated.frames)  # of a file that was cut off the decoder must not trim the end
    pieces: list[Piece] = [range(run.pieces[0].start, stated.frames_at), struct.pack(">I", frames)]
    at = stated.frames_at + 4
    if stated.bytes_at:
        pieces.append(struct.pack(">I", min(run.bytes, 2**32 - 1)))
        at += 4
    return *pieces, range(at, run.pieces[0].stop), *run.pieces[1:]


def _without(pieces: tuple[range, ...], skipped: int) -> Iterator[range]:
    yield pieces[0][skipped:]
    yield from pieces[1:]


def _told(head: bytes, frames: int) -> bytes:
    """An empty frame of layer 3 that says how many others there are."""
    starts = [bytes([0xFF, head[1] | 1, bitrate << 4 | head[2] & 0x0C, head[3]]) for bitrate in range(1, 15)]
    sized = [(start, made.size) for start in starts if (made := _frame(start))]
    start, size = next(pair for pair in sized if pair[1] >= _XING_BYTES)
    is_one, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    side = 17 if is_one == is_mono else 32 if is_one else 9
    return (start + bytes(side) + b"Xing" + struct.pack(">II", 1, frames)).ljust(size, b"\0")
