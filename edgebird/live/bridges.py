"""The account of short losses that were bridged with silence: scored with the windows around them, counted as gaps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bridged:
    """Several short losses. start: position of the first. lost: samples of all. losses: how many there were."""

    start: int
    lost: int
    losses: int


class Bridges:
    """Which samples of a source are silence in place of lost ones. every: samples of which they are told together."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._open: deque[tuple[int, int]] = deque()  # positions that no window has covered so far
        self._untold: list[tuple[int, int]] = []
        self.scored = 0  # samples in windows that were scored
        self.left = 0  # samples in no window, at the end

    def add(self, start: int, end: int) -> None:
        """Take silence that was heard; one loss may come in several pieces."""
        if self._open and self._open[-1][1] == start:
            start = self._open.pop()[0]
        self._open.append((start, end))

    def score(self, until: int) -> None:
        """Take that all up to a position is scored."""
        for start, end in self._until(until):
            self._put(start, end)
            self.scored += end - start

    def give_up(self, until: int) -> None:
        """Take that the rest up to a position is not scored, and told otherwise."""
        self._until(until)

    def _until(self, until: int) -> list[tuple[int, int]]:
        """Take out what is open up to a position."""
        taken = []
        while self._open and self._open[0][0] < until:
            start, end = self._open.popleft()
            if end > until:
                self._open.appendleft((until, end))
            taken.append((start, min(end, until)))
        return taken

    def forget(self) -> None:
        """Take that what is not scored is told otherwise."""
        self._open.clear()

    def finish(self) -> None:
        """Take that no more windows come: the rest is in none."""
        self.left += sum(end - start for start, end in self._open)
        for start, end in self._open:
            self._put(start, end)
        self._open.clear()

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
