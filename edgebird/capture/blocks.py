"""How much audio a live source hands over at once: as much as costs no window any time.

Waking up is what listening costs beside the engine, so blocks are long, and windows end where blocks do. The first
block is a short one, a lead: what a resampler holds back then comes with a window's last samples, and not a whole block
after them. Where windows begin anew after a loss that the capture does not know of, its parent says so.
"""

from __future__ import annotations

import math
from collections import deque

SHORTEST_S, _LONGEST_S = 0.1, 0.5


def block_s(window: int, hop: int, rate: int) -> float:
    """Seconds of a block: 0.1 to 0.5, of whole samples, and where that can be so that windows end where blocks do.

    window, hop: of the model, in samples at `rate`, Hz.
    """
    shared = math.gcd(window, hop)
    fewest, most = math.ceil(shared / (_LONGEST_S * rate)), math.floor(shared / (SHORTEST_S * rate))
    counts = (count for count in range(fewest, most + 1) if shared % count == 0)
    count = next(counts, None)
    return shared / count / rate if count else SHORTEST_S


def lead(rate: int) -> int:
    """Frames of the first block at `rate`, Hz: more than a resampler (soxr HQ) holds back on the way to 32 kHz.

    That is 18 ms from 48 kHz, 58 from 16, 115 from 8. To a model below 22 kHz, or to 48 kHz from 12 or less, it is
    more: windows then wait for a block.
    """
    return max(960, round(0.06 * rate))


class Beginnings:
    """Where blocks shall begin anew: what one thread is told and another does."""

    def __init__(self) -> None:
        self._positions: deque[int] = deque(maxlen=1)

    def tell(self, position: int) -> None:
        """Take a position, in frames."""
        self._positions.append(position)

    def take(self) -> int | None:
        """The last position, None if it was taken."""
        return self._positions.popleft() if self._positions else None


class Boundaries:
    """Where to cut audio of which no one knows how it comes.

    rate: Hz, of what is cut. block_s: see `block_s`. beginnings: what the parent says, if there is one.
    """

    def __init__(self, rate: int, block_s: float, beginnings: Beginnings | None = None) -> None:
        self._lead, self._size = lead(rate), block_s * rate
        self._beginnings = beginnings or Beginnings()
        self.begin(0)

    def begin(self, position: int) -> None:
        """Begin anew at a position, in frames: with a lead."""
        self._from, self._count = position, 0

    def advance(self, position: int) -> bool:
        """Take that all up to a position has come; tell whether that made a block full, once for each block."""
        told = self._beginnings.take()
        if told is not None and told <= position:  # else it was meant for another format
            self.begin(told)
        before = self._count
        while position - self._from >= self._lead + self._count * self._size:
            self._count += 1
        return self._count > before
