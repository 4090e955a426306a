"""Names of species in the language of the reader, from a file of theirs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from edgebird.errors import LabelError
from edgebird.species import name_key

_HEADINGS = {"code", "species_code", "scientific_name", "scientific name", "common_name", "name"}


class LocalNames:
    """Gives the name of a species: the file's, by code or scientific name, else the model's own."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._names = {name_key(key): name for key, name in (names or {}).items()}

    def of(self, code: str, scientific_name: str, common_name: str) -> str:
        """Return its name."""
        return self._names.get(name_key(code)) or self._names.get(name_key(scientific_name)) or common_name or code


def read_names(path: Path) -> LocalNames:
    """Read a file of names, UTF-8: `code or scientific name,name` a line, or `Scientific name_Name` as BirdNET has it.

    A first line of headings does not count, nor do blank lines and lines that start with `#`. Raises LabelError.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise LabelError(f"cannot read names {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"names {path} are not UTF-8 text: save the file as UTF-8") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) == 1 and "_" in line:
            cells = [cell.strip() for cell in line.split("_", 1)]
        if len(cells) != 2 or not all(cells):
            raise LabelError(f"names {path}, line {number}: wanted a code or scientific name, a comma and a name")
        if not (number == 1 and {cell.lower() for cell in cells} <= _HEADINGS):
            names[cells[0]] = cells[1]
    if not names:
        raise LabelError(f"names {path}: there is no name in it")
    return LocalNames(names)
