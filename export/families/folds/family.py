"""What the exporter is told of the fold models."""

from __future__ import annotations

import re

from edgebird.export.checkpoint import Checkpoint
from edgebird.export.families.family import Family
from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES, recognise
from edgebird.export.families.folds.labels import birdclef2023
from edgebird.export.families.folds.load import UNREAD, load_folds


def _experiment(checkpoint: Checkpoint, override: str | None) -> str:
    return recognise(checkpoint.shapes, checkpoint.path.absolute(), override).name


FOLDS = Family(
    name="BirdCLEF 2023",
    sample_rate=SAMPLE_RATE,
    window_samples=WINDOW_SAMPLES,
    block=re.compile(r"(?:stem|stages\.\d+\.\d+|final_conv)\b"),  # children of freeze.FrozenFold
    leftovers=frozenset({UNREAD}),
    recognise=_experiment,
    load=load_folds,
    labels=birdclef2023,
    landmark="backbone.0.conv1.weight",
)
