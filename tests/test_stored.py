"""What a station stored, asked again: every second of a day is accounted for, and whoever reads leaves no trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import DatabaseError, LabelError
from edgebird.events import Event
from edgebird.sinks.database import DatabaseSink
from edgebird.stored.coverage import Coverage, coverage, deaf
from edgebird.stored.database import StoredDatabase
from edgebird.stored.days import day_after, day_before, days_with, species_by_day, species_by_hour
from edgebird.stored.health import last_state, statistics
from edgebird.stored.names import read_names
from edgebird.stored.ranges import Days, heard_by_day
from edgebird.stored.records import Filter, neighbours, newer, newest_id, record, records, rejected
from edgebird.stored.spans import common, seconds_of, subtract, union, within
from tests.sinking import GAP, Tape, detection, opened, query
from tests.year import Year, write_year

DAY = date(2023, 5, 2)
SMALL = Year(first=date(2025, 3, 1), days=12, detections=3000, species=20, outage_h=9)


def at(hour: float) -> datetime:
    return datetime.combine(DAY, time(), timezone(timedelta(hours=2))) + timedelta(hours=hour)


def stats(hour: float, audio_h: float, name: str = "garden", **more: Any) -> Event:
    moment = at(hour).isoformat(timespec="milliseconds")
    source = {"source": name, "state": "open", "audio_s": 3600 * audio_h, "scored_s": 3600 * audio_h, "gap_s": 0.0}
    return {"event": "stats", "source": None, "time": moment, "wall_s": 3600 * audio_h, "sources": [source], **more}


def gap(hour: float, seconds: float, reason: str = "stalled", **more: Any) -> Event:
    moment = at(hour).isoformat(timespec="milliseconds")
    return {**GAP, "time": moment, "start_s": 0.0, "end_s": seconds, "reason": reason, **more}


def stored(folder: Path, *events: Event) -> StoredDatabase:
    sink = opened(DatabaseSink(folder / "birds.db"))
    for event in events:
        sink.take(event, None)
    sink.close()
    return StoredDatabase(folder / "birds.db")


def covered(folder: Path, *events: Event) -> list[Coverage]:
    with stored(folder, *events).reading() as connection:
        return coverage(connection, DAY, DAY)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24))),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24))),
)
def test_spans_are_sets_of_moments(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """Compared with sets of whole hours: what is lost twice is counted once, and nothing is heard and lost at once."""

    def spans(pairs: list[tuple[int, int]]) -> tuple[set[int], list[Any]]:
        hours = {hour for start, end in pairs for hour in range(start, end)}
        return hours, union((at(start), at(end)) for start, end in pairs)

    (a, of_a), (b, of_b) = spans(one), spans(other)
    for hours, found in ((a - b, subtract(of_a, of_b)), (a & b, common(of_a, of_b))):
        assert seconds_of(found) == 3600 * len(hours)
        assert {hour for hour in range(24) if within(found, at(hour), at(hour + 1))} == hours


def test_a_day_is_scored_lost_or_not_running_to_the_second(tmp_path: Path) -> None:
    """The station began at 6, was cut off after 18, and lost 300 s for two reasons."""
    (garden,) = covered(tmp_path, stats(12, 6), gap(8, 100), gap(9, 200, "engine"), stats(18, 12))
    assert garden.seconds(at(0), at(24)) == {
        "scored": 12 * 3600 - 300, "engine": 200, "stalled": 100, "not running": 12 * 3600,
    }  # fmt: skip
    assert deaf([garden], at(0), at(24))[0] == (at(0), at(6))


def test_a_day_in_the_middle_of_a_run_is_whole(tmp_path: Path) -> None:
    """Statistics of the days around it say that the station ran at midnight."""
    (garden,) = covered(tmp_path, stats(-2, 30), stats(10, 42), stats(23, 55), stats(25, 57))
    assert garden.up == [(at(0), at(24))]


def test_a_computer_that_slept_did_not_hear(tmp_path: Path) -> None:
    """A laptop that was closed for four hours told nothing of it: its clock went on, its sound did not."""
    (garden,) = covered(tmp_path, stats(2, 20), stats(7, 21), stats(8, 22))
    assert garden.up == [(at(0), at(2)), (at(6), at(8))]


def test_a_new_run_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    summary = {"event": "summary", "source": "garden", "time": "2023-05-02T03:00:00.000+02:00", "scored_s": 10_000.0}
    (garden,) = covered(
        tmp_path, stats(2, 2), {**summary, "gap_s": 800.0, "tail_s": 0.0}, stats(9, 2), stats(16, 1), stats(17, 2)
    )
    assert garden.up == [(at(0), at(3)), (at(7), at(9)), (at(15), at(17))]


def test_short_losses_take_their_seconds_and_not_their_minute(tmp_path: Path) -> None:
    (garden,) = covered(tmp_path, stats(0, 1), gap(5, 0.4, "dropped", bridged=True, losses=8), stats(24, 25))
    assert garden.seconds(at(0), at(24)) == {"scored": 86_400 - 0.4, "dropped": 0.4, "not running": 0.0}
    assert garden.heard == [(at(0), at(24))]


def test_only_when_all_sources_are_deaf_nobody_heard(tmp_path: Path) -> None:
    one, other = stats(24, 24), stats(20, 20, "pond")
    both = {**stats(12, 12), "sources": [*stats(12, 12)["sources"], *stats(12, 12, "pond")["sources"]]}
    sources = covered(tmp_path, both, gap(3, 3600), gap(3.5, 3600, source="pond"), other, one)
    assert deaf(sources, at(0), at(24)) == [(at(3.5), at(4))]


READ = """
import os, sys
from pathlib import Path
from edgebird.stored.database import StoredDatabase
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
database = StoredDatabase(Path(sys.argv[1]))
with database.reading() as connection:
    print(connection.execute("SELECT count(*) FROM detections").fetchone()[0])
"""


def read_by_another(path: Path) -> str:
    """As another user, where these tests run as root."""
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may write to: what they leave there could lock the station out.

    It is none of pytest's, which are closed to others again whenever a pytest begins.
    """
    with tempfile.TemporaryDirectory(prefix="edgebird-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_another_user_reads_while_the_station_writes_and_leaves_nothing(shared: Path) -> None:
    """SQLite would make the log and its index as the reader's own, and the station could not write any more."""
    tape, path = Tape(), shared / "birds.db"
    sink = opened(DatabaseSink(path))
    sink.take(detection(tape), None)
    assert read_by_another(path) == "1"
    sink.take(detection(tape, start_s=60.0), None)
    assert read_by_another(path) == "2"
    sink.close()
    before = sorted(os.listdir(shared))
    assert read_by_another(path) == "2"
    assert sorted(os.listdir(shared)) == before == ["birds.db"]


def test_a_reader_sees_what_comes_and_a_database_that_was_replaced(tmp_path: Path) -> None:
    tape, path = Tape(), tmp_path / "birds.db"
    database = stored(tmp_path, detection(tape))

    def many() -> Any:
        with database.reading() as connection:
            return connection.execute("SELECT count(*) FROM detections").fetchone()[0]

    assert many() == 1
    sink = opened(DatabaseSink(path))
    sink.take(detection(tape), None)
    assert many() == 2
    sink.close()
    (tmp_path / "other").mkdir()
    stored(tmp_path / "other")
    shutil.move(tmp_path / "other" / "birds.db", path)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    assert many() == 0


def test_a_reader_sees_what_a_station_wrote_that_came_and_went(tmp_path: Path) -> None:
    """Without a log the file is read as one that never changes: the pages would show its past, or a mixture."""
    tape = Tape()
    database = stored(tmp_path, detection(tape))
    for many in (1, 2, 3):
        with database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM detections").fetchone()[0] == many
        sink = opened(DatabaseSink(tmp_path / "birds.db"))
        sink.take(detection(tape, start_s=60.0 * many), None)
        sink.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="readonly"), stored(tmp_path).reading() as connection:
        connection.execute("DELETE FROM detections")


NO_DATABASES = [
    (None, "there is no such file"), (b"", "no database of a station"), (b"x" * 99, "not a database"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), NO_DATABASES)
def test_what_is_no_database_is_said_in_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseError, match=said), StoredDatabase(path).reading():
        pass


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> StoredDatabase:
    return StoredDatabase(write_year(tmp_path_factory.mktemp("small") / "birds.db", SMALL))


def test_counts_by_hour_and_by_day_are_those_of_the_table(small: StoredDatabase) -> None:
    last = SMALL.first + timedelta(days=SMALL.days - 1)
    with small.reading() as connection:
        hours, days = species_by_hour(connection, SMALL.first, last), species_by_day(connection, SMALL.first, last)
        many = days_with(connection)
    total = query(small.path, "SELECT count(*) FROM detections")[0][0]
    assert sum(one.count for one in hours) == sum(one.count for one in days) == many.total() == total
    (best,) = query(small.path, f"SELECT max(score), id FROM detections WHERE code = '{hours[0].code}'")
    assert (hours[0].best, hours[0].best_id) == best
    assert {SMALL.first + timedelta(days=number) for one in days for number in one.counts} == set(many)


def test_one_goes_from_day_to_day_with_birds(small: StoredDatabase) -> None:
    with small.reading() as connection:
        days = sorted(days_with(connection))
        assert day_after(connection, days[0]) == days[1]
        assert day_before(connection, days[1]) == days[0]
        assert (day_before(connection, days[0]), day_after(connection, days[-1])) == (None, None)


def test_records_are_found_by_what_is_asked(small: StoredDatabase) -> None:
    with small.reading() as connection:
        newest = newest_id(connection)
        one = record(connection, newest)
        assert one is not None
        assert records(connection, Filter(), 1) == [one]
        assert newer(connection, newest - 1, 5) == [one]
        page = records(connection, Filter(code=one.code, source=one.source, min_score=0.4), 50)
        assert page
        assert {(each.code, each.source) for each in page} == {(one.code, one.source)}
        assert min(each.score for each in page) >= 0.4
        after = records(connection, Filter(before=page[-1].id), 1)
        assert after[0].id == page[-1].id - 1
        assert record(connection, 2**70) is record(connection, -1) is None
        for other in neighbours(connection, one, 3600):
            assert other.source == one.source
            assert other.id != one.id


def test_rejected_candidates_are_kept_and_found_around_a_detection(tmp_path: Path) -> None:
    """With `explain`: what nearly was a bird is half of the answer to why something was told."""
    tape = Tape()
    near = {**detection(tape, start_s=14.0), "event": "rejected", "code": "gretit1", "reason": "below_min_windows"}
    database = stored(tmp_path, detection(tape), near, {**near, "time": "2023-05-01T20:00:00.000+02:00"})
    with database.reading() as connection:
        one = record(connection, 1)
        assert one is not None
        assert rejected(connection, one, 60) == [near]


def test_the_last_state_is_that_of_the_last_statistics(small: StoredDatabase) -> None:
    with small.reading() as connection:
        state = last_state(connection)
        assert list(state.sources) == sorted(SMALL.sources)
        assert state.told == SMALL.ends.isoformat(timespec="milliseconds")
        assert len(statistics(connection, SMALL.first, SMALL.ends.date(), 50)) <= 50
        heard = heard_by_day(connection, Days(SMALL.first, SMALL.ends.date() - timedelta(days=1)))
    outage = SMALL.outage[0].date()
    assert heard[outage] == pytest.approx(15 / 24, abs=0.06)
    assert all(share > 0.9 for day, share in heard.items() if day != outage)


NAMES = [
    "code,name\ncomcuc,Kuckuck\n", "# mine\nCuculus canorus,Kuckuck\n", "Cuculus canorus_Kuckuck\n",
    '\ufeffCOMCUC,"Kuckuck"\n',
]  # fmt: skip


@pytest.mark.parametrize("text", NAMES)
def test_names_come_from_a_file_by_code_or_scientific_name(tmp_path: Path, text: str) -> None:
    """As a table, or as BirdNET's translated labels."""
    (tmp_path / "names.csv").write_text(text, encoding="utf-8")
    names = read_names(tmp_path / "names.csv")
    assert names.of("comcuc", "Cuculus canorus", "Common Cuckoo") == "Kuckuck"
    assert names.of("gretit1", "Parus major", "Great Tit") == "Great Tit"


@pytest.mark.parametrize("text", ["", "code,name\n", "just a line\n", "a,b,c\n"])
def test_a_file_without_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.csv").write_text(text, encoding="utf-8")
    with pytest.raises(LabelError, match="names"):
        read_names(tmp_path / "names.csv")
