"""The families of networks that the exporter knows, and which of them checkpoints are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgebird.errors import CheckpointError
from edgebird.export.checkpoint import Checkpoint, Reading, read_checkpoints
from edgebird.export.families.family import Family
from edgebird.export.families.folds.family import FOLDS

FAMILIES: tuple[Family, ...] = (FOLDS,)


def read_family(
    paths: Sequence[Path], variant: str | None, weights: str | None = None
) -> tuple[Family, list[Checkpoint]]:
    """Read the checkpoints of files and folders, and tell of which family the first is; `load` refuses a mixture.

    variant: the experiment that the user named. weights: which of those in a file, None for the trained ones. Raises
    CheckpointError with what each family wanted, if it is of none.
    """
    leftovers = frozenset[str]().union(*(family.leftovers for family in FAMILIES))
    landmarks = frozenset(family.landmark for family in FAMILIES if family.landmark)
    checkpoints = read_checkpoints(paths, Reading(leftovers, landmarks, weights))
    reasons = []
    for family in FAMILIES:
        try:
            family.recognise(checkpoints[0], variant)
        except CheckpointError as error:
            reasons.append(str(error))
        else:
            return family, checkpoints
    raise CheckpointError("; ".join(reasons))
