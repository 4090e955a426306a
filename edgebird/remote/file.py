"""A file elsewhere, read in parts: a few blocks of it are kept, and no other is asked for twice in a row."""

from __future__ import annotations

import io
import os
from collections import OrderedDict

from edgebird.remote.storage import RemoteStorage

_BLOCK = 1 << 20  # bytes
_BLOCKS = 4


class RemoteFile(io.RawIOBase):
    """A read-only file. failure: why a part of it could not be had, once that was so.

    Methods that read raise OSError.
    """

    def __init__(self, storage: RemoteStorage, path: str, size: int) -> None:
        super().__init__()
        self._storage, self._path, self.size = storage, path, size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self.failure: OSError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, counted as for any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Fill the buffer as far as the file goes; return how many bytes were read."""
        target = memoryview(buffer).cast("B")
        data = self.pread(len(target), self._position)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def pread(self, size: int, at: int) -> bytes:
        """Read bytes from a position on, as `os.pread` does."""
        end = min(at + size, self.size)
        pieces = []
        while at < end:
            number = at // _BLOCK
            piece = self._block(number)[at - number * _BLOCK :][: end - at]
            if not piece:  # it became shorter
                break
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def _block(self, number: int) -> bytes:
        block = self._blocks.pop(number, None)
        if block is None:
            start = number * _BLOCK
            try:
                block = self._storage.read(self._path, start, min(start + _BLOCK, self.size))
            except OSError as error:
                self.failure = error
                raise
        self._blocks[number] = block
        if len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        return block
