"""Reviews as evidence: each stands for as many detections as it was likely to be drawn.

A detection may have been in several draws, and who stops early has reviewed a random part of one. So the chance that it
was reviewed is that of not having been left out by all: 1 - product over draws of (1 - part * probability), and its
inverse is the weight (Horvitz and Thompson, 1952).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.errors import DatabaseError
from edgebird.science.bounds import JudgedDetections
from edgebird.types import Label
from edgebird.web.reviews import ReviewStore
from edgebird.web.sampling import Stratum, band_of


@dataclass(frozen=True, slots=True)
class Reviews:
    """What people said of detections that were drawn.

    judged: by code. labels: their names. days: of each, in the order of `judged`, which source and day it is of.
    looked_up: reviews of what nobody drew, which count for no estimate. unsure: those that say so.
    """

    judged: Mapping[str, JudgedDetections]
    labels: Mapping[str, Label]
    days: Mapping[str, Sequence[str]]
    looked_up: int
    unsure: int


def read_reviews(path: Path) -> Reviews:
    """Read the reviews of a station. Raises DatabaseError."""
    if not path.is_file():
        raise DatabaseError(f"{path}: there are no reviews")
    store = ReviewStore(path)
    last, draws = store.last(), [_Draw.of(one) for one in store.draws()]
    reviewed = {(one["detection"], stratum_of(one)) for one in last}
    parts = [draw.part(reviewed) for draw in draws]
    rows: dict[str, list[tuple[float, bool, float, str]]] = defaultdict(list)
    labels: dict[str, Label] = {}
    looked_up = unsure = 0
    for one in last:
        if one["draw"] is None:
            looked_up += 1
        elif one["verdict"] == "unsure":
            unsure += 1
        else:
            missed = [1 - part * draw.chance(one) for draw, part in zip(draws, parts, strict=True)]
            weight = 1 / (1 - float(np.prod(missed)))
            day = f"{one['source']} {str(one['detected'])[:10]}"
            rows[one["code"]].append((one["score"], one["verdict"] == "right", weight, day))
            labels[one["code"]] = Label(one["code"], one["scientific_name"], one["common_name"])
    judged = {code: _judged(its) for code, its in sorted(rows.items())}
    return Reviews(judged, labels, {code: [row[3] for row in its] for code, its in rows.items()}, looked_up, unsure)


def stratum_of(review: Mapping[str, Any]) -> str:
    """Return the name of the stratum that a reviewed detection is of."""
    return Stratum(review["code"], band_of(review["score"])).name


def _judged(rows: Sequence[tuple[float, bool, float, str]]) -> JudgedDetections:
    scores, right, weights, _ = zip(*rows, strict=True)
    return JudgedDetections(np.array(scores), np.array(right, np.bool_), np.array(weights), np.arange(len(rows)))


@dataclass(frozen=True, slots=True)
class _Draw:
    """A draw, and how likely each item of a stratum was in it. items: (detection, stratum)."""

    time: datetime
    frame: Mapping[str, Any]
    chances: Mapping[str, float]
    items: frozenset[tuple[int, str]]

    @classmethod
    def of(cls, drawn: Mapping[str, Any]) -> _Draw:
        chances = {item["stratum"]: item["probability"] for item in drawn["items"]}
        items = frozenset((item["detection"], item["stratum"]) for item in drawn["items"])
        return cls(datetime.fromisoformat(drawn["time"]), drawn, chances, items)

    def part(self, reviewed: set[tuple[int, str]]) -> float:
        """How much of it is reviewed."""
        return len(self.items & reviewed) / len(self.items) if self.items else 0.0

    def chance(self, review: Mapping[str, Any]) -> float:
        """How likely a detection was to be in it; 0 if it was not there to be drawn. What was drawn was there."""
        stratum = stratum_of(review)
        if (review["detection"], stratum) in self.items:
            return self.chances[stratum]
        day = str(review["detected"] or "")[:10]
        frame = self.frame
        if frame["code"] not in (None, review["code"]) or frame["source"] not in (None, review["source"]):
            return 0.0
        if (frame["first_day"] or "") > day or (frame["last_day"] and day > frame["last_day"]):
            return 0.0
        if review["detected"] and datetime.fromisoformat(review["detected"]) > self.time:
            return 0.0
        return self.chances.get(stratum, 0.0)
