"""The names of a model's classes, in the order of its outputs."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from edgebird.errors import LabelError
from edgebird.export.families.family import Family
from edgebird.types import Label

_COLUMNS = ("code", "scientific_name", "common_name")


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read a label file: CSV with the columns code, scientific_name, common_name. Raises LabelError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                raise LabelError(f"{path}: no column {', '.join(missing)}: wanted {','.join(_COLUMNS)}")
            labels = tuple(Label(*((row[column] or "").strip() for column in _COLUMNS)) for row in rows)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path}: not a UTF-8 CSV file: {error}") from error
    twice = [code for code, count in Counter(label.code for label in labels).items() if count > 1]
    if twice:
        raise LabelError(f"{path}: {len(twice)} codes come more than once: {', '.join(twice[:5])}")
    if any(not label.code for label in labels):
        raise LabelError(f"{path}: a row without a code")
    return labels


def labels_for(classes: int, path: Path | None, family: Family) -> tuple[Label, ...]:
    """The labels of a model: from `path`, or those of its family. Raises LabelError if the count does not fit."""
    labels = read_labels(path) if path else family.labels()
    if len(labels) != classes:
        where = str(path) if path else f"the labels of {family.name}"
        raise LabelError(f"{where}: {len(labels)} labels, but the folds have {classes} classes: give --labels FILE.csv")
    return labels
