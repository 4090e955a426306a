"""Species lists: which labels may be reported."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import LabelError
from edgebird.types import Label

log = logging.getLogger(__name__)

_SHOWN = 3  # how many unmatched entries a message names


def allowed_labels(path: Path, labels: Sequence[Label]) -> NDArray[np.bool_]:
    """Read a species list; return bool [classes], True for the labels it names.

    One entry a line, in any case: `Scientific name_Common name`, an eBird code, or a scientific or common name alone.
    Blank lines and lines that start with `#` do not count. Lists made for other models name species that this one
    does not know: those are logged. Raises LabelError if the file cannot be read or names no label at all.

    A file that several sources share is read once, and again when it has changed. The array cannot be written to.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise LabelError(f"cannot read species list {path}: {error.strerror}") from error
    return _allowed(path, (found.st_mtime_ns, found.st_size, found.st_ino), tuple(labels))


@lru_cache(maxsize=4)
def _allowed(path: Path, version: tuple[int, int, int], labels: tuple[Label, ...]) -> NDArray[np.bool_]:
    """See `allowed_labels`. version: what tells one state of the file from another."""
    entries = _entries(path)
    index = _index(labels)
    allowed = np.zeros(len(labels), dtype=np.bool_)
    unmatched = []
    for entry in entries:
        matches = _match(entry, index)
        allowed[matches] = True
        if not matches:
            unmatched.append(entry)
    if not allowed.any():
        raise LabelError(
            f"species list {path}: none of its {len(entries)} entries is a label of this model{_examples(unmatched)}; "
            "expected `Scientific name_Common name` or an eBird code on each line"
        )
    if unmatched:
        log.warning(
            "species list %s: %d of %d entries are no label of this model%s",
            path,
            len(unmatched),
            len(entries),
            _examples(unmatched),
        )
    allowed.setflags(write=False)
    return allowed


def _entries(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"cannot read species list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"species list {path} is not UTF-8 text: save it as UTF-8") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _index(labels: Sequence[Label]) -> dict[str, list[int]]:
    """Every code and name with the labels that bear it: several labels of a model may share a species."""
    index: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        for name in {name_key(label.code), name_key(label.scientific_name), name_key(label.common_name)} - {""}:
            index[name].append(i)
    return dict(index)


def _match(entry: str, index: dict[str, list[int]]) -> list[int]:
    """The labels of an entry: all of it is a name, or else its scientific name is one, or else its common name.

    Either half is enough, for common names differ by language and scientific names by the year of the taxonomy.
    """
    scientific, _, common = entry.partition("_")
    for name in (entry, scientific, common):
        if matches := index.get(name_key(name)):
            return matches
    return []


def name_key(name: str) -> str:
    """Return a name as it is compared: without regard to case and to how many spaces there are."""
    return " ".join(name.split()).casefold()


def _examples(entries: Sequence[str]) -> str:
    shown = ", ".join(entries[:_SHOWN])
    return f" ({shown}{', ...' if len(entries) > _SHOWN else ''})" if entries else ""
