"""What is wrong with scores that are not the original's: the mistakes that engines and exports are known to make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXACT = 1e-3  # a tolerance within which scores are the same: in a wide one, those of many windows would be
_LEAST_FACTOR = 0.1  # a smaller change of scale is an error like any other


def likely_cause(
    reference: NDArray[Any], scores: NDArray[Any], order: NDArray[np.intp], names: Sequence[str], allowed: float
) -> str:
    """Why scores differ, in words; "" if it is no mistake that is known.

    reference: of every window, [windows, classes]. scores: [rows, classes], finite. order: which window each row is of.
    names: of the windows. allowed: the largest difference that is none.
    """
    if scores.min() < -allowed or scores.max() > 1 + allowed:
        span = f"{scores.min():.3g} to {scores.max():.3g}"
        outside = f"values reach from {span}, not 0 to 1: another output, or an activation that is missing"
    else:
        outside = ""
    if allowed > _EXACT:
        return outside
    wanted = reference[order]
    worst = int(np.abs(scores - wanted).max(axis=1).argmax())
    row, its = scores[worst].astype(np.float64), wanted[worst]
    others = np.abs(reference - row).max(axis=1)
    nearest = int(others.argmin())
    if others[nearest] <= allowed and nearest != order[worst]:
        return f"it answers {names[order[worst]]!r} with the scores of {names[nearest]!r}: windows are mixed up"
    factor = float(np.vdot(scores, wanted) / max(np.vdot(wanted, wanted), 1e-12))
    off = np.abs(scores - factor * wanted).max()
    if abs(factor - 1) > _LEAST_FACTOR and off <= allowed * max(abs(factor), 1):
        return f"every score is {factor:.3g} times what it must be"
    if np.abs(np.sort(row) - np.sort(its)).max() <= allowed:
        return "it has the same scores for other classes: labels or outputs are in another order"
    return outside
