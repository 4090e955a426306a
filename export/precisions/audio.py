"""Real audio for lower precisions: windows to calibrate with, and others to prove with.

Of the recordings given (by default the one that comes with the demo) every third window is held out: it proves and is
never calibrated with. When recordings are given, all of the demo's is held out as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebird.demo import RECORDING
from edgebird.errors import AudioError
from edgebird.export.families.family import Family
from edgebird.sources import FileSource, find_audio
from edgebird.types import FloatArray
from edgebird.windows import Windower

MOST_WINDOWS = 96  # of all recordings; of more every second, every fourth, ... window is taken
_HELD_OUT = 3


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Windows that prove, with the scores that the FP32 graph gives them, [windows, classes]."""

    audio: FloatArray
    scores: FloatArray
    names: tuple[str, ...]

    def windows(self) -> FloatArray:
        """float32 [windows, samples]."""
        return self.audio


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Real windows, float32 [windows, samples], and where each is from: `dawn.wav at 35 s`."""

    audio: FloatArray
    names: tuple[str, ...]


def read_calibration(recordings: Sequence[Path], family: Family) -> tuple[Windows, Windows]:
    """Windows as a family takes them, to calibrate with and held out, of recordings and folders; none: the demo's.

    Raises AudioError for what cannot be read or is too short.
    """
    found, errors = find_audio(recordings or (RECORDING,))
    if errors:
        raise errors[0]
    named = _spread(window for audio in found for window in _windows(audio.path, family))
    used = [window for index, window in enumerate(named) if index % _HELD_OUT != _HELD_OUT - 1]
    held_out = [window for index, window in enumerate(named) if index % _HELD_OUT == _HELD_OUT - 1]
    held_out += _windows(RECORDING, family) if recordings else []
    if not used:
        names, seconds = ", ".join(map(str, recordings)), family.window_samples / family.sample_rate
        raise AudioError(f"{names}: nothing to calibrate with: give recordings of {seconds:g} s or more")
    return _stacked(used), _stacked(held_out)


def varied(audio: FloatArray, count: int, seed: int) -> FloatArray:
    """Windows made of real ones, [windows, samples] -> [count, samples], the same for the same seed.

    Moved in time, mixed, filtered, with noise, much quieter, clipped, silent in part, and one silent altogether: what
    a station meets that the recordings do not have. Rounded to 16 bits as recordings are.
    """
    random = np.random.default_rng(seed)
    made = [_variation(audio, random) for _ in range(count - 1)]
    return np.stack([*made, np.zeros_like(audio[0])])


def _variation(audio: FloatArray, random: np.random.Generator) -> FloatArray:
    """Another window, made of one or two of real audio."""
    size = audio.shape[1]
    window, other = (np.roll(audio[random.integers(len(audio))], random.integers(size)) for _ in range(2))
    window = window.astype(np.float64)
    if random.random() < 0.5:
        window += other * 10 ** random.uniform(-1.5, 0.5)
    if random.random() < 0.3:
        window = window[::-1]
    if random.random() < 0.5:
        window = _filtered(window, random)
    if random.random() < 0.5:
        window += random.standard_normal(size) * np.sqrt(np.mean(window**2)) * 10 ** random.uniform(-2.5, 0)
    if random.random() < 0.4:
        window *= 10 ** random.uniform(-2.5, 1.5)
    if random.random() < 0.15:
        window[random.integers(size) :] = 0
    rounded: FloatArray = (np.round(window * 32768).clip(-32768, 32767) / 32768).astype(np.float32)
    return rounded


def _filtered(window: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """With another balance of low and high: a tilt of up to 20 dB, and waves of about 8 dB on it."""
    spectrum = np.fft.rfft(window)
    place = np.linspace(0, 1, len(spectrum))
    waves = np.interp(place, np.linspace(0, 1, 9), random.standard_normal(9))
    return np.fft.irfft(spectrum * 10 ** (random.uniform(-1, 1) * (place - 0.3) + 0.4 * waves), len(window))


def _windows(path: Path, family: Family) -> Iterator[tuple[str, FloatArray]]:
    """Whole windows of a recording, one after the other, with their names."""
    size = family.window_samples
    windower = Windower(size, size, min_tail=size)
    for block in FileSource(path, family.sample_rate).blocks():
        for window in windower.push(block):
            yield f"{path.name} at {window.start / family.sample_rate:g} s", window.samples


def _spread(windows: Iterable[tuple[str, FloatArray]]) -> list[tuple[str, FloatArray]]:
    """At most MOST_WINDOWS, evenly over the recordings, however long they are."""
    kept: list[tuple[str, FloatArray]] = []
    step = 1
    for index, window in enumerate(windows):
        if index % step == 0:
            kept.append(window)
        if len(kept) > MOST_WINDOWS:
            kept, step = kept[::2], step * 2
    return kept


def _stacked(named: Sequence[tuple[str, FloatArray]]) -> Windows:
    return Windows(np.stack([audio for _, audio in named]), tuple(name for name, _ in named))
