"""Outputs on a drive that may be away: its folder on the system's disk is not it, and nothing is written there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from edgebird.errors import EdgebirdError, OutputError, UsageError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink

log = logging.getLogger(__name__)

_FOR_DRIVES = ("/media", "/mnt", "/run/media")  # folders that drives are mounted in


class OnMount(Sink):
    """A sink that works while its drives are mounted; else it fails, and is opened anew when they are back.

    mounts: their mount points. What is mounted there is not asked, only that something is: a folder of another file
    system than the one above it.
    """

    def __init__(self, sink: Sink, mounts: Sequence[Path]) -> None:
        self.name, self.each_apart = sink.name, sink.each_apart
        self._sink, self._mounts = sink, mounts
        self._gone: Path | None = None  # which was not there when it was last needed

    def open(self) -> None:
        """Open the sink. Raises OutputError while a drive is away."""
        self._gone = None
        self._require()
        self._sink.open()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Give it an event. Raises OutputError where a drive is away, and then until it is opened again."""
        self._require()
        self._sink.take(event, memory)

    def tick(self) -> list[Event]:
        """Let it do its work. Raises OutputError when a drive goes away, once: a tick without work loses nothing."""
        if self._gone is not None:
            return []
        self._require()
        return self._sink.tick()

    def close(self) -> list[Event]:
        """Close it. Raises OutputError where a drive is away: what waits to be written is given up."""
        try:
            self._require()
        except OutputError:
            with suppress(OSError, EdgebirdError):  # that the drive is away is told
                self._sink.abandon()
            raise
        return self._sink.close()

    def _require(self) -> None:
        self._gone = self._gone or next((mount for mount in self._mounts if not os.path.ismount(mount)), None)
        if self._gone is not None:
            raise OutputError(f"{self._gone} is not mounted")


def on_mounts(sink: Sink, path: Path, mounts: Iterable[Path]) -> Sink:
    """A sink that writes to a path, bound to those of the mount points that the path is on."""
    its = [mount for mount in mounts if _is_on(path, mount)]
    return OnMount(sink, its) if its else sink


def check_mounts(mounts: Iterable[Path], outputs: Sequence[Path]) -> None:
    """Raise UsageError for a mount point that no output is on: it would guard nothing."""
    for mount in mounts:
        if not any(_is_on(output, mount) for output in outputs):
            raise UsageError(
                f"require-mount {mount}: no output is there, only {', '.join(map(str, outputs)) or 'stdout'}"
            )


def warn_of_drives(mounts: Sequence[Path], outputs: Iterable[Path]) -> None:
    """Say which outputs seem to be meant for a drive that is not mounted now."""
    for output in outputs:
        seems = any(_is_on(output, Path(folder)) for folder in _FOR_DRIVES)
        if seems and not any(_is_on(output, mount) for mount in mounts) and _is_on_system_disk(output):
            log.warning("%s is on the system's own disk now: --require-mount would wait for its drive", output)


def _is_on(path: Path, mount: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(mount))


def _is_on_system_disk(path: Path) -> bool:
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        return there.stat().st_dev == os.stat("/").st_dev
    except OSError:
        return False
