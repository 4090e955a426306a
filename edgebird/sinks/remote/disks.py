"""How full disks are, asked on a thread of its own: a disk that is gone may never answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system. free: bytes that edgebird may still write. size: bytes."""

    free: int
    size: int


class Disks:
    """Looks at the disks of some paths now and then. paths: they need not exist yet."""

    def __init__(self, paths: Iterable[Path], every_s: float = 30.0) -> None:
        self._paths, self._every_s = tuple(paths), every_s
        self._found: Mapping[Path, Disk] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def now(self) -> Mapping[Path, Disk]:
        """What was found at the last look, by path; without those that do not answer with a size."""
        return self._found

    def start(self) -> None:
        """Begin to look, the first time at once."""
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(target=self._look, name="disks", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more; one look that hangs is left behind."""
        self._stop.set()

    def _look(self) -> None:
        while True:
            self._found = {path: disk for path in self._paths if (disk := _disk(path)) is not None}
            if self._stop.wait(self._every_s):
                return


def _disk(path: Path) -> Disk | None:
    """The file system that a path is on, or will be on."""
    there = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), None)
    try:
        found = os.statvfs(there) if there is not None else None
    except OSError:
        return None
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize) if found else None
