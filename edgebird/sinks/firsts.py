"""Firsts: which species a station's database has for the first time, ever, this year or today, or again after a while.

Both functions ask the index (code, time) of `detections`, so that they cost some microseconds for each first, however
many detections there are. A day is the local day of the detection itself, by its own offset. Detections without a
time count for nothing, nor do those before 2015: they were told by a clock that was not set.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import date, timedelta

from edgebird.events import Event

_SET_CLOCK = "2015"  # times before it are those of a clock that nobody had set

# Walks along the index: from a species to the next one, and from the first detection of a day to that of the next day
# with one, so that it reads as many rows as it gives, not all of a year.
_OF_DAYS = """
WITH RECURSIVE species (code) AS (
    SELECT min(code) FROM detections
    UNION ALL
    SELECT (SELECT min(code) FROM detections WHERE code > species.code) FROM species WHERE code IS NOT NULL
),
days (code, time) AS (
    SELECT code, (SELECT min(time) FROM detections AS one WHERE one.code = species.code AND time >= :first)
    FROM species WHERE code IS NOT NULL
    UNION ALL
    SELECT code, (SELECT min(time) FROM detections AS one
                  WHERE one.code = days.code AND one.time >= date(substr(days.time, 1, 10), '+1 day'))
    FROM days WHERE time < :end
)
SELECT code, time, (SELECT max(time) FROM detections AS one
                    WHERE one.code = days.code AND one.time >= :clock AND one.time < substr(days.time, 1, 10))
FROM days
WHERE time < :end
ORDER BY time, code
"""
_OWN_ID = "SELECT max(id) FROM detections WHERE code = ? AND time = ? AND source = ? AND start_s = ?"
_TOLD_BEFORE = """
SELECT 1 FROM detections WHERE code = ? AND time >= ? AND time < ? AND (? IS NULL OR id < ?) AND score >= ? LIMIT 1"""
_BEFORE = "SELECT max(time) FROM detections WHERE code = ? AND time >= ? AND time < ?"
_BEFORE_ABOVE = """
SELECT time FROM detections WHERE code = ? AND time >= ? AND time < ? AND score >= ? ORDER BY time DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class First:
    """The first detection of a species on a day.

    code: of the species. time: as the detection has it. before: the time of the last one on an earlier day, None if
    there is none.
    """

    code: str
    time: str
    before: str | None

    @property
    def ever(self) -> bool:
        """Whether the database had none before."""
        return self.before is None

    @property
    def of_year(self) -> bool:
        """Whether it is the first of its calendar year; also true of the first ever."""
        return self.before is None or self.before[:4] != self.time[:4]

    @property
    def days_away(self) -> int | None:
        """Whole days without the species between the day before it and this one; None if there was none before."""
        if self.before is None:
            return None
        return (date.fromisoformat(self.time[:10]) - date.fromisoformat(self.before[:10])).days - 1

    def is_back(self, days: int) -> bool:
        """Whether it comes after at least so many days without it."""
        return self.days_away is not None and self.days_away >= days


def firsts_of_days(connection: sqlite3.Connection, first: date, last: date) -> list[First]:
    """Return the first detection of each species on each day from `first` to `last`, both included, by time."""
    end = (last + timedelta(days=1)).isoformat()
    rows = connection.execute(_OF_DAYS, {"first": max(str(first), _SET_CLOCK), "end": end, "clock": _SET_CLOCK})
    return [First(code, time, before) for code, time, before in rows]


def first_of(connection: sqlite3.Connection, event: Event, above: float = 0.0) -> First | None:
    """Return what an event `detection` is the first of; None if its species was told before on its day, or has no time.

    above: detections with a lower score count for nothing, so that a bird that was heard faintly before is still a
    first; the event itself has at least this score. The event may be in the database already, or not yet. Of two that
    sing at once, the one that was told first is the first, whatever began earlier: so exactly one of them is, whenever
    this is asked.
    """
    time, code = event["time"], event["code"]
    if time is None or time < _SET_CLOCK:
        return None
    day = time[:10]
    next_day = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    (own,) = connection.execute(_OWN_ID, (code, time, event["source"], event["start_s"])).fetchone()
    if connection.execute(_TOLD_BEFORE, (code, day, next_day, own, own, above)).fetchone():
        return None
    if above > 0:
        found = connection.execute(_BEFORE_ABOVE, (code, _SET_CLOCK, day, above)).fetchone()
    else:
        found = connection.execute(_BEFORE, (code, _SET_CLOCK, day)).fetchone()
    return First(code, time, found[0] if found else None)
