"""Parts of a file, and other bytes between them, as one file: no copy is made of what may be gigabytes."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO, TypeAlias

from edgebird.remote.file import RemoteFile

Piece: TypeAlias = bytes | range  # bytes as they are, or positions in the file


def read_at(file: BinaryIO, size: int, at: int) -> bytes:
    """Bytes of an open file from a position on; its own position is neither used nor moved. Raises OSError."""
    return file.pread(size, at) if isinstance(file, RemoteFile) else os.pread(file.fileno(), size, at)


class View(io.RawIOBase):
    """A read-only file made of pieces of an open one.

    The file's own position is neither used nor moved. What the disk cannot read ends the view.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._file = file
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(len(piece) for piece in self._pieces))
        self._position = 0

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, counted as for any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position in the view."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Fill the buffer as far as the view goes; return how many bytes were read."""
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(target) and (data := self._some(len(target) - filled)):
            target[filled : filled + len(data)] = data
            filled += len(data)
            self._position += len(data)
        return filled

    def place(self) -> int:
        """Return where in the file the position of the view is; 0 before the first part of the file."""
        place = 0
        for piece, end in zip(self._pieces, self._ends, strict=True):
            if isinstance(piece, range):
                if self._position <= end:
                    return piece.start + max(0, self._position - (end - len(piece)))
                place = piece.stop
        return place

    def _some(self, most: int) -> bytes:
        index = bisect_right(self._ends, self._position)
        if index == len(self._pieces):
            return b""
        piece = self._pieces[index]
        inside = self._position - (self._ends[index] - len(piece))
        if isinstance(piece, bytes):
            return piece[inside : inside + most]
        try:
            return read_at(self._file, min(most, len(piece) - inside), piece.start + inside)
        except OSError:  # a bad block of a memory card: libsndfile would see the traceback, not the error
            return b""
