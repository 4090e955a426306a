"""A station's database, read by another process and perhaps another user, without a trace beside it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from edgebird.errors import DatabaseError
from edgebird.files import identity
from edgebird.sinks.database import APPLICATION_ID, SCHEMA_VERSION, has_probabilities

_WAIT_S = 2.0
_CACHE_KIB = 16_384


class _Opened:
    """A connection, and the state of the files that it was opened for; closed when its thread has ended, or before."""

    def __init__(self, state: object, connection: sqlite3.Connection) -> None:
        self.state, self.connection = state, connection

    def __del__(self) -> None:
        self.connection.close()


class StoredDatabase:
    """Gives connections that can only read, one for each thread; a file that was replaced is opened anew.

    While the station runs, its log (`-wal`) and the index of that (`-shm`) are beside the file: they are read and never
    written. Without a log nobody writes, and the file is read as it is: SQLite would make both files, as the user who
    reads, and the station could not open its own database. A log without its index is left alone, too: what is in it is
    seen when the station has started again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._beside = [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]
        self._threads = threading.local()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose statements all see one state. Raises DatabaseError."""
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.close()
            raise DatabaseError(f"cannot read {self.path}: {error}") from error

    def close(self) -> None:
        """Close the connection of this thread."""
        opened = vars(self._threads).pop("opened", None)
        if opened:
            opened.connection.close()

    def _connection(self) -> sqlite3.Connection:
        files = [identity(path) for path in (self.path, *self._beside)]
        logged = None not in files[1:]
        state = files, None if logged else self._written()
        opened: _Opened | None = vars(self._threads).get("opened")
        if opened is None or opened.state != state:
            self.close()
            opened = _Opened(state, self._open(logged))
            self._threads.opened = opened
        return opened.connection

    def _written(self) -> tuple[int, int] | None:
        """When the file was last written, and how long it is: a station may have come and gone between two looks."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _open(self, logged: bool) -> sqlite3.Connection:
        if not self.path.is_file():
            raise DatabaseError(
                f"cannot read {self.path}: there is no such file; `edgebird listen --database` makes it"
            )
        how = "mode=ro&readonly_shm=1" if logged else "mode=ro&immutable=1"
        address = f"file:{quote(os.path.abspath(self.path))}?{how}"
        connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self._check(connection)
        except (sqlite3.Error, DatabaseError):
            connection.close()
            raise
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        version, owner = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
        )
        if owner != APPLICATION_ID:
            raise DatabaseError(f"cannot read {self.path}: it is no database of a station")
        if version > SCHEMA_VERSION:
            problem = f"it was written by a newer edgebird (schema {version}, this one knows {SCHEMA_VERSION})"
            raise DatabaseError(f"cannot read {self.path}: {problem}; update edgebird")
        if not has_probabilities(connection):
            # Its station adds the column when it starts again; until then readers see one, in memory of their own.
            connection.execute("CREATE TEMP VIEW detections AS SELECT *, NULL AS probability FROM main.detections")
