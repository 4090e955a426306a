"""Chunks: what WAV, RF64, Wave64, AIFF and CAF files consist of."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MAX_CHUNKS = 1000  # a recorder writes a handful; damaged files could otherwise be walked 8 bytes at a time


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its four-letter id, the position of its first byte, and the size the header gives it.

    The file may end before the chunk does.
    """

    id: bytes
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ChunkForm:
    """How a container writes the header of a chunk.

    id_bytes: of the id, whose first four bytes say what it is. size: `struct` format of the size.
    counts_header: whether the size includes the header. align: chunks begin at multiples of it.
    """

    id_bytes: int
    size: str
    counts_header: bool = False
    align: int = 2

    @property
    def header_bytes(self) -> int:
        """Bytes before a chunk's content."""
        return self.id_bytes + struct.calcsize(self.size)


RIFF = ChunkForm(4, "<I")
AIFF = ChunkForm(4, ">I")
WAVE64 = ChunkForm(16, "<Q", counts_header=True, align=8)
CAF = ChunkForm(4, ">q", align=1)


def riff_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks of a RIFF or RF64 WAVE file, reading only their headers; nothing for any other file.

    Stops where the file ends or stops looking like RIFF.
    """
    file.seek(0)
    form = file.read(12)
    if form[:4] in (b"RIFF", b"RF64", b"BW64") and form[8:] == b"WAVE":
        yield from walk(file, 12)


def walk(file: BinaryIO, position: int, form: ChunkForm = RIFF) -> Iterator[Chunk]:
    """Yield the chunks from a position on; stops where the file ends, or where there is no chunk."""
    data_size = None
    file_end = file.seek(0, io.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        if position >= file_end:
            return
        file.seek(position)
        header = file.read(form.header_bytes)
        name = header[:4]
        if len(header) < form.header_bytes or not (name.isascii() and name.decode().isprintable()):
            return
        (size,) = struct.unpack(form.size, header[form.id_bytes :])
        size -= form.header_bytes if form.counts_header else 0
        if name == b"ds64" and form is RIFF:
            sizes = file.read(16)
            data_size = struct.unpack("<8xQ", sizes)[0] if len(sizes) == 16 else None
        elif name == b"data" and size == 0xFFFFFFFF and data_size is not None:
            size = data_size
        yield Chunk(name, position + form.header_bytes, size)
        if size < 0:  # it goes on to the end of the file
            return
        end = position + form.header_bytes + size
        position = end + -end % form.align
