"""The account of short losses that were bridged with silence: scored with the windows around them, counted as gaps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bridged:
    """Several short losses. start: position of the first. lost: samples of all. losses: how many there were."""

    start: int
    lost: int
    losses: int


@dataclass(frozen=True, slots=True)
class _Silence:
    """Positions of silence for one loss, or a part of it. left: whether it is in no window."""

    start: int
    end: int
    left: bool = False

    @property
    def samples(self) -> int:
        return self.end - self.start

    def split(self, at: int) -> list[_Silence]:
        """What lies before and after a position."""
        if not self.start < at < self.end:
            return [self]
        return [replace(self, end=at), replace(self, start=at)]


class Bridges:
    """Which samples of a source are silence in place of lost ones. every: samples of which they are told together."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._open: deque[_Silence] = deque()  # that no window has covered so far
        self._cut = 0  # position after the last window
        self._untold: list[tuple[int, int]] = []
        self.scored = 0  # samples in windows that were scored
        self.left = 0  # samples in no window, before a loss or at the end

    def add(self, start: int, end: int) -> None:
        """Take silence that was heard; one loss may come in several pieces."""
        if self._open and self._open[-1].end == start:
            start = self._open.pop().start
        self._open.append(_Silence(start, end))

    def cut(self, until: int) -> None:
        """Take that a window ends at a position; it is scored or given up later."""
        self._cut = until

    def lose(self) -> None:
        """Take that audio is lost: what came since the last window is in none. It is told in its turn."""
        self._open = deque(
            replace(part, left=part.left or part.start >= self._cut)
            for silence in self._open
            for part in silence.split(self._cut)
        )

    def score(self, until: int) -> None:
        """Take that all up to a position is scored."""
        for silence in self._until(until):
            self._put(silence.start, silence.end)
            if silence.left:
                self.left += silence.samples
            else:
                self.scored += silence.samples

    def give_up(self, until: int) -> None:
        """Take that the rest up to a position is not scored, and told otherwise."""
        self._leave([silence for silence in self._until(until) if silence.left])

    def _until(self, until: int) -> list[_Silence]:
        """Take out what is open up to a position."""
        taken = []
        while self._open and self._open[0].start < until:
            first, *rest = self._open.popleft().split(until)
            self._open.extendleft(rest)
            taken.append(first)
        return taken

    def forget(self) -> None:
        """Take that what is not scored is told otherwise."""
        self._leave([silence for silence in self._open if silence.left])
        self._open.clear()

    def finish(self) -> None:
        """Take that no more windows come: the rest is in none."""
        self._leave(self._open)
        self._open.clear()

    def _leave(self, silences: Iterable[_Silence]) -> None:
        for silence in silences:
            self._put(silence.start, silence.end)
            self.left += silence.samples

    def _put(self, start: int, end: int) -> None:
        if self._untold and self._untold[-1][1] == start:
            start = self._untold.pop()[0]
        self._untold.append((start, end))

    def due(self, position: int | None = None) -> Bridged | None:
        """What is to be told at a position, or at the end."""
        if not self._untold or (position is not None and position - self._untold[0][0] < self._every):
            return None
        told, self._untold = self._untold, []
        return Bridged(told[0][0], sum(end - start for start, end in told), len(told))
