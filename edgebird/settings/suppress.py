"""Settings of what silences others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebird.errors import UsageError
from edgebird.settings import checks
from edgebird.settings.row import Option, Setting, set_by

REPORTS = "What is reported"
_BOTH = ("listen", "detect")


def _seconds() -> checks.Check:
    """Return the check of a table of classes and seconds."""
    wanted = "a table of classes of the model and seconds, each 0 to 3600"
    number = checks.number(0, 3600)

    def read(value: Any) -> dict[str, float]:
        try:
            return {str(name): number.read(seconds) for name, seconds in value.items()}
        except (AttributeError, ValueError):
            raise ValueError(wanted) from None

    return checks.Check(read, lambda: wanted)


def _split(texts: Iterable[str]) -> dict[str, Any]:
    """Return what `--suppress dog=30` sets. Raises UsageError."""
    found = {}
    for text in texts:
        name, equals, seconds = text.rpartition("=")
        try:
            found[name] = float(seconds)
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"--suppress {text}: wanted CLASS=SECONDS, such as dog=30")
    return {"suppress.classes": found}


# fmt: off
@dataclass(frozen=True, slots=True)
class SuppressSettings:
    """Which classes silence others. classes: by code or name, seconds after each. threshold: of their scores."""

    classes: Mapping[str, float] = field(default_factory=dict, metadata=set_by(
        Setting("classes", "Seconds for which a class of the model silences others, such as a dog.", _seconds(),
                Option("--suppress", "CLASS=S", REPORTS, _BOTH, repeated=True, split=_split),
                note="Seconds for which a class of the model silences others after it is heard.",
                example={"dog": 30, "siren": 60})))
    threshold: float = field(default=0.5, metadata=set_by(
        Setting("threshold", "From this score of such a class on, default {default}.", checks.number(0, 1),
                Option("--suppress-threshold", "X", REPORTS, _BOTH))))
    species_list: Path | None = field(default=None, metadata=set_by(
        Setting("species-list", "Only these are silenced, as in --species-list; default: all others.", checks.path(),
                Option("--suppress-list", "FILE", REPORTS, _BOTH), example="owls.txt")))
