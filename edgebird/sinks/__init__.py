"""Sinks: where results go, those of recordings and of live sources alike.

A sink takes every event in the order of telling. What a live source tells is on the disk when `take` returns, so that a
power cut loses at most the event that is being written. Sinks that keep sound ask the source's memory for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

import numpy as np

from edgebird.events import Event
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
    """

    origin: Origin
    relative: PurePath
    rate: int

    newest, oldest, ended = 0, 0, True

    def read(self, start: int, end: int) -> FloatArray:
        """Nothing is held: zeros, float32 [end - start]."""
        return np.zeros(max(0, end - start), np.float32)


class Sink:
    """Where results go. A sink of one's own needs a `name` and `take`; what else it needs not it leaves as it is here.

    A sink is made without touching what it writes to, and raises UsageError there. All other methods are called from
    one thread, `open` first. They raise OSError or EdgebirdError where something cannot be written.
    """

    name = ""

    def open(self) -> None:
        """Open what it writes to; called again later if it failed.

        Raises WrongOutputError for what is something else already, such as the table of another program.
        """

    def begin(self, recording: Recorded) -> None:
        """Begin a recording: what is written for each as a whole begins. Live sources are not begun."""

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """Take the scores of a window of a recording, float32 [classes]."""

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take an event. memory: that of its source, None for an event that is of none."""

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


@contextmanager
def opened(sinks: Sequence[Sink]) -> Iterator[None]:
    """Open sinks for recordings; close them at the end, or abandon them when the body fails. Raises what they raise."""
    open_ones: list[Sink] = []
    try:
        for sink in sinks:
            sink.open()
            open_ones.append(sink)
        yield
    except BaseException:
        for sink in reversed(open_ones):
            sink.abandon()
        raise
    for sink in reversed(open_ones):
        sink.close()


@contextmanager
def begun(sinks: Sequence[Sink], recording: Recorded) -> Iterator[None]:
    """Begin a recording in all sinks; end it, as not complete when the body fails."""
    begun_ones: list[Sink] = []
    try:
        for sink in sinks:
            sink.begin(recording)
            begun_ones.append(sink)
        yield
    except BaseException:
        for sink in reversed(begun_ones):
            sink.end(recording, complete=False)
        raise
    for sink in reversed(begun_ones):
        sink.end(recording, complete=True)
