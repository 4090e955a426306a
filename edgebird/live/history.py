"""What a source remembers of its sound, for clips and for the screen; see `sinks.Memory`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebird.types import AudioBlock, FloatArray, Origin

_FULL_SCALE = 32768.0


class History:
    """The last samples of a source in 16 bit. rate: Hz. capacity: samples.

    One thread fills it. Others may read meanwhile, without a lock: what is being overwritten is no longer held.
    """

    def __init__(self, origin: Origin, rate: int, capacity: int) -> None:
        self.origin, self.rate = origin, rate
        self.newest = 0
        self._writing_to = 0  # before samples are overwritten it is moved on, and `newest` when they are written
        self.ended = False
        self._samples = np.zeros(capacity, np.int16)

    @property
    def oldest(self) -> int:
        """Position of the oldest sample that is held."""
        return max(0, self._writing_to - len(self._samples))

    def push(self, block: AudioBlock) -> None:
        """Take a block; what lies between it and the one before is remembered as silence."""
        self.skip(block.start)
        values = block.samples * np.float32(_FULL_SCALE)
        np.rint(values, out=values)
        self._put(np.clip(values, -_FULL_SCALE, _FULL_SCALE - 1, out=values).astype(np.int16))

    def skip(self, to: int) -> None:
        """Remember silence up to a position."""
        missing = to - self.newest
        if missing > 0:
            held = min(missing, len(self._samples))
            self._writing_to = to
            self.newest = to - held
            self._put(np.zeros(held, np.int16))

    def read(self, start: int, end: int) -> FloatArray:
        """Samples between two positions, float32 [end - start]; zeros where there are none."""
        result = np.zeros(max(0, end - start), np.float32)
        first, last = max(start, self.oldest), min(end, self.newest)
        size = len(self._samples)
        while first < last:
            place = first % size
            count = min(last - first, size - place)
            result[first - start :][:count] = self._samples[place : place + count]
            first += count
        result /= np.float32(_FULL_SCALE)
        result[: max(0, self.oldest - start)] = 0  # what was overwritten meanwhile
        return result

    def _put(self, values: NDArray[np.int16]) -> None:
        size, newest = len(self._samples), self.newest + len(values)
        self._writing_to = newest
        values = values[-size:]
        place = (newest - len(values)) % size
        until_end = min(len(values), size - place)
        self._samples[place : place + until_end] = values[:until_end]
        self._samples[: len(values) - until_end] = values[until_end:]
        self.newest = newest
