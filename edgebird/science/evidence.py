"""Detections of which is known whether they are right, whoever knows it: people who reviewed, or who made tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebird.errors import LabelError
from edgebird.science.bounds import JudgedDetections
from edgebird.science.reviewed import read_reviews
from edgebird.science.truth import Truth
from edgebird.types import Label


@dataclass(frozen=True, slots=True)
class Evidenced:
    """Detections by code. source: who knows, in words. groups: of each what it may be like others for, such as its
    recording. notes: what the reader has to know.
    """

    judged: Mapping[str, JudgedDetections]
    labels: Mapping[str, Label]
    source: str
    groups: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def of_reviews(path: Path) -> Evidenced:
    """Return the reviews of a station. Raises DatabaseError, LabelError."""
    found = read_reviews(path)
    if not found.judged:
        raise LabelError(f"{path}: no detection that was drawn is reviewed as right or wrong")
    many = sum(len(one.scores) for one in found.judged.values())
    notes = []
    if found.looked_up:
        notes.append(f"{found.looked_up} reviews are of detections that nobody drew: they count for no estimate.")
    if found.unsure:
        notes.append(f"{found.unsure} reviews are unsure, and left out.")
    return Evidenced(found.judged, found.labels, f"{many} reviews of {path.name}", found.days, notes)


def of_truth(truth: Truth) -> Evidenced:
    """Return the detections of recordings with tables. Raises LabelError where there are scores of windows only."""
    compared = truth.compared
    if not compared.has_events:
        raise LabelError("a submission has windows and no detections: give events, such as detect --format jsonl")
    told = {code: one for code, one in compared.events.items() if len(one.scores)}
    judged = {
        code: JudgedDetections(one.scores, one.right, np.ones(len(one.scores)), one.recordings)
        for code, one in told.items()
    }
    groups = {code: [str(compared.recordings[number]) for number in one.recordings] for code, one in told.items()}
    many = sum(len(one.scores) for one in told.values())
    source = f"{many} detections in {len(compared.recordings)} recordings with tables"
    return Evidenced(judged, compared.labels, source, groups, truth.notes)
