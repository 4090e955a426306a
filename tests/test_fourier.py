"""The Fourier transform in stages: its constants, multiplied by NumPy, are the transform. As a network: test_freeze."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgebird.export.families.folds.fourier import RealFourier, real_fourier, split_bands, spread_filters


def powers(fourier: RealFourier, samples: NDArray[Any]) -> NDArray[Any]:
    """The power of each output for samples [size], stage by stage as the docstring of `RealFourier` has it."""
    radices, size = fourier.radices, len(samples)
    state = fourier.first @ samples.reshape(radices[0], -1)  # sample n = (size / r1) n1 + ...: [2 kept, size / r1]
    state = state.reshape(radices[0] // 2 + 1, 2, -1)  # [bins, real|imaginary, the other digits]
    for radix, stage in zip(radices[1:], fourier.later, strict=True):
        bins, _, left = state.shape
        inputs = state.reshape(bins, 2 * radix, left // radix)  # (real|imaginary, n) of the next digit
        outputs = stage @ inputs
        if left == radix:
            outputs = outputs.reshape(bins, 2, radix).transpose(0, 2, 1)  # the last has (real|imaginary, k)
        state = outputs.reshape(bins * radix, 2, left // radix)
    result: NDArray[Any] = np.square(state).sum(axis=(1, 2))
    assert result.shape == (len(fourier.bins),)
    assert size == np.prod(radices)
    return result


@pytest.mark.parametrize("size", [64, 128, 1024, 2048])
def test_the_stages_are_the_transform(size: int) -> None:
    """Wrong twiddle factors would move a bird to another pitch."""
    samples = np.random.default_rng(size).standard_normal(size)
    fourier, wanted = real_fourier(size), np.abs(np.fft.rfft(samples)) ** 2
    np.testing.assert_allclose(powers(fourier, samples), wanted[fourier.bins], atol=1e-9 * wanted.max())


@pytest.mark.parametrize("size", [64, 1024, 2048])
def test_no_bin_is_missing(size: int) -> None:
    """Half of them are left out, as the mirror images of others: one too many would be a deaf band."""
    assert set(real_fourier(size).bins.tolist()) == set(range(size // 2 + 1))


def test_a_bin_that_comes_twice_counts_once() -> None:
    """Counted twice, a band would be 3 dB louder than the network was trained with."""
    fourier = real_fourier(64)
    assert len(fourier.bins) > len(set(fourier.bins.tolist())), "no bin comes twice"
    power = np.abs(np.fft.rfft(np.random.default_rng(1).standard_normal(64))) ** 2
    filters = np.random.default_rng(2).uniform(size=(33, 5))
    spread = spread_filters(filters, fourier)
    assert spread.shape == (5, len(fourier.bins))
    np.testing.assert_allclose(spread @ power[fourier.bins], filters.T @ power)


def test_narrow_bands_are_filtered_apart_and_lose_nothing() -> None:
    spread = np.zeros((6, 20))
    for band in range(4):
        spread[band, 2 * band : 2 * band + 2] = 1.0  # the low ones need 8 of 20 outputs
    spread[4:] = 1.0
    low, outputs = split_bands(spread)
    assert (low, outputs.tolist()) == (4, list(range(8)))
    assert not np.delete(spread[:low], outputs, axis=1).any(), "a band lost an output that it needs"
    costs = low * len(outputs) + (6 - low) * 20
    assert costs < spread.size


def test_bands_that_all_need_everything_are_not_split() -> None:
    """Two products in place of one, of the same cost, would be a pass more for nothing."""
    low, outputs = split_bands(np.ones((4, 10)))
    assert (low, len(outputs)) == (0, 0)


@pytest.mark.parametrize("size", [0, 1, 2, 32, 1000, 2049])
def test_other_sizes_than_powers_of_two_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a transform of {size} samples: wanted a power of two, 64 or more"):
        real_fourier(size)
