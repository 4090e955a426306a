"""A file that grows, in a folder elsewhere, where nothing can be appended: it grows here, and is put there in time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from edgebird.files import temporary_beside
from edgebird.remote.path import RemotePath

_EVERY_S = 10.0  # what is newer may be lost with this machine
_SHARE = 20  # of the time, at most one part is spent on putting it there


class GrowingFile:
    """Where a file is worked on: `here`, which is its own path unless that is elsewhere. Methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self._there = path if isinstance(path, RemotePath) else None
        self.here = temporary_beside(Path(tempfile.gettempdir()) / path.name) if self._there else path
        self._put_at = self._took_s = 0.0

    def fetch(self) -> None:
        """Have here what is there."""
        if self._there:
            self.here.write_bytes(self._there.open("rb").read() if self._there.exists() else b"")
            self._put_at = time.monotonic()

    def put(self, now: bool = False) -> None:
        """Have there what is here: at once, or if that is due."""
        began = time.monotonic()
        if self._there and (now or began > self._put_at + max(_EVERY_S, _SHARE * self._took_s)):
            self._there.put(self.here)
            self._put_at = time.monotonic()
            self._took_s = self._put_at - began

    @property
    def left(self) -> Path | None:
        """What is here of a file that is elsewhere; None where there is nothing in it."""
        return self.here if self._there and self.here.exists() and self.here.stat().st_size else None

    def drop(self) -> None:
        """Have nothing here any more, if it is elsewhere."""
        if self._there:
            self.here.unlink(missing_ok=True)
