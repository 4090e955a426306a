"""What was heard on a day or in a range of days: species by hours, and species by days."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from edgebird.stored.local import Hour


@dataclass(frozen=True, slots=True)
class HeardSpecies:
    """A species in a range of days.

    counts: detections by hour of the day (0 to 23), or by day. best: the highest score; best_id: of which detection.
    first, last: times of the first and last detection.
    """

    code: str
    scientific_name: str
    common_name: str
    counts: dict[int, int]
    best: float
    best_id: int
    first: str
    last: str

    @property
    def count(self) -> int:
        """Of all detections."""
        return sum(self.counts.values())


_BY = {"hour": "CAST(substr(time, 12, 2) AS INTEGER)", "day": "CAST(julianday(substr(time, 1, 10)) - ? AS INTEGER)"}


def species_by_hour(
    connection: sqlite3.Connection, first: date, last: date, source: str | None = None
) -> list[HeardSpecies]:
    """Return the species of a range of days, with their counts by hour of the day; the most frequent first."""
    return _species(connection, _BY["hour"], [], (first, last), source)


def species_by_column(
    connection: sqlite3.Connection, day: date, hours: Sequence[Hour], source: str | None = None
) -> list[HeardSpecies]:
    """Return the species of a day with counts by the place of each hour in `hours`: one that repeats is there twice."""
    key = "CAST(substr(time, 12, 2) AS INTEGER) || substr(time, -6)"
    places = {f"{one.number}{one.offset}": place for place, one in enumerate(hours)}
    by_number = {one.number: place for place, one in enumerate(hours)}
    found = []
    for one in _species(connection, key, [], (day, day), source):
        counts: Counter[int] = Counter()
        for text, many in one.counts.items():
            label = str(text)
            counts[places.get(label, by_number.get(int(label[:-6]), 0))] += many
        found.append(replace(one, counts=dict(counts)))
    return found


def species_by_day(
    connection: sqlite3.Connection, first: date, last: date, source: str | None = None
) -> list[HeardSpecies]:
    """Return the same with counts by day, 0 for `first`."""
    return _species(connection, _BY["day"], [julian(first)], (first, last), source)


def julian(day: date) -> float:
    """Return the Julian day of its midnight, as SQLite's `julianday` does."""
    return day.toordinal() + 1_721_424.5


def _species(
    connection: sqlite3.Connection, key: str, values: list[float], days: tuple[date, date], source: str | None
) -> list[HeardSpecies]:
    first, last = days
    more = "" if source is None else " AND source = ?"
    span = [first.isoformat(), (last + timedelta(days=1)).isoformat(), *([] if source is None else [source])]
    # Beside max(score), SQLite gives the other columns of the row that has it.
    statement = f"""
        SELECT code, {key}, count(*), max(score), id, scientific_name, common_name
        FROM detections WHERE time >= ? AND time < ?{more} GROUP BY 1, 2"""
    counts: dict[str, dict[int, int]] = {}
    tops: dict[str, tuple[float, int, str, str]] = {}
    for code, number, many, *top in connection.execute(statement, [*values, *span]):
        counts.setdefault(code, {})[number] = many
        tops[code] = max(tops.get(code, (0.0, 0, "", "")), tuple(top))
    made = []
    for code, (score, number, scientific, common) in tops.items():
        edges = f"SELECT min(time), max(time) FROM detections WHERE code = ? AND time >= ? AND time < ?{more}"
        began, ended = connection.execute(edges, [code, *span]).fetchone()
        made.append(HeardSpecies(code, scientific, common, counts[code], score, number, began, ended))
    return sorted(made, key=lambda heard: (-heard.count, heard.code))


def names_of(connection: sqlite3.Connection, code: str) -> tuple[str, str]:
    """Return the scientific and common name that the last detection of a species has; its code where there is none."""
    query = "SELECT scientific_name, common_name FROM detections WHERE code = ? ORDER BY time DESC LIMIT 1"
    row = connection.execute(query, [code]).fetchone()
    return (row[0], row[1]) if row else (code, code)


def day_before(connection: sqlite3.Connection, day: date) -> date | None:
    """Return the last day before this one with a detection."""
    return _day(connection, "SELECT max(time) FROM detections WHERE time < ?", day)


def day_after(connection: sqlite3.Connection, day: date) -> date | None:
    """Return the first day after this one with a detection."""
    return _day(connection, "SELECT min(time) FROM detections WHERE time >= ?", day + timedelta(days=1))


def days_with(connection: sqlite3.Connection, code: str | None = None) -> Counter[date]:
    """Return how many detections each day has, of all species or of one."""
    where, values = ("1", []) if code is None else ("code = ?", [code])
    statement = f"SELECT substr(time, 1, 10), count(*) FROM detections WHERE time IS NOT NULL AND {where} GROUP BY 1"
    return Counter({date.fromisoformat(day): many for day, many in connection.execute(statement, values)})


def _day(connection: sqlite3.Connection, statement: str, day: date) -> date | None:
    (found,) = connection.execute(statement, [day.isoformat()]).fetchone()
    return date.fromisoformat(found[:10]) if found else None
