"""A SQLite database of detections and of what happened to the station; docs/sinks.md describes its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebird.errors import OutputError, WrongOutputError
from edgebird.events import Event, encodable, to_json
from edgebird.files import identity, make_folder
from edgebird.sinks import Memory, Sink

SCHEMA_VERSION = 1
APPLICATION_ID = 0x45444742  # "EDGB": what tells our databases from those of other programs

_COLUMNS = (
    "source", "time", "start_s", "end_s", "code", "scientific_name", "common_name", "score", "windows", "latency_s",
    "probability",
)  # fmt: skip
_TOLD = frozenset({"gap", "source", "summary", "sink", "engine", "stats", "retention", "rejected", "stopped"})
_CACHE_KIB = 256
_WAIT_S = 2.0  # for another writer, such as a user in a database tool

SCHEMA = """\
CREATE TABLE detections (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    time TEXT,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    code TEXT NOT NULL,
    scientific_name TEXT NOT NULL,
    common_name TEXT NOT NULL,
    score REAL NOT NULL,
    windows INTEGER NOT NULL,
    latency_s REAL,
    clip TEXT,
    probability REAL
);
CREATE INDEX detections_time ON detections (time);
CREATE INDEX detections_code ON detections (code, time);
CREATE INDEX detections_clip ON detections (clip) WHERE clip IS NOT NULL;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    time TEXT,
    source TEXT,
    event TEXT NOT NULL,
    json TEXT NOT NULL
);
CREATE INDEX events_event ON events (event, time);
"""


class DatabaseSink(Sink):
    """Writes each event in a transaction of its own, while others read.

    When its file is gone or is another one (a disk that was away, a file that was moved), it opens what is there now.
    path: made if it is missing. stats: keep the `stats` events too.
    """

    name = "database"

    def __init__(self, path: Path, stats: bool = True) -> None:
        self._path = path
        self._kinds = _TOLD if stats else _TOLD - {"stats"}
        self._open: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None  # which file that is

    def open(self) -> None:
        """Open or make it; the thread that does is the one to use it.

        Raises OutputError for a damaged one, WrongOutputError for what is no database of edgebird's, or of a newer
        edgebird.
        """
        self._close()
        make_folder(self._path.parent, self._path)
        with self._errors():
            self._open = sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except OutputError:
            self._close()
            raise
        self._opened = identity(self._path)

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise OutputError(f"cannot write {self._path}: it is not open")
        return self._open

    def take(self, event: Event, memory: Memory | None) -> None:
        """Keep an event, or what it says about a clip; other kinds are left out."""
        kind = event["event"]
        if self._open and identity(self._path) != self._opened:
            self.open()
        if kind == "detection":
            values = [event.get(column) for column in _COLUMNS]
            self._run(f"INSERT INTO detections ({', '.join(_COLUMNS)}) VALUES ({_marks(values)})", _texts(values))
        elif kind == "clip" and event["path"]:
            key = [event["source"], event["time"], event["start_s"], event["code"]]
            newest = "SELECT max(id) FROM detections WHERE source = ? AND time IS ? AND start_s = ? AND code = ?"
            self._run(f"UPDATE detections SET clip = ? WHERE id = ({newest})", _texts([event["path"], *key]))
        elif kind in self._kinds:
            values = [event["time"], event["source"], kind, to_json(event)]
            self._run("INSERT INTO events (time, source, event, json) VALUES (?, ?, ?, ?)", _texts(values))
        if kind == "retention":
            self._forget(event["deleted"])

    def close(self) -> list[Event]:
        """Bring everything into the one file and close it."""
        with self._errors():
            self._close()
        return []

    def _forget(self, clips: Sequence[str]) -> None:
        """Note that clips are deleted, all in one transaction."""
        statement = "UPDATE detections SET clip = NULL WHERE clip = ?"
        with self._errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, [_texts([path]) for path in clips])

    def _run(self, statement: str, values: Sequence[Any]) -> None:
        with self._errors():
            self._connection.execute(statement, values)

    def _close(self) -> None:
        connection, self._open = self._open, None
        if connection:
            connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Tell what SQLite says as an OutputError."""
        try:
            yield
        except sqlite3.Error as error:
            kind = WrongOutputError if _is_something_else(self._path, error) else OutputError
            raise kind(f"cannot write {self._path}: {error}") from error

    def _prepare(self) -> None:
        """Check whose database it is, or make it ours if it is empty."""
        version, owner = self._pragma("user_version"), self._pragma("application_id")
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and owner != APPLICATION_ID:
            raise WrongOutputError(f"cannot write {self._path}: it is a database of another program; use another file")
        if version > SCHEMA_VERSION:
            problem = f"it was written by a newer edgebird (schema {version}, this one knows {SCHEMA_VERSION})"
            raise WrongOutputError(f"cannot write {self._path}: {problem}; update edgebird or use another file")
        # Readers see the state before the transaction that is being written, and never wait or make it wait.
        mode = self._pragma("journal_mode = WAL")
        if mode != "wal":
            raise OutputError(f"cannot write {self._path}: SQLite has no WAL there ({mode}); use a local disk")
        # FULL syncs the log at every commit. NORMAL would sync at checkpoints only: a power cut would take the last
        # 4 MB, for a station many hours. A sync per event is cheap for a few events a minute.
        self._connection.execute("PRAGMA synchronous = FULL")
        # One that only writes needs no more pages of it in memory; by default they grow to 2 MB in the course of hours.
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if not tables:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            self._connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {marks} COMMIT;")
        elif not has_probabilities(self._connection):  # an earlier edgebird made it, and goes on to write and read it
            self._connection.execute("ALTER TABLE detections ADD COLUMN probability REAL")

    def _pragma(self, pragma: str) -> Any:
        return self._connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def has_probabilities(connection: sqlite3.Connection) -> bool:
    """Whether detections of a database may have one: those of the first databases have not."""
    return any(row[1] == "probability" for row in connection.execute("PRAGMA table_info(detections)"))


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" for _ in values)


def _texts(values: Sequence[Any]) -> list[Any]:
    """Values that SQLite takes: text that UTF-8 can hold."""
    return [encodable(value) if isinstance(value, str) else value for value in values]


def _is_something_else(path: Path, error: sqlite3.Error) -> bool:
    """Whether this is no database at all, and not one whose beginning a power cut has made zeros."""
    if path.is_dir():
        return True
    if "not a database" not in str(error):  # its code, SQLITE_NOTADB, is told from Python 3.11 on only
        return False
    try:
        with path.open("rb") as file:
            return any(file.read(16))
    except OSError:
        return False
