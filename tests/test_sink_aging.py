"""Aging: a station fills no disk in ten years, and does not forget which birds it knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgebird.errors import OutputError
from edgebird.sinks import aging as aging_module
from edgebird.sinks.aging import Aging
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.firsts import First, firsts_of_days
from edgebird.sinks.wallclock import WallClock
from tests.sinking import GAP, Tape, detection, opened, query

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))


class Sure(WallClock):
    def __init__(self, why: str = "") -> None:
        super().__init__()
        self.why = why

    def doubt(self) -> str:
        return self.why


def aging(
    log: tuple[Path, float] | None = None, database: tuple[Path, float] | None = None, why: str = "", at: float = 0.0
) -> Aging:
    return Aging(log, database, Sure(why), lambda: NOW, lambda: at)


def filled(path: Path, days: list[int], code: str = "comcuc") -> None:
    sink = opened(DatabaseSink(path))
    for ago in days:
        moment = (NOW - timedelta(days=ago)).isoformat(timespec="milliseconds")
        sink.take({**detection(Tape()), "time": moment, "code": code}, None)
        sink.take({**GAP, "time": moment}, None)
    sink.close()


def test_days_of_the_log_go_and_nothing_else_in_its_folder(tmp_path: Path) -> None:
    for name in ("20260401.jsonl", "20260422.jsonl", "20260501.jsonl", "notes.jsonl", "20260401.txt", "2026040.jsonl"):
        (tmp_path / name).write_text("{}\n")
    aging((tmp_path, 10.0)).tick()
    left = {"20260422.jsonl", "20260501.jsonl", "notes.jsonl", "20260401.txt", "2026040.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_old_rows_go_but_the_first_and_last_of_each_species(tmp_path: Path) -> None:
    """Else a bird that has been here for years would be the first ever, or have been away for ever."""
    path = tmp_path / "birds.db"
    filled(path, [400, 300, 200, 20, 1])
    filled(path, [500, 450, 350], "eurnig1")
    before = [(one.code, one.ever) for one in _firsts(path)]
    aging(database=(path, 100.0)).tick()
    days_ago = "CAST(julianday('2026-05-01') - julianday(substr(time, 1, 10)) AS INTEGER)"
    days = query(path, f"SELECT code, {days_ago} FROM detections")
    assert days == [("comcuc", 400), ("comcuc", 20), ("comcuc", 1), ("eurnig1", 500), ("eurnig1", 350)]
    assert query(path, "SELECT count(*) FROM events") == [(2,)]
    assert [(one.code, one.ever) for one in _firsts(path)] == before


def test_the_newest_row_stays_so_that_no_number_is_given_twice(tmp_path: Path) -> None:
    """Alerts remember up to which number they have looked: a bird that gets an old one would never be told."""
    path = tmp_path / "birds.db"
    filled(path, [400, 200, 300])
    aging(database=(path, 100.0)).tick()
    filled(path, [0], "eurnig1")
    assert query(path, "SELECT id FROM detections WHERE code = 'eurnig1'") == [(4,)]


def _firsts(path: Path) -> list[First]:
    with closing(sqlite3.connect(path)) as connection:
        return firsts_of_days(connection, date(2026, 4, 1), date(2026, 5, 1))


def test_rows_go_in_parts_so_that_no_detection_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aging_module, "_OLD_DETECTIONS", aging_module._OLD_DETECTIONS.replace("2000", "2"))
    monkeypatch.setattr(aging_module, "_OLD_EVENTS", aging_module._OLD_EVENTS.replace("2000", "2"))
    monkeypatch.setattr(aging_module, "_ROWS", 2)
    path = tmp_path / "birds.db"
    filled(path, [400, 390, 380, 370, 360, 350, 1])
    sink, left = aging(database=(path, 100.0)), []
    for _ in range(5):
        sink.tick()
        left.append(query(path, "SELECT count(*) FROM detections")[0][0])
    assert left == [5, 3, 2, 2, 2]


def test_a_clock_in_doubt_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "20200401.jsonl").write_text("{}\n")
    filled(tmp_path / "birds.db", [400, 300, 200])
    aging((tmp_path, 10.0), (tmp_path / "birds.db", 10.0), "the clock is not synchronised").tick()
    assert (tmp_path / "20200401.jsonl").exists()
    assert query(tmp_path / "birds.db", "SELECT count(*) FROM detections") == [(3,)]


def test_it_looks_once_an_hour_and_makes_no_database(tmp_path: Path) -> None:
    sink = aging((tmp_path, 10.0), (tmp_path / "none.db", 10.0))
    sink.tick()
    (tmp_path / "20200401.jsonl").write_text("{}\n")
    sink.tick()
    assert {path.name for path in tmp_path.iterdir()} == {"20200401.jsonl"}


def test_a_database_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "birds.db").write_text("a diary, that is long enough to be no header of a database at all" * 10)
    with pytest.raises(OutputError, match="cannot delete old rows"):
        aging(database=(tmp_path / "birds.db", 10.0)).tick()
