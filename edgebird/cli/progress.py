"""How far the work is: a bar in a terminal, a line per recording elsewhere."""

from __future__ import annotations

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
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        yield BarWatcher(progress, len(recordings))


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
    """A bar for the recording at work, with times real time and the time it will still take."""

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress, self._files = progress, files
        self._task = progress.add_task("", total=None)
        self._number = 0

    def begin(self, source: FileSource) -> None:
        """See `Watcher`."""
        self._number += 1
        name = encodable(PurePath(source.origin.name).name)
        description = f"{self._number}/{self._files} {name}"
        self._progress.reset(self._task, description=description, total=source.duration_s)

    def advance(self, seconds: float) -> None:
        """See `Watcher`."""
        self._progress.advance(self._task, seconds)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} x real time" if task.speed else "", style="progress.data.speed")


def account(source: FileSource, summary: Summary) -> str:
    """One line on a recording that is through; no second of it goes unmentioned."""
    rate = source.rate
    seconds = (summary.scored + summary.gap + summary.tail) / rate
    tail = f", last {summary.tail / rate:.2f} s not scored" if summary.tail else ""
    speed = f", {seconds / summary.wall_s:.1f} x real time" if summary.wall_s > 0 else ""
    return f"{source.origin.name}: {seconds:.1f} s, {summary.detections} detections{speed}{tail}"
