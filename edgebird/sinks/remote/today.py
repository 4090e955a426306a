"""What a source has heard today: birds, and seconds in which it was deaf."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from edgebird.events import Event

_READ_S = 3.0  # for a database to answer with what was heard earlier today


@dataclass(slots=True)
class Day:
    """A source's day. lost_at: since when nothing is heard. gap_end: of the last gap that was told."""

    detections: int = 0
    species: set[str] = field(default_factory=set)
    gap_s: float = 0.0
    lost_at: datetime | None = None
    gap_end: datetime | None = None


class Today:
    """Counts the events of the local day, which begins anew at midnight.

    A detection, or a gap, counts for the day that its time says. clock: the wall clock in the station's time zone.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._date = clock().date()
        self._days: dict[str, Day] = {}

    @property
    def days(self) -> dict[str, Day]:
        """By source; empty at midnight, but for since when a source is deaf."""
        if (date := self._clock().date()) != self._date:
            self._date = date
            self._days = {name: Day(lost_at=day.lost_at) for name, day in self._days.items()}
        return self._days

    def take(self, event: Event) -> None:
        """Count an event."""
        if event["event"] == "source":
            self._day(event).lost_at = datetime.fromisoformat(event["time"]) if event["state"] == "lost" else None
        elif self._is_today(event):
            day = self._day(event)
            if event["event"] == "detection":
                day.detections += 1
                day.species.add(event["code"])
            elif event["event"] == "gap":
                length_s = event["end_s"] - event["start_s"]
                day.gap_s += length_s
                day.gap_end = datetime.fromisoformat(event["time"]) + timedelta(seconds=length_s)

    def deaf_s(self, name: str) -> float:
        """Seconds of today in which a source was deaf, with what goes on now and is not told yet."""
        day = self.days.get(name)
        if day is None or day.lost_at is None:
            return day.gap_s if day else 0.0
        now = self._clock()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        since = max(day.lost_at, midnight, day.gap_end or midnight)
        return day.gap_s + max(0.0, (now - since).total_seconds())

    def recall(self, database: Path) -> None:
        """Count what a station's database has of today; nothing if it does not answer in time."""
        found: list[Event] = []
        done = threading.Event()

        def read() -> None:
            with suppress(sqlite3.Error):
                found.extend(list(_of_day(database, self._date.isoformat())))
            done.set()

        threading.Thread(target=read, name="today", daemon=True).start()
        if done.wait(_READ_S):
            for event in found:
                self.take(event)

    def _day(self, event: Event) -> Day:
        return self.days.setdefault(event["source"], Day())

    def _is_today(self, event: Event) -> bool:
        return bool(event["time"]) and event["time"][:10] == self._clock().date().isoformat()


def _of_day(database: Path, date: str) -> Iterator[Event]:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT source, time, code FROM detections WHERE time >= ?", (date,))
        for source, time, code in found:
            yield {"event": "detection", "source": source, "time": time, "code": code}
        spans = "json_extract(json, '$.start_s'), json_extract(json, '$.end_s')"
        found = connection.execute(
            f"SELECT source, time, {spans} FROM events WHERE event = 'gap' AND time >= ?", (date,)
        )
        for source, time, start_s, end_s in found:
            yield {"event": "gap", "source": source, "time": time, "start_s": start_s, "end_s": end_s}
