"""How far the work is: a bar in a terminal, a line per recording elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

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
def make_watcher(recordings: Sequence[FoundAudio], console: Console | None) -> Iterator[Watcher]:
    """The watcher that fits: a bar on `console`, or lines on stderr where there is no such console, or -q."""
    if console is None or shell.quiet():
        yield LineWatcher()
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), _Speed(), TimeRemainingColumn()
    stderr_too = sys.stderr.isatty()  # else its lines go where they were sent
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=stderr_too
    ) as progress:
        yield BarWatcher(progress, recordings)


class LineWatcher:
    """A line on stderr for each recording."""

    def begin(self, source: FileSource) -> None:
        """See `Watcher`."""

    def advance(self, seconds: float) -> None:
        """See `Watcher`."""

    def done(self, source: FileSource, summary: Summary) -> None:
        """See `Watcher`."""
        shell.say(account(source, summary))

    def failed(self, error: AudioError) -> None:
        """See `Watcher`."""
        shell.say_error(error)


class BarWatcher(LineWatcher):
    """One bar for all recordings, with times real time and the time they will still take.

    It advances by bytes of the files, so that none has to be opened before its turn.
    """

    def __init__(self, progress: Progress, recordings: Sequence[FoundAudio]) -> None:
        self._progress = progress
        self._sizes = [_size(found) for found in recordings]
        self._task = progress.add_task("", total=sum(self._sizes), audio_s=0.0)
        self._number = 0
        self._rate = 0.0  # bytes a second of audio

    def begin(self, source: FileSource) -> None:
        """See `Watcher`."""
        name = encodable(PurePath(source.origin.name).name)
        description = f"{self._number + 1}/{len(self._sizes)} {name}"
        self._rate = self._sizes[self._number] / source.duration_s if source.duration_s else 0.0
        self._progress.update(self._task, description=description)

    def advance(self, seconds: float) -> None:
        """See `Watcher`."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, advance=seconds * self._rate, audio_s=task.fields["audio_s"] + seconds)

    def done(self, source: FileSource, summary: Summary) -> None:
        """See `Watcher`."""
        self._next()
        super().done(source, summary)

    def failed(self, error: AudioError) -> None:
        """See `Watcher`."""
        self._next()
        super().failed(error)

    def _next(self) -> None:
        self._number += 1
        self._progress.update(self._task, completed=sum(self._sizes[: self._number]))


def _size(found: FoundAudio) -> int:
    try:
        return found.path.stat().st_size
    except OSError:
        return 0


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.fields["audio_s"] / task.elapsed if task.elapsed else 0.0
        return Text(f"{speed:.1f} x real time" if speed else "", style="progress.data.speed")


def account(source: FileSource, summary: Summary) -> str:
    """One line on a recording that is through; no second of it goes unmentioned."""
    rate = source.rate
    seconds = (summary.scored + summary.gap + summary.tail) / rate
    tail = f", last {summary.tail / rate:.2f} s not scored" if summary.tail else ""
    speed = f", {seconds / summary.wall_s:.1f} x real time" if summary.wall_s > 0 else ""
    return f"{source.origin.name}: {seconds:.1f} s, {summary.detections} detections{speed}{tail}"
