"""Species lists: which labels may be reported."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
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
    """
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
        for name in {_key(label.code), _key(label.scientific_name), _key(label.common_name)} - {""}:
            index[name].append(i)
    return dict(index)


def _match(entry: str, index: dict[str, list[int]]) -> list[int]:
    """The labels of an entry: all of it is a name, or else its scientific name is one, or else its common name.

    Either half is enough, for common names differ by language and scientific names by the year of the taxonomy.
    """
    scientific, _, common = entry.partition("_")
    for name in (entry, scientific, common):
        if matches := index.get(_key(name)):
            return matches
    return []


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _examples(entries: Sequence[str]) -> str:
    shown = ", ".join(entries[:_SHOWN])
    return f" ({shown}{', ...' if len(entries) > _SHOWN else ''})" if entries else ""
