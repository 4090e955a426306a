"""Spectrogram columns of a source that is heard, made by who watches it, in a process of its own."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from edgebird.live.history import Remembered
from edgebird.types import FloatArray

COLUMN_S = 0.08
LEAST_DB, STEP_DB = -110.0, 0.5
HELD_S = 5.0  # of sound that a source has to remember for it

_TOP_HZ = 12_000  # few birds sing higher
_BANDS = 96  # about
_SPECTRUM_S = 0.016
_FRAMES = 2  # spectra in a column, of which the louder counts: a chirp may be shorter than a column
_FIRST_S = 2.0  # before now: where it begins


class ColumnMaker:
    """Makes columns of sound as levels in bands of equal width, lowest first.

    rate: of the sound, Hz. column: its length in samples. bands: how many there are. top_hz: where the highest ends.
    """

    def __init__(self, rate: int) -> None:
        size = 1 << max(6, round(np.log2(rate * _SPECTRUM_S)))  # samples of a spectrum: 512 at 32 kHz
        bins = int(size * min(_TOP_HZ, rate / 2) / rate)
        self._group = max(1, bins // _BANDS)  # bins in a band
        self.rate, self.column = rate, round(rate * COLUMN_S)
        self.bands = bins // self._group
        self.top_hz = self.bands * self._group * rate / size
        self._hann = np.hanning(size).astype(np.float32)
        self._scale = np.float32(4 / np.sum(self._hann) ** 2)  # a sine of full scale has 1
        self._step = self.column // _FRAMES

    def needed(self, columns: int) -> int:
        """How many samples so many columns take: their last spectrum may go on into the next column."""
        return (columns - 1) * self.column + (_FRAMES - 1) * self._step + len(self._hann)

    def complete(self, samples: int) -> int:
        """How many columns so many samples have."""
        return max(0, (samples - self.needed(1)) // self.column + 1)

    def make(self, samples: FloatArray, columns: int) -> NDArray[np.uint8]:
        """Return levels, uint8 [columns, bands], of float32 [needed(columns)]: LEAST_DB + STEP_DB * level, in dB.

        0 dB is a sine of full scale; a band has the loudest tone in it.
        """
        (stride,) = samples.strides
        shape, strides = (columns, _FRAMES, len(self._hann)), (self.column * stride, self._step * stride, stride)
        spectra = np.fft.rfft(np.lib.stride_tricks.as_strided(samples, shape, strides) * self._hann)
        spectra = spectra[..., : self.bands * self._group]
        power = (spectra * spectra.conj()).real
        bands = reduce(np.maximum, (power[:, f, i :: self._group] for f in range(_FRAMES) for i in range(self._group)))
        db = 10 * np.log10(bands * self._scale + np.float32(1e-12))
        levels: NDArray[np.uint8] = np.clip(np.rint((db - LEAST_DB) / STEP_DB), 0, 255).astype(np.uint8)
        return levels


class ColumnReader:
    """Takes what is new of a source's memory as columns."""

    def __init__(self, maker: ColumnMaker, memory: Remembered) -> None:
        self._maker, self.memory = maker, memory
        self._next = max(0, memory.newest - round(_FIRST_S * maker.rate))

    def take(self) -> tuple[int, NDArray[np.uint8]] | None:
        """Return the position where the new columns begin, and levels [columns, bands]; None if there are none yet."""
        newest, oldest = self.memory.newest, self.memory.oldest
        if self._next < oldest:  # nobody looked for long
            self._next = max(oldest, newest - round(_FIRST_S * self._maker.rate))
        columns = self._maker.complete(newest - self._next)
        if not columns:
            return None
        start, self._next = self._next, self._next + columns * self._maker.column
        return start, self._maker.make(self.memory.read(start, start + self._maker.needed(columns)), columns)
