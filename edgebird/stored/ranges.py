"""Ranges of days: the season of a species, and how much was heard of each day."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from edgebird.pictures.season import AccountMap, BarRow, Column, SeasonMap, account_bars, bars, season_map
from edgebird.stored.coverage import Coverage
from edgebird.stored.days import julian
from edgebird.stored.drawn import clock_hour, sun_of
from edgebird.stored.local import StationClock

_DAY = timedelta(days=1)
_DAYS_APART = 62  # a column a day up to so many, then one a week


@dataclass(frozen=True, slots=True)
class Days:
    """A range of days, both included, in columns of one day or of seven."""

    first: date
    last: date

    @property
    def many(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    @property
    def width(self) -> int:
        """Days in a column."""
        return 1 if self.many <= _DAYS_APART else 7

    def all(self) -> list[date]:
        """Each of them."""
        return [self.first + number * _DAY for number in range(self.many)]

    def columns(self, heard: Mapping[date, float]) -> list[Column]:
        """Return the columns. heard: of each day, 0 to 1; a day without is not heard."""
        made = []
        for start in range(0, self.many, self.width):
            days = self.all()[start : start + self.width]
            share = sum(heard.get(day, 0.0) for day in days) / len(days)
            title = f"{days[0]}" if self.width == 1 else f"{days[0]} to {days[-1]}"
            made.append(Column(self._label(days), title, share))
        return made

    def _label(self, days: Sequence[date]) -> str:
        if self.width == 1:
            number = (days[0] - self.first).days
            named = f"{days[0]:%b} {days[0].day}" if number == 0 or days[0].day == 1 else f"{days[0].day}"
            return named if number == 0 or self.many <= 14 or days[0].day in (1, 8, 15, 22) else ""
        starts = [day for day in days if day.day == 1]
        return f"{starts[0]:%b}" if starts else ""


def heard_by_day(connection: sqlite3.Connection, days: Days) -> dict[date, float]:
    """Return how much of each day was heard, 0 to 1: hours in which statistics were told, less the gaps of all sources.

    It reads an index alone, so that it takes a moment for years; `coverage` is to the second. Where statistics are
    told less than once an hour it says less than there was.
    """
    span = [days.first.isoformat(), (days.last + _DAY).isoformat()]
    hours = "SELECT DISTINCT substr(time, 1, 13) FROM events WHERE event = 'stats' AND time >= ? AND time < ?"
    heard: dict[date, float] = {}
    for (hour,) in connection.execute(hours, span):
        day = date.fromisoformat(hour[:10])
        heard[day] = heard.get(day, 0.0) + 1 / 24
    names = connection.execute("SELECT count(DISTINCT source) FROM events WHERE event = 'source'").fetchone()[0]
    lost = """
        SELECT substr(time, 1, 10), sum(json_extract(json, '$.end_s') - json_extract(json, '$.start_s'))
        FROM events WHERE event = 'gap' AND time >= ? AND time < ? GROUP BY 1"""
    for text, seconds in connection.execute(lost, span):
        day = date.fromisoformat(text)
        heard[day] = max(0.0, heard.get(day, 0.0) - seconds / 86_400 / max(1, names))
    return heard


def season(
    connection: sqlite3.Connection,
    code: str,
    name: str,
    days: Days,
    heard: Mapping[date, float],
    number: str = "season",
) -> str:
    """Return the picture of a species: weeks or days by hours, with sunrise and sunset where the place is known."""
    statement = """
        SELECT CAST((julianday(substr(time, 1, 10)) - ?) / ? AS INTEGER), CAST(substr(time, 12, 2) AS INTEGER), count(*)
        FROM detections WHERE code = ? AND time >= ? AND time < ? GROUP BY 1, 2"""
    values = [julian(days.first), days.width, code, days.first.isoformat(), (days.last + _DAY).isoformat()]
    counts = {(column, hour): many for column, hour, many in connection.execute(statement, values)}
    title = f"{name} from {days.first} to {days.last}, by hour: {sum(counts.values())} detections"
    return season_map(SeasonMap(title, days.columns(heard), counts, _sun_curves(connection, days)), number)


def _sun_curves(connection: sqlite3.Connection, days: Days) -> list[list[float | None]]:
    """Sunrise and sunset in the middle of each column."""
    rises: list[float | None] = []
    sets: list[float | None] = []
    for day in days.all()[days.width // 2 :: days.width]:
        sun = sun_of(connection, day)
        if sun is None:
            return []
        for curve, moment in ((rises, sun.sunrise), (sets, sun.sunset)):
            hour = clock_hour(moment, day) if isinstance(moment, datetime) else None
            curve.append(hour if hour is not None and 0 <= hour <= 24 else None)
    return [rises, sets]


def account(
    sources: Sequence[Coverage], days: Days, local: StationClock, told: datetime | None = None
) -> tuple[str, dict[str, float]]:
    """Return the picture of what became of each day of all sources, and the seconds of the whole range by reason.

    local: of these days. told: until when something was told; later times are in no account.
    """
    total: dict[str, float] = {}
    shares = []
    columns = days.columns({})
    for start in range(0, days.many, days.width):
        chosen = days.all()[start : start + days.width]
        begins, ends = local.midnight(chosen[0]), local.midnight(chosen[-1] + _DAY)
        ends = min(ends, told or ends)
        part: dict[str, float] = {}
        for one in sources if begins < ends else ():
            for reason, seconds in one.seconds(begins, ends).items():
                part[reason] = part.get(reason, 0.0) + seconds
        for reason, seconds in part.items():
            total[reason] = total.get(reason, 0.0) + seconds
        length = sum(part.values()) or 1.0
        scored, idle = part.get("scored", 0.0) / length, part.get("not running", 0.0) / length if part else 1.0
        shares.append((scored, max(0.0, 1 - scored - idle)))
    title = f"What became of each {'day' if days.width == 1 else 'week'}: scored, lost, not running"
    return account_bars(AccountMap(title, columns, shares)), total


def hours_of(connection: sqlite3.Connection, code: str, days: Days, name: str = "hours") -> str:
    """Return the picture of a species' detections by hour of the day."""
    statement = """
        SELECT CAST(substr(time, 12, 2) AS INTEGER), count(*) FROM detections
        WHERE code = ? AND time >= ? AND time < ? GROUP BY 1"""
    span = [code, days.first.isoformat(), (days.last + _DAY).isoformat()]
    counts = dict(connection.execute(statement, span).fetchall())
    rows = [
        BarRow(f"{h:02d}" if h % 3 == 0 else "", counts.get(h, 0), f"{h:02d}: {counts.get(h, 0)}") for h in range(24)
    ]
    return bars("Detections by hour of the day", rows, name)


def scores_of(connection: sqlite3.Connection, code: str, days: Days, name: str = "scores") -> str:
    """Return the picture of how often each score came."""
    statement = """
        SELECT min(19, CAST(score * 20 AS INTEGER)), count(*) FROM detections
        WHERE code = ? AND time >= ? AND time < ? GROUP BY 1"""
    span = [code, days.first.isoformat(), (days.last + _DAY).isoformat()]
    counts = dict(connection.execute(statement, span).fetchall())
    rows = []
    for number in range(20):
        low, high, many = number / 20, (number + 1) / 20, counts.get(number, 0)
        rows.append(BarRow(f"{low:.1f}" if number % 2 == 0 else "", many, f"{low:.2f} to {high:.2f}: {many}"))
    return bars("Detections by score", rows, name)
