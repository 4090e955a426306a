"""The CSV table that grows for months: one header, whole rows, and no other table is spoiled."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from pathlib import Path

import pytest

from edgebird.errors import WrongOutputError
from edgebird.sinks.table import TableSink
from tests.sinking import GAP, Tape, detection, opened


@pytest.fixture
def tape() -> Tape:
    return Tape()


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


def test_a_table_goes_on_after_its_bundle_is_calibrated(tmp_path: Path, tape: Tape) -> None:
    """A table of months would be refused for its columns; a new one has the probability."""
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    opened(TableSink(old)).close()
    for path, calibrated in ((old, True), (new, True), (new, False)):
        with closing(opened(TableSink(path, calibrated))) as sink:
            sink.take(detection(tape) | ({"probability": 0.75} if calibrated else {}), tape)
    assert [len(row) for row in table_rows(old)] == [7, 7]
    assert [row[-1] for row in table_rows(new)] == ["Probability", "0.7500", ""]


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
