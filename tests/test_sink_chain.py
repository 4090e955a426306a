"""The chain of sinks: one that fails costs the others nothing, and is told once."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgebird.errors import OutputError, UsageError, WrongOutputError
from edgebird.events import Event
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.chain import Chain
from edgebird.sinks.clips import ClipSink
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.lines import LineFileSink, LineSink
from edgebird.sinks.retention import Limits, Retention
from tests.sinking import GAP, Tape, clip_event, detection, lines_of, noon, query


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "birds.sqlite"


def chain_of(sinks: Sequence[Sink]) -> Chain:
    chain = Chain(sinks, noon)
    chain.open()
    return chain


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


def test_a_closed_stdout_gets_nothing_more_while_the_others_go_on(tmp_path: Path, tape: Tape) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        lines = LineFileSink(tmp_path)
        behind = Sometimes("disk")
        chain = chain_of([lines, LineSink(stream), behind])
        assert not chain.ended
        chain.take(detection(tape), tape)
        chain.take(detection(tape), tape)
        assert chain.ended
    assert chain.close() == []
    assert lines_of(tmp_path / "20230502.jsonl") == behind.kept == [detection(tape)] * 2
    assert behind.closed


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


@pytest.mark.parametrize(
    "error",
    [
        *[OutputError("x"), OSError(5, "I/O"), ValueError("x"), KeyError("x"), sqlite3.OperationalError("x")],
        *[MemoryError(), asyncio.CancelledError(), KeyboardInterrupt()],
    ],
)
def test_whatever_a_sink_raises_costs_that_sink_alone(
    tape: Tape, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """In all it does; told once, with the traceback for those who want to know."""

    class Faulty(Sometimes):
        def _write(self, event: Event) -> None:
            raise error

    faulty, disk = Faulty("card"), Sometimes("disk")
    faulty.due = [GAP]
    chain = chain_of([disk, faulty])
    with caplog.at_level(logging.DEBUG, "edgebird"):
        for _ in range(3):
            chain.take(detection(tape), tape)
            chain.tick()
    faulty.due = [GAP]
    chain.close()
    assert kinds(disk.kept) == ["detection", "failed", "detection", "detection", "closed"]
    assert type(error).__name__ in disk.kept[1]["error"] or isinstance(error, OutputError | OSError)
    assert disk.kept[-1]["lost"] == 5  # three events, and its own work twice
    assert [record.exc_info is not None for record in caplog.records] == [True, True]  # of each kind of work the first


class Away(Sometimes):
    """A sink on a disk that is not there yet."""

    def __init__(self, error: Exception) -> None:
        super().__init__("card")
        self.error: Exception | None = error
        self.tries = 0

    def open(self) -> None:
        self.tries += 1
        if self.error:
            raise self.error


def test_a_sink_that_cannot_open_is_tried_again_every_minute(tape: Tape) -> None:
    card, disk, at = Away(PermissionError(13, "Permission denied")), Sometimes("disk"), [1000.0]
    chain = Chain([card, disk], noon, lambda: at[0])
    chain.open()
    for at[0], tries in ((1059.9, 1), (1060.0, 2), (1100.0, 2)):
        chain.take(detection(tape), tape)
        chain.tick()
        assert card.tries == tries
    card.error = None
    at[0] = 1120.0
    (recovered,) = chain.tick()
    chain.take(detection(tape), tape)
    assert (recovered["state"], recovered["lost"]) == ("recovered", 3)
    assert kinds(disk.kept) == ["failed", "detection", "detection", "detection", "recovered", "detection"]
    assert kinds(card.kept) == ["recovered", "detection"]
    chain.close()
    assert card.closed


def test_a_sink_that_fails_at_its_work_is_opened_again_every_minute_until_it_recovers(tape: Tape) -> None:
    """Its disk was away for a while: what it holds open is of no use any more."""
    card, disk, at = Away(OSError(5, "I/O")), Sometimes("disk"), [1000.0]
    card.error = None
    chain = Chain([card, disk], noon, lambda: at[0])
    chain.open()
    card.full = True
    for at[0], tries in ((1010.0, 1), (1069.9, 1), (1070.0, 2), (1129.0, 2), (1130.0, 3)):
        chain.take(detection(tape), tape)
        chain.tick()
        assert card.tries == tries
    card.full = False
    chain.take(detection(tape), tape)
    (recovered,) = chain.tick()
    assert (recovered["state"], recovered["lost"]) == ("recovered", 5)
    at[0] = 2000.0
    chain.tick()
    assert card.tries == 3
    chain.close()
    assert card.closed


@pytest.mark.parametrize("error", [UsageError("x"), WrongOutputError("x")])
def test_what_time_does_not_heal_is_raised_at_the_start_only(error: Exception) -> None:
    with pytest.raises(type(error)):
        chain_of([Away(error)])
    card = Away(OSError(5, "I/O"))
    at = [0.0]
    chain = Chain([card], noon, lambda: at[0])
    chain.open()
    assert kinds(chain.tick()) == ["failed"]
    card.error, at[0] = error, 60.0
    assert chain.tick() == []
    assert card.tries == 2
