"""Sinks: where results go, those of recordings and of live sources alike.

A sink takes every event in the order of telling. What a live source tells is on the disk when `take` returns: a power
cut costs the event that is being written, and those that still wait in memory to be taken. Sinks that keep sound ask
the source's memory for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

import numpy as np

from edgebird.errors import AudioError, EdgebirdError, IncompleteAudioError, ScoreError
from edgebird.events import Event
from edgebird.fingerprint import Fingerprint
from edgebird.sources import FoundAudio
from edgebird.types import FloatArray, Origin, Window


class Memory(Protocol):
    """The last minutes of a source's sound, at `rate` samples per second; it may be filled by another thread."""

    @property
    def origin(self) -> Origin:
        """The source: its name, and when its first sample was heard."""
        ...

    @property
    def rate(self) -> int:
        """Samples per second."""
        ...

    @property
    def newest(self) -> int:
        """Position after the newest sample, since the source first opened; grows while the source is heard."""
        ...

    @property
    def oldest(self) -> int:
        """Position of the oldest sample that is still held."""
        ...

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        ...

    def read(self, start: int, end: int) -> FloatArray:
        """Samples between two positions, float32 [end - start]; zeros where audio was lost or is no longer held."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording as sinks see it: a `Memory` that holds no sound.

    origin: its path, and when it was made.
    relative: its path in the folder that was asked for.
    rate: of the model, Hz.
    fingerprint: of the file before it was read, if somebody needs it.
    """

    origin: Origin
    relative: PurePath
    rate: int
    fingerprint: Fingerprint | None = None

    newest, oldest, ended = 0, 0, True

    def read(self, start: int, end: int) -> FloatArray:
        """Nothing is held: zeros, float32 [end - start]."""
        return np.zeros(max(0, end - start), np.float32)


class Sink:
    """Where results go. A sink of one's own needs a `name` and `take`; what else it needs not it leaves as it is here.

    A sink is made without touching what it writes to, and raises UsageError there. All other methods are called from
    one thread, `open` first. They raise OSError or EdgebirdError where something cannot be written.

    each_apart: a recording that it fails at says nothing of the next one; else it is given no other.
    """

    name = ""
    each_apart = False

    def open(self) -> None:
        """Open what it writes to; called again later if it failed.

        Raises WrongOutputError for what is something else already, such as the table of another program.
        """

    def begin(self, recording: Recorded) -> None:
        """Begin a recording: what is written for each as a whole begins. Live sources are not begun."""

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """Take the scores of a window of a recording, float32 [classes]; its origin says of which channel."""

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take an event. memory: that of its source, None for an event that is of none."""

    def lack(self, recording: Recorded, problem: IncompleteAudioError | ScoreError) -> None:
        """Take note that a part of a recording is missing; it goes on, or ends, as others do."""

    def fail(self, found: FoundAudio, error: AudioError) -> None:
        """Take note that a recording could not be read; it is not begun."""

    def end(self, recording: Recorded, complete: bool) -> None:
        """End a recording. complete: all of it was told; if not, what is written as a whole is not written."""

    def tick(self) -> list[Event]:
        """Do what waited for later sound or for its time; called twice a second. Returns events of its own."""
        return []

    def close(self) -> list[Event]:
        """Finish everything; no event comes afterwards."""
        return []

    def abandon(self) -> None:
        """Close after a failure: what is written as a whole at the end is not written."""
        self.close()


class Begun:
    """A recording that sinks have begun: one that fails takes no more of it, and the others go on.

    sinks: one that can take no other recording either is removed from this list.
    failures: which failed, and how, in order.
    """

    def __init__(self, sinks: list[Sink], recording: Recorded) -> None:
        self._sinks, self.recording = sinks, recording
        self._going = list(sinks)
        self.failures: list[tuple[Sink, OSError | EdgebirdError | SystemExit]] = []

    def each(self, work: Callable[[Sink], None]) -> None:
        """Do it with each sink that has not failed. Raises the failure after which no sink is left."""
        for sink in list(self._going):
            try:
                work(sink)
            except (OSError, EdgebirdError, SystemExit) as error:
                self._fail(sink, error)

    def begin(self) -> None:
        """Begin it."""
        self.each(lambda sink: sink.begin(self.recording))

    def lack(self, problem: IncompleteAudioError | ScoreError) -> None:
        """Tell that a part of it is missing."""
        self.each(lambda sink: sink.lack(self.recording, problem))

    def end(self, complete: bool) -> None:
        """End it, last to first."""
        self._going.reverse()
        self.each(lambda sink: sink.end(self.recording, complete))

    def _fail(self, sink: Sink, error: OSError | EdgebirdError | SystemExit) -> None:
        self._going.remove(sink)
        self.failures.append((sink, error))
        with suppress(OSError, EdgebirdError, SystemExit):  # the first failure is told
            sink.end(self.recording, complete=False)
        if isinstance(error, SystemExit) or not sink.each_apart:
            self._sinks.remove(sink)
            if not self._sinks:
                raise error


@contextmanager
def opened(sinks: Sequence[Sink]) -> Iterator[None]:
    """Open sinks for recordings; close them at the end, or abandon them when the body fails.

    Each is closed, whatever becomes of the others. Raises the first of what they raise.
    """
    open_ones: list[Sink] = []
    try:
        for sink in sinks:
            sink.open()
            open_ones.append(sink)
        yield
    except BaseException:
        with suppress(Exception, SystemExit):  # what ended it is told
            _do_all([sink.abandon for sink in reversed(open_ones)])
        raise
    _do_all([sink.close for sink in reversed(open_ones)])


def _do_all(endings: Sequence[Callable[[], object]]) -> None:
    """Do each, whatever the others raise; raise the first of that."""
    errors: list[BaseException] = []
    for ending in endings:
        try:
            ending()
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)
    if errors:
        raise errors[0]


@contextmanager
def begun(sinks: list[Sink], recording: Recorded) -> Iterator[Begun]:
    """Begin a recording in all sinks; end it, as not complete when the body fails. Failures of sinks: see `Begun`."""
    its = Begun(sinks, recording)
    try:
        its.begin()
        yield its
    except BaseException:
        with suppress(OSError, EdgebirdError, SystemExit):  # what ended it is told
            its.end(complete=False)
        raise
    its.end(complete=True)
