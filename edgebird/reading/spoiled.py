"""Samples that are no sound: not a number, infinite, or so large that a model cannot score what is around them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgebird.types import FloatArray

NOT_FINITE = "not_finite"
LARGEST = 2.0**31  # full scale is 1; a file of floats may hold 32-bit whole numbers, and nothing writes more
_CELL_S = 0.1  # what is left out around one


def is_sound(samples: FloatArray) -> bool:
    """Whether all of float32 [n] is."""
    return not len(samples) or bool(samples.max() <= LARGEST and samples.min() >= -LARGEST)


def sound_parts(samples: FloatArray, start: int, rate: int) -> Iterator[tuple[FloatArray, int]]:
    """Give the parts of float32 [n] that are sound, with their places; what is between them is spoiled.

    start: of the first sample, in frames since the start of the recording.
    """
    if is_sound(samples):
        yield samples, start
        return
    cell = max(1, round(_CELL_S * rate))
    spoiled = np.unique((start + np.flatnonzero(~(np.abs(samples) <= LARGEST))) // cell) * cell - start
    done = 0
    for begin in spoiled.tolist():
        if begin > done:
            yield samples[done:begin], start + done
        done = max(0, min(begin + cell, len(samples)))
    if done < len(samples):
        yield samples[done:], start + done
    else:
        yield samples[:0], start + done
