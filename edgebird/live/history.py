"""What a source remembers of its sound, for clips, the screen and other programs; see `sinks.Memory`."""

from __future__ import annotations

import mmap
import os
import weakref

import numpy as np
from numpy.typing import NDArray

from edgebird.types import AudioBlock, FloatArray, Origin

_FULL_SCALE = 32768.0
_HEAD = 64  # bytes before the samples: two int64, `newest` and `writing_to`
_NEWEST, _WRITING_TO = 0, 1


class Remembered:
    """The last samples of a source in 16 bit, which somebody else goes on to fill. rate: Hz.

    It may be read without a lock, from other processes too: what is being overwritten is no longer held. memory: uint8,
    two int64 of this machine (the position after the newest sample, and the one up to which samples may be overwritten
    now), and from byte 64 on int16 samples, the one of each position at its remainder.
    """

    def __init__(self, memory: NDArray[np.uint8], rate: int) -> None:
        self.rate = rate
        self._marks = memory.data[:16].cast("q")
        self._samples = memory[_HEAD:].view(np.int16)

    @classmethod
    def shared(cls, descriptor: int, rate: int) -> Remembered:
        """Return that of a `History` in another process, by what its `descriptor` became here.

        Raises ValueError and OSError where it is none.
        """
        size = os.fstat(descriptor).st_size
        if size <= _HEAD:
            raise ValueError("no memory of a source")
        return cls(np.frombuffer(mmap.mmap(descriptor, size, prot=mmap.PROT_READ), np.uint8), rate)

    @property
    def newest(self) -> int:
        """Position after the newest sample."""
        return self._marks[_NEWEST]

    @property
    def oldest(self) -> int:
        """Position of the oldest sample that is held."""
        return max(0, self._marks[_WRITING_TO] - len(self._samples))

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


class History(Remembered):
    """What fills it: one thread. capacity: samples.

    descriptor: of a file in memory that holds all of it, for other processes to read and not to write; None where the
    system has none.
    """

    def __init__(self, origin: Origin, rate: int, capacity: int) -> None:
        memory, self.descriptor = _memory(_HEAD + 2 * capacity)
        super().__init__(memory, rate)
        self.origin = origin
        self.ended = False
        if self.descriptor is not None:
            weakref.finalize(self, os.close, self.descriptor)

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
            self._marks[_WRITING_TO] = to
            self._marks[_NEWEST] = to - held
            self._put(np.zeros(held, np.int16))

    def _put(self, values: NDArray[np.int16]) -> None:
        size, newest = len(self._samples), self.newest + len(values)
        self._marks[_WRITING_TO] = newest  # before samples are overwritten; `newest` when they are written
        values = values[-size:]
        place = (newest - len(values)) % size
        until_end = min(len(values), size - place)
        self._samples[place : place + until_end] = values[:until_end]
        self._samples[: len(values) - until_end] = values[until_end:]
        self._marks[_NEWEST] = newest


def _memory(size: int) -> tuple[NDArray[np.uint8], int | None]:
    """Zeros, and a descriptor with which others may read them: such memory is in no folder, and goes with the process.

    Its pages are taken when they are first written to.
    """
    try:
        own = os.memfd_create("edgebird-sound", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # no Linux, or one that forbids it
        return np.zeros(size, np.uint8), None
    try:
        os.ftruncate(own, size)
        memory = np.frombuffer(mmap.mmap(own, size), np.uint8)
        return memory, os.open(f"/proc/self/fd/{own}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return np.zeros(size, np.uint8), None
    finally:
        os.close(own)
