"""The filter banks of the experiments, for networks that start without a checkpoint."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgebird.export.families.folds.experiments import SAMPLE_RATE, Experiment

FREQUENCIES = {"exp105": (20.0, 16000.0), "exp106": (20.0, 16000.0), "exp108": (50.0, 14000.0)}  # Hz


def mel_filters(experiment: Experiment) -> NDArray[np.float64]:
    """[bins, n_mels]: HTK mel scale, triangles of height 1 drawn in Hz."""
    low, high = (2595.0 * math.log10(1.0 + f / 700.0) for f in FREQUENCIES[experiment.name])
    edges = 700.0 * (10.0 ** (np.linspace(low, high, experiment.n_mels + 2) / 2595.0) - 1.0)
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, experiment.bins)[:, None]
    rising, falling = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    return np.maximum(0.0, np.minimum(rising, falling))


def pcen_filters(experiment: Experiment) -> NDArray[np.float64]:
    """[bins, n_mels]: triangles between whole bins, spaced as if the audio had 16 kHz."""
    top = 2595.0 * math.log10(1.0 + 8000.0 / 700.0)
    hertz = 700.0 * (10.0 ** (np.linspace(0.0, top, experiment.n_mels + 2) / 2595.0) - 1.0)
    edges = np.floor(experiment.n_fft * hertz / 16000.0).astype(int)
    edges[-1] = experiment.n_fft // 2 - 1  # the original rounds 8000 Hz down in float32
    bank = np.zeros((experiment.bins, experiment.n_mels))
    for band, (left, peak, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        bank[left:peak, band] = (np.arange(left, peak) - left) / max(peak - left, 1)
        bank[peak:right, band] = (right - np.arange(peak, right)) / max(right - peak, 1)
    return bank
