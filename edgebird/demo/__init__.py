"""The demo: two small trained folds, their bundle, a recording of birds at known times, and what is to be found in it.

Where the files come from, how they were made and what the model is not for: data/README.md and docs/demo.md.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebird.events import Event

_DATA = Path(__file__).parent / "data"

BUNDLE = _DATA / "bundle"
FOLDS = _DATA / "folds"
LABELS = _DATA / "labels.csv"
RECORDING = _DATA / "three_birds.flac"
_CALLS = _DATA / "calls.csv"
_DETECTIONS = _DATA / "detections.jsonl"

SCORE_TOLERANCE = 0.02  # between engines and machines; the gates on precision are far narrower on most windows


@dataclass(frozen=True, slots=True)
class Calls:
    """When a bird calls in the recording, from its first call to its last, in seconds.

    code: "" for a bird that the model does not know. certain: False where nobody can tell.
    """

    start_s: float
    end_s: float
    code: str
    common_name: str
    certain: bool
    note: str


def calls() -> list[Calls]:
    """What is heard in the recording, in order: marked by eye and ear, not by a model."""
    with _CALLS.open(encoding="utf-8", newline="") as file:
        return [
            Calls(
                float(row["start_s"]),
                float(row["end_s"]),
                row["code"],
                row["common_name"],
                row["certain"] == "yes",
                row["note"],
            )
            for row in csv.DictReader(file)
        ]


def expected() -> list[Event]:
    """The detection events that the folds give on the recording with the default settings."""
    return [json.loads(line) for line in _DETECTIONS.read_text(encoding="utf-8").splitlines()]


def differences(found: Sequence[Event]) -> list[str]:
    """What differs between found and expected detections, one line each; empty if they agree."""
    wanted = {(e["code"], e["start_s"], e["end_s"]): e["score"] for e in expected()}
    got = {(e["code"], e["start_s"], e["end_s"]): e["score"] for e in found}
    lines = [f"missed {code} at {start:g}-{end:g} s" for code, start, end in wanted.keys() - got.keys()]
    lines += [f"unexpected {code} at {start:g}-{end:g} s" for code, start, end in got.keys() - wanted.keys()]
    for key in wanted.keys() & got.keys():
        if abs(wanted[key] - got[key]) > SCORE_TOLERANCE:
            lines.append(f"{key[0]} at {key[1]:g}-{key[2]:g} s scores {got[key]:.3f} instead of {wanted[key]:.3f}")
    return sorted(lines)
