"""Aging: days of the log and rows of the database go when they are too old."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import now
from edgebird.sinks.wallclock import WallClock

log = logging.getLogger(__name__)

_EVERY_S = 3600.0
_ROWS = 2000  # in one transaction, which makes no sink wait for long
_WAIT_S = 2.0
_DAY = re.compile(r"\d{8}\.jsonl")
_SET_CLOCK = "2015"

# The first and the last detection of each species stay, and the one with the highest score: else a bird that was here
# for years would be a first, for alerts of a score or for all. So does the newest row: SQLite would give its number
# again, and alerts have looked at that.
_OLD_DETECTIONS = f"""
DELETE FROM detections WHERE id IN (
    SELECT id FROM detections AS old
    WHERE time < :before AND time >= '{_SET_CLOCK}' AND id < (SELECT max(id) FROM detections)
      AND EXISTS (SELECT 1 FROM detections AS one WHERE one.code = old.code AND one.time > old.time)
      AND EXISTS (SELECT 1 FROM detections AS one
                  WHERE one.code = old.code AND one.time < old.time AND one.time >= '{_SET_CLOCK}')
      AND EXISTS (SELECT 1 FROM detections AS one
                  WHERE one.code = old.code AND (one.score, one.id) > (old.score, old.id))
    LIMIT {_ROWS})
"""
_OLD_EVENTS = f"""
DELETE FROM events WHERE id IN (SELECT id FROM events WHERE event = :event AND time < :before LIMIT {_ROWS})
"""


class Aging(Sink):
    """Deletes what is older than so many days, every hour, as long as nothing speaks against the clock.

    log_folder: of a `LineFileSink`; database: of a `DatabaseSink`; each with its days, None where it stays for ever.
    Raises OutputError if something cannot be deleted.
    """

    name = "aging"

    def __init__(
        self,
        log_folder: tuple[Path, float] | None,
        database: tuple[Path, float] | None,
        clock: WallClock | None = None,
        local: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._database = log_folder, database
        self._clock, self._local, self._monotonic = clock or WallClock(), local, monotonic
        self._next = 0.0

    def take(self, event: Event, memory: Memory | None) -> None:
        """Nothing: it looks by itself."""

    def tick(self) -> list[Event]:
        """Delete what is due; as long as there are more rows, a part at each tick."""
        self._clock.look()
        if self._monotonic() < self._next:
            return []
        self._next = self._monotonic() + _EVERY_S
        if self._clock.doubt():
            return []
        if self._log:
            self._age_log(*self._log)
        if self._database and self._age_database(*self._database):
            self._next = 0.0
        return []

    def _before(self, days: float) -> datetime:
        return self._local() - timedelta(days=days)

    def _age_log(self, folder: Path, days: float) -> None:
        last = f"{self._before(days):%Y%m%d}.jsonl"
        try:
            old = [path for path in folder.glob("*.jsonl") if _DAY.fullmatch(path.name) and path.name < last]
            for path in old:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot delete old days of {folder}: {error.strerror}") from error
        if old:
            log.info("%s: %d days of the log were older than %g days", folder, len(old), days)

    def _age_database(self, path: Path, days: float) -> bool:
        """Delete a part of what is too old; whether there may be more."""
        if not path.exists():
            return False
        before = self._before(days).isoformat(timespec="milliseconds")
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=_WAIT_S, uri=True)) as database:
                kinds = [kind for (kind,) in database.execute("SELECT DISTINCT event FROM events")]
                with database:
                    gone = [database.execute(_OLD_DETECTIONS, {"before": before}).rowcount]
                    gone += [
                        database.execute(_OLD_EVENTS, {"before": before, "event": kind}).rowcount for kind in kinds
                    ]
        except sqlite3.Error as error:
            raise OutputError(f"cannot delete old rows of {path}: {error}") from error
        return max(gone) >= _ROWS
