"""Firsts: "first this year" is told once, when it is true, and the answer does not wait for the years."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.events import Event
from edgebird.sinks.database import SCHEMA
from edgebird.sinks.firsts import First, first_of, firsts_of_days

KEYS = ("source", "time", "start_s", "end_s", "code", "scientific_name", "common_name", "score", "windows")


def event(code: str, time: str | None, source: str = "garden", start_s: float = 0.0) -> Event:
    names = {"scientific_name": "S", "common_name": "C", "score": 0.5, "windows": 1}
    return {
        "event": "detection",
        "source": source,
        "time": time,
        "start_s": start_s,
        "end_s": 5.0,
        "code": code,
    } | names


def insert(connection: sqlite3.Connection, *events: Event) -> None:
    marks = ", ".join("?" for _ in KEYS)
    statement = f"INSERT INTO detections ({', '.join(KEYS)}) VALUES ({marks})"
    connection.executemany(statement, [[one[key] for key in KEYS] for one in events])


def fresh() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    return connection


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(fresh()) as connection:
        yield connection


def kinds(first: First) -> tuple[bool, bool, int | None]:
    return first.ever, first.of_year, first.days_away


def test_each_kind_of_first_is_told_from_the_others(database: sqlite3.Connection) -> None:
    times = ["2025-03-01T05:00:00.000+01:00", "2025-03-01T05:10:00.000+01:00", "2025-03-02T05:00:00.000+01:00"]
    times += ["2025-05-02T05:00:00.000+02:00", "2026-02-01T05:00:00.000+01:00"]
    insert(database, *(event("comcuc", time) for time in times), event("eurrob1", times[3]))
    firsts = firsts_of_days(database, date(2025, 1, 1), date(2026, 12, 31))
    assert [(one.code, one.time[:10], *kinds(one)) for one in firsts] == [
        ("comcuc", "2025-03-01", True, True, None),
        ("comcuc", "2025-03-02", False, False, 0),
        ("comcuc", "2025-05-02", False, False, 60),
        ("eurrob1", "2025-05-02", True, True, None),
        ("comcuc", "2026-02-01", False, True, 274),
    ]
    assert firsts[2].is_back(60)
    assert not firsts[2].is_back(61)
    assert not firsts[0].is_back(0)  # it was never away


def test_a_day_is_that_of_the_detections_own_clock(database: sqlite3.Connection) -> None:
    """In UTC both are on one day, and the second would not be the first of its own."""
    insert(database, event("comcuc", "2026-05-01T23:30:00.000+02:00"), event("comcuc", "2026-05-02T00:30:00.000+02:00"))
    assert [one.time[:10] for one in firsts_of_days(database, date(2026, 5, 1), date(2026, 5, 2))] == [
        "2026-05-01",
        "2026-05-02",
    ]


def test_what_an_unset_clock_has_told_is_no_earlier_detection(database: sqlite3.Connection) -> None:
    """A computer without a clock begins in 1970: else nothing would ever be a first again."""
    insert(database, event("comcuc", "1970-01-01T00:00:07.000+00:00"), event("comcuc", None))
    now = event("comcuc", "2026-05-01T05:00:00.000+02:00")
    assert first_of(database, now) == First("comcuc", now["time"], None)
    assert firsts_of_days(database, date(1970, 1, 1), date(2026, 1, 1)) == []
    assert first_of(database, event("comcuc", "1970-01-01T00:00:08.000+00:00")) is None
    assert first_of(database, event("comcuc", None)) is None


def test_of_two_sources_that_hear_one_bird_exactly_one_is_the_first_whenever_it_is_asked(
    database: sqlite3.Connection,
) -> None:
    """The song that is told second began earlier: an alert may be sent neither twice nor never."""
    told_first = event("comcuc", "2026-05-01T05:00:05.000+02:00", "pond")
    told_second = event("comcuc", "2026-05-01T05:00:02.000+02:00", "garden")
    assert first_of(database, told_first) is not None  # before it is in the database
    insert(database, told_first)
    assert first_of(database, told_second) is None
    insert(database, told_second)
    assert first_of(database, told_first) is not None
    assert first_of(database, told_second) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 900 * 24)), max_size=60), st.integers(0, 900))
def test_firsts_are_those_of_a_plain_search(heard: list[tuple[str, int]], begin: int) -> None:
    origin = datetime(2024, 1, 1)
    moments = [(code, origin + timedelta(hours=hour)) for code, hour in heard]
    first, last = (origin + timedelta(days=begin + more) for more in (0, 100))
    expected = {}
    for code, moment in sorted(moments, key=lambda one: one[1]):
        before = [other for name, other in moments if name == code and other.date() < moment.date()]
        if first.date() <= moment.date() <= last.date():
            stamp = max(before).isoformat() + "+00:00" if before else None
            expected.setdefault((code, moment.date()), First(code, moment.isoformat() + "+00:00", stamp))
    with closing(fresh()) as connection:
        insert(connection, *(event(code, moment.isoformat() + "+00:00") for code, moment in moments))
        found = firsts_of_days(connection, first.date(), last.date())
    assert sorted(found, key=lambda one: (one.time, one.code)) == found
    assert set(found) == set(expected.values())
    assert len(found) == len(expected)


def test_the_firsts_of_a_day_read_no_more_of_many_years_than_of_one(database: sqlite3.Connection) -> None:
    def steps(ask: Any) -> int:
        count = [0]
        database.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 100)
        ask()
        database.set_progress_handler(None, 0)
        return count[0]

    def fill(year: int) -> None:
        for hour in range(0, 365 * 24, 4):
            moment = datetime(year, 1, 1) + timedelta(hours=hour)
            insert(database, *(event(f"bird{n}", f"{moment.isoformat()}.000+01:00", start_s=hour) for n in range(5)))

    def ask() -> None:
        assert len(firsts_of_days(database, date(2024, 6, 1), date(2024, 6, 1))) == 5
        assert first_of(database, event("bird1", "2024-06-01T10:00:00.000+01:00")) is None

    fill(2024)
    before = steps(ask)
    for year in (2020, 2021, 2022, 2023, 2025):
        fill(year)
    assert steps(ask) <= 1.2 * before + 1
    assert before < 100
