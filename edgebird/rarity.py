"""What may be heard here this week, and what it takes to believe a rare one: more windows, not a cut.

By the frequency of a species at the place in the week: from `common` on as set, from `rare` on some windows more, below
that still more and a higher threshold. What nobody knows the frequency of passes as set.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.frequencies import WEEKS, read_bar_chart, read_table, week_of
from edgebird.pooling import Confirmation
from edgebird.settings.place import PlaceSettings
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


def season_of(settings: PlaceSettings | None, labels: Sequence[Label]) -> Season | None:
    """Return the season of a place, None where the settings name nothing to know it from.

    Of several that know a species the user's own table comes first, then eBird. Raises LabelError for a file that is
    not what it is said to be.
    """
    if settings is None or (settings.table is None and settings.ebird is None):
        return None
    return _season(settings, tuple(labels), tuple(map(_version, (settings.table, settings.ebird))))


def _version(path: Any) -> Any:
    """What tells one state of a file from another."""
    try:
        return path and (path.stat().st_mtime_ns, path.stat().st_size)
    except OSError:
        return None


@lru_cache(maxsize=2)
def _season(settings: PlaceSettings, labels: tuple[Label, ...], version: object) -> Season:
    """See `season_of`; sources share it."""
    frequencies = np.full((WEEKS, len(labels)), np.nan, np.float32)
    sources = [""] * len(labels)
    for name, path, read in (("table", settings.table, read_table), ("ebird", settings.ebird, read_bar_chart)):
        if path is None:
            continue
        found = read(path, labels)
        for label in np.flatnonzero(~np.isnan(found).all(axis=0)).tolist():
            if not sources[label]:
                sources[label] = name
                frequencies[:, label] = found[:, label]
    unknown = sources.count("")
    if unknown:
        log.warning("place: %d of the model's %d labels have no frequency there and pass as set", unknown, len(labels))
    return Season(frequencies, sources, settings)
