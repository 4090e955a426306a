"""The classes of the fold models."""

from __future__ import annotations

from importlib import resources

from edgebird.export.labels import read_labels
from edgebird.types import Label


def birdclef2023() -> tuple[Label, ...]:
    """The 264 classes of BirdCLEF 2023, in the order of the fold models' outputs."""
    with resources.as_file(resources.files("edgebird.export.families.folds") / "data" / "birdclef2023.csv") as path:
        return read_labels(path)
