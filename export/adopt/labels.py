"""The lists of classes that come with published models, each in a format of its own.

`Scientific name_Common name`, a line each: BirdNET v2.4. `idx;id;sci_name;com_name;class;order`: BirdNET v3. One column
below a heading that names the taxonomy (`inat2024_fsd50k`, `ebird2021`): Perch. eBird codes or names, a line each. And
edgebird's own: code,scientific_name,common_name. Where there is no eBird code, the scientific name is the code.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgebird.errors import LabelError
from edgebird.types import Label

_CODE = re.compile(r"[a-z][a-z0-9-]{2,8}\d{0,2}")  # eBird's, such as `comcuc` or `grtgri1`
_OWN = ("code", "scientific_name", "common_name")
_V3 = ("sci_name", "com_name")


def read_model_labels(path: Path) -> tuple[Label, ...]:
    """The classes, in the order of the list. Raises LabelError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: not a UTF-8 text: {error}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise LabelError(f"{path}: there is no class in it")
    try:
        labels = _read(text, lines)
    except (csv.Error, ValueError) as error:
        raise LabelError(f"{path}: {error}") from error
    twice = [code for code, count in Counter(label.code for label in labels).items() if count > 1]
    if twice:
        raise LabelError(f"{path}: {len(twice)} classes come more than once: {', '.join(twice[:5])}")
    return labels


def _read(text: str, lines: Sequence[str]) -> tuple[Label, ...]:
    for delimiter in (",", ";"):
        heading = [name.strip() for name in lines[0].split(delimiter)]
        if set(_OWN) <= set(heading):
            return tuple(Label(*(row[column].strip() for column in _OWN)) for row in _rows(text, delimiter))
        if set(_V3) <= set(heading):
            return _version3(_rows(text, delimiter))
    entries = [line.strip().strip('"') for line in lines]
    if _names_taxonomy(entries[0]):
        entries = entries[1:]
        return tuple(_single(entry) for entry in entries)
    # In BirdNET's list the line is a pair; a name of Perch's, such as `Human_voice`, has a heading above it.
    return tuple(_pair(entry) if "_" in entry else _single(entry) for entry in entries)


def _rows(text: str, delimiter: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter, restval=""))
    return [{(key or "").strip(): value or "" for key, value in row.items() if key is not None} for row in rows]


def _version3(rows: Sequence[dict[str, str]]) -> tuple[Label, ...]:
    """`idx` says again which row is which: a list that was sorted would give every bird another's name."""
    for place, row in enumerate(rows):
        if row.get("idx", "").strip() not in ("", str(place)):
            raise ValueError(f"row {place + 1} has idx {row['idx']}: the rows are not in the model's order")
    return tuple(Label(row["sci_name"].strip(), row["sci_name"].strip(), row["com_name"].strip()) for row in rows)


def _names_taxonomy(heading: str) -> bool:
    """Whether a line is the heading of Perch's list: the name of a taxonomy with its year."""
    return re.fullmatch(r"[a-z]+\d{4}\w*|label|labels|species", heading) is not None


def _pair(entry: str) -> Label:
    scientific, _, common = entry.partition("_")
    return Label(scientific.strip(), scientific.strip(), common.strip())


def _single(entry: str) -> Label:
    """A code, or a name alone."""
    if _CODE.fullmatch(entry):
        return Label(entry, "", entry)
    return Label(entry, entry, entry.replace("_", " "))
