"""Results and tables whose answer is known: how likely a detection is right follows from its score, as is asked.

`python -m tests.made_truth FOLDER` writes some.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebird.events import Event
from edgebird.formats import Raven
from edgebird.types import Label, Origin

LABELS = (
    Label("comcuc", "Cuculus canorus", "Common Cuckoo"),
    Label("eurbla", "Turdus merula", "Eurasian Blackbird"),
    Label("gretit1", "Parus major", "Great Tit"),
)


@dataclass(frozen=True)
class Made:
    """What is made.

    slope, shifts: a detection of species n is right with 1 / (1 + exp(-(slope * logit(score) + shifts[n]))).
    missed: of ten right detections' worth of birds, so many more are there that nobody told.
    """

    recordings: int = 6
    minutes: int = 10
    detections: int = 40
    slope: float = 1.5
    shifts: tuple[float, ...] = (0.5, -1.0, 1.5)
    missed: int = 2
    seed: int = 7


@dataclass(frozen=True)
class Answer:
    """What is so, of all species together: scores and whether they are right [n], annotations, hours."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    species: NDArray[np.int_]
    annotations: int
    hours: float


def write_truth(folder: Path, made: Made) -> Answer:
    """Write `results/` (JSON lines) and `tables/` (Raven), a file of each for a recording; return the answer."""
    random = np.random.default_rng(made.seed)
    scores, right, species, annotations = [], [], [], 0
    for place in ("results", "tables"):
        (folder / place).mkdir(parents=True)
    for number in range(made.recordings):
        name = f"dawn{number}"
        events: list[Event] = []
        there: list[Event] = []
        slots = iter(random.permutation(made.minutes * 6))  # of ten seconds each
        for index, shift in enumerate(made.shifts):
            its = np.round(random.uniform(0.05, 0.99, made.detections // len(made.shifts)), 6)
            true = random.random(len(its)) < chance(its, made.slope, shift)
            for score, is_right in zip(its, true, strict=True):
                start = 10.0 * int(next(slots))
                events.append(event(name, index, start, start + 5, float(score)))
                if is_right:
                    there.append(event(name, index, start + 1, start + 3, 1))
            there += [event(name, index, 10.0 * int(next(slots)) + 6, 0, 1) for _ in range(made.missed)]
            scores.append(its)
            right.append(true)
            species.append(np.full(len(its), index))
        annotations += len(there)
        _write(folder, name, events, there, made.minutes * 60.0)
    hours = made.recordings * made.minutes / 60
    return Answer(np.concatenate(scores), np.concatenate(right), np.concatenate(species), annotations, hours)


def chance(scores: NDArray[np.float64], slope: float, shift: float) -> NDArray[np.float64]:
    """How likely detections of these scores are right."""
    chances: NDArray[np.float64] = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + shift)))
    return chances


def event(source: str, species: int, start_s: float, end_s: float, score: float) -> Event:
    """A detection as `detect` tells it; 2 s long without an end."""
    label = LABELS[species]
    names = {"code": label.code, "scientific_name": label.scientific_name, "common_name": label.common_name}
    span = {"start_s": start_s, "end_s": end_s or start_s + 2}
    return {
        "event": "detection",
        "source": f"{source}.wav",
        "time": None,
        **span,
        **names,
        "score": score,
        "windows": 1,
    }


def summary(source: str, seconds: float) -> Event:
    """What ends the events of a recording."""
    rest = {"gap_s": 0.0, "tail_s": 0.0, "windows": 1, "detections": 1}
    return {"event": "summary", "source": f"{source}.wav", "time": None, "wall_s": 1.0, "scored_s": seconds, **rest}


def raven(name: str, there: Sequence[Event]) -> str:
    """A selection table."""
    table = Raven(32000)
    origin = Origin(name, Path(f"{name}.wav"))
    return table.header() + "".join(table.line(origin, one) for one in there)


def _write(folder: Path, name: str, events: list[Event], there: list[Event], seconds: float) -> None:
    lines = [*sorted(events, key=lambda one: float(one["start_s"])), summary(name, seconds)]
    text = "".join(json.dumps(one) + "\n" for one in lines)
    (folder / "results" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "tables" / f"{name}.Table.1.selections.txt").write_text(raven(name, there), encoding="utf-8")


if __name__ == "__main__":
    print(write_truth(Path(sys.argv[1]), Made()))
