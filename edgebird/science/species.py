"""Which species a name in a table means, and which recording of the results a table is of."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from edgebird.errors import LabelError
from edgebird.science.heard import HeardRecording, HeardResults
from edgebird.science.tables import Marked, Span
from edgebird.species import name_key
from edgebird.types import Label


class SpeciesIndex:
    """The species that are compared, found by code, scientific or common name, or `Scientific name_Common name`.

    labels: those that are known. aliases: what else tables call them. closed: there are no others; else a name that
    nobody knows is a species of its own, which the model never told.
    """

    def __init__(self, labels: Iterable[Label], aliases: Mapping[str, str], closed: bool) -> None:
        self.labels: dict[str, Label] = {}
        self.unknown: dict[str, int] = defaultdict(int)
        self.closed = closed
        self._codes: dict[str, str] = {}
        for label in labels:
            self._add(label)
        for name, meant in aliases.items():
            code = self._codes.get(name_key(meant), meant if not closed else None)
            if code is not None:
                self._codes[name_key(name)] = code

    def _add(self, label: Label) -> None:
        self.labels[label.code] = label
        both = f"{label.scientific_name}_{label.common_name}"
        for name in (label.code, label.scientific_name, label.common_name, both):
            if name.strip("_"):
                self._codes.setdefault(name_key(name), label.code)

    def code(self, name: str) -> str | None:
        """Return the code of what a table names; None, counted, for what the model does not know."""
        found = self._codes.get(name_key(name))
        if found is not None and found in self.labels:
            return found
        if self.closed:
            self.unknown[name] += 1
            return None
        label = Label(found or name, "", name)
        self._add(label)
        return label.code

    def with_named(self, names: Iterable[str]) -> list[Label]:
        """Return the labels that are known, and where there may be others those that tables name, too."""
        for name in names if not self.closed else ():
            self.code(name)
        return list(self.labels.values())


def read_aliases(path: Path) -> dict[str, str]:
    """Read what tables call species, a UTF-8 file: `name in the tables,code or name of the model` a line.

    Blank lines and those that start with `#` do not count. Raises LabelError.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise LabelError(f"cannot read aliases {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"aliases {path} are not UTF-8 text: save the file as UTF-8") from error
    aliases = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) != 2 or not all(cells):
            raise LabelError(f"aliases {path}, line {number}: wanted a name, a comma and what the model calls it")
        aliases[cells[0]] = cells[1]
    return aliases


def of_recordings(marked: Marked, heard: HeardResults) -> tuple[dict[PurePath, list[Span]], list[PurePath]]:
    """Return the truth of each recording of the results that has some, and tables of which there are no results.

    Names decide; where several recordings, or tables in several folders, have one name, the folders they are in: the
    table of a recorder that there are no results of is none of another's. Raises LabelError where that does not tell
    recordings apart.
    """
    named: dict[str, list[HeardRecording]] = defaultdict(list)
    for one in heard.recordings.values():
        named[one.path.name.casefold()].append(one)
    nearest: dict[PurePath, int] = defaultdict(int)  # by recording: how much of its path the best of its tables has
    found: list[tuple[PurePath, PurePath, int]] = []
    unheard = []
    for path in marked.spans:
        candidates = named.get(path.name.casefold(), [])
        if not candidates:
            unheard.append(path)
            continue
        shared = [_shared(path, one.path) for one in candidates]
        best = [one for one, many in zip(candidates, shared, strict=True) if many == max(shared)]
        if len(best) > 1:
            raise LabelError(f"{path}: {best[0].path} or {best[1].path}? Put tables into folders as the recordings are")
        found.append((path, best[0].path, max(shared)))
        nearest[best[0].path] = max(nearest[best[0].path], max(shared))
    truth: dict[PurePath, list[Span]] = {}
    for path, recording, many in found:
        if many < nearest[recording]:
            unheard.append(path)
        else:
            truth.setdefault(recording, []).extend(marked.spans[path])
    return truth, unheard


def _shared(one: PurePath, other: PurePath) -> int:
    """How many parts of two paths are the same, from their ends on."""
    many = 0
    for a, b in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if a.casefold() != b.casefold():
            break
        many += 1
    return many
