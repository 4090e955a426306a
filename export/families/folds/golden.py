"""Golden data: real audio, and what the original network says of it before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch

from edgebird.bundle import GoldenData
from edgebird.card import FLOOR_GROUP
from edgebird.export.families.folds import windows as stored_windows
from edgebird.export.families.folds.network import FoldModel


def record_golden(folds: Sequence[FoldModel]) -> GoldenData:
    """Score the golden windows with the original, un-frozen folds in float64: the mean of their sigmoids.

    Four windows at once, as kernels are standardised in each call. Only folds that were loaded for `db_floor` batch let
    them share a floor.
    """
    stored = stored_windows.golden_windows()
    audio = stored.audio
    total = np.zeros((len(audio), folds[0].architecture.classes))
    for fold in folds:
        exact = deepcopy(fold).double()
        with torch.inference_mode():
            for start in range(0, len(audio), FLOOR_GROUP):
                windows = torch.from_numpy(audio[start : start + FLOOR_GROUP]).double() / 32768.0
                total[start : start + FLOOR_GROUP] += torch.sigmoid(exact(windows)).numpy()
    return GoldenData(audio, total / len(folds), stored.names, stored.recordings)
