"""What an adopted model is proven with: real windows that come with edgebird, or places all over the world.

Some windows prove nothing: in digital silence BirdNET's spectrogram is the rounding of its own Fourier transform,
raised to a small power, and any other engine rounds otherwise. These are found by asking the reference alone: where
noise far below float32's own rounding moves its scores by more than the tolerance, nobody else is held to them.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from edgebird.bundle import GOLDEN_FILE, GoldenData, read_golden
from edgebird.card import GEO, Card
from edgebird.demo import BUNDLE
from edgebird.export.adopt.reference import Reference
from edgebird.parity import ADOPTED_FP32
from edgebird.runtimes.contract import prepared
from edgebird.runtimes.outputs import activated
from edgebird.types import FloatArray

_DEMO_RATE = 32_000
_NOISE = 2.0**-27  # an eighth of what a full-scale sample loses in float32


def golden_windows(card: Card) -> GoldenData:
    """The windows that come with edgebird at a model's rate and length, without scores.

    A longer window has them repeated.
    """
    stored = read_golden(BUNDLE / GOLDEN_FILE)
    audio = np.stack([_fitted(window, card) for window in stored.audio])
    return GoldenData(audio, np.zeros((len(audio), 0)), stored.names, stored.recordings)


def _fitted(window: NDArray[np.int16], card: Card) -> NDArray[np.int16]:
    samples = window.astype(np.float64) / 32768
    if card.sample_rate != _DEMO_RATE:
        samples = soxr.resample(samples, _DEMO_RATE, card.sample_rate)
    samples = np.resize(samples, card.window_samples)
    return np.round(samples * 32768).clip(-32768, 32767).astype(np.int16)


def golden_places() -> GoldenData:
    """Places and weeks, float32 [places, 3], a grid with what is at the edges; without scores."""
    latitudes, longitudes = (-90, -33.9, -1.3, 0, 12.5, 40.7, 51.5, 64.1, 78.2, 90), (-180, -74, -0.1, 24.9, 151.2, 180)
    weeks = (-1, 1, 13, 24, 36, 48)
    every = [(a, o, w) for a in latitudes for o in longitudes for w in weeks]
    chosen = every[::6]
    names = tuple(f"{a:g}, {o:g}, week {w}" for a, o, w in chosen)
    return GoldenData(np.array(chosen, np.float32), np.zeros((len(chosen), 0)), names)


def scored(golden: GoldenData, card: Card, reference: Reference) -> tuple[GoldenData, list[str]]:
    """Golden data with the reference's scores; and the windows that were left out, as they prove nothing."""
    windows = golden.windows()
    scores = _scores(windows, card, reference)
    noise = np.random.default_rng(0).standard_normal(windows.shape).astype(np.float32) * np.float32(_NOISE)
    if card.kind == GEO:
        noise[:] = 0  # a week that is rounded is another
    moved = np.abs(_scores(windows + noise, card, reference) - scores).max(axis=1)
    kept = np.flatnonzero(moved <= ADOPTED_FP32.max)
    names, recordings = golden.names, golden.recordings
    left_out = [f"{names[i]} ({moved[i]:.1e})" for i in range(len(names)) if i not in set(kept.tolist())]
    return (
        GoldenData(
            golden.audio[kept],
            scores[kept].astype(np.float64),
            tuple(names[i] for i in kept),
            tuple(recordings[i] for i in kept) if recordings else (),
        ),
        left_out,
    )


def _scores(windows: FloatArray, card: Card, reference: Reference) -> FloatArray:
    return activated(reference.output(prepared(windows, card)), card.activation, card.sensitivity)
