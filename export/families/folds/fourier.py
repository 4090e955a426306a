"""The constants of a real-input Fourier transform in stages (Cooley and Tukey, Math. Comp. 19, 1965).

With N = r1 * r2 * ... and sample n = (N / r1) n1 + (N / (r1 r2)) n2 + ..., each stage sums over one digit of n and adds
a digit to the bin k = k1 + r1 k2 + r1 r2 k3 + ...: stage s multiplies by w_r^(ns ks) and, for the bins j = k1 + r1 k2 +
... so far, by the twiddle factor w_M^(ns j), where r is its radix, M = r1 r2 ... rs and w_M = exp(-2 pi i / M).

The first stage is one matrix for all remaining samples, a later one a matrix for each bin so far. Real input makes k1
and r1 - k1 mirror images, so k1 runs from 0 to r1 / 2 only: the bins it leaves out are conjugates of others and have
the same power. 2048 = 32 * 8 * 8 samples cost 0.14 million multiplications, 64 * 32 would 0.27, a DFT matrix 4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatMatrix = NDArray[np.float64]
_RADIX = 8  # of the later stages; smaller ones make too many passes, larger ones too many multiplications


@dataclass(frozen=True, slots=True)
class RealFourier:
    """The constants for `size` samples.

    radices: r1, r2, ... first: [2 * kept, r1], kept = r1 // 2 + 1, a real and an imaginary row for each k1.
    later: for each further stage [bins so far, 2 r, 2 r], output (k, real|imaginary) x input (real|imaginary, n); the
    last one has output (real|imaginary, k), so that powers are sums of long rows.
    bins: [outputs], which bin, 0 to size // 2, each output has the power of; some bins come twice.
    """

    radices: tuple[int, ...]
    first: FloatMatrix
    later: tuple[FloatMatrix, ...]
    bins: NDArray[np.int64]


def real_fourier(size: int) -> RealFourier:
    """Build the constants for `size` samples; raises ValueError unless it is a power of two and at least 64."""
    if size < _RADIX**2 or size & (size - 1):
        raise ValueError(f"a transform of {size} samples: wanted a power of two, {_RADIX**2} or more")
    radices = (size // _RADIX**2, _RADIX, _RADIX)
    return _stages(radices)


def _stages(radices: tuple[int, ...]) -> RealFourier:
    size, radix = math.prod(radices), radices[0]
    bins = np.arange(radix // 2 + 1)
    angle = -2 * np.pi * np.outer(bins, np.arange(radix)) / radix
    first = np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, radix)
    later, done = [], radix
    for radix in radices[1:]:
        n = k = np.arange(radix)
        twiddle = n * bins[:, None, None] / (done * radix)  # [bins, 1, n]
        angle = -2 * np.pi * (twiddle + n * k[:, None] / radix)  # [bins, k, n]
        c, s = np.cos(angle), np.sin(angle)
        parts = np.concatenate([c, -s], axis=2), np.concatenate([s, c], axis=2)  # real, imaginary: [bins, k, 2 n]
        is_last = done * radix == size
        later.append(np.stack(parts, axis=1 if is_last else 2).reshape(len(bins), 2 * radix, 2 * radix))
        bins = (bins[:, None] + done * k).ravel()
        done *= radix
    return RealFourier(radices, first, tuple(later), np.minimum(bins, size - bins))


def spread_filters(filters: FloatMatrix, fourier: RealFourier) -> FloatMatrix:
    """Filter bank [size // 2 + 1, bands] -> [bands, outputs]: for the bins as the transform orders them.

    Of a bin that comes twice, the first counts.
    """
    spread = np.zeros((filters.shape[1], len(fourier.bins)))
    bins, places = np.unique(fourier.bins, return_index=True)
    spread[:, places] = filters[bins].T
    return spread


def split_bands(spread: FloatMatrix) -> tuple[int, NDArray[np.int64]]:
    """How many of the first bands to filter apart, and the outputs they need, so that both products are cheapest.

    Low mel bands are narrow: two thirds of the bands need a third of the bins.
    """
    bands, outputs = spread.shape
    needed = [np.flatnonzero(spread[:low].any(axis=0)) for low in range(bands + 1)]
    costs = [low * len(needed[low]) + (bands - low) * outputs for low in range(bands + 1)]
    best = int(np.argmin(costs))
    return best, needed[best]
