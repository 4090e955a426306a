"""How often each species is reported at a place in each week: read from a user's own table and eBird's bar charts.

There are four weeks to a month, as eBird has them: the last is from the 22nd to the month's end. Frequencies are the
part of checklists that has the species, 0 to 1, in float32 [WEEKS, classes]; NaN where nobody knows.
"""

from __future__ import annotations

import csv
import html
import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np

from edgebird.errors import LabelError
from edgebird.species import name_key
from edgebird.types import FloatArray, Label

log = logging.getLogger(__name__)

WEEKS = 48

_SCIENTIFIC = re.compile(r"<em\b[^>]*>(.*?)</em>", re.IGNORECASE)
_SPECIES = re.compile(r"[^\W\d_]+(-[^\W\d_]+)* [^\W\d_]+(-[^\W\d_]+)*")  # two words: no sp., no slash, no form
_NO_SPECIES = re.compile(r"[/(]|\bsp\.| x ")
_SHOWN = 3  # how many unmatched names a message has
_COLUMNS = ["species", "weeks", "frequency"]


def week_of(day: date) -> int:
    """Return the week of a day, 0 to 47."""
    return 4 * (day.month - 1) + min((day.day - 1) // 7, 3)


def read_table(path: Path, labels: Sequence[Label]) -> FloatArray:
    """Read a CSV file with the columns species, weeks, frequency: what a user knows of a place.

    species: an eBird code, a scientific or a common name. weeks: such as `13-40`, `45-4 20` or `all`, 1 to 48.
    frequency: 0 to 1, or with a %. In the weeks that it does not name a species is not there: its frequency is 0.
    Lines for names that are no label count for nothing, and are logged. Raises LabelError for a file that is something
    else.
    """
    index, unmatched = _index(labels, common=True), dict[str, None]()
    found = np.full((WEEKS, len(labels)), np.nan, np.float32)
    rows = csv.reader(io.StringIO(_text(path)))
    if [cell.strip().casefold() for cell in next(rows, [])] != _COLUMNS:
        raise LabelError(f"{path}: its first line is not {','.join(_COLUMNS)}")
    for row in rows:
        if not "".join(row).strip():
            continue
        try:
            species, weeks, frequency = row
            chosen, value = _weeks(weeks), _frequency(frequency)
        except ValueError:
            problem = f"{path}, line {rows.line_num}: wanted a species, weeks such as 13-40 (1 to 48) or all, and a "
            raise LabelError(f"{problem}frequency from 0 to 1, got {','.join(row)}") from None
        matches = index.get(name_key(species), [])
        if not matches:
            unmatched[species] = None
        for label in matches:
            found[:, label] = np.nan_to_num(found[:, label])
            found[chosen, label] = value
    shown = ", ".join(list(unmatched)[:_SHOWN]) + (", ..." if len(unmatched) > _SHOWN else "")
    if np.isnan(found).all():
        raise LabelError(f"{path}: it names no label of this model ({shown or 'it has no line'})")
    if unmatched:
        log.warning("%s: names that are no label of this model: %d (%s)", path, len(unmatched), shown)
    return found


def read_bar_chart(path: Path, labels: Sequence[Label]) -> FloatArray:
    """Read the file that eBird's page of bar charts lets its users download, whatever its language and names.

    A row is matched by its scientific name if it has one, else by any name of a label. Rows of more than one species,
    of less, and of domestic forms are left out. A week without checklists is unknown. Raises LabelError for a file that
    is something else.
    """
    found = np.full((WEEKS, len(labels)), np.nan, np.float32)
    exact, any_name = _index(labels, common=False), _index(labels, common=True)
    counted: FloatArray | None = None
    for number, name, values in _chart_rows(path):
        if counted is None:
            counted = values
            continue
        if (values > 1).any():
            raise LabelError(f"{path}, line {number}: {values.max():g} is no frequency")
        scientific = _SCIENTIFIC.search(name)
        species = html.unescape(scientific[1] if scientific else name).strip(" ()\"'")
        if scientific and not _SPECIES.fullmatch(species):
            continue
        if not _NO_SPECIES.search(species):
            index = exact if scientific else any_name
            found[:, index.get(name_key(species), [])] = values[:, None]
    if counted is None:
        raise LabelError(f"{path}: no bar chart of eBird: it has no row of {WEEKS} numbers")
    found[counted == 0] = np.nan
    if np.isnan(found).all():
        raise LabelError(
            f"{path}: none of its species is a label of this model in a week with checklists; names are matched by "
            "their scientific one (in eBird: My eBird, Preferences, species name display)"
        )
    return found


def _chart_rows(path: Path) -> Iterator[tuple[int, str, FloatArray]]:
    """Rows with a number for each week: their line, what they are called, and the numbers; checklists come first."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        name, *cells = line.rstrip("\t ").split("\t")
        try:
            values = np.array([float(cell) for cell in cells], np.float32)
        except ValueError:
            continue  # the months
        if len(values) <= 1:
            continue  # the title, the number of taxa
        if len(values) != WEEKS or not np.isfinite(values).all() or (values < 0).any():
            raise LabelError(f"{path}, line {number}: wanted {WEEKS} numbers from 0 on, got {len(values)}")
        yield number, name, values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not UTF-8 text") from error


def _index(labels: Sequence[Label], common: bool) -> dict[str, list[int]]:
    """The labels of each name. common: also by common name and code; a scientific name comes first."""
    index: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        index.setdefault(name_key(label.scientific_name), []).append(i)
    for i, label in enumerate(labels if common else ()):
        for name in {name_key(label.common_name), name_key(label.code)} - {name_key(label.scientific_name)}:
            index.setdefault(name, []).append(i)
    index.pop("", None)
    return index


def _weeks(text: str) -> list[int]:
    """Weeks as indices. Raises ValueError."""
    if text.strip().casefold() == "all":
        return list(range(WEEKS))
    chosen: list[int] = []
    for span in text.replace(";", " ").split():
        first, _, last = span.partition("-")
        begin, end = int(first), int(last or first)
        if not (1 <= begin <= WEEKS and 1 <= end <= WEEKS):
            raise ValueError(span)
        chosen += [week % WEEKS for week in range(begin - 1, end + (WEEKS if end < begin else 0))]
    if not chosen:
        raise ValueError(text)
    return chosen


def _frequency(text: str) -> float:
    """0 to 1. Raises ValueError."""
    value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(text)
    return value
