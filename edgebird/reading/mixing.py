"""From channels to one: the mean, or one alone; and whether the mean loses what the channels hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgebird.types import FloatArray

_WINDOW = 2048  # frames of a spectrum
_WINDOWS = 8  # of each block
_ENOUGH = 6  # spectra, before anything is said
_BAND_HZ = 500.0
_LOWEST_HZ, _HIGHEST_HZ = 500.0, 12_000.0  # wind and codecs do what they like outside
_DEAD = 1e-6  # of the loudest channel's power
_CANCELLING = 0.3  # of what the mean of unlike channels has


def one_channel(samples: FloatArray, channel: int | None) -> FloatArray:
    """float32 [n, channels] -> float32 [n]: a channel, from 1 on, or the mean of all; no sound stays no sound."""
    if samples.shape[1] == 1 or channel is not None:
        return samples[:, (channel or 1) - 1]
    with np.errstate(all="ignore"):  # what is not finite is found later
        mixed: FloatArray = samples.mean(axis=1, dtype=np.float32)
    return mixed


class Mixer:
    """Makes one channel of several, and remembers how they fit together.

    channels: of the file. channel: which one to take, from 1 on; None for the mean of all.
    """

    def __init__(self, channels: int, channel: int | None) -> None:
        self._channels, self._channel = channels, channel
        self._spectra = 0
        bins = _WINDOW // 2 + 1
        self._power = np.zeros((bins, channels))
        self._mixed = np.zeros(bins)

    def mix(self, samples: FloatArray) -> FloatArray:
        """float32 [n, channels] -> float32 [n]."""
        mixed = one_channel(samples, self._channel)
        if self._channels > 1 and self._channel is None:
            with np.errstate(all="ignore"):
                self._look(samples, mixed)
        return mixed

    def _look(self, samples: FloatArray, mixed: FloatArray) -> None:
        if len(samples) < _WINDOW:
            return
        shape = np.hanning(_WINDOW).astype(np.float32)
        for place in np.unique(np.linspace(0, len(samples) - _WINDOW, _WINDOWS).astype(int)).tolist():
            window = slice(place, place + _WINDOW)
            power = _power(samples[window] * shape[:, np.newaxis])  # [bins, channels]
            if np.isfinite(power).all():
                self._power += power
                self._mixed += _power(mixed[window] * shape)
                self._spectra += 1

    def verdict(self, rate: int) -> str | None:
        """What is wrong with the mean, in words; None if nothing is. rate: of the file, Hz."""
        totals = self._power.sum(axis=0)
        if self._spectra < _ENOUGH or not totals.max() > 0:
            return None
        dead = [index + 1 for index in range(self._channels) if totals[index] <= _DEAD * totals.max()]
        if dead:
            loss = 20 * np.log10(self._channels / (self._channels - len(dead)))
            names = f"channel {dead[0]} is" if len(dead) == 1 else f"channels {', '.join(map(str, dead))} are"
            return (
                f"{names} silent, and the mean with it {loss:.1f} dB too quiet: --channel {_first_alive(dead)} is not"
            )
        bands = self._cancelled(rate)
        if not bands:
            return None
        hertz, left = min(bands, key=lambda band: band[1])
        where = f"around {hertz / 1000:.2g} kHz" if len(bands) < len(_bands(rate)) else "at all frequencies"
        return (
            f"its channels cancel each other {where} (the mean has {left:.1%} of their power): try --channel 1, or each"
        )

    def _cancelled(self, rate: int) -> list[tuple[float, float]]:
        """Bands, by their middle in Hz, and which share of the channels' power the mean has there."""
        found = []
        for low, high in _bands(rate):
            first, last = (round(edge * _WINDOW / rate) for edge in (low, high))
            bins = slice(first, max(last, first + 1))
            whole = self._power[bins].sum() / self._channels
            left = self._mixed[bins].sum() / whole if whole > 0 else 1.0
            if left < _CANCELLING / self._channels:
                found.append(((low + high) / 2, float(left)))
        return found


def _bands(rate: int) -> list[tuple[float, float]]:
    edges = np.arange(_LOWEST_HZ, min(_HIGHEST_HZ, rate / 2) + 1, _BAND_HZ)
    return list(pairwise(edges.tolist()))


def _power(windows: FloatArray) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(windows, axis=0)
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float64)


def _first_alive(dead: list[int]) -> int:
    return next(number for number in range(1, len(dead) + 2) if number not in dead)
