"""Which detections a person is asked about: a random sample of every species and score, with known probabilities.

The frame is all detections that can be listened to. It is divided into strata by species and score band; each stratum
gives the same number of items as far as it has them, and what is left goes to strata that are chosen at random. So the
probability of each item to be drawn is known, and what is estimated with its inverse as a weight (Horvitz and Thompson,
1952) is free of bias: the share of right detections of all, of a species, above a threshold.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BANDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of scores: the edges


@dataclass(frozen=True, slots=True)
class Stratum:
    """A species in a score band. band: number of it in BANDS."""

    code: str
    band: int

    @property
    def name(self) -> str:
        """As reviews store it."""
        return f"{self.code} {BANDS[self.band]:.1f}-{BANDS[self.band + 1]:.1f}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A detection that was drawn. probability: of it to be drawn. size: how many its stratum has in the frame."""

    detection: int
    stratum: Stratum
    size: int
    probability: float


def band_of(score: float) -> int:
    """Return the number of the score band of a score, 0 to 1."""
    return max(0, min(len(BANDS) - 2, sum(score >= edge for edge in BANDS[1:-1])))


def probabilities(sizes: Mapping[Stratum, int], many: int) -> dict[Stratum, float]:
    """Return how likely each item of each stratum is drawn, in a draw of so many."""
    level, extra, open_strata = _shares(sizes, many)
    chance = extra / len(open_strata) if open_strata else 0.0
    return {
        stratum: (min(size, level) + (chance if size > level else 0.0)) / size
        for stratum, size in sizes.items()
        if size
    }


def draw(frame: Mapping[Stratum, Sequence[int]], many: int, seed: int) -> list[Drawn]:
    """Return so many detections, or all there are, in random order; the same for the same seed and frame."""
    source = random.Random(seed)
    sizes = {stratum: len(items) for stratum, items in frame.items()}
    level, extra, open_strata = _shares(sizes, many)
    more = set(source.sample(open_strata, extra))
    chance = probabilities(sizes, many)
    drawn = [
        Drawn(item, stratum, sizes[stratum], chance[stratum])
        for stratum in sorted(frame, key=lambda one: one.name)
        for item in source.sample(sorted(frame[stratum]), min(sizes[stratum], level) + (stratum in more))
    ]
    source.shuffle(drawn)  # who stops early has a random part of it
    return drawn


def _shares(sizes: Mapping[Stratum, int], many: int) -> tuple[int, int, list[Stratum]]:
    """How many each stratum gives, how many give one more, and which may."""
    many = min(many, sum(sizes.values()))
    level = 0
    while sum(min(size, level + 1) for size in sizes.values()) <= many and level < max(sizes.values(), default=0):
        level += 1
    left = [stratum for stratum in sorted(sizes, key=lambda one: one.name) if sizes[stratum] > level]
    return level, many - sum(min(size, level) for size in sizes.values()), left
