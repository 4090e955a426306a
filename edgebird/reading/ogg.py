"""Ogg: chained files, whose streams follow one another, and files with holes (RFC 3533).

libsndfile reads the first stream alone, and goes over a hole as if nothing were missing. Every page says which sample
ends in it, so what stands behind a hole has its place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import soundfile

from edgebird.reading.sound import Part, Sound, decode_parts, open_decoder
from edgebird.reading.view import Piece, read_at

_READ = 1 << 20
_LARGEST_PAGE = 27 + 255 + 255 * 255
_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_LONGEST_PACKET = 8192  # samples; only an upper bound is needed
_OPUS_RATE = 48000  # of positions, whatever the stream's own rate


@dataclass(frozen=True, slots=True)
class Page:
    """A page. offset, end: in the file. position: the sample at its end, -1 if none ends in it. begins: a stream.

    made: its bytes, where the file ends within it: the packets that are whole.
    """

    offset: int
    end: int
    begins: bool
    ends_stream: bool
    position: int
    serial: int
    number: int
    body: bytes  # its first bytes, if it begins a stream
    made: bytes = b""

    @property
    def piece(self) -> Piece:
        """What to decode."""
        return self.made or range(self.offset, self.end)


@dataclass(slots=True)
class _Link:
    """A stream: its pages in runs without a hole."""

    first: Page
    runs: list[list[Page]] = field(default_factory=list)

    @property
    def pages(self) -> list[Page]:
        return [page for run in self.runs for page in run]


def open_ogg(file: BinaryIO, size: int) -> Sound | None:
    """Find what an Ogg file holds; None if it is none. Raises LibsndfileError."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return None
    links, used = _links(_pages(file, size))
    if not links:
        return None
    with open_decoder(file, Part()) as decoder:
        rate, channels, frames = decoder.samplerate, decoder.channels, decoder.frames
    ends = links[-1].pages[-1].ends_stream
    if len(links) == 1 and len(links[0].runs) == 1 and not links[0].pages[-1].made:
        parts, total = [Part()], frames
    else:
        parts, total, left_out = _parts(file, links, rate, channels)
        used -= left_out
    return Sound(rate, channels, total if ends else None, total, decode_parts(parts), unread=size - used)


def _links(pages: Iterator[Page]) -> tuple[list[_Link], int]:
    """The streams of sound, and how many bytes of the file are pages."""
    links: list[_Link] = []
    used = 0
    previous: Page | None = None
    for page in pages:
        used += page.end - page.offset
        if page.begins and page.body.startswith(_AUDIO):
            if links and links[-1].first.offset == page.offset:
                continue
            links.append(_Link(page, [[page]]))
        elif links and page.serial == links[-1].first.serial and not page.begins:
            follows = previous is not None and page.number == previous.number + 1
            if follows:
                links[-1].runs[-1].append(page)
            else:
                links[-1].runs.append([page])
        else:
            continue
        previous = page
    return links, used


def _parts(file: BinaryIO, links: list[_Link], rate: int, channels: int) -> tuple[list[Part], int, int]:
    """What to decode, frames in all, and bytes of streams that do not fit the first one."""
    parts: list[Part] = []
    base = left_out = 0
    for link in links:
        parts_of, frames = _parts_of(file, link, base)
        try:
            with open_decoder(file, parts_of[0]) as decoder:
                fits = (decoder.samplerate, decoder.channels) == (rate, channels)
        except soundfile.LibsndfileError:
            fits = False
        if fits:
            parts += parts_of
            base = frames
        else:
            left_out += sum(page.end - page.offset for page in link.pages)
    return parts, base, left_out


def _parts_of(file: BinaryIO, link: _Link, base: int) -> tuple[list[Part], int]:
    """The parts of a stream that begins at the frame `base`, and where it ends."""
    is_opus = link.first.body.startswith(b"OpusHead")
    delay = struct.unpack("<H", link.first.body[10:12])[0] if is_opus and len(link.first.body) >= 12 else 0
    headers = [page for page in link.runs[0] if page.position <= 0]
    headers = headers[: next((i for i, page in enumerate(link.runs[0]) if page.position > 0), len(headers))]
    head: tuple[Piece, ...] = tuple(page.piece for page in headers)
    parts: list[Part] = []
    end = base
    for index, run in enumerate(link.runs):
        body = tuple(page.piece for page in (run[len(headers) :] if index == 0 else run))
        positions = [page.position for page in run if page.position > 0]
        if not body or not positions:
            continue
        part = Part(end, head + body)
        try:
            with open_decoder(file, part) as decoder:
                scale = decoder.samplerate / _OPUS_RATE if is_opus else 1
                frames = decoder.frames
        except soundfile.LibsndfileError:
            continue
        if index == 0:
            parts.append(part)
            end = base + frames
        else:
            ends_at = base + round((positions[-1] - delay) * scale)
            parts.append(Part(end, part.pieces, ends_at=ends_at, delay=round(delay * scale)))
            end = ends_at
    return parts or [Part(base, head)], end


# ------------------------------------------------------------------------------------------------------------- pages
def _pages(file: BinaryIO, size: int) -> Iterator[Page]:
    """The pages that are whole; what is none, or damaged, is gone over."""
    at, begin, data = 0, 0, b""
    before: Page | None = None
    while at < size:
        if at + _LARGEST_PAGE > begin + len(data) and begin + len(data) < size:
            begin, data = at, read_at(file, _READ, at)
        page = _page(data, at - begin, begin)
        if page:
            yield page
            before, at = page, page.end
            continue
        found = data.find(b"OggS", at - begin + 1)
        if found >= 0:
            at = begin + found
        elif begin + len(data) >= size or not data:
            if before and before.end == at and (page := _cut_page(data[at - begin :], before)):
                yield page
            return
        else:
            at = begin + len(data) - 3
            begin, data = at, read_at(file, _READ, at)


def _page(data: bytes, at: int, begin: int) -> Page | None:
    head = data[at : at + 27]
    if len(head) < 27 or head[:5] != b"OggS\0":
        return None
    flags, position, serial, number, checksum, segments = struct.unpack("<BqIIIB", head[5:])
    lengths = data[at + 27 : at + 27 + segments]
    end = at + 27 + segments + sum(lengths)
    if len(lengths) < segments or end > len(data):
        return None
    if _crc32(data[at : at + 22] + bytes(4) + data[at + 26 : end]) != checksum:
        return None
    body = data[at + 27 + segments : min(end, at + 27 + segments + 64)] if flags & 2 else b""
    return Page(begin + at, begin + end, bool(flags & 2), bool(flags & 4), position, serial, number, body)


def _cut_page(data: bytes, before: Page) -> Page | None:
    """What is whole of a page that the file ends in, as a page; the decoder counts its samples, not its position."""
    segments = data[26] if len(data) > 26 else 0
    lengths = data[27 : 27 + segments]
    there, used, packets = len(data) - 27 - segments, 0, 0
    for count, length in enumerate(lengths, 1):
        used += length
        if used > there:
            break
        if length < 255:
            packets = count
    serial, number = struct.unpack("<II", data[14:22]) if len(data) > 22 else (0, 0)
    if data[:5] != b"OggS\0" or not packets or serial != before.serial or data[5] & 2:
        return None
    size = sum(lengths[:packets])
    position = max(before.position, 0) + packets * _LONGEST_PACKET
    head = b"OggS\0" + bytes([data[5] & 1]) + struct.pack("<qII", position, serial, number)
    rest = bytes([packets]) + lengths[:packets] + data[27 + segments : 27 + segments + size]
    made = head + struct.pack("<I", _crc32(head + bytes(4) + rest)) + rest
    return Page(before.end, before.end + size, False, False, position, serial, number, b"", made)


def _crc32(data: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial with bits in the other order, from 0 and not inverted (RFC 3533, 6)."""
    crc = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
