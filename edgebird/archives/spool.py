"""The spool: whole recordings with their events, in JSON lines, until they are rows of a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from edgebird.errors import OutputError
from edgebird.files import make_folder, whole_lines

Spooled: TypeAlias = dict[str, Any]  # see `ParquetSink`


class Spool:
    """A file that grows by a line for each recording and is emptied when they are elsewhere. All raise OutputError.

    path: of it. size: bytes of whole lines.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._descriptor, self.size = path, -1, 0

    def open(self) -> None:
        """Open it, without what a killed program left half written."""
        make_folder(self.path.parent, self.path)
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            self.size = sum(size for size, _ in read_spool(self.path))
            os.ftruncate(self._descriptor, self.size)
        except OSError as error:
            raise self._error(error) from error

    def add(self, line: Spooled) -> None:
        """Add a recording."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            if os.pwrite(self._descriptor, data, self.size) != len(data):
                raise OSError(0, "the disk is full")
            self.size += len(data)
        except OSError as error:
            raise self._error(error) from error

    def sync(self) -> None:
        """Have all of it on the disk."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._error(error) from error

    def clear(self) -> None:
        """Empty it."""
        try:
            os.ftruncate(self._descriptor, 0)
            self.size = 0
        except OSError as error:
            raise self._error(error) from error

    def lines(self) -> Iterator[Spooled]:
        """All recordings in it, oldest first."""
        for _, line in read_spool(self.path):
            yield line

    def close(self) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path}: {error.strerror or error}")


def read_spool(path: Path) -> Iterator[tuple[int, Spooled]]:
    """The whole lines of a spool with their sizes in bytes; none where there is no spool."""
    try:
        with path.open("rb") as file:
            yield from whole_lines(file)
    except FileNotFoundError:
        return
