"""A file for each source: whole or absent for a recording, growing for a live source, never that of another."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from edgebird.errors import OutputError, WrongOutputError
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
