"""Lines of events: whole over power cuts and full disks, each on the day it belongs to."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgebird.errors import OutputError
from edgebird.events import to_json
from edgebird.formats import Audacity, formatter
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Sink
from edgebird.sinks.clips import ClipSink
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.lines import LineFileSink, LineSink
from edgebird.sinks.table import TableSink
from tests.sinking import GAP, Tape, detection, lines_of, no_file_above, noon, opened


@pytest.fixture
def tape() -> Tape:
    return Tape()


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


def test_stdout_that_is_opened_again_has_one_header() -> None:
    stream = io.StringIO()
    sink = LineSink(stream, formatter("csv", 32000))
    sink.open()
    sink.open()
    assert len(stream.getvalue().splitlines()) == 1
