"""The recordings that come with edgebird, and which of them prove and which calibrate: data/recordings/."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "recordings"
LIST = "recordings.csv"
COLUMNS = ("set", "file", "recording", "heard", "seconds", "source", "sha256", "package", "licence")


@dataclass(frozen=True, slots=True)
class Shipped:
    """A part of a recording. set: `golden`, `held-out` or `calibration`. file: None for golden ones, which are in
    bundles. recording: what it is a part of. sha256: of the recording's file as its package has it.
    """

    set: str
    file: Path | None
    recording: str
    sha256: str


def shipped(*sets: str) -> list[Shipped]:
    """Those of some sets, in the order of the list."""
    with (FOLDER / LIST).open(encoding="utf-8", newline="") as file:
        return [
            Shipped(row["set"], FOLDER / row["file"] if row["file"] else None, row["recording"], row["sha256"])
            for row in csv.DictReader(file)
            if row["set"] in sets
        ]
