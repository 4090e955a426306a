"""What people said of detections, in a database of its own: the station's is never written.

Each review has a copy of its detection, so that it outlives the station's database, and how likely it was to be drawn
(`sampling.py`); one that nobody drew, but somebody looked up, has no probability and counts for no estimate.

Numbers of detections begin anew in a new database of the station: a review is of a detection that has its number,
source, time and species, and an item of a draw is one that has its number and is of its stratum.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edgebird.errors import DatabaseError
from edgebird.stored.records import Record
from edgebird.web.sampling import Drawn, Stratum, band_of

VERDICTS = ("right", "wrong", "unsure")
APPLICATION_ID = 0x45444752  # "EDGR"
SCHEMA_VERSION = 1
_WAIT_S = 5.0

_ITEMS = "SELECT * FROM items WHERE draw = ? ORDER BY place"
_REVIEWED = "SELECT detection, code, score FROM reviews WHERE detection IN (SELECT detection FROM items WHERE draw = ?)"
_SAME = "detection = ? AND source = ? AND detected IS ? AND code = ?"

SCHEMA = """\
CREATE TABLE draws (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    seed INTEGER NOT NULL,
    code TEXT,
    source TEXT,
    first_day TEXT,
    last_day TEXT,
    many INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    unheard INTEGER NOT NULL
);
CREATE TABLE items (
    draw INTEGER NOT NULL REFERENCES draws (id),
    place INTEGER NOT NULL,
    detection INTEGER NOT NULL,
    stratum TEXT NOT NULL,
    stratum_size INTEGER NOT NULL,
    probability REAL NOT NULL,
    PRIMARY KEY (draw, place)
) WITHOUT ROWID;
CREATE TABLE reviews (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    reviewer TEXT,
    verdict TEXT NOT NULL CHECK (verdict IN ('right', 'wrong', 'unsure')),
    species TEXT,
    draw INTEGER REFERENCES draws (id),
    stratum TEXT,
    stratum_size INTEGER,
    probability REAL CHECK (probability > 0 AND probability <= 1),
    detection INTEGER NOT NULL,
    source TEXT NOT NULL,
    detected TEXT,
    start_s REAL NOT NULL,
    end_s REAL NOT NULL,
    code TEXT NOT NULL,
    scientific_name TEXT NOT NULL,
    common_name TEXT NOT NULL,
    score REAL NOT NULL,
    clip TEXT
);
CREATE INDEX reviews_detection ON reviews (detection, id);
CREATE INDEX reviews_code ON reviews (code);
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says. species: what it is instead, if it is wrong and that is known: a code or a name."""

    verdict: str
    species: str | None = None
    reviewer: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """What was drawn from. frame: how many detections that can be heard; unheard: how many have no sound any more."""

    code: str | None
    source: str | None
    first_day: str | None
    last_day: str | None
    many: int
    frame: int
    unheard: int


@dataclass(frozen=True, slots=True)
class QueueItem:
    """The next of a draw. place: its number in it, from 0 on. left: how many wait, this one included."""

    draw: int
    place: int
    detection: int
    probability: float
    stratum: str
    left: int
    many: int

    def is_of(self, one: Record) -> bool:
        """Whether this is the detection that was drawn, and not one of a new database that has its number."""
        return self.detection == one.id and self.stratum == _stratum(one.code, one.score)


def _stratum(code: str, score: float) -> str:
    return Stratum(code, band_of(score)).name


def _same(one: Record) -> list[Any]:
    """The values of `_SAME`."""
    return [one.id, one.source, one.time, one.code]


class ReviewStore:
    """Opens the file when it is first written; a file that is not there has no reviews."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self, writes: bool) -> Iterator[sqlite3.Connection]:
        try:
            if not writes and not self.path.exists():
                connection = sqlite3.connect(":memory:", isolation_level=None)
                connection.executescript(SCHEMA)
            else:
                connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            try:
                connection.row_factory = sqlite3.Row
                self._prepare(connection)
                connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise DatabaseError(f"cannot use the reviews {self.path}: {error}") from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version, owner = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
        )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {marks} COMMIT;")
        elif connection.execute("PRAGMA database_list").fetchone()[2] and owner != APPLICATION_ID:
            raise DatabaseError(f"cannot use the reviews {self.path}: it is a database of something else")
        elif version > SCHEMA_VERSION:
            raise DatabaseError(f"cannot use the reviews {self.path}: a newer edgebird wrote them; update edgebird")
        connection.execute("PRAGMA synchronous = FULL")

    def add_draw(self, frame: Frame, seed: int, drawn: Sequence[Drawn]) -> int:
        """Keep a draw; return its number."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        values = [
            now,
            seed,
            frame.code,
            frame.source,
            frame.first_day,
            frame.last_day,
            frame.many,
            frame.frame,
            frame.unheard,
        ]
        with self._open(writes=True) as connection:
            columns = "time, seed, code, source, first_day, last_day, many, frame, unheard"
            cursor = connection.execute(f"INSERT INTO draws ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            number = int(cursor.lastrowid or 0)
            connection.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (number, place, one.detection, one.stratum.name, one.size, one.probability)
                    for place, one in enumerate(drawn)
                ],
            )
        return number

    def next_item(self, skip: Iterable[int] = ()) -> QueueItem | None:
        """Return the next item of the newest draw that nobody has reviewed since; None if all are.

        skip: detections that are not asked for now.
        """
        with self._open(writes=False) as connection:
            row = connection.execute("SELECT max(id), many FROM draws").fetchone()
            if row[0] is None:
                return None
            items = connection.execute(_ITEMS, [row[0]]).fetchall()
            many = len(items)
            done = {(number, _stratum(code, score)) for number, code, score in connection.execute(_REVIEWED, [row[0]])}
        items = [item for item in items if (item["detection"], item["stratum"]) not in done]
        unwanted = set(skip)
        asked = next((item for item in items if item["detection"] not in unwanted), None)
        if asked is None:
            return None
        return QueueItem(
            asked["draw"],
            asked["place"],
            asked["detection"],
            asked["probability"],
            asked["stratum"],
            len(items),
            many,
        )

    def add(self, one: Record, verdict: Verdict) -> None:
        """Keep a review. It takes its probability from the newest draw that its detection is in."""
        with self._open(writes=True) as connection:
            item = connection.execute(
                "SELECT * FROM items WHERE detection = ? AND stratum = ? ORDER BY draw DESC LIMIT 1",
                [one.id, _stratum(one.code, one.score)],
            ).fetchone()
            values = {
                "time": datetime.now().astimezone().isoformat(timespec="seconds"), "reviewer": verdict.reviewer,
                "verdict": verdict.verdict, "species": verdict.species, "draw": item["draw"] if item else None,
                "stratum": item["stratum"] if item else None, "stratum_size": item["stratum_size"] if item else None,
                "probability": item["probability"] if item else None, "detection": one.id, "source": one.source,
                "detected": one.time, "start_s": one.start_s, "end_s": one.end_s, "code": one.code,
                "scientific_name": one.scientific_name, "common_name": one.common_name, "score": one.score,
                "clip": one.clip,
            }  # fmt: skip
            marks = ", ".join("?" for _ in values)
            connection.execute(f"INSERT INTO reviews ({', '.join(values)}) VALUES ({marks})", list(values.values()))

    def undo(self, one: Record) -> None:
        """Forget the last review of a detection."""
        with self._open(writes=True) as connection:
            last = f"SELECT max(id) FROM reviews WHERE {_SAME}"
            connection.execute(f"DELETE FROM reviews WHERE id = ({last})", _same(one))

    def of(self, detections: Iterable[Record]) -> dict[int, Mapping[str, Any]]:
        """Return the last review of each of these detections that has one, by its number."""
        wanted = {one.id: _same(one) for one in detections}
        marks = ", ".join("?" for _ in wanted)
        statement = f"SELECT * FROM reviews WHERE detection IN ({marks}) ORDER BY id"
        with self._open(writes=False) as connection:
            rows = connection.execute(statement, list(wanted)).fetchall()
        told = ("detection", "source", "detected", "code")
        return {row["detection"]: dict(row) for row in rows if [row[name] for name in told] == wanted[row["detection"]]}

    def last(self, verdict: str | None = None) -> list[dict[str, Any]]:
        """Return the last review of every detection, of one verdict or all, by the time of the detection."""
        last = "SELECT max(id) FROM reviews GROUP BY detection, source, detected, code"
        more, values = ("", []) if verdict is None else (" AND verdict = ?", [verdict])
        statement = f"SELECT * FROM reviews WHERE id IN ({last}){more} ORDER BY detected, id"
        with self._open(writes=False) as connection:
            return [dict(row) for row in connection.execute(statement, values)]

    def draws(self) -> list[dict[str, Any]]:
        """Return every draw, the oldest first, with its `items`."""
        with self._open(writes=False) as connection:
            found = [dict(row) for row in connection.execute("SELECT * FROM draws ORDER BY id")]
            for one in found:
                one["items"] = [dict(row) for row in connection.execute(_ITEMS, [one["id"]])]
        return found
