"""What a station asks of a source, live or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgebird.live.ring import Piece


@dataclass(frozen=True, slots=True)
class Change:
    """A source changed its state (`figures.SourceStatus`). at: monotonic seconds. position: in samples, or so far."""

    state: str
    detail: str
    at: float
    position: int


class Feed(Protocol):
    """A source of pieces in order of position, without holes, at the model's rate; fed by a thread of its own."""

    name: str
    live: bool  # whether it goes on while nobody reads

    @property
    def failure(self) -> str | None:
        """Why a file could not be read to its end, or a live source was never heard; None if nothing is wrong."""
        ...

    @property
    def waiting(self) -> int:
        """Samples that can be read at once."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing can be read and nothing more will come."""
        ...

    @property
    def drift_ppm(self) -> float | None:
        """How much faster than nominal its clock runs; None while unknown."""
        ...

    @property
    def pid(self) -> int | None:
        """Of its capture process, if there is one now."""
        ...

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to fill it. wake: to be called when there is what was expected, a change, or the end."""
        ...

    def expect(self, position: int) -> None:
        """Say that nobody needs to wake before audio or losses up to a position can be read."""
        ...

    def read(self) -> Piece | None:
        """Take the oldest piece, None if there is none now."""
        ...

    def changes(self) -> list[Change]:
        """Take the changes since the last call."""
        ...

    def stop(self) -> None:
        """End it soon; what came can still be read."""
        ...
