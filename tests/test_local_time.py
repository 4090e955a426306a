"""Days on which the clocks are changed: 23 or 25 hours, each second in one account, and each bird in its own hour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from edgebird.events import Event
from edgebird.sinks.database import DatabaseSink
from edgebird.stored.coverage import coverage
from edgebird.stored.database import StoredDatabase
from edgebird.stored.drawn import day_view
from edgebird.stored.local import StationClock, local_time
from edgebird.stored.names import LocalNames
from edgebird.stored.ranges import Days, account
from tests.sinking import GAP, Tape, detection, opened

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = date(2025, 3, 30), date(2025, 10, 26)  # at 01:00 UTC


def text(moment: datetime, zone: Any = BERLIN) -> str:
    return moment.astimezone(zone).isoformat(timespec="milliseconds")


def stats(begin: datetime, hours: float, every_min: int, zone: Any = BERLIN) -> Iterator[Event]:
    """Of a run."""
    for minute in range(every_min, round(60 * hours) + 1, every_min):
        at = begin + timedelta(minutes=minute)
        figures = {"source": "garden", "state": "open", "audio_s": 60.0 * minute, "scored_s": 60.0 * minute}
        figures |= {"level_dbfs": -50.0, "gap_s": 0.0, "waiting_s": 0.0, "drift_ppm": None}
        yield {"event": "stats", "source": None, "time": text(at, zone), "wall_s": 60.0 * minute, "sources": [figures]}


def stored(folder: Path, *events: Event) -> StoredDatabase:
    sink = opened(DatabaseSink(folder / "birds.db"))
    for event in events:
        sink.take(event, Tape())
    sink.close()
    return StoredDatabase(folder / "birds.db")


def whole(day: date, *more: Event) -> list[Event]:
    """A station that runs around a day, and what else it told."""
    begin = datetime(day.year, day.month, day.day, tzinfo=timezone.utc) - timedelta(hours=12)
    return [*stats(begin, 60, 60), *more]


def bird(utc: datetime) -> Event:
    return {**detection(Tape()), "time": text(utc)}


def lost(utc: datetime, seconds: float) -> Event:
    return {**GAP, "time": text(utc), "start_s": 0.0, "end_s": seconds, "reason": "stalled"}


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (SPRING + timedelta(days=1), 24), (AUTUMN, 25)])
def test_every_second_of_a_day_is_accounted_for_however_long_it_is(tmp_path: Path, day: date, hours: int) -> None:
    at = datetime(day.year, day.month, day.day, 0, 40, tzinfo=timezone.utc)  # a gap over the change of the clock
    database = stored(tmp_path, *whole(day, lost(at, 3600)))
    with database.reading() as connection:
        local, (garden,) = local_time(connection, day, day), coverage(connection, day, day)
        begin, end = local.midnight(day), local.midnight(day + timedelta(days=1))
        assert garden.seconds(begin, end) == {"scored": 3600 * (hours - 1), "stalled": 3600, "not running": 0}
        span = Days(day - timedelta(days=1), day)
        around = local_time(connection, span.first, span.last)
        _, total = account(coverage(connection, span.first, span.last), span, around, end)
        view = day_view(connection, day, LocalNames())
    assert total["stalled"] == 3600
    assert sum(view.account["garden"].values()) == 3600 * view.hours == 3600 * hours
    assert view.deaf_s == 3600


def test_the_hour_that_comes_twice_has_two_columns_and_each_bird_is_in_its_own(tmp_path: Path) -> None:
    """By the clock all were between two and three, and the first hour would hide that nobody heard the second."""
    first = datetime(2025, 10, 26, 0, 10, tzinfo=timezone.utc)
    birds = [bird(first), bird(first + timedelta(minutes=5)), bird(first + timedelta(hours=1))]
    database = stored(tmp_path, *whole(AUTUMN, *birds, lost(first + timedelta(minutes=70), 1800)))
    with database.reading() as connection:
        view = day_view(connection, AUTUMN, LocalNames())
    (species,) = view.species
    assert species.counts == {2: 2, 3: 1}
    assert "02 to 03: 2<" in view.picture
    assert "02 to 03 again: 1<" in view.picture
    assert view.picture.count(">02<") == 2
    assert "02:20:00 to 02:50:00, nobody heard: stalled" in view.picture


def test_the_hour_that_is_left_out_is_no_gap(tmp_path: Path) -> None:
    """A day of 23 hours is as wide as they are: nothing was lost between two and three, for there was no such hour."""
    early = datetime(2025, 3, 30, 1, 30, tzinfo=timezone.utc)  # 03:30 in summer time
    database = stored(tmp_path, *whole(SPRING, bird(early)))
    with database.reading() as connection:
        view = day_view(connection, SPRING, LocalNames())
    assert view.deaf_s == 0
    assert view.species[0].counts == {2: 1}
    assert "03 to 04: 1<" in view.picture
    assert ">02<" not in view.picture
    assert "nobody heard" not in view.picture


def test_a_change_is_seen_on_its_own_day_and_found_where_the_station_was_off(tmp_path: Path) -> None:
    begin = datetime(2025, 3, 29, 12, tzinfo=timezone.utc)
    before, after = stats(begin, 12.5, 30), stats(begin + timedelta(hours=14), 3, 30)
    with stored(tmp_path, *before, *after).reading() as connection:
        found = local_time(connection, SPRING, SPRING)
        assert [since for since, _ in found.changes] == [datetime(2025, 3, 30, 1, tzinfo=timezone.utc)]
        assert len(found.hours(SPRING)) == 23
        quiet = local_time(connection, date(2025, 7, 1), date(2025, 7, 2))
        assert (quiet.changes, quiet.zone) == ((), timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("zone", "day", "hours", "numbers"),
    [
        ("Africa/Cairo", date(2025, 4, 25), 23, [1, 2, 3]),  # the hour after midnight is left out
        ("Africa/Cairo", date(2025, 10, 30), 25, [22, 23, 23]),  # the one before midnight comes twice
        ("Australia/Lord_Howe", date(2025, 4, 6), 24.5, [0, 1, 1, 2]),  # half an hour
        ("Asia/Kolkata", date(2025, 4, 6), 24, [0, 1, 2]),
    ],
)
def test_all_kinds_of_changes_give_days_of_the_right_length(
    zone: str, day: date, hours: float, numbers: list[int]
) -> None:
    named = ZoneInfo(zone)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=named)
    moments = [noon.astimezone(timezone.utc) + timedelta(minutes=15 * n) for n in range(-200, 200)]
    offsets = [timezone(moment.astimezone(named).utcoffset() or timedelta(0)) for moment in moments]
    pairs = zip(moments[1:], offsets[1:], offsets, strict=False)
    changes = [(moment, new) for moment, new, old in pairs if new != old]
    local = StationClock(offsets[0], changes)
    found = local.hours(day)
    assert found[-1].end == hours
    shown = [one.number for one in found]
    assert numbers in (shown[: len(numbers)], shown[-len(numbers) :])
