"""The golden windows of the fold models: real audio that comes with edgebird. What it is: data/README.md."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebird.bundle import GOLDEN_FILE, GoldenData, read_golden
from edgebird.demo import BUNDLE

# What the first twelve windows hold: tests know what the author's code says of them (data/README.md).
FIRST = (
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


# The recordings of the first twelve, in their order.
FIRST_OF = (*"ABCABADECECE",)


def golden_windows() -> GoldenData:
    """The windows that come with edgebird, int16 [60, 160000], 32 kHz, with their names: those of the demo's bundle.

    The 5 MB are there once, and not a second time beside the exporter. The scores are those of the demo's folds.
    """
    return read_golden(BUNDLE / GOLDEN_FILE)


def golden_audio() -> NDArray[np.int16]:
    """The audio of `golden_windows`."""
    return golden_windows().audio.astype(np.int16, copy=False)
