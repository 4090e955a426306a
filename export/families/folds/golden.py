"""Golden data: real audio, and what the original network says of it before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch

from edgebird.bundle import GoldenData
from edgebird.card import floor_group
from edgebird.export.families.folds import windows as stored_windows
from edgebird.export.families.folds.network import FoldModel


def record_golden(folds: Sequence[FoldModel], db_floor: str) -> GoldenData:
    """Score the golden windows with the original, un-frozen folds in float64: the mean of their sigmoids.

    db_floor: `window` scores each window alone, `batch` in groups of four, which then share a floor.
    """
    stored = stored_windows.golden_windows()
    audio = stored.audio
    group = floor_group(db_floor)
    total = np.zeros((len(audio), folds[0].architecture.classes))
    for fold in folds:
        exact = deepcopy(fold).double()
        with torch.inference_mode():
            for start in range(0, len(audio), group):
                windows = torch.from_numpy(audio[start : start + group]).double() / 32768.0
                total[start : start + group] += torch.sigmoid(exact(windows)).numpy()
    return GoldenData(audio, total / len(folds), stored.names, stored.recordings)
