"""A file for each source: whole or absent for a recording, growing for a live source, never that of another."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from edgebird.errors import OutputError, WrongOutputError
from edgebird.formats import TableOptions
from edgebird.sinks import Recorded, begun, opened
from edgebird.sinks.folder import FolderSink
from edgebird.sources import FoundAudio
from edgebird.types import Origin
from tests.sinking import GAP, RATE, STATS, Tape, detection, lines_of
from tests.sinking import opened as open_one

CUCKOO = "12.500000\t20.000000\tCommon Cuckoo 0.93\n"


def recorded(relative: str) -> Recorded:
    return Recorded(Origin(relative, Path("/sd") / relative), PurePath(relative), RATE)


def test_a_recording_has_its_file_in_its_subfolder_when_it_is_complete(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "out", "raven", RATE, recordings=True)
    with opened([sink]):
        assert not (tmp_path / "out").exists()
        for recording in (recorded("dusk.wav"), recorded("pond/dawn.wav")):  # each numbers its selections from 1
            with begun([sink], recording):
                sink.take(detection(Tape(name=recording.origin.name)), recording)
                assert not (tmp_path / "out" / "pond" / "dawn.txt").exists()
    header, row = (tmp_path / "out" / "pond" / "dawn.txt").read_text().splitlines()
    assert header.startswith("Selection\t")
    assert row.startswith("1\tSpectrogram 1\t1\t12.5\t20.0\t")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_recording_that_is_not_complete_leaves_nothing_and_the_one_before_stays(
    tmp_path: Path, error: type[BaseException]
) -> None:
    sink = FolderSink(tmp_path, "audacity", RATE, recordings=True)

    def work() -> None:
        with opened([sink]):
            with begun([sink], recorded("a.wav")):
                sink.take(detection(Tape()), recorded("a.wav"))
            with begun([sink], recorded("b.wav")):
                sink.take(detection(Tape()), recorded("b.wav"))
                raise error

    with pytest.raises(error):
        work()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == CUCKOO


def test_two_recordings_or_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, "csv", RATE, recordings=True)
    one, other = (FoundAudio(Path(name), PurePath("dawn.wav")) for name in ("a/dawn.wav", "b/dawn.wav"))
    sink.check_recordings([one, one])
    with pytest.raises(OutputError, match=r"^a/dawn\.wav and b/dawn\.wav would both write the file .*dawn\.csv: run"):
        sink.check_recordings([one, other])
    FolderSink.check([("dawn.wav", True), ("dusk.wav", True), ("mic", False)])
    with pytest.raises(OutputError, match=r"^dawn\.wav and dawn would both write the file dawn: .*, or name them$"):
        FolderSink.check([("dawn.wav", True), ("dawn", False)])


def test_a_live_source_goes_on_where_it_was_and_a_file_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        sink = open_one(FolderSink(tmp_path / "out", "jsonl", RATE))
        for event in (detection(Tape()), GAP, STATS):
            sink.take(event, Tape())
        sink.take(detection(Tape(name="dawn.wav")), recorded("dawn.wav"))
        sink.close()
    assert lines_of(tmp_path / "out" / "garden.jsonl") == [detection(Tape()), GAP] * 2
    assert lines_of(tmp_path / "out" / "dawn.jsonl") == [detection(Tape(name="dawn.wav"))]


def test_a_file_in_the_way_of_the_folder_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(WrongOutputError, match=r"^cannot write .*out: File exists$"):
        FolderSink(tmp_path / "out", "csv", RATE).open()


def _numbers(path: Path) -> list[str]:
    return [line.partition("\t")[0] for line in path.read_text().splitlines()[1:]]


def test_each_raven_table_of_a_station_numbers_its_own_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Raven refuses two selections of one number."""
    sources = [Tape(name=name) for name in ("garden", "pond")]
    for detections in (2, 3):
        sink = open_one(FolderSink(tmp_path, "raven", RATE))
        for _ in range(detections):
            for tape in sources:
                sink.take(detection(tape), tape)
        sink.close()
    for name in ("garden", "pond"):
        assert _numbers(tmp_path / f"{name}.txt") == ["1", "2", "3", "4", "5"]


def test_a_raven_table_numbers_after_what_a_power_cut_left_and_anew_when_it_is_taken_away(tmp_path: Path) -> None:
    table, tape = tmp_path / "garden.txt", Tape()
    sink = open_one(FolderSink(tmp_path, "raven", RATE))
    sink.take(detection(tape), tape)
    sink.close()
    table.write_text(table.read_text() + "2\tSpectro")
    sink = open_one(FolderSink(tmp_path, "raven", RATE))
    sink.take(detection(tape), tape)
    assert _numbers(table) == ["1", "2", "3"]
    table.rename(tmp_path / "april.txt")
    sink.take(detection(tape), tape)
    sink.take(detection(tape), tape)
    sink.close()
    assert _numbers(table) == ["1", "2"]


FOREIGN = [
    ("raven", "garden.txt", "Notes of May\n"),
    ("raven", "garden.txt", CUCKOO),
    ("audacity", "garden.txt", "Selection\tView\n"),
    ("audacity", "garden.txt", "0.000000\t5.000000\tmy own label\n"),
    ("csv", "garden.csv", "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST\n"),
    ("kaleidoscope", "garden.csv", "Start (s),End (s),Scientific name,Common name,Confidence,File\n"),
    ("jsonl", "garden.jsonl", '{"id": 1}\n'),
    ("jsonl", "garden.jsonl", "\nx"),
    ("jsonl", "garden.jsonl", "\xff[]\n"),
]


@pytest.mark.parametrize(("format_name", "name", "content"), FOREIGN)
def test_a_file_of_another_is_neither_overwritten_nor_appended_to(
    tmp_path: Path, format_name: str, name: str, content: str
) -> None:
    """Raven tables and Audacity labels have one extension; so have a person's notes."""
    (tmp_path / name).write_text(content)
    found = FoundAudio(Path("garden.wav"), PurePath("garden.wav"))
    with pytest.raises(
        WrongOutputError, match=rf"^cannot write .*{name}: it is no output .* {format_name} \(it begins w"
    ):
        FolderSink(tmp_path, format_name, RATE, recordings=True).check_recordings([found])
    for memory in (Tape(), recorded("garden.wav")):
        sink = open_one(FolderSink(tmp_path, format_name, RATE))
        with pytest.raises(WrongOutputError):
            sink.take(detection(Tape()), memory)
        sink.close()
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("format_name", ["raven", "audacity", "csv", "kaleidoscope", "jsonl"])
@pytest.mark.parametrize("times", [True, False])
def test_what_was_written_before_is_written_again(tmp_path: Path, format_name: str, times: bool) -> None:
    """With whatever columns, and also where nothing was heard."""
    recording = recorded("garden.wav")
    for options in (TableOptions(), TableOptions(times=times, channels=times), TableOptions()):
        for heard in (True, False):
            sink = FolderSink(tmp_path, format_name, RATE, True, options)
            sink.check_recordings([FoundAudio(Path("garden.wav"), PurePath("garden.wav"))])
            with opened([sink]), begun([sink], recording):
                if heard:
                    sink.take(detection(Tape(name="garden.wav"), channel=2), recording)
    assert len(os.listdir(tmp_path)) == 1
