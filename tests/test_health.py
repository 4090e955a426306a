"""`edgebird doctor --health`: a watchdog must see a station that is gone, stands still or is deaf, and no other."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.testing

from edgebird.cli.app import make_app
from edgebird.events import Event
from edgebird.live import broadcast as broadcast_module
from edgebird.live.broadcast import Broadcast
from edgebird.live.figures import SourceStatus
from edgebird.live.health import examine_station
from edgebird.sinks.database import DatabaseSink
from tests.sinking import opened


def source(name: str, state: str) -> SourceStatus:
    return SourceStatus(name, state, "", None, None, 0.0, 0.0, 0.0, 0.0, None)


@contextmanager
def station(path: Path, *states: str) -> Iterator[None]:
    """A live socket with sources in these states; without any it tells nothing."""
    told = Broadcast(path)
    told.open()
    sources = tuple(source(f"s{number}", state) for number, state in enumerate(states))
    stage: Any = SimpleNamespace(listeners=[], sources=lambda: sources, delay=lambda: None, status=lambda: None)
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(0.01):
            told.show(stage)

    thread = threading.Thread(target=show if states else lambda: None)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        told.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast_module, "_LOOK_S", 0.0)


@pytest.mark.parametrize(
    ("states", "well", "told"),
    [
        (["open"], True, "hears s0, now"),
        (["lost", "clipping"], True, "hears s1, now; s0 is lost"),
        (["lost", "silent"], False, "nothing is heard, now: s0 is lost, s1 is silent"),
        (["starting"], False, "nothing is heard, now: s0 is starting"),
    ],
)
def test_a_station_that_runs_is_asked(tmp_path: Path, states: list[str], well: bool, told: str) -> None:
    """One source that is heard is enough: no start of the station would bring back a camera that is off."""
    with station(tmp_path / "x.live", *states):
        found = examine_station(tmp_path / "x.db", tmp_path / "x.live")
    assert (found.well, found.told) == (well, told)


def test_a_station_that_stands_still_is_not_well(tmp_path: Path) -> None:
    """Its socket has a thread of its own, and answers for a station whose loop hangs."""
    with station(tmp_path / "x.live"):
        found = examine_station(tmp_path / "x.db", tmp_path / "x.live", state_s=0.3)
    assert not found.well
    assert "told nothing for 0.3 s: it stands still" in found.told


def ago(seconds: float, kind: str, **more: Any) -> Event:
    """An event that old when the test runs."""
    moment = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    return {"event": kind, "source": None, "time": moment.isoformat(timespec="milliseconds"), **more}


def written(path: Path, *events: Event) -> Path:
    sink = opened(DatabaseSink(path))
    for event in events:
        sink.take(event, None)
    sink.close()
    return path


Told = tuple[float, str, dict[str, Any]]
GARDEN = {"sources": [{"source": "garden"}]}
HEARD: Told = (300, "source", {"source": "garden", "state": "open", "detail": ""})
LOST: Told = (100, "source", {"source": "garden", "state": "lost", "detail": ""})
FAILED: Told = (20, "engine", {"engine": "ort-cpu", "state": "failed"})


@pytest.mark.parametrize(
    ("events", "well", "told"),
    [
        ([HEARD, (70, "stats", GARDEN)], True, r"hears garden, \d+ s ago"),
        ([HEARD, (200, "stats", GARDEN)], False, r".* nothing was told for 2\d\d s, allowed are 180"),
        ([HEARD, (800, "stats", GARDEN), (200, "stats", GARDEN)], True, r"hears garden, \d+ s ago"),
        ([HEARD, LOST], False, r"nothing is heard, \d+ s ago: garden is lost"),
        ([], False, r".* nothing was ever told"),
        ([HEARD, FAILED, (9, "stats", GARDEN)], False, r"ort-cpu has failed: nothing is scored since .*"),
    ],
)
def test_where_nobody_answers_the_database_says_how_it_is(
    tmp_path: Path, events: list[Told], well: bool, told: str
) -> None:
    """By the age of what was told last: three times as long as statistics are apart; a slow disk may hold some back."""
    database = written(tmp_path / "x.db", *(ago(seconds, kind, **more) for seconds, kind, more in events))
    found = examine_station(database, tmp_path / "x.live")
    assert found.well == well
    assert re.fullmatch(told, found.told), found.told


def test_the_exit_code_and_one_line_are_what_a_watchdog_reads(tmp_path: Path) -> None:
    def doctor(*arguments: object) -> tuple[int, str]:
        ended = typer.testing.CliRunner().invoke(make_app(), ["doctor", *map(str, arguments)])
        return ended.exit_code, ended.output

    code, told = doctor("--health", "--database", tmp_path / "x.db")
    assert (code, told.count("\n")) == (1, 1)
    assert f"no station answers at {tmp_path}/x.db.live" in told
    with station(tmp_path / "y", "open"):
        assert doctor("--health", "--database", tmp_path / "x.db", "--live-socket", tmp_path / "y") == (
            0,
            "hears s0, now\n",
        )
    assert doctor("--health", "birds")[0] == doctor("--database", "x")[0] == 2
