"""The local time of a station: which offset from UTC it had when, as what it wrote says, and so how long its days are.

A day on which the clocks are changed has 23 or 25 hours.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from itertools import pairwise

_DAY = timedelta(days=1)
_STEPS_S = (3600, 1800, 900, 60)  # clocks are changed at whole hours, nearly everywhere
_JULIAN_1970 = 2_440_587.5


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour by the clock on a day, or what there is of it. start, end: hours since midnight, as they pass.

    number: 0 to 23. zone: tells the two of a repeated hour apart.
    """

    start: float
    end: float
    number: int
    zone: timezone

    @property
    def offset(self) -> str:
        """As times end that were told in it, `+02:00`."""
        return datetime.min.replace(tzinfo=self.zone).isoformat()[-6:]


@dataclass(frozen=True, slots=True)
class StationClock:
    """zone: the offset at first. changes: moments from which on there was another."""

    zone: timezone
    changes: Sequence[tuple[datetime, timezone]] = ()

    def zone_at(self, moment: datetime) -> timezone:
        """The offset at a moment."""
        return next((zone for since, zone in reversed(self.changes) if since <= moment), self.zone)

    def at(self, moment: datetime) -> datetime:
        """A moment by the station's clock."""
        return moment.astimezone(self.zone_at(moment))

    def midnight(self, day: date) -> datetime:
        """When a day begins; where its first hour is left out, when the next one does."""
        zones = [self.zone, *(zone for _, zone in self.changes)]
        begins = [datetime.combine(day, time(), zone) for zone in zones]
        return min((one for one in begins if self.zone_at(one) == one.tzinfo), default=max(begins))

    def hours(self, day: date) -> list[Hour]:
        """The hours of a day in their order: 24, but for a day on which clocks are changed."""
        begin, end = self.midnight(day), self.midnight(day + _DAY)
        found, at = [], begin
        while at < end:
            local = self.at(at)
            whole = local.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
            until = min([whole, end, *(since for since, _ in self.changes if since > at)])
            found.append(Hour(_hours(at - begin), _hours(until - begin), local.hour, self.zone_at(at)))
            at = until
        return found


def local_time(connection: sqlite3.Connection, first: date, last: date) -> StationClock:
    """Return the local time of a range of days, by the statistics that were told then, or else by the detections.

    Where nothing was told it is what it was before.
    """
    for rows in ("events WHERE event = 'stats' AND", "detections WHERE"):
        told = list(_told(connection, rows, first - _DAY, last + _DAY))
        if told:
            break
    else:
        return StationClock(_last_zone(connection))
    changes = [
        (_change(connection, rows, one, other), _zone(other))
        for one, other in pairwise(told)
        if _zone(one) != _zone(other)
    ]
    return StationClock(_zone(told[0]), tuple(changes))


def _told(connection: sqlite3.Connection, rows: str, first: date, last: date) -> Iterator[str]:
    """The first time that was told on each day, and the last of all; it looks at an index only."""
    query = f"SELECT time FROM {rows} time >= ? AND time < ? ORDER BY time"
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        if row := connection.execute(f"{query} LIMIT 1", [str(day), str(day + _DAY)]).fetchone():
            yield str(row[0])
    if row := connection.execute(f"{query} DESC LIMIT 1", [str(first), str(last + _DAY)]).fetchone():
        yield str(row[0])


def _change(connection: sqlite3.Connection, rows: str, one: str, other: str) -> datetime:
    """When the offset changed between two times: after the last one that has the old, and on a whole hour if it can."""
    query = f"SELECT max(julianday(time)) FROM {rows} time >= ? AND time < ? AND substr(time, -6) = ?"
    least = (connection.execute(query, [one, other, one[-6:]]).fetchone()[0] - _JULIAN_1970) * 86_400
    query = f"SELECT min(julianday(time)) FROM {rows} time >= ? AND time <= ? AND substr(time, -6) = ?"
    most = (connection.execute(query, [one, other, other[-6:]]).fetchone()[0] - _JULIAN_1970) * 86_400
    found = next((at for step in _STEPS_S if (at := step * math.ceil((least + 0.001) / step)) <= most + 0.001), most)
    return datetime.fromtimestamp(found, timezone.utc)


def _last_zone(connection: sqlite3.Connection) -> timezone:
    """The offset of what was told last of all; that of this computer where nothing was."""
    query = "SELECT time FROM {} WHERE time IS NOT NULL ORDER BY time DESC LIMIT 1"
    for table in ("detections", "events"):
        if row := connection.execute(query.format(table)).fetchone():
            return _zone(str(row[0]))
    return timezone(datetime.now().astimezone().utcoffset() or timedelta(0))


def _zone(text: str) -> timezone:
    return timezone(datetime.fromisoformat(text).utcoffset() or timedelta(0))


def _hours(passed: timedelta) -> float:
    return passed.total_seconds() / 3600
