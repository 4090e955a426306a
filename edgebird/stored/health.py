"""How a station is, by what it told last: sources, latency, losses, outputs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from edgebird.events import Event
from edgebird.stored.coverage import clock


@dataclass(frozen=True, slots=True)
class LastState:
    """What was told last. stats: the last statistics. sources: the last `source` event of each. told: its time."""

    stats: Event | None
    sources: dict[str, Event]
    told: str | None

    @property
    def age_s(self) -> float | None:
        """How long ago that is by this computer's clock; None if nothing was ever told."""
        if self.told is None:
            return None
        moment = datetime.fromisoformat(self.told)
        return (datetime.now(moment.tzinfo) - moment).total_seconds()

    @property
    def place(self) -> tuple[float, float] | None:
        """Latitude and longitude, where the station has them."""
        return (self.stats["latitude"], self.stats["longitude"]) if self.stats and "latitude" in self.stats else None


def last_state(connection: sqlite3.Connection) -> LastState:
    """Return it. Sources are those of the last statistics, and those that said something since."""
    stats = last_event(connection, "stats")
    said: dict[str, Event] = {}
    for event in events(connection, ("source",), 200):
        said.setdefault(event["source"], event)
    known = {one["source"] for one in stats.get("sources", ())} if stats else set(said)
    since = stats["time"] if stats else ""
    sources = {name: said.get(name, {}) for name in sorted(known | {n for n, e in said.items() if e["time"] >= since})}
    newest = "SELECT max(time) FROM {} WHERE time IS NOT NULL"
    times = [connection.execute(newest.format("detections")).fetchone()[0], since or None]
    times += [event["time"] for event in said.values()]
    return LastState(stats, sources, max((time for time in times if time), default=None))


def last_event(connection: sqlite3.Connection, kind: str) -> Event | None:
    """Return the last event of a kind; None if there is none."""
    found = events(connection, (kind,), 1)
    return found[0] if found else None


def events(connection: sqlite3.Connection, kinds: Sequence[str], limit: int) -> list[Event]:
    """Return the newest events of some kinds, the last first."""
    found: list[Event] = []
    statement = "SELECT json FROM events WHERE event = ? AND time IS NOT NULL ORDER BY time DESC, id DESC LIMIT ?"
    for kind in kinds:
        found += [json.loads(row[0]) for row in connection.execute(statement, [kind, limit])]
    return sorted(found, key=lambda event: str(event["time"]), reverse=True)[:limit]


def statistics(connection: sqlite3.Connection, first: date, last: date, most: int) -> list[Event]:
    """Return statistics of a range of days by time, at most so many of them, evenly taken."""
    span = [first.isoformat(), (last + timedelta(days=1)).isoformat()]
    of = "FROM events WHERE event = 'stats' AND time >= ? AND time < ?"
    many = connection.execute(f"SELECT count(*) {of}", span).fetchone()[0]
    step = max(1, -(-many // most))
    numbered = f"SELECT json, row_number() OVER (ORDER BY time) AS number {of}"
    rows = connection.execute(f"SELECT json FROM ({numbered}) WHERE number % ? = 0 ORDER BY number", [*span, step])
    return [json.loads(row[0]) for row in rows]


def last_day(connection: sqlite3.Connection) -> date | None:
    """Return the day of what was told last; None if nothing was."""
    told = last_state(connection).told
    return clock(told).date() if told else None
