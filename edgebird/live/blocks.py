"""How much audio a live source hands over at once: as much as costs no window any time.

Waking up is what listening costs beside the engine, so blocks are long. They begin with a short one: what a resampler
holds back then comes with a window's last samples, and not a whole block after them.
"""

from __future__ import annotations

import math

LEAD_S = 0.06  # of the first block: a resampler (soxr HQ) holds back 20 ms from 44.1 kHz on, 58 from 16 kHz
_LONGEST_S, _SHORTEST_S = 0.5, 0.1


def block_s(window: int, hop: int, rate: int) -> float:
    """Seconds of a block: 0.1 to 0.5, and where that can be so many that windows end where blocks do.

    window, hop: of the model, in samples at `rate`, Hz.
    """
    shared = math.gcd(window, hop) / rate
    return max(_SHORTEST_S, shared / math.ceil(shared / _LONGEST_S))


class Boundaries:
    """Where to cut audio of which no one knows how it comes. rate: Hz, of what is cut. block_s: see `block_s`."""

    def __init__(self, rate: int, block_s: float) -> None:
        self._lead, self._size = LEAD_S * rate, block_s * rate
        self._count = 0

    def passed(self, frames: int) -> bool:
        """Tell whether a block is full when so many frames have come since the beginning; once for each."""
        if frames < self._lead + self._count * self._size:
            return False
        self._count = 1 + math.floor((frames - self._lead) / self._size)
        return True
