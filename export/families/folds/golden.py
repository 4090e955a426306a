"""Golden data: real audio, and what the original network says of it before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib import resources

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from edgebird.bundle import GoldenData
from edgebird.card import floor_group
from edgebird.export.families.folds.experiments import WINDOW_SAMPLES
from edgebird.export.families.folds.network import FoldModel

# What the twelve windows of data/golden.flac hold; where they come from is in data/README.md.
NAMES = (
    "woodland soundscape, a blackbird from 2 s on",
    "several birds",
    "cuckoo, quiet",
    "blackbird, second half digital silence",
    "several birds, later",
    "soundscape 50 dB down",
    "soundscape 30 dB up, clipping",
    "cuckoo, quiet, another recording",
    "cuckoo with a DC offset of 0.02",
    "the other cuckoo with a DC offset of 0.02",
    "cuckoo with a DC offset of -0.04",
    "the other cuckoo with a DC offset of -0.04",
)


def golden_audio() -> NDArray[np.int16]:
    """The windows that come with edgebird: int16 [12, 160000], 32 kHz."""
    with (resources.files("edgebird.export.families.folds") / "data" / "golden.flac").open("rb") as file:
        samples, _rate = soundfile.read(file, dtype="int16")
    audio: NDArray[np.int16] = samples.reshape(len(NAMES), WINDOW_SAMPLES)
    return audio


def record_golden(folds: Sequence[FoldModel], db_floor: str) -> GoldenData:
    """Score the golden windows with the original, un-frozen folds in float64: the mean of their sigmoids.

    db_floor: `window` scores each window alone, `batch` in groups of four, which then share a floor.
    """
    audio = golden_audio()
    group = floor_group(db_floor)
    total = np.zeros((len(audio), folds[0].architecture.classes))
    for fold in folds:
        exact = deepcopy(fold).double()
        with torch.inference_mode():
            for start in range(0, len(audio), group):
                windows = torch.from_numpy(audio[start : start + group]).double() / 32768.0
                total[start : start + group] += torch.sigmoid(exact(windows)).numpy()
    return GoldenData(audio, total / len(folds), NAMES)
