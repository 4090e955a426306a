"""How far the work is: a bar in a terminal, a line per recording elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path, PurePath

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from edgebird.cli import shell
from edgebird.errors import AudioError
from edgebird.events import encodable
from edgebird.recordings import Watcher
from edgebird.sources import FileSource, FoundAudio
from edgebird.types import Summary


@contextmanager
def make_watcher(recordings: Sequence[FoundAudio], console: Console | None, detects: bool = True) -> Iterator[Watcher]:
    """The watcher that fits: a bar on `console`, or lines on stderr where there is no such console, or -q.

    At its end it says what all recordings came to. detects: see `LineWatcher`.
    """
    if console is None or shell.quiet():
        watcher = LineWatcher(recordings, detects)
        yield watcher
        watcher.tell_total()
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), _Speed(), TimeRemainingColumn()
    stderr_too = sys.stderr.isatty()  # else its lines go where they were sent
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=stderr_too
    ) as progress:
        watcher = BarWatcher(progress, recordings, detects)
        yield watcher
    watcher.tell_total()


class LineWatcher:
    """A line on stderr for each recording, and if there are several, one for all: only together they have a speed.

    detects: it counts detections; else, as of embeddings, windows.
    """

    def __init__(self, recordings: Sequence[FoundAudio], detects: bool = True) -> None:
        self._several, self._detects = len(recordings) > 1, detects
        self._began = time.monotonic()
        self._done, self._last = 0, ""
        self._audio_s = 0.0

    def begin(self, source: FileSource) -> None:
        """See `Watcher`."""

    def advance(self, seconds: float) -> None:
        """See `Watcher`."""

    def done(self, source: FileSource, summary: Summary) -> None:
        """See `Watcher`."""
        shell.say(self._account(source, summary))
        self._done += source.origin.name != self._last  # else it is another channel of the same
        self._last = source.origin.name
        self._audio_s += _audio_s(source, summary)

    def failed(self, error: AudioError) -> None:
        """See `Watcher`."""
        shell.say_error(error)

    def tell_total(self) -> None:
        """Say what all recordings that are through came to."""
        if self._several and self._done:
            speed = _speed(self._audio_s, time.monotonic() - self._began)
            shell.say(f"{self._done} recording{'s' * (self._done > 1)}: {self._audio_s:.1f} s{speed}")

    def _account(self, source: FileSource, summary: Summary) -> str:
        """One line on a recording that is through; no second of it goes unmentioned."""
        seconds = _audio_s(source, summary)
        speed = "" if self._several else _speed(seconds, summary.wall_s)
        tail = f", last {summary.tail / source.rate:.2f} s not scored" if summary.tail else ""
        gap = f", {summary.gap / source.rate:.2f} s not there" if summary.gap else ""
        channel = f", channel {source.origin.channel}" if source.origin.channel else ""
        spoken = f", {summary.voices} beside voices not told" if summary.voices else ""
        found = f"{summary.detections} detections{spoken}" if self._detects else f"{summary.windows} windows"
        return f"{source.origin.name}{channel}: {seconds:.1f} s, {found}{speed}{gap}{tail}"


class BarWatcher(LineWatcher):
    """One bar for all recordings, with times real time and the time they will still take.

    It advances by bytes of the files, so that none has to be opened before its turn.
    """

    def __init__(self, progress: Progress, recordings: Sequence[FoundAudio], detects: bool = True) -> None:
        super().__init__(recordings, detects)
        self._progress = progress
        self._ends = [0, *accumulate(map(_size, recordings))]  # bytes of all up to each
        self._task = progress.add_task("", total=self._ends[-1], audio_s=0.0)
        self._number = 0  # of recordings that have begun
        self._path: Path | None = None  # of the last of them
        self._rate = 0.0  # bytes a second of audio

    def begin(self, source: FileSource) -> None:
        """See `Watcher`."""
        if self._path != source.origin.path:  # else it is another channel of the same
            self._path = source.origin.path
            self._number += 1
        name = encodable(PurePath(source.origin.name).name)
        description = f"{self._number}/{len(self._ends) - 1} {name}"
        size = self._ends[self._number] - self._ends[self._number - 1]
        self._rate = size / source.duration_s if source.duration_s else 0.0
        self._progress.update(self._task, description=description)

    def advance(self, seconds: float) -> None:
        """See `Watcher`."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, advance=seconds * self._rate, audio_s=task.fields["audio_s"] + seconds)

    def done(self, source: FileSource, summary: Summary) -> None:
        """See `Watcher`."""
        self._complete()
        super().done(source, summary)

    def failed(self, error: AudioError) -> None:
        """See `Watcher`."""
        self._number += 1
        self._complete()
        super().failed(error)

    def _complete(self) -> None:
        self._progress.update(self._task, completed=self._ends[self._number])


def _size(found: FoundAudio) -> int:
    if found.listed:
        return found.listed.size
    try:
        return found.path.stat().st_size
    except OSError:
        return 0


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.fields["audio_s"] / task.elapsed if task.elapsed else 0.0
        return Text(f"{speed:.1f} x real time" if speed else "", style="progress.data.speed")


def _speed(audio_s: float, wall_s: float) -> str:
    return f", {audio_s / wall_s:.1f} x real time" if wall_s > 0 else ""


def _audio_s(source: FileSource, summary: Summary) -> float:
    return (summary.scored + summary.gap + summary.tail) / source.rate
