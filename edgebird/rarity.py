"""What may be heard here this week, and what it takes to believe a rare one: more windows, not a cut.

By the frequency of a species at the place in the week: from `common` on as set, from `rare` on some windows more, below
that still more and a higher threshold. What nobody knows the frequency of passes as set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.bundle import CARD_FILE
from edgebird.errors import LabelError
from edgebird.frequencies import WEEKS, read_bar_chart, read_table, week_of
from edgebird.places import probabilities_of_year
from edgebird.pooling import Confirmation
from edgebird.settings.place import PlaceSettings
from edgebird.species import name_key
from edgebird.types import FloatArray, Label

log = logging.getLogger(__name__)

AS_SET, UNCOMMON, RARE = 0, 1, 2
_RULES = ("as set", "uncommon", "rare")
_NEVER_SURE = 0.5  # of what is left to 1: a higher threshold can still be reached


@dataclass(frozen=True, eq=False)
class Season:
    """How often each label is reported at a place in each week, and what follows.

    frequencies: float32 [WEEKS, classes], NaN unknown. sources: who says so, for each label, "" for nobody.
    """

    frequencies: FloatArray
    sources: Sequence[str]
    rules: PlaceSettings

    def confirmation(self, day: date | None, thresholds: FloatArray, min_windows: int) -> Confirmation:
        """Return what confirms each label on a day, above thresholds [classes] and windows that confirm as set.

        day: None where nobody knows; then the week counts in which the label is most often reported.
        """
        frequencies = self._of(day)
        rules = self._rules(frequencies)
        more = np.array([0, self.rules.uncommon_windows, self.rules.rare_windows])
        raised = np.minimum(self.rules.rare_threshold, _NEVER_SURE * (1 - thresholds))
        firm = np.where(rules == RARE, thresholds + raised, thresholds).astype(np.float32)
        windows = min_windows + more[rules]

        def detail(label: int) -> dict[str, Any]:
            frequency = frequencies[label]
            return {
                "frequency": None if np.isnan(frequency) else round(float(frequency), 6),
                "frequency_source": self.sources[label] or None,
                "rule": _RULES[rules[label]],
                "wanted_windows": int(windows[label]),
                "wanted_score": round(float(firm[label]), 6),
            }

        return Confirmation(firm, windows, detail)

    def _of(self, day: date | None) -> FloatArray:
        """Frequencies [classes]."""
        if day is not None:
            of_week: FloatArray = self.frequencies[week_of(day)]
            return of_week
        known = np.where(np.isnan(self.frequencies), -1, self.frequencies).max(axis=0)
        return np.where(known < 0, np.nan, known).astype(np.float32)

    def _rules(self, frequencies: FloatArray) -> NDArray[np.int_]:
        """Rules [classes]."""
        with np.errstate(invalid="ignore"):
            return np.select([frequencies < self.rules.rare, frequencies < self.rules.common], [RARE, UNCOMMON], AS_SET)


def season_of(
    settings: PlaceSettings | None, labels: Sequence[Label], position: tuple[float, float] | None = None
) -> Season | None:
    """Return the season of a place, None where the settings name nothing to know it from.

    position: latitude and longitude in degrees, for a geographic model. Of several that know a species the user's own
    table comes first, then eBird, then the model. Raises LabelError for a file that is not what it is said to be, and
    for a bundle what `places.probabilities_of_year` does.
    """
    if settings is None or not _paths(settings):
        return None
    return _season(settings, tuple(labels), position, tuple(map(_version, _paths(settings))))


def _paths(settings: PlaceSettings) -> list[Path]:
    """The files that it is read from."""
    card = settings.geo and settings.geo / CARD_FILE
    return [path for path in (settings.table, settings.ebird, card) if path is not None]


def _version(path: Path) -> tuple[int, int] | None:
    """What tells one state of a file from another."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=2)
def _season(
    settings: PlaceSettings, labels: tuple[Label, ...], position: tuple[float, float] | None, version: object
) -> Season:
    """See `season_of`; sources share it."""
    frequencies = np.full((WEEKS, len(labels)), np.nan, np.float32)
    sources = [""] * len(labels)
    for name, found in _known(settings, labels, position):
        for label in np.flatnonzero(~np.isnan(found).all(axis=0)).tolist():
            if not sources[label]:
                sources[label] = name
                frequencies[:, label] = found[:, label]
    unknown = sources.count("")
    if unknown:
        log.warning("place: %d of the model's %d labels have no frequency there and pass as set", unknown, len(labels))
    return Season(frequencies, sources, settings)


def _known(
    settings: PlaceSettings, labels: tuple[Label, ...], position: tuple[float, float] | None
) -> Iterator[tuple[str, FloatArray]]:
    """Each source with its frequencies [WEEKS, classes], those that count first first."""
    if settings.table:
        yield "table", read_table(settings.table, labels)
    if settings.ebird:
        yield "ebird", read_bar_chart(settings.ebird, labels)
    if settings.geo and position:
        yield "geo", read_places(settings.geo, labels, position)


def read_places(path: Path, labels: Sequence[Label], position: tuple[float, float]) -> FloatArray:
    """Ask a bundle of a geographic model how likely each label is in each week, float32 [WEEKS, classes], NaN unknown.

    position: latitude and longitude in degrees. A species is matched by its scientific name. Raises LabelError where it
    knows none of the labels, and what `places.probabilities_of_year` does.
    """
    species, year = probabilities_of_year(path, *position)
    index: dict[str, int] = {}
    for number, one in enumerate(species):
        index.setdefault(name_key(one.scientific_name), number)
    found = [index.get(name_key(label.scientific_name), -1) for label in labels]
    if max(found, default=-1) < 0:
        raise LabelError(
            f"{path}: none of its {len(species)} species is a label of this model; they are matched by scientific names"
        )
    return np.where(np.array(found) < 0, np.float32(np.nan), year[:, found])
