"""Retention: which clips go when they are old or the disk fills up."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from edgebird.errors import OutputError, UsageError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.clips import CLIP_NAME

_WHEN_CALLED_S = 10.0  # after the last look: looking through tens of thousands of clips takes a part of a second
_ALWAYS_S = 300.0
_DAY_S = 86400.0

DiskUsage: TypeAlias = Callable[[Path], Any]  # shutil.disk_usage: its result has `free`, in bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """How long clips are kept; None is no limit.

    max_age_days: since they were written. max_bytes: of all clips with their spectrograms. min_free_bytes: of the
    disk, for all that is on it. best_per_species: the clips with the highest scores, of each species in all sources,
    stay even when they are too old or too large, and go last when the disk is too full.
    Raises UsageError for negative values.
    """

    max_age_days: float | None = None
    max_bytes: int | None = None
    min_free_bytes: int | None = None
    best_per_species: int = 0

    def __post_init__(self) -> None:
        for name in ("max_age_days", "max_bytes", "min_free_bytes", "best_per_species"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name.replace('_', ' ')} cannot be {value}: give 0 or more")

    @property
    def are_none(self) -> bool:
        """Whether every clip stays for ever."""
        return self.max_age_days is None and self.max_bytes is None and self.min_free_bytes is None


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip on the disk: what its name says, when it was written (Unix time), bytes with its spectrogram."""

    path: Path
    code: str
    score: float
    written: float
    size: int


@dataclass(frozen=True, slots=True)
class Purge:
    """What was deleted: the clips, their bytes, how many of the best were among them; error: why others were not."""

    deleted: tuple[Path, ...]
    freed_bytes: int
    best_deleted: int
    error: str | None


class Retention(Sink):
    """Deletes the oldest clips in the folder of a `ClipSink`, soon after each new one and every few minutes.

    As a sink it tells what it deleted as an event `retention`. It never touches files whose names are not those of
    clips. clock: Unix time. Raises OutputError if nothing that should go can be deleted.
    """

    name = "retention"

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        disk_usage: DiskUsage = shutil.disk_usage,
    ) -> None:
        self._folder, self._limits = folder, limits
        self._clock, self._disk_usage = clock, disk_usage
        self._last: float | None = None
        self._is_called = False

    def take(self, event: Event, memory: Memory | None) -> None:
        """Remember that there is a new clip, or that a sink fails, perhaps for want of disk."""
        self._is_called |= event["event"] in ("clip", "sink")

    def tick(self) -> list[Event]:
        """Delete what must go, when it is time to look; without limits it never is."""
        if self._limits.are_none:
            return []
        at = self._clock()
        wait = _WHEN_CALLED_S if self._is_called else _ALWAYS_S
        if self._last is not None and abs(at - self._last) < wait:  # abs: the clock may be set back
            return []
        self._last, self._is_called = at, False
        purge = self.run()
        if purge.deleted:
            return [self._event(purge, at)]
        if purge.error:
            raise OutputError(purge.error)
        return []

    def run(self) -> Purge:
        """Delete what must go now."""
        try:
            clips = find_clips(self._folder)
            free = int(self._disk_usage(self._folder).free)
        except OSError as error:
            return Purge((), 0, 0, f"cannot look for old clips in {self._folder}: {error.strerror}")
        best = best_clips(clips, self._limits.best_per_species)
        deleted: list[Clip] = []
        problem = None
        for clip in condemned(clips, self._limits, self._clock(), free):
            try:
                clip.path.with_suffix(".png").unlink(missing_ok=True)  # first: without its clip it is not ours to find
                clip.path.unlink(missing_ok=True)
            except OSError as error:
                problem = f"cannot delete {clip.path}: {error.strerror}"
            else:
                deleted.append(clip)
        paths = tuple(clip.path for clip in deleted)
        return Purge(paths, sum(clip.size for clip in deleted), len(best.intersection(deleted)), problem)

    @staticmethod
    def _event(purge: Purge, at: float) -> Event:
        moment = datetime.fromtimestamp(at, timezone.utc).astimezone()
        return {
            "event": "retention",
            "source": None,
            "time": moment.isoformat(timespec="milliseconds"),
            "deleted": [str(path.absolute()) for path in purge.deleted],
            "freed_bytes": purge.freed_bytes,
            "best_deleted": purge.best_deleted,
        }


def find_clips(folder: Path) -> list[Clip]:
    """The clips in the folders of the sources; links are not followed."""
    clips = []
    with os.scandir(folder) as sources:
        names = [source.path for source in sources if source.is_dir(follow_symlinks=False)]
    for name in names:
        with os.scandir(name) as entries:
            files = {entry.name: entry for entry in entries if entry.is_file(follow_symlinks=False)}
        for file, entry in files.items():
            if match := CLIP_NAME.fullmatch(file):
                picture = files.get(Path(file).with_suffix(".png").name)
                with suppress(FileNotFoundError):  # a person deletes clips too
                    size = entry.stat().st_size + (picture.stat().st_size if picture else 0)
                    written = entry.stat().st_mtime
                    clips.append(Clip(Path(entry.path), match["code"], float(match["score"]), written, size))
    return clips


def best_clips(clips: Sequence[Clip], per_species: int) -> set[Clip]:
    """The clips with the highest scores of each species; of equal scores the newest."""
    ranked: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: (clip.score, clip.written, clip.path), reverse=True):
        ranked.setdefault(clip.code, []).append(clip)
    return {clip for of_species in ranked.values() for clip in of_species[:per_species]}


def condemned(clips: Sequence[Clip], limits: Limits, at: float, free: int) -> list[Clip]:
    """The clips that must go, in the order to delete them: oldest first, the best only for want of free disk.

    at: Unix time. free: bytes of the disk. What a deletion frees is reckoned, not asked: some file systems free later.
    """
    best = best_clips(clips, limits.best_per_species)
    ordered = sorted(clips, key=lambda clip: (clip in best, clip.written, clip.path))
    total, freed = sum(clip.size for clip in clips), 0
    going: list[Clip] = []
    for clip in ordered:
        is_old = limits.max_age_days is not None and at - clip.written > limits.max_age_days * _DAY_S
        is_much = limits.max_bytes is not None and total - freed > limits.max_bytes
        is_full = limits.min_free_bytes is not None and free + freed < limits.min_free_bytes
        if is_full or (clip not in best and (is_old or is_much)):
            going.append(clip)
            freed += clip.size
    return going
