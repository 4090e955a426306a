"""Settings of what may be heard at a place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgebird.errors import UsageError
from edgebird.settings import checks
from edgebird.settings.row import Option, Setting, set_by

PLACE = "Place and season"
_BOTH = ("listen", "detect")


# fmt: off
@dataclass(frozen=True, slots=True)
class PlaceSettings:
    """From what it is known how often a species is reported, and what it takes to believe a rare one.

    common, rare: frequencies, 0 to 1; below them a species is uncommon, or rare.
    uncommon_windows, rare_windows: more than min_windows. rare_threshold: added to the threshold.
    """

    table: Path | None = field(default=None, metadata=set_by(
        Setting("table", "Your own table of what is heard when: species,weeks,frequency.", checks.path(),
                Option("--place-table", "FILE.csv", PLACE, _BOTH), example="place.csv")))
    ebird: Path | None = field(default=None, metadata=set_by(
        Setting("ebird", "A bar chart of the region that you downloaded from eBird.", checks.path(),
                Option("--ebird", "FILE.txt", PLACE, _BOTH), example="ebird_DE-BE_barchart.txt")))
    geo: Path | None = field(default=None, metadata=set_by(
        Setting("geo", "A bundle of a geographic model, asked for latitude and longitude; `edgebird adopt` makes it.",
                checks.path(), Option("--geo", "BUNDLE", PLACE, _BOTH), example="/opt/edgebird/places")))
    common: float = field(default=0.01, metadata=set_by(
        Setting("common", "From this frequency on a species needs no more than is set, default {default}.",
                checks.number(0, 1), Option("--common", "X", PLACE, _BOTH))))
    rare: float = field(default=0.001, metadata=set_by(
        Setting("rare", "Below this frequency a species is rare, default {default}.", checks.number(0, 1),
                Option("--rare", "X", PLACE, _BOTH))))
    uncommon_windows: int = field(default=1, metadata=set_by(
        Setting("uncommon-windows", "Windows more for what is neither common nor rare, default {default}.",
                checks.whole(0), Option("--uncommon-windows", "N", PLACE, _BOTH))))
    rare_windows: int = field(default=2, metadata=set_by(
        Setting("rare-windows", "Windows more for what is rare, default {default}.", checks.whole(0),
                Option("--rare-windows", "N", PLACE, _BOTH))))
    rare_threshold: float = field(default=0.2, metadata=set_by(
        Setting("rare-threshold", "Added to the threshold of what is rare, default {default}.", checks.number(0, 1),
                Option("--rare-threshold", "X", PLACE, _BOTH))))

    def __post_init__(self) -> None:
        if self.rare > self.common:
            raise UsageError(f"rare {self.rare:g} is more than common {self.common:g}: what is rare is not common")
