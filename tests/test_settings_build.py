"""The settings of `detect`: from the same table as a station's, without a source. Those of a station: test_settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebird.errors import UsageError
from edgebird.settings.build import recording_settings
from edgebird.settings.model import DetectionSettings, OutputSettings


def test_what_is_not_given_is_as_the_table_has_it() -> None:
    detection, output = recording_settings({"bundle": Path("birds"), "hop": None})
    assert detection == DetectionSettings(Path("birds"))
    assert output == OutputSettings()


def test_what_is_given_is_checked_as_a_stations() -> None:
    detection, _ = recording_settings({"bundle": "birds", "threshold": 0.25, "thresholds": {"comcuc": 0.5}})
    assert (detection.bundle, detection.threshold, detection.thresholds) == (Path("birds"), 0.25, {"comcuc": 0.5})
    with pytest.raises(UsageError, match=r"^--min-windows 0: wanted a whole number, 1 or more$"):
        recording_settings({"bundle": "birds", "min-windows": 0})
    with pytest.raises(UsageError, match="--bundle BUNDLE, or bundle ="):
        recording_settings({"threshold": 0.5})
    with pytest.raises(UsageError, match="latitude and longitude belong together"):
        recording_settings({"bundle": "birds", "latitude": 52.5})
