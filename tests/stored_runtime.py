"""A runtime whose scores are stored in the sound itself: what it says of a window is the same on every machine.

Sample `i` of a recording belongs to label `i % classes`, and its height is that label's score at that moment. The score
of a window is the mean height of the label's samples, reckoned in whole numbers. Put this module's name into
`edgebird.runtimes.RUNTIMES` to use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ScoreError

RATE, WINDOW_S, CLASSES = 8000, 5, 4
FULL = 16384  # height of a sample that says 1
UNSCORABLE = -32768  # a sample that no score is given for
_HISS = 16  # height where nothing is heard: no microphone is silent


def sound(seconds: float, songs: Sequence[tuple[int, float, float, float]] = (), hiss: int = _HISS) -> NDArray[Any]:
    """A recording with songs, each (label, score, start, end): int16 [n] at RATE."""
    heights = np.full((round(seconds * RATE / CLASSES), CLASSES), hiss, np.int16)
    for label, score, start, end in songs:
        heights[round(start * RATE / CLASSES) : round(end * RATE / CLASSES), label] = round(score * FULL)
    heights[1::2] *= -1  # as sound goes up and down
    return heights.reshape(-1)


def scores_of(windows: NDArray[Any]) -> NDArray[np.float32]:
    """The stored scores of windows, -1 to 1: [batch, samples] -> [batch, CLASSES]."""
    heights = np.abs(np.rint(windows * np.float64(32768)).astype(np.int64))
    sums = heights.reshape(len(windows), -1, CLASSES).sum(axis=1)
    return np.minimum(1.0, sums / (windows.shape[1] // CLASSES * FULL)).astype(np.float32)


class StoredRuntime:
    """See `Runtime`; it has each member under both of its names, so that either can be asked for."""

    group = batch_size = 3
    at_once = concurrency = 2
    provider = "stored"

    def __init__(self, bundle: Any, name: str) -> None:
        self.name, self.card = name, bundle.card

    def infer(self, windows: NDArray[Any]) -> NDArray[np.float32]:
        """[batch, window_samples] -> [batch, CLASSES]. Raises ScoreError for sound that says so."""
        if windows.dtype != np.float32 or windows.shape[1:] != (self.card.window_samples,):
            raise ValueError(f"windows are {windows.dtype} {list(windows.shape)}")
        bad = np.flatnonzero((windows == UNSCORABLE / 32768).any(axis=1)).tolist()
        if bad:
            raise ScoreError("no score is stored", bad)
        return scores_of(windows)

    def infer_outputs(self, windows: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {"scores": self.infer(windows)}

    def close(self) -> None:
        """Nothing to free."""


def open_runtime(bundle: Any, name: str, options: Any) -> StoredRuntime:
    """Open it; the precision must be one of the bundle's."""
    bundle.model(options.precision)
    return StoredRuntime(bundle, name)


def probe(name: str) -> str:
    """It runs everywhere."""
    return "scores that are stored in the sound"
