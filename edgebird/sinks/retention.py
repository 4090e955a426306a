"""Retention: which clips go when they are old or the disk fills up."""

from __future__ import annotations

import logging
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
from edgebird.sinks.wallclock import WallClock

log = logging.getLogger(__name__)

_WHEN_CALLED_S = 10.0  # after the last look: looking through tens of thousands of clips takes a part of a second
_ALWAYS_S = 300.0
_DAY_S = 86400.0
_FIRST = time.mktime((2015, 1, 1, 0, 0, 0, 0, 0, -1))  # clocks that nobody has set are before it
_ZONES_S = 86400.0  # names have the local time of the events, which may be another zone's

DiskUsage: TypeAlias = Callable[[Path], Any]  # shutil.disk_usage: its result has `free`, in bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """How long clips are kept; None is no limit.

    max_age_days: since their sound was heard. max_bytes: of all clips with their spectrograms. min_free_bytes: of the
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
    """A clip on the disk: what its name says, and its bytes with its spectrogram.

    named: when it was heard as its name says, None if it does not; written: when its file was. Both in Unix time.
    """

    path: Path
    code: str
    score: float
    named: float | None
    written: float
    size: int

    @property
    def heard(self) -> float:
        """When it was heard as far as it says."""
        return self.written if self.named is None else self.named

    def heard_by(self, at: float) -> float | None:
        """The same, if it can be at this time: not ahead of it, nor in the years of clocks that nobody has set.

        Else when it was written; None if that cannot be either.
        """
        return next((moment for moment in (self.heard, self.written) if _FIRST <= moment <= at + _ZONES_S), None)


@dataclass(frozen=True, slots=True)
class Purge:
    """What was deleted: the clips, their bytes, how many of the best were among them; error: why others were not.

    held: why none was deleted for its age, "" if age counts. spared: whether one seems to be old enough.
    """

    deleted: tuple[Path, ...]
    freed_bytes: int
    best_deleted: int
    error: str | None
    held: str = ""
    spared: bool = False


class Retention(Sink):
    """Deletes the oldest clips in the folder of a `ClipSink`, soon after each new one and every few minutes.

    As a sink it tells what it deleted as an event `retention`, and once why nothing goes for its age while the clock is
    in doubt (`wallclock`). It never touches files whose names are not those of clips. clock: Unix time, or a WallClock.
    Raises OutputError if nothing that should go can be deleted.
    """

    name = "retention"

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        clock: Callable[[], float] | WallClock = time.time,
        disk_usage: DiskUsage = shutil.disk_usage,
    ) -> None:
        self._folder, self._limits, self._disk_usage = folder, limits, disk_usage
        self._wall = clock if isinstance(clock, WallClock) else WallClock(clock)
        self._last: float | None = None
        self._is_called = False
        self._is_doubted = self._is_told = False  # the clock, at the last look

    def take(self, event: Event, memory: Memory | None) -> None:
        """Remember that there is a new clip, or that a sink fails, perhaps for want of disk."""
        self._is_called |= event["event"] in ("clip", "sink")

    def tick(self) -> list[Event]:
        """Delete what must go, when it is time to look; without limits it never is."""
        if self._limits.are_none:
            return []
        self._wall.look()
        at = self._wall.now()
        wait = _WHEN_CALLED_S if self._is_called else _ALWAYS_S
        if self._last is not None and abs(at - self._last) < wait:  # abs: the clock may be set back
            return []
        self._last, self._is_called = at, False
        purge = self.run()
        is_news = self._is_news(purge)
        if is_news:
            log.warning("no clip is deleted for its age: %s (docs/sinks.md)", purge.held)
        if purge.deleted or is_news:
            return [self._event(purge, at)]
        if purge.error:
            raise OutputError(purge.error)
        return []

    def _is_news(self, purge: Purge) -> bool:
        """Whether to say that the clock is in doubt: once, and not in the first moments unless it counts."""
        was, self._is_told = self._is_told, bool(purge.held) and (purge.spared or self._is_doubted or self._is_told)
        self._is_doubted = bool(purge.held)
        return self._is_told and not was

    def run(self) -> Purge:
        """Delete what must go now."""
        try:
            clips = find_clips(self._folder)
            free = int(self._disk_usage(self._folder).free)
        except OSError as error:
            return Purge((), 0, 0, f"cannot look for old clips in {self._folder}: {error.strerror}")
        held = "" if self._limits.max_age_days is None else self._wall.doubt()
        at = self._wall.now()
        if not held:
            _date(clips, at)
        best = best_clips(clips, self._limits.best_per_species)
        deleted: list[Clip] = []
        problem = None
        for clip in condemned(clips, self._limits, None if held else at, free):
            try:
                clip.path.with_suffix(".png").unlink(missing_ok=True)  # first: without its clip it is not ours to find
                clip.path.unlink(missing_ok=True)
            except OSError as error:
                problem = f"cannot delete {clip.path}: {error.strerror}"
            else:
                deleted.append(clip)
        paths, freed = tuple(clip.path for clip in deleted), sum(clip.size for clip in deleted)
        spared = bool(held) and any(_is_old(clip, self._limits.max_age_days, at) for clip in clips)
        return Purge(paths, freed, len(best.intersection(deleted)), problem, held, spared)

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
            **({"held": purge.held} if purge.held else {}),
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
                    named = _named(match["when"])
                    clips.append(Clip(Path(entry.path), match["code"], float(match["score"]), named, written, size))
    return clips


def _named(when: str) -> float | None:
    """The Unix time in the name of a clip, which has local time; None for one of a time that nobody knew."""
    try:
        year, month, day = int(when[:4]), int(when[4:6]), int(when[6:8])
        return time.mktime((year, month, day, int(when[9:11]), int(when[11:13]), int(when[13:]), 0, 0, -1))
    except (ValueError, OverflowError):
        return None


def _date(clips: Sequence[Clip], at: float) -> None:
    """Have clips of a time that cannot be, such as 1970, be from now: their age counts from the first look on."""
    for clip in clips:
        if clip.heard_by(at) is None:
            with suppress(OSError):
                os.utime(clip.path, (at, at))


def best_clips(clips: Sequence[Clip], per_species: int) -> set[Clip]:
    """The clips with the highest scores of each species; of equal scores the newest."""
    ranked: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: (clip.score, clip.heard, clip.path), reverse=True):
        ranked.setdefault(clip.code, []).append(clip)
    return {clip for of_species in ranked.values() for clip in of_species[:per_species]}


def condemned(clips: Sequence[Clip], limits: Limits, at: float | None, free: int) -> list[Clip]:
    """The clips that must go, in the order to delete them: oldest first, the best only for want of free disk.

    at: Unix time, None if nobody knows it: then none is too old. free: bytes of the disk. What a deletion frees is
    reckoned, not asked: some file systems free later.
    """
    best = best_clips(clips, limits.best_per_species)
    ordered = sorted(clips, key=lambda clip: (clip in best, clip.heard, clip.path))
    total, freed = sum(clip.size for clip in clips), 0
    going: list[Clip] = []
    for clip in ordered:
        is_old = _is_old(clip, limits.max_age_days, at)
        is_much = limits.max_bytes is not None and total - freed > limits.max_bytes
        is_full = limits.min_free_bytes is not None and free + freed < limits.min_free_bytes
        if is_full or (clip not in best and (is_old or is_much)):
            going.append(clip)
            freed += clip.size
    return going


def _is_old(clip: Clip, max_age_days: float | None, at: float | None) -> bool:
    if max_age_days is None or at is None:
        return False
    heard = clip.heard_by(at)
    return heard is not None and at - heard > max_age_days * _DAY_S
