"""What alerts remember, in the station's database: which detections were looked at, and what is still to be sent.

Detections are looked at where they are stored, in the order in which they were: what is decided about one, and that it
was looked at, are one transaction. So a kill at any moment loses no alert. What was sent is marked afterwards: a kill
between the two repeats that one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.files import identity
from edgebird.sinks.database import APPLICATION_ID

_WAIT_S = 2.0  # for another writer
_AT_ONCE = 500  # detections
_EVENT = ("id", "source", "time", "start_s", "end_s", "code", "scientific_name", "common_name", "score", "windows")
_WAITING = """
SELECT alerts.id, alert, target, made, title, text, detection, clip, alerts.code, alerts.time
FROM alerts LEFT JOIN detections ON detections.id = alerts.detection
WHERE sent IS NULL
ORDER BY alerts.id
"""
_TABLES = """\
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY,
    alert TEXT NOT NULL,
    target INTEGER NOT NULL,
    detection INTEGER,
    code TEXT,
    time TEXT,
    made TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    sent TEXT
);
CREATE INDEX IF NOT EXISTS alerts_code ON alerts (alert, code);
CREATE INDEX IF NOT EXISTS alerts_waiting ON alerts (id) WHERE sent IS NULL;
CREATE TABLE IF NOT EXISTS alerts_seen (id INTEGER PRIMARY KEY CHECK (id = 1), detection INTEGER NOT NULL);
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert to one address. target: which of the alert's addresses. clip: of its detection, None without.

    number: in the memory, 0 for one that could not be put there.
    """

    number: int
    alert: str
    target: int
    made: str
    title: str
    text: str
    detection: int | None = None
    clip: str | None = None
    code: str | None = None
    time: str | None = None


class AlertMemory:
    """The tables `alerts` and `alerts_seen` of a station's database. One thread uses it.

    since: what was heard before is never looked at the first time alerts are asked for.
    """

    def __init__(self, path: Path, since: datetime) -> None:
        self._path, self._since = path, since
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None  # which file that is

    def look(self, decide: Callable[[sqlite3.Connection, Event], Sequence[Notice]]) -> bool:
        """Look at detections that are new; whether there may be more.

        decide: what is to be told of one. Raises OutputError where the database is not there, or cannot be used.
        """
        with self._open() as connection:
            (seen,) = connection.execute("SELECT detection FROM alerts_seen").fetchone()
            query = f"SELECT {', '.join(_EVENT)} FROM detections WHERE id > ? ORDER BY id LIMIT {_AT_ONCE}"
            rows = connection.execute(query, (seen,)).fetchall()
            for row in rows:
                event = dict(zip(_EVENT, row, strict=True))
                self._add(connection, decide(connection, event))
            if rows:
                connection.execute("UPDATE alerts_seen SET detection = ?", (rows[-1][0],))
        return len(rows) == _AT_ONCE

    def add(self, notices: Sequence[Notice]) -> None:
        """Put what is about no detection. Raises OutputError."""
        with self._open() as connection:
            self._add(connection, notices)

    def waiting(self) -> list[Notice]:
        """What is not sent yet, oldest first. Raises OutputError."""
        with self._open() as connection:
            rows = connection.execute(_WAITING).fetchall()
        return [Notice(*row) for row in rows]

    def mark(self, number: int, sent: str) -> None:
        """Note that one was sent, or `given up`. Raises OutputError."""
        with self._open() as connection:
            connection.execute("UPDATE alerts SET sent = ? WHERE id = ?", (sent, number))

    def close(self) -> None:
        """Close the database."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction. Raises OutputError."""
        try:
            if self._connection and identity(self._path) != self._opened:
                self.close()  # the file was moved, or its disk was away
            connection = self._connection = self._connection or self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self.close()
            raise OutputError(f"alerts: {self._path}: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        """Open what the station has made; the tables here are added if they are not there."""
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)
        try:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise sqlite3.OperationalError("it is not there yet, or no database of edgebird's")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_TABLES)
            heard = "SELECT coalesce(max(id), 0) FROM detections WHERE time IS NULL OR julianday(time) < julianday(?)"
            since = self._since.isoformat(timespec="milliseconds")
            connection.execute(f"INSERT OR IGNORE INTO alerts_seen VALUES (1, ({heard}))", (since,))
        except BaseException:
            connection.close()
            raise
        self._opened = identity(self._path)
        return connection

    def _add(self, connection: sqlite3.Connection, notices: Sequence[Notice]) -> None:
        columns = "alert, target, detection, code, time, made, title, text"
        connection.executemany(
            f"INSERT INTO alerts ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(n.alert, n.target, n.detection, n.code, n.time, n.made, n.title, n.text) for n in notices],
        )


def told_last(connection: sqlite3.Connection, alert: str, code: str) -> str | None:
    """When the last detection of a species was heard that an alert has told, or will; None if there is none."""
    query = "SELECT time FROM alerts WHERE alert = ? AND code = ? ORDER BY id DESC LIMIT 1"
    found = connection.execute(query, (alert, code)).fetchone()
    return found[0] if found else None
