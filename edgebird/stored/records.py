"""Detections as the database has them: one, a page of them, and what was heard around one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any

from edgebird.events import Event


@dataclass(frozen=True, slots=True)
class Record:
    """A detection. id: its number in the database. clip: the path that the station wrote; None if there is no sound.

    probability: that it is right; None where the model was not calibrated for its species.
    """

    id: int
    source: str
    time: str | None
    start_s: float
    end_s: float
    code: str
    scientific_name: str
    common_name: str
    score: float
    windows: int
    latency_s: float | None
    clip: str | None
    probability: float | None = None


_COLUMNS = ", ".join(one.name for one in fields(Record))
_LARGEST_ID = 2**63 - 1  # of SQLite


@dataclass(frozen=True, slots=True)
class Filter:
    """Which detections. first, last: days, both included. before: only those with a smaller number."""

    code: str | None = None
    source: str | None = None
    first: date | None = None
    last: date | None = None
    min_score: float | None = None
    before: int | None = None
    with_clip: bool = False

    def where(self) -> tuple[str, list[Any]]:
        """Return the condition and its values."""
        parts: list[tuple[str, Any]] = []
        if self.code is not None:
            parts.append(("code = ?", self.code))
        if self.source is not None:
            parts.append(("source = ?", self.source))
        if self.first is not None:
            parts.append(("time >= ?", self.first.isoformat()))
        if self.last is not None:
            parts.append(("time < ?", (self.last + timedelta(days=1)).isoformat()))
        if self.min_score is not None:
            parts.append(("score >= ?", self.min_score))
        if self.before is not None:
            parts.append(("id < ?", min(self.before, _LARGEST_ID)))
        conditions = [text for text, _ in parts] + ["clip IS NOT NULL"] * self.with_clip
        return " AND ".join(conditions) or "1", [value for _, value in parts]


def record_of(row: Sequence[Any]) -> Record:
    """Return a row of all columns as a Record."""
    return Record(*row)


def record(connection: sqlite3.Connection, number: int) -> Record | None:
    """Return a detection by its number; None if there is none."""
    if not 0 < number <= _LARGEST_ID:
        return None
    row = connection.execute(f"SELECT {_COLUMNS} FROM detections WHERE id = ?", [number]).fetchone()
    return record_of(row) if row else None


def records(connection: sqlite3.Connection, wanted: Filter, limit: int) -> list[Record]:
    """Return the newest of these detections, the last that was told first."""
    where, values = wanted.where()
    statement = f"SELECT {_COLUMNS} FROM detections WHERE {where} ORDER BY id DESC LIMIT ?"
    return [record_of(row) for row in connection.execute(statement, [*values, limit])]


def best(connection: sqlite3.Connection, wanted: Filter, limit: int) -> list[Record]:
    """Return those of these detections with the highest scores."""
    where, values = wanted.where()
    statement = f"SELECT {_COLUMNS} FROM detections WHERE {where} ORDER BY score DESC, id LIMIT ?"
    return [record_of(row) for row in connection.execute(statement, [*values, limit])]


def count(connection: sqlite3.Connection, wanted: Filter) -> int:
    """Return how many there are."""
    where, values = wanted.where()
    return int(connection.execute(f"SELECT count(*) FROM detections WHERE {where}", values).fetchone()[0])


def newer(connection: sqlite3.Connection, number: int, limit: int) -> list[Record]:
    """Return detections that were told after one, in order."""
    statement = f"SELECT {_COLUMNS} FROM detections WHERE id > ? ORDER BY id LIMIT ?"
    return [record_of(row) for row in connection.execute(statement, [number, limit])]


def newest_id(connection: sqlite3.Connection) -> int:
    """Return the number of the last detection, 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM detections").fetchone()[0])


def neighbours(connection: sqlite3.Connection, one: Record, seconds: float) -> list[Record]:
    """Return what else was heard at the same source so many seconds before and after, by time."""
    if one.time is None:
        return []
    around = "time >= ? AND time <= ? AND source = ? AND id != ?"
    statement = f"SELECT {_COLUMNS} FROM detections WHERE {around} ORDER BY time LIMIT 50"
    return [record_of(row) for row in connection.execute(statement, [*_around(one.time, seconds), one.source, one.id])]


def rejected(connection: sqlite3.Connection, one: Record, seconds: float) -> list[Event]:
    """Return candidates that did not become detections, of the same source around one, by time.

    A station keeps them if it listens with `explain`.
    """
    if one.time is None:
        return []
    statement = (
        "SELECT json FROM events WHERE event = 'rejected' AND time >= ? AND time <= ? AND source = ? ORDER BY time"
    )
    rows = connection.execute(f"{statement} LIMIT 50", [*_around(one.time, seconds), one.source])
    return [json.loads(row[0]) for row in rows]


def _around(time: str, seconds: float) -> tuple[str, str]:
    """So long before and after, as texts of the same offset."""
    moment = datetime.fromisoformat(time)
    before, after = moment - timedelta(seconds=seconds), moment + timedelta(seconds=seconds)
    return before.isoformat(timespec="milliseconds"), after.isoformat(timespec="milliseconds")
