"""A model of places: how likely each species is there in a week of the year.

Weeks are BirdNET's: four a month, the last from the 22nd to its end, 1 to 48; -1 stands for all of the year.
"""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import numpy as np

from edgebird.bundle import open_bundle
from edgebird.card import GEO
from edgebird.errors import BundleError, RuntimeUnavailableError, UsageError
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.types import FloatArray, Label

log = logging.getLogger(__name__)

ALL_YEAR = -1
WEEKS = 48
_ENGINES = ("ort-cpu", "openvino", "auto")  # a GPU gains nothing: a year is 48 rows of three numbers


def week_of(day: date) -> int:
    """The week that a day is in, 1 to 48."""
    return 4 * (day.month - 1) + min((day.day - 1) // 7, 3) + 1


def probabilities(runtime: Runtime, latitude: float, longitude: float, week: int = ALL_YEAR) -> FloatArray:
    """How likely each species of a model of places is there, float32 [classes], 0 to 1.

    latitude, longitude: degrees, north and east. Raises BundleError for a model that hears, UsageError for a place that
    is none, ScoreError.
    """
    if runtime.card.kind != GEO:
        raise BundleError("this bundle hears sound: a model of places is wanted (edgebird adopt --as geo)")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise UsageError(f"{latitude:g}, {longitude:g} is no place: wanted -90 to 90 and -180 to 180 degrees")
    if week != ALL_YEAR and not 1 <= week <= WEEKS:
        raise UsageError(f"week {week}: wanted 1 to {WEEKS}, or {ALL_YEAR} for all of the year")
    scores: FloatArray = runtime.infer(np.array([[latitude, longitude, week]], np.float32))[0]
    return scores


def probabilities_of_year(path: Path, latitude: float, longitude: float) -> tuple[tuple[Label, ...], FloatArray]:
    """Ask a bundle for each week of the year at a place; give its species and float32 [WEEKS, classes], 0 to 1.

    Any engine that is installed will do. Raises as `probabilities` does, BundleError for what is no bundle,
    RuntimeUnavailableError where no engine can run it.
    """
    bundle = open_bundle(path)
    if bundle.card.kind != GEO:
        raise BundleError(f"{path} hears sound: a model of places is wanted (edgebird adopt --as geo)")
    for name in _ENGINES:
        try:
            runtime = open_runtime(bundle, name, RuntimeOptions(threads=1, batches=(1,)))
            break
        except RuntimeUnavailableError as error:
            if name == _ENGINES[-1]:
                raise
            log.debug("%s is not asked of places: %s", name, error)
    try:
        year = [probabilities(runtime, latitude, longitude, week) for week in range(1, WEEKS + 1)]
    finally:
        runtime.close()
    return bundle.card.labels, np.stack(year)
