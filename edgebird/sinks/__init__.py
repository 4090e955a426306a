"""Sinks: where the events of live sources go, each flushed so that a power cut loses at most the one being written.

A sink takes every event in the order of telling. Sinks that keep sound ask the source's memory for it.
"""

from __future__ import annotations

from typing import Protocol

from edgebird.events import Event
from edgebird.types import FloatArray, Origin


class Memory(Protocol):
    """The last minutes of a source's sound, at `rate` samples per second."""

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


class Sink(Protocol):
    """Takes events."""

    name: str

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take an event; memory is that of its source. Raises OSError or EdgebirdError if it cannot be kept."""
        ...

    def tick(self) -> list[Event]:
        """Do what waited for later sound or for its time; called twice a second. Returns events of its own."""
        ...

    def close(self) -> list[Event]:
        """Finish everything; no event comes afterwards."""
        ...
