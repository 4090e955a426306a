"""AudioMoth's triggered recordings: silence that the recorder left out is put back as a gap.

For a run of blocks of 512 bytes below its threshold the firmware writes one block that tells how many they were: 32
samples of +1 or -1 are the bits of the number, lowest first, and the other 224 are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edgebird.reading.sound import Decoded
from edgebird.types import FloatArray

NOT_TRIGGERED = "not_triggered"
_BLOCK, _BITS = 256, 32  # samples
_ONE = np.float32(2.0**-15)
_WEIGHTS = 2 ** np.arange(_BITS, dtype=np.int64)


class Expander:
    """Moves what stands behind coded blocks to where it was heard. added: frames that were put back so far."""

    def __init__(self) -> None:
        self.added = 0
        self._rest = np.empty((0, 1), np.float32)
        self._start = 0  # of the rest, in the file
        self._lost = ""

    def expand(self, stream: Iterable[Decoded]) -> Iterator[Decoded]:
        """Decoded of one channel in, the same without coded blocks out."""
        for frames in stream:
            if frames.start != self._start + len(self._rest):
                yield from self._plain(self._rest)
                self._rest, self._start, self._lost = self._rest[:0], frames.start, frames.lost
            samples = np.concatenate([self._rest, frames.samples])
            whole = len(samples) // _BLOCK * _BLOCK
            yield from self._blocks(samples[:whole])
            self._rest = samples[whole:]
        yield from self._plain(self._rest)
        if self._lost:  # silence at the end
            yield Decoded(self._rest[:0], self._start + self.added, self._lost)

    def _blocks(self, samples: FloatArray) -> Iterator[Decoded]:
        blocks = samples.reshape(-1, _BLOCK)
        is_one = np.abs(blocks[:, 0]) == _ONE
        is_one[is_one] = (np.abs(blocks[is_one, :_BITS]) == _ONE).all(axis=1) & ~blocks[is_one, _BITS:].any(axis=1)
        done = 0
        for index in np.flatnonzero(is_one):
            yield from self._plain(samples[done * _BLOCK : index * _BLOCK])
            count = int(_WEIGHTS[blocks[index, :_BITS] > 0].sum())
            self.added += (count - 1) * _BLOCK
            self._start += _BLOCK
            self._lost = NOT_TRIGGERED
            done = int(index) + 1
        yield from self._plain(samples[done * _BLOCK :])

    def _plain(self, samples: FloatArray) -> Iterator[Decoded]:
        if len(samples):
            yield Decoded(samples, self._start + self.added, self._lost)
            self._start += len(samples)
            self._lost = ""
