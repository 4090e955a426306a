"""A rolling spectrogram in the character cells of a terminal."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from edgebird.types import FloatArray

COLUMN_S = 0.1

_BANDS = 48
_TOP_HZ = 12_000  # few birds sing higher
_HELD = 600  # columns, more than a terminal is wide
_FRAMES = 6  # spectra in a column, of which the loudest counts: a chirp may be shorter than a column
_SILENT_DB = -120.0  # of digital silence
_FIRST_DB = -60.0  # the background, until it is known: that of a loud place
_RISE_DB = 0.1  # how much it may rise per column
_HIDDEN_DB, _RANGE_DB = 5.0, 35.0  # above the background: what noise does by itself, and what is drawn

# From black to nearly white, as numbers of colours in terminals with 256 and with 8 of them.
_MANY = (16, 17, 18, 54, 90, 126, 161, 197, 203, 209, 215, 221, 228, 231)
_EIGHT = (0, 4, 5, 1, 3, 7)
_SHADES = " .:-=+*#%@"


class Spectrogram:
    """What was heard of one source in the last minute, by time and frequency, above its own steady background.

    rate: Hz. A column is COLUMN_S long; each is computed once, so its colours never change.
    """

    def __init__(self, rate: int) -> None:
        size = 1 << round(np.log2(rate * 0.032))  # samples of a spectrum: 1024 at 32 kHz
        self.top_hz = min(_TOP_HZ, rate // 2)
        self._window = np.hanning(size).astype(np.float32)
        self._edges = np.linspace(1, size * self.top_hz / rate, _BANDS, endpoint=False).astype(int)  # bins; no DC
        self._last = size * self.top_hz // rate
        self._column = rate * COLUMN_S  # samples
        self._background = np.full(_BANDS, _FIRST_DB, np.float32)
        self._loudness = np.zeros((_HELD, _BANDS), np.float32)  # 0 to 1, oldest first

    def samples_for(self, columns: int) -> int:
        """How many samples the newest columns need."""
        return round(columns * self._column) + len(self._window)

    def push(self, samples: FloatArray, columns: int) -> None:
        """Add the newest columns: from float32 [n], the last that was heard; blank as far as that is too short."""
        columns = min(columns, _HELD)
        needed = self.samples_for(columns)
        padded = np.pad(samples[-needed:], (max(0, needed - len(samples)), 0))
        starts = (np.arange(columns * _FRAMES) * self._column / _FRAMES).astype(int)
        frames = padded[starts[:, None] + np.arange(len(self._window))] * self._window  # [columns * frames, size]
        power = np.abs(np.fft.rfft(frames)[:, : self._last]) ** 2 / np.sum(self._window) ** 2
        bands = np.maximum.reduceat(power, self._edges, axis=1).reshape(columns, _FRAMES, _BANDS).max(axis=1)
        self._add(10 * np.log10(bands + 10 ** (_SILENT_DB / 10)))

    def blank(self, columns: int) -> None:
        """Add columns in which nothing came."""
        self._add(np.full((min(columns, _HELD), _BANDS), _SILENT_DB))

    def _add(self, columns: NDArray[np.floating]) -> None:
        """columns: dB [n, bands]."""
        loudness = np.zeros(columns.shape, np.float32)
        for column, row in zip(columns, loudness, strict=True):
            if column.max() < _SILENT_DB + 1:
                continue  # it says nothing of the background
            self._background = np.minimum(column, self._background + _RISE_DB).astype(np.float32)
            row[:] = np.clip((column - self._background - _HIDDEN_DB) / _RANGE_DB, 0, 1)
        self._loudness = np.concatenate([self._loudness[len(loudness) :], loudness])

    def picture(self, width: int, rows: int) -> NDArray[np.float32]:
        """[rows, width], 0 to 1: the highest frequency first, the newest column last. rows: at most 48."""
        edges = np.arange(rows) * _BANDS // rows
        newest = self._loudness[_HELD - min(width, _HELD) :]
        rows_first: NDArray[np.float32] = np.maximum.reduceat(newest, edges, axis=1).T
        return rows_first[::-1]


def in_colours(picture: NDArray[np.float32], many: bool) -> list[list[Segment]]:
    """Lines of half blocks, two rows of the picture [2 * lines, width] in each. many: whether there are 256 colours."""
    palette = _MANY if many else _EIGHT
    steps = np.minimum((picture * len(palette)).astype(int), len(palette) - 1)
    return [_half_blocks(upper, lower, palette) for upper, lower in zip(steps[::2], steps[1::2], strict=True)]


def in_characters(picture: NDArray[np.float32]) -> list[list[Segment]]:
    """Lines of ASCII, one row of the picture [lines, width] in each."""
    steps = np.minimum((picture * len(_SHADES)).astype(int), len(_SHADES) - 1)
    return [[Segment("".join(_SHADES[step] for step in row))] for row in steps.tolist()]


def _half_blocks(upper: NDArray[np.int_], lower: NDArray[np.int_], palette: tuple[int, ...]) -> list[Segment]:
    """Equal neighbours share a segment: their number is what drawing costs."""
    both = upper * len(palette) + lower
    starts = [0, *(np.flatnonzero(np.diff(both)) + 1).tolist()]
    segments = []
    for start, end in zip(starts, [*starts[1:], len(both)], strict=True):
        above, below = palette[upper[start]], palette[lower[start]]
        segments.append(Segment((" " if above == below else "▀") * (end - start), _style(above, below)))
    return segments


@lru_cache(maxsize=1024)
def _style(above: int, below: int) -> Style:
    return Style(color=Color.from_ansi(above), bgcolor=Color.from_ansi(below))
