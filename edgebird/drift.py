"""Does a cascade still keep what it kept when it was made? A sequential test on the windows that are scored all the
same.

A share of the windows that a stage stops is scored in full (`cascade-audit`). Of pairs (window, label) at or above the
threshold that are seen, those in stopped windows are misses. With a share q of pairs kept and a share a of stopped
windows scored, a pair that is seen is a miss with the probability

    p(q) = a (1 - q) / (q + a (1 - q)).

Page's cumulative sum (E. S. Page, Biometrika 41, 1954) of the log likelihood ratio of `FALLEN` against `KEPT` never
goes below 0, and tells when it reaches log(`RARITY`): while as much is kept as was promised, on average no sooner than
after `RARITY` of them (G. Lorden, 1971), and in truth later. The test takes what it counts as independent. So a window
counts once, however many labels it has, and a label that was heard within the last minute does not count again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

from edgebird.cascade import STAGES, WANTED, told_stopped

KEPT, FALLEN = WANTED, 0.90  # shares of the pairs
RARITY = 100.0


def miss_probability(kept: float, audit: float) -> float:
    """That a pair which is seen is a miss."""
    seen = audit * (1 - kept)
    return seen / (kept + seen)


def _steps(audit: float) -> tuple[float, float]:
    """What a pair that was kept, and one that was missed, add to the sum."""
    good, bad = miss_probability(KEPT, audit), miss_probability(FALLEN, audit)
    return math.log((1 - bad) / (1 - good)), math.log(bad / good)


def pairs_until_told(audit: float) -> float:
    """How many pairs it takes on average until a fall to `FALLEN` is told (Wald's approximation, an overshoot
    added).
    """
    kept, missed = _steps(audit)
    bad = miss_probability(FALLEN, audit)
    return math.log(RARITY) / (bad * missed + (1 - bad) * kept)


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """How a cascade does since it was opened.

    windows; stopped by stage. audited: stopped windows that were scored in full. pairs: windows with a label at or
    above the threshold, songs once; missed: of these in audited windows. kept: the share kept, as estimated, None while
    nothing was heard. fallen: whether a fall was told. to_tell_days: how long a fall to 90 % would take to be told at
    this rate; None while nobody knows.
    """

    windows: int
    stopped: dict[str, int]
    audited: int
    pairs: int
    missed: int
    kept: float | None
    fallen: bool
    to_tell_days: float | None

    def told(self) -> str:
        """In words."""
        stopped = told_stopped(self.stopped, self.windows)
        audit = f"{self.audited} of them scored in full all the same" if self.audited else "none of them audited"
        found = f"; {self.missed} of {self.pairs} windows with a bird would have been missed" if self.audited else ""
        fell = f"; LESS IS KEPT THAN PROMISED: about {self.kept:.0%}" if self.fallen and self.kept is not None else ""
        return f"cascade: {self.windows} windows, {stopped}, {audit}{found}{fell}"

    def to_json(self) -> dict[str, Any]:
        """As events have it."""
        return asdict(self)


class DriftTest:
    """Takes pairs as they are seen, from any thread.

    audit: share of the stopped windows that are scored in full, 0 to 1. song_s: seconds for which pairs of one label
    are one song; 0: each counts. clock: monotonic seconds.
    """

    def __init__(self, audit: float, song_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.audit, self._song_s, self._clock = audit, song_s, clock
        self._windows = self._audited = self._pairs = self._missed = 0
        self._stopped = dict.fromkeys(STAGES.values(), 0)
        self._fallen = False
        self._sum = 0.0
        self._add = _steps(audit) if audit > 0 else (0.0, 0.0)
        self._heard: dict[int, float] = {}  # label -> until when its song lasts
        self._began = clock()
        self._lock = threading.Lock()

    def take(self, stage: int, labels: Collection[int] | None) -> None:
        """Take a window: the stage that would stop it, 0 for none, and its labels at or above the threshold; None where
        it was stopped and not scored.
        """
        with self._lock:
            self._windows += 1
            if stage:
                self._stopped[STAGES[stage]] += 1
                self._audited += labels is not None
            if labels:
                self._count(labels, missed=bool(stage))

    def _count(self, labels: Collection[int], missed: bool) -> None:
        """Take a window with some labels at or above the threshold."""
        now = self._clock()
        new = [label for label in labels if now >= self._heard.get(label, now)]
        if self._song_s:
            self._heard |= dict.fromkeys(new, now + self._song_s)
        if not new:
            return
        self._pairs += 1
        self._missed += missed
        self._sum = max(0.0, self._sum + self._add[missed])
        judges = self.audit > 0 and self._song_s > 0
        self._fallen = self._fallen or (judges and self._sum >= math.log(RARITY))

    def status(self) -> DriftStatus:
        """How it is now."""
        with self._lock:
            kept, days = None, None
            if self._pairs and self.audit:
                found = self._pairs - self._missed
                kept = found / (found + self._missed / self.audit)
                days = (self._clock() - self._began) / 86400 * pairs_until_told(self.audit) / self._pairs
            counts = self._windows, dict(self._stopped), self._audited, self._pairs, self._missed
            return DriftStatus(*counts, kept, self._fallen, days)
