"""FLAC that is damaged, cut off or says a wrong length: every frame that can be decoded is, in its place.

A frame begins with a sync code, its number and a checksum of both (RFC 9639, 9.1), so frames behind damage are found
and placed. libsndfile decodes them: from the first one behind the damage, as if the file began there.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import soundfile

from edgebird.reading.sound import DAMAGED, Decoded, Decoder, Part, Sound, block_frames, open_decoder, read
from edgebird.reading.view import View, read_at
from edgebird.types import FloatArray

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_HEADER_BYTES = 16  # of a frame, at most
_SCANNED = 1 << 20  # bytes that are looked through at once
_BEHIND = 1 << 20  # bytes that the decoder may have read ahead, and a frame before
_NEAREST = 0.05  # share of what is left that is gone on with at least, when a frame is looked for
_MAX_TOTAL = 2**36 - 1  # all ones: not known, as 0
_SIZES = (
    {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)} | {code: 256 << (code - 8) for code in range(8, 16)}
)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """STREAMINFO (RFC 9639, 8.2). audio: position of the first frame. total: frames per channel, None if not known."""

    head: bytes
    audio: int
    block: int
    rate: int
    channels: int
    total: int | None


@dataclass(frozen=True, slots=True)
class FlacFrame:
    """A frame: where it is in the file, its first sample and how many it has."""

    offset: int
    first: int
    size: int

    @property
    def end(self) -> int:
        """The sample behind it."""
        return self.first + self.size


def open_flac(file: BinaryIO, size: int) -> Sound | None:
    """Find what a FLAC file holds; None if it is none, or its head is damaged."""
    info = _stream_info(file, size)
    if info is None:
        return None
    end = _last_end(file, size, info)
    notes, is_short = [], info.total is not None and end is not None and end > info.total
    if is_short and end is not None and info.total is not None:
        notes.append(
            f"its header tells of {info.total / info.rate:.1f} s of sound, and {end / info.rate:.1f} s are there: "
            "all are read"
        )
    is_double = end is not None and info.total == 2 * end
    if is_double:
        notes.append("its header tells of twice the sound that is there, as some firmware writes it")
    total = end if is_short or is_double else info.total
    reader = _Reader(info, size, is_short, total)
    return Sound(info.rate, info.channels, total, total or end, reader.decode, notes, decode_from=reader.decode_from)


def _stream_info(file: BinaryIO, size: int) -> StreamInfo | None:
    file.seek(0)
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3" and len(head) == 10:
        begin = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(begin)
    start = file.read(42)
    if len(start) < 42 or start[:4] != b"fLaC" or start[4] & 127 != 0 or start[5:8] != b"\0\0\x22":
        return None
    block = int.from_bytes(start[10:12], "big")
    (fields,) = struct.unpack(">Q", start[18:26])
    rate, channels, total = fields >> 44, (fields >> 41 & 7) + 1, fields & _MAX_TOTAL
    if not rate or not block:
        return None
    at, is_last = begin + 42, start[4] >> 7
    while not is_last and at + 4 <= size:
        file.seek(at)
        header = file.read(4)
        if header[0] & 127 == 127 or header == b"\xff\xf8":
            return None
        is_last = header[0] >> 7
        at += 4 + int.from_bytes(header[1:], "big")
    # As the only metadata, and without a length: what libsndfile sees before frames from the middle.
    alone = start[:4] + b"\x80" + start[5:18] + struct.pack(">Q", fields >> 36 << 36) + start[26:42]
    return StreamInfo(alone, at, block, rate, channels, None if total in (0, _MAX_TOTAL) else total)


def _last_end(file: BinaryIO, size: int, info: StreamInfo) -> int | None:
    """Where the last frame of the file ends, as far as frames near its end follow each other."""
    ends: set[int] = set()
    last = None
    for frame in _frames_in(file, info, max(info.audio, size - _BEHIND), size):
        if frame.first in ends and (last is None or frame.end > last):
            last = frame.end
        ends.add(frame.end)
    return last


def _frames_in(file: BinaryIO, info: StreamInfo, begin: int, end: int) -> Iterator[FlacFrame]:
    """What looks like a frame between two positions, in order; one in thousands is none."""
    at = max(begin, info.audio)
    while at < end:
        data = read_at(file, _SCANNED + _HEADER_BYTES, at)
        for match in _SYNC.finditer(data, 0, min(len(data), _SCANNED, end - at)):
            if frame := _frame(data[match.start() : match.start() + _HEADER_BYTES], at + match.start(), info):
                yield frame
        if len(data) <= _HEADER_BYTES:
            return
        at += _SCANNED


def _frame_at(file: BinaryIO, info: StreamInfo, size: int, sample: int) -> FlacFrame | None:
    """A frame at or before a sample, near it; None if there is none. Looked for where it is by its share of all."""
    best = next(_followed(file, info, info.audio, size), None)
    low, high, first, last = info.audio, size, 0, info.total or 2 * sample
    while high - low > _SCANNED:
        share = (sample - first) / max(1, last - first)
        middle = low + int((high - low) * min(max(share, _NEAREST), 1 - _NEAREST))
        found = next(_followed(file, info, middle, high), None)
        if found and found.first <= sample:
            low, first, best = found.offset, found.first, found
        else:
            high, last = middle, found.first if found else last
    return best if best and best.first <= sample else None


def _followed(file: BinaryIO, info: StreamInfo, begin: int, end: int) -> Iterator[FlacFrame]:
    """Frames between two positions that another follows: those are frames."""
    before: dict[int, FlacFrame] = {}
    for frame in _frames_in(file, info, begin, end):
        if frame.first in before:
            yield before[frame.first]
        before[frame.end] = frame


def _frame(head: bytes, offset: int, info: StreamInfo) -> FlacFrame | None:
    if len(head) < 6 or head[3] & 1 or head[2] & 15 == 15 or head[3] >> 4 > 10:
        return None
    coded = _coded_number(head)
    if coded is None:
        return None
    number, at = coded
    code, size = head[2] >> 4, 0
    if code in (6, 7):
        size = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    size = size or _SIZES.get(code, 0)
    at += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if not size or at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    channels = head[3] >> 4
    if (channels + 1 if channels < 8 else 2) != info.channels:
        return None
    return FlacFrame(offset, number if head[1] & 1 else number * info.block, size)


def _coded_number(head: bytes) -> tuple[int, int] | None:
    """The number that is coded as UTF-8 codes characters, and the position behind it."""
    first = head[4]
    if first < 0x80:
        return first, 5
    more = next((count for count in range(1, 7) if not first << count & 0x40), 0)
    if first < 0xC0 or not more or len(head) < 5 + more:
        return None
    value = first & (0x3F >> more)
    for byte in head[5 : 5 + more]:
        if byte >> 6 != 2:
            return None
        value = value << 6 | byte & 63
    return value, 5 + more


def _crc8(data: bytes) -> int:
    """CRC-8 with the polynomial x^8 + x^2 + x + 1 (RFC 9639, 9.1.8)."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc8_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
        table.append(value)
    return table


_CRC8 = _crc8_table()


class _Reader:
    """Decodes a file in large blocks, and where such a block fails, frame by frame.

    ignores_length: the header's length is too small. total: frames that are to be there, None if nobody knows.
    """

    def __init__(self, info: StreamInfo, size: int, ignores_length: bool, total: int | None) -> None:
        self._info, self._size, self._total = info, size, total
        self._begin = self._from(info.audio) if ignores_length else Part()
        self._block = block_frames(info.rate, info.channels)

    def decode(self, file: BinaryIO) -> Iterator[Decoded]:
        """See `Sound`."""
        return self._decode(file, self._begin, self._info.audio, 0)

    def decode_from(self, file: BinaryIO, frame: int) -> Iterator[Decoded]:
        """See `Sound`."""
        begin = _frame_at(file, self._info, self._size, frame)
        for decoded in self._decode(file, self._from(begin.offset), begin.offset, begin.first) if begin else ():
            known = max(0, frame - decoded.start)
            if known < len(decoded.samples):
                yield Decoded(decoded.samples[known:], decoded.start + known, decoded.lost)

    def _decode(self, file: BinaryIO, part: Part | None, place: int, at: int) -> Iterator[Decoded]:
        """From a part on. place: in the file, not behind that of the sample `at`, with which the part begins."""
        while part:
            with open_decoder(file, part) as decoder:
                try:
                    while size := self._wanted(at):
                        place = _place(decoder)
                        samples = read(decoder, size)
                        if not len(samples):
                            return
                        yield Decoded(samples, at, DAMAGED)
                        at += len(samples)
                    return
                except soundfile.LibsndfileError:
                    pass
            part = None
            for frame, samples in self._frame_by_frame(file, place, at):
                if frame.first >= at + size:  # the damage is behind
                    part, at = self._from(frame.offset), frame.first
                    break
                known = max(0, at - frame.first)
                yield Decoded(samples[known:], frame.first + known, DAMAGED)
                at, size = frame.end, size - (frame.end - at)

    def _wanted(self, at: int) -> int:
        return self._block if self._total is None else min(self._block, self._total - at)

    def _from(self, offset: int) -> Part:
        return Part(pieces=(self._info.head, range(offset, self._size)))

    def _frame_by_frame(self, file: BinaryIO, place: int, at: int) -> Iterator[tuple[FlacFrame, FloatArray]]:
        """The frames behind the sample `at` that can be decoded, with their samples."""
        for frame in _frames_in(file, self._info, place - _BEHIND, self._size):
            most = at + self._info.block * (frame.offset - place + _BEHIND)  # if each had but a byte
            if frame.end <= at or frame.first > (most if self._total is None else self._total - 1):
                continue
            try:
                with open_decoder(file, self._from(frame.offset)) as decoder:
                    samples = read(decoder, frame.size)
            except soundfile.LibsndfileError:
                continue
            if len(samples) == frame.size:
                at = frame.end
                yield frame, samples


def _place(decoder: Decoder) -> int:
    """Where in the file the decoder reads on."""
    source = decoder.name
    return source.place() if isinstance(source, View) else os.lseek(source, 0, os.SEEK_CUR)
