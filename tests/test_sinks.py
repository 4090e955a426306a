"""Sinks: no event is lost to a power cut, midnight, another reader or the failure of another sink."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edgebird.errors import OutputError, WrongOutputError
from edgebird.events import Event, to_json
from edgebird.formats import Audacity
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks import database as database_module
from edgebird.sinks.chain import Chain
from edgebird.sinks.clips import ClipSink
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.lines import LineFileSink, LineSink
from edgebird.sinks.retention import Limits, Retention
from edgebird.sinks.table import TableSink
from tests.test_clips import Tape, detection, no_file_above

NOON = datetime(2023, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
GAP: Event = {
    "event": "gap",
    "source": "garden",
    "time": "2023-05-02T00:00:10.000+02:00",
    "start_s": 20.0,
    "end_s": 26.5,
    "reason": "stalled",
}
STATS: Event = {"event": "stats", "source": None, "time": "2023-05-02T00:00:30.000+02:00", "windows": 7}


@pytest.fixture
def tape() -> Tape:
    return Tape()


def noon() -> datetime:
    return NOON


SinkT = TypeVar("SinkT", bound=Sink)


def opened(sink: SinkT) -> SinkT:
    sink.open()
    return sink


def chain_of(sinks: Sequence[Sink]) -> Chain:
    chain = Chain(sinks, noon)
    chain.open()
    return chain


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Lines


def test_every_event_is_a_line_of_json_or_of_a_table_on_stdout(tape: Tape) -> None:
    stream, labels = io.StringIO(), io.StringIO()
    for sink in (opened(LineSink(stream)), opened(LineSink(labels, Audacity()))):
        for event in (detection(tape), GAP):
            sink.take(event, tape)
        assert sink.tick() == sink.close() == []
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [detection(tape), GAP]
    assert labels.getvalue() == "12.500000\t20.000000\tCommon Cuckoo 0.93\n"
    assert not stream.closed


def test_events_go_to_the_file_of_their_own_day(tmp_path: Path, tape: Tape) -> None:
    """Whatever the offset, in whatever order they are told, and whatever day it is where the clock hangs."""
    sink = opened(LineFileSink(tmp_path / "events", noon))
    early, late = detection(tape, 2.0, 9.0), detection(tape, 12.5, 20.0)
    honolulu = {**GAP, "time": "2023-05-01T12:00:10.000-10:00"}  # the same moment as GAP's
    undated = {**GAP, "time": None}
    for event in (late, GAP, early, honolulu, undated, late):
        sink.take(event, tape)
    assert sink.tick() == sink.close() == []
    assert lines_of(tmp_path / "events" / "20230501.jsonl") == [early, honolulu, undated]
    assert lines_of(tmp_path / "events" / "20230502.jsonl") == [late, GAP, late]


def test_after_a_power_cut_in_the_middle_of_a_line_the_next_event_is_whole(tmp_path: Path, tape: Tape) -> None:
    path = tmp_path / "20230502.jsonl"
    line = (to_json(detection(tape)) + "\n").encode()
    for length in (0, 1, len(line) // 2, len(line) - 1, len(line)):
        path.write_bytes(line + line[:length])
        sink = opened(LineFileSink(tmp_path))
        sink.take(GAP, tape)
        sink.close()
        first, *broken, last = path.read_bytes().splitlines(keepends=True)
        assert (first, json.loads(last), last[-1:]) == (line, GAP, b"\n")
        assert b"".join(broken).rstrip(b"\n") == line[:length].rstrip(b"\n")


def test_a_line_that_a_full_disk_cut_does_not_spoil_the_next(tmp_path: Path, tape: Tape) -> None:
    sink, path = opened(LineFileSink(tmp_path)), tmp_path / "20230502.jsonl"
    sink.take(GAP, tape)
    with no_file_above(path.stat().st_size + 50), pytest.raises(OutputError, match=r"^cannot write .*jsonl: File too"):
        sink.take(detection(tape), tape)
    sink.take(GAP, tape)
    sink.close()
    first, broken, last = path.read_bytes().splitlines()
    assert len(broken) == 50
    assert first == last == to_json(GAP).encode()


def test_detections_are_synced_and_nothing_waits_in_a_buffer(
    tmp_path: Path, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name))
    lines, table = opened(LineFileSink(tmp_path)), opened(TableSink(tmp_path / "birds.csv"))
    synced.clear()
    for event in (GAP, detection(tape)):
        for sink in (lines, table):
            sink.take(event, tape)
    # The folder too: else the name of a new file would be lost, and with it the file.
    assert synced == [tmp_path.name, "20230502.jsonl", "20230502.jsonl", "birds.csv"]
    assert lines_of(tmp_path / "20230502.jsonl") == [GAP, detection(tape)]
    assert lines.close() == table.close() == []


@pytest.mark.parametrize("make", [LineFileSink, DatabaseSink, TableSink, lambda path: ClipSink(ClipSettings(path))])
def test_a_place_that_cannot_be_written_is_one_line_at_once(tmp_path: Path, make: Callable[[Path], Sink]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"^cannot write [^\n]*file[^\n]*: (Not a directory|File exists)$"):
        make(tmp_path / "file" / "x").open()


# Table


def table_rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_the_table_is_appended_to_over_restarts_with_one_header(tmp_path: Path, tape: Tape) -> None:
    path = tmp_path / "tables" / "birds.csv"
    for event in (GAP, detection(tape), detection(Tape(started=None), source="back, yard")):
        sink = opened(TableSink(path))
        sink.take(event, None)
        assert sink.tick() == sink.close() == []
    header, *rows = table_rows(path)
    assert header == ["Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File", "Time"]
    heard = ["12.5", "20.0", "Cuculus canorus", "Common Cuckoo", "0.9346"]
    assert rows == [[*heard, "garden", "2023-05-02T00:00:02.500+02:00"], [*heard, "back, yard", ""]]


def test_a_table_cut_by_a_power_cut_goes_on_and_another_table_is_refused(tmp_path: Path, tape: Tape) -> None:
    path = tmp_path / "birds.csv"
    with closing(opened(TableSink(path))) as sink:
        sink.take(detection(tape), tape)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with closing(opened(TableSink(path))) as sink:
            sink.take(detection(tape), tape)
        rows = table_rows(path)
        assert [len(row) for row in (rows[0], rows[-1])] == [7, 7]
    path.write_text("Start (s),End (s),Scientific name,Common name,Confidence,File\n")  # BirdNET's own
    with pytest.raises(
        WrongOutputError, match=r"^cannot append to .*: it does not begin with 'Start.*Time': use another"
    ):
        TableSink(path).open()


# Database


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
        (1, "garden", "2023-05-02T00:00:02.500+02:00", 12.5, 20.0, "comcuc", *names, 0.934567, 3, 1.25, None),
        (2, "\ufffd", None, 12.5, 20.0, "comcuc", *names, 0.934567, 3, None, None),
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
from tests.test_clips import Tape, detection
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


# Chain


class Sometimes(Sink):
    """A sink on a disk that is full when a test says so; it cares for detections only."""

    def __init__(self, name: str = "card") -> None:
        self.name, self.full, self.kept, self.due = name, False, list[Event](), list[Event]()
        self.closed = False

    def take(self, event: Event, memory: Memory | None) -> None:
        if event["event"] in ("detection", "sink"):
            self._write(event)

    def tick(self) -> list[Event]:
        due, self.due = self.due, []
        for event in due:
            self._write(event)
        return due

    def close(self) -> list[Event]:
        self.closed = True
        return self.tick()

    def _write(self, event: Event) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.kept.append(event)


def kinds(events: list[Event]) -> list[str]:
    return [event.get("state", event["event"]) for event in events]


def test_a_full_disk_stops_neither_the_other_sinks_nor_the_program_and_is_told_once(tape: Tape) -> None:
    card, disk = Sometimes("card"), Sometimes("disk")
    chain = chain_of([card, disk])
    card.full = True
    for event in (detection(tape), GAP, detection(tape), GAP):  # a gap, which the card leaves out, is no recovery
        chain.take(event, tape)
    (failed,) = chain.tick()
    assert failed == {
        "event": "sink",
        "source": None,
        "time": "2023-05-01T12:00:00.000+02:00",
        "sink": "card",
        "state": "failed",
        "error": "[Errno 28] No space left on device",
    }
    card.full = False
    chain.take(detection(tape), tape)
    (recovered,) = chain.tick()
    assert (recovered["state"], recovered["lost"], recovered["since"]) == ("recovered", 2, failed["time"])
    card.full = True
    chain.take(detection(tape), tape)
    *_, closed = told = chain.close()
    assert (kinds(told), closed["lost"]) == (["failed", "closed"], 1)  # a new episode, which lasts to the end
    heard = ["detection", "failed", "detection", "detection", "recovered", "detection", "failed"]
    assert kinds(disk.kept) == heard  # it closed before the card, which comes first
    assert kinds(card.kept) == ["detection", "recovered"]


def test_sinks_that_all_fail_do_not_tell_each_other_for_ever(tape: Tape) -> None:
    sinks = [Sometimes(name) for name in "abc"]
    for sink in sinks:
        sink.full = True
    chain = chain_of(sinks)
    for _ in range(3):
        chain.take(detection(tape), tape)
    assert [event["sink"] for event in chain.tick()] == ["a", "b", "c"]
    for sink in sinks:
        sink.full = False
    chain.take(detection(tape), tape)
    assert kinds(chain.tick()) == ["recovered"] * 3
    assert {len(sink.kept) for sink in sinks} == {4}


def test_a_sink_whose_own_work_fails_recovers_when_it_has_done_some(tape: Tape) -> None:
    """A tick with nothing to do proves nothing."""
    clips, disk = Sometimes("clips"), Sometimes("disk")
    chain = chain_of([disk, clips])
    clips.full, clips.due = True, [clip_event(tape, "/a.flac")]
    assert kinds(chain.tick()) == ["failed"]
    assert kinds(chain.tick()) == []
    clips.full, clips.due = False, [clip_event(tape, "/b.flac")]
    assert kinds(chain.tick()) == ["recovered", "clip"]


def test_what_a_sink_tells_at_the_end_still_reaches_the_others(tmp_path: Path, path: Path, tape: Tape) -> None:
    """The whole chain: the clip that is cut on closing is in the database and in the lines."""
    settings = ClipSettings(tmp_path / "clips")
    clips = ClipSink(settings)
    sinks = [LineFileSink(tmp_path), DatabaseSink(path), clips, Retention(settings.folder, Limits())]
    chain = chain_of(sinks)
    chain.take(detection(tape), tape)
    tape.wind_to(21)
    assert chain.tick() == []
    (event,) = chain.close()
    assert query(path, "SELECT clip FROM detections") == [(event["path"],)]
    assert lines_of(tmp_path / "20230502.jsonl") == [detection(tape), event]


def test_a_closed_stdout_ends_the_program_as_everywhere(tmp_path: Path, tape: Tape) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        lines = LineFileSink(tmp_path)
        chain = chain_of([lines, LineSink(stream)])
        with pytest.raises(SystemExit) as ended:
            chain.take(detection(tape), tape)
    assert ended.value.code == 0
    assert chain.close() == []
    assert lines_of(tmp_path / "20230502.jsonl") == [detection(tape)]


def test_a_full_disk_behind_stdout_is_told_to_the_others(tmp_path: Path, tape: Tape) -> None:
    with open("/dev/full", "w") as stream:
        chain = chain_of([LineFileSink(tmp_path), LineSink(_Unbuffered(stream))])
        chain.take(detection(tape), tape)
        (event,) = chain.tick()
        chain.close()
    assert (event["sink"], event["error"]) == ("stdout", "cannot write the results: No space left on device")


class _Unbuffered(io.TextIOBase):
    """Text straight to a file; a buffer would complain once more when it is closed."""

    def __init__(self, stream: Any) -> None:
        self._descriptor = stream.fileno()

    def write(self, text: str) -> int:
        return os.write(self._descriptor, text.encode()) if text else 0
