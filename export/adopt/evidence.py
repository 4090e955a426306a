"""What an adopted model is proven with: real windows that come with edgebird, or places all over the world.

Digital silence proves nothing where the reference itself does not hold it: BirdNET's spectrogram of it is the rounding
of its own Fourier transform, raised to a small power, and any other engine rounds otherwise. That is found by asking
the reference alone: where noise far below float32's own rounding moves its scores by more than the tolerance. Such a
window gets what a recorder gives, dither of one step of 16 bits, and every engine is held to it like to all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
_SILENCE_S = 0.02  # of samples that are all alike, about a frame of a spectrogram
_DITHERED = ", silence dithered"


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


@dataclass(frozen=True, slots=True, eq=False)
class Silence:
    """Windows with digital silence that the reference does not hold, as they were before they had dither.

    windows: float32 [windows, samples]. scores: the reference's of them, [windows, classes]. moved: how far these move
    at most when noise far below float32's rounding is added.
    """

    windows: FloatArray
    scores: FloatArray
    moved: float = 0.0


def scored(golden: GoldenData, card: Card, reference: Reference) -> tuple[GoldenData, Silence]:
    """Golden data with the reference's scores; of windows whose silence it does not hold, with dither."""
    windows = golden.windows()
    scores = _scores(windows, card, reference)
    silent = np.flatnonzero([card.kind != GEO and _is_silent(its, card) for its in golden.audio])
    if not len(silent):
        return replace(golden, scores=scores.astype(np.float64)), Silence(windows[:0], scores[:0])
    noise = np.random.default_rng(0).standard_normal((len(silent), card.window_samples)).astype(np.float32)
    moved = np.abs(_scores(windows[silent] + noise * np.float32(_NOISE), card, reference) - scores[silent]).max(axis=1)
    shaky = silent[moved > ADOPTED_FP32.max]
    silence = Silence(windows[shaky], scores[shaky], float(moved.max()))
    if not len(shaky):
        return replace(golden, scores=scores.astype(np.float64)), silence
    audio = golden.audio.copy()
    audio[shaky] = _dithered(audio[shaky])
    names = [f"{name}{_DITHERED}" if index in set(shaky.tolist()) else name for index, name in enumerate(golden.names)]
    floored = replace(golden, audio=audio, names=tuple(names))
    scores[shaky] = _scores(floored.windows()[shaky], card, reference)
    return replace(floored, scores=scores.astype(np.float64)), silence


def _is_silent(window: NDArray[np.int16], card: Card) -> bool:
    """Whether samples are all alike for long: no recorder gives that, but the end of a file that is filled up does."""
    changes = np.flatnonzero(np.diff(window))
    runs = np.diff(np.concatenate([[-1], changes, [len(window) - 1]]))
    return bool(runs.max() >= _SILENCE_S * card.sample_rate)


def _dithered(windows: NDArray[np.int16]) -> NDArray[np.int16]:
    """With the dither of a recorder of 16 bits: triangular, a step to each side (S. P. Lipshitz, R. A. Wannamaker,
    J. Vanderkooy, "Quantization and dither", J. Audio Eng. Soc. 40, 1992).
    """
    random = np.random.default_rng(16)
    dither = random.random(windows.shape) - random.random(windows.shape)
    return np.round(windows + dither).clip(-32768, 32767).astype(np.int16)


def _scores(windows: FloatArray, card: Card, reference: Reference) -> FloatArray:
    return activated(reference.output(prepared(windows, card)), card.activation, card.sensitivity)
