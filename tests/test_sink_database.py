"""The database: every event is on the disk before the next, and others read meanwhile."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgebird.errors import OutputError, WrongOutputError
from edgebird.events import Event
from edgebird.sinks import database as database_module
from edgebird.sinks.database import DatabaseSink
from edgebird.stored.database import StoredDatabase
from edgebird.stored.records import Filter, best, records
from tests.sinking import GAP, STATS, Tape, detection, opened


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "birds.sqlite"


def query(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def clip_event(tape: Tape, path: str | None, start_s: float = 12.5) -> Event:
    return {**detection(tape, start_s), "event": "clip", "path": path}


def test_detections_and_events_are_kept_over_restarts(path: Path, tape: Tape) -> None:
    sink = opened(DatabaseSink(path))
    for event in (detection(tape, latency_s=1.25), {**detection(tape), "event": "onset"}, GAP, STATS):
        sink.take(event, tape)
    assert sink.tick() == sink.close() == []
    sink = opened(DatabaseSink(path, stats=False))
    for event in (detection(Tape(started=None), source="\ud800"), STATS):
        sink.take(event, None)
    sink.close()
    assert os.listdir(path.parent) == ["birds.sqlite"]  # closed: no log is left beside it
    names = "Cuculus canorus", "Common Cuckoo"
    assert query(path, "SELECT * FROM detections") == [
        (1, "garden", "2023-05-02T00:00:02.500+02:00", 12.5, 20.0, "comcuc", *names, 0.934567, 3, 1.25, None, None),
        (2, "\ufffd", None, 12.5, 20.0, "comcuc", *names, 0.934567, 3, None, None, None),
    ]
    rows = query(path, "SELECT time, source, event, json FROM events")
    assert [json.loads(row[3]) for row in rows] == [GAP, STATS]
    assert rows[0][:3] == (GAP["time"], "garden", "gap")


def test_a_clip_is_noted_at_its_detection_until_retention_deletes_it(path: Path, tape: Tape) -> None:
    sink = opened(DatabaseSink(path))
    undated = Tape(started=None)
    for event in (detection(tape), detection(tape), detection(tape, 30, 35), detection(undated)):
        sink.take(event, tape)
    for event in (clip_event(tape, "/a.flac"), clip_event(tape, None, 30), clip_event(undated, "/b.flac")):
        sink.take(event, None)
    clips = "SELECT clip FROM detections ORDER BY id"
    assert query(path, clips) == [(None,), ("/a.flac",), (None,), ("/b.flac",)]  # of two alike, the newest
    sink.take({"event": "retention", "source": None, "time": None, "deleted": ["/a.flac", "/other"]}, None)
    assert query(path, clips) == [(None,), (None,), (None,), ("/b.flac",)]
    assert query(path, "SELECT event FROM events") == [("retention",)]
    sink.close()


def test_a_database_of_an_earlier_edgebird_gets_probabilities_and_is_read_before_it_has_them(
    path: Path, tape: Tape
) -> None:
    """The pages of a station that was not started again since the update must not end in an error."""
    with closing(opened(DatabaseSink(path))) as sink:
        sink.take(detection(tape), tape)
    with closing(sqlite3.connect(path)) as before:
        before.execute("ALTER TABLE detections DROP COLUMN probability")
    stored = StoredDatabase(path)
    with stored.reading() as connection:
        assert [one.probability for one in records(connection, Filter(), 10)] == [None]
    sink = opened(DatabaseSink(path))
    sink.take(detection(tape) | {"probability": 0.75}, tape)
    with stored.reading() as connection:
        assert [one.probability for one in records(connection, Filter(), 10)] == [0.75, None]
        assert [one.score for one in best(connection, Filter(code="comcuc"), 1)] == [0.934567]
    sink.close()
    stored.close()
    assert query(path, "SELECT probability FROM detections ORDER BY id") == [(None,), (0.75,)]


def test_others_read_while_events_are_written(path: Path, tape: Tape) -> None:
    """A web page in the middle of its query neither waits nor makes the station wait, and sees one state."""
    sink = opened(DatabaseSink(path))
    sink.take(detection(tape), tape)
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        count = "SELECT count(*) FROM detections"
        assert reader.execute(count).fetchone() == (1,)
        sink.take(detection(tape), tape)
        assert reader.execute(count).fetchone() == (1,)
        reader.execute("COMMIT")
        assert reader.execute(count).fetchone() == (2,)
    sink.close()


POWER_CUT = """
import os, sys
from pathlib import Path
from edgebird.sinks.database import DatabaseSink
from tests.sinking import Tape, detection
sink = DatabaseSink(Path(sys.argv[1]))
sink.open()
for number in range(20):
    sink.take(detection(Tape(), number, number + 5), None)
os._exit(9)
"""


def test_a_database_that_was_never_closed_and_whose_log_is_cut_opens_with_what_was_written(
    path: Path, tape: Tape
) -> None:
    subprocess.run([sys.executable, "-c", POWER_CUT, path], check=False, cwd=Path(__file__).parents[1])
    log = path.with_name(path.name + "-wal")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 100)  # the last transaction was being written
    sink = opened(DatabaseSink(path))
    assert query(path, "SELECT count(*), max(start_s) FROM detections") == [(19, 18.0)]
    sink.take(detection(tape), tape)
    assert query(path, "SELECT count(*) FROM detections") == [(20,)]
    sink.close()


def test_every_event_is_synced_before_the_next(path: Path) -> None:
    """WAL with synchronous=NORMAL would lose hours in a power cut."""
    sink = opened(DatabaseSink(path))
    pragmas = [sink._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    assert pragmas == [2, "wal"]
    sink.close()


def _of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE detections (x)")


def _newer(path: Path) -> None:
    opened(DatabaseSink(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


def _cut_short(path: Path) -> None:
    opened(DatabaseSink(path)).close()
    os.truncate(path, 4096)


def _overwritten(path: Path) -> None:
    opened(DatabaseSink(path)).close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8092)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("birds " * 1000), "file is not a database"),
        (_of_another_program, "it is a database of another program; use another file"),
        (_newer, r"it was written by a newer edgebird \(schema 2, this one knows 1\); update edgebird or use another"),
        (_cut_short, "malformed"),
        (_overwritten, "malformed"),
        (lambda path: path.mkdir(), "unable to open database file"),
    ],
)
def test_a_foreign_newer_or_damaged_database_is_one_line_and_left_alone(
    path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    path.parent.mkdir()
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(OutputError, match=rf"^cannot write [^\n]*birds\.sqlite: [^\n]*{message}[^\n]*$") as told:
        DatabaseSink(path).open()
    assert isinstance(told.value, WrongOutputError) == ("malformed" not in message)
    assert not path.is_file() or path.read_bytes() == before


def test_a_writer_that_does_not_let_go_costs_the_event_and_not_the_station(
    path: Path, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_WAIT_S", 0.05)
    sink = opened(DatabaseSink(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="database is locked"):
            sink.take(detection(tape), tape)
        other.execute("COMMIT")
    sink.take(detection(tape), tape)
    assert query(path, "SELECT count(*) FROM detections") == [(1,)]
    sink.close()


def test_the_documented_sql_is_true(path: Path, tape: Tape) -> None:
    text = (Path(__file__).parents[1] / "docs" / "sinks.md").read_text(encoding="utf-8")
    schema, heard, deaf = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert schema == database_module.SCHEMA
    sink = opened(DatabaseSink(path))
    for event in (detection(tape, 2.0, 9.0), detection(tape), detection(tape, 30, 37, score=0.5), GAP, GAP):
        sink.take(event, tape)
    sink.close()
    cuckoo = "Common Cuckoo"
    assert query(path, heard) == [("2023-05-01", cuckoo, 1, 0.934567), ("2023-05-02", cuckoo, 2, 0.934567)]
    assert query(path, deaf) == [("2023-05-02", "garden", "stalled", 13.0)]


def test_a_database_that_is_moved_away_is_made_anew(path: Path, tape: Tape) -> None:
    """Else all that comes would go into a file that nobody sees, and no error would tell."""
    sink = DatabaseSink(path)
    sink.open()
    sink.take(detection(tape), tape)
    moved = path.with_name("old.sqlite")
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").rename(f"{moved}{end}")
    for _ in range(2):
        sink.take(detection(tape), tape)
    sink.close()
    count = "SELECT count(*) FROM detections"
    assert (query(path, count), query(moved, count)) == ([(2,)], [(1,)])


def test_a_database_whose_folder_is_gone_is_made_anew(path: Path, tape: Tape) -> None:
    sink = DatabaseSink(path)
    sink.open()
    shutil.rmtree(path.parent)
    sink.take(detection(tape), tape)
    sink.close()
    assert query(path, "SELECT count(*) FROM detections") == [(1,)]
