"""A submission: rows of complete recordings alone, and the table whole or absent."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import numpy as np
import pytest

from edgebird.errors import OutputError, WrongOutputError
from edgebird.sinks import Recorded, begun, opened
from edgebird.sinks.submission import SubmissionSink
from edgebird.sources import FoundAudio
from edgebird.types import Label, Origin, Window

RATE = 100
LABELS = [Label("comcuc", "Cuculus canorus", "Common Cuckoo"), Label("x", "X", "X")]


def recorded(name: str) -> Recorded:
    return Recorded(Origin(name, Path(name)), PurePath(name), RATE)


def scored(sink: SubmissionSink, name: str, breaks: bool = False) -> None:
    with begun([sink], recorded(name)):
        for start in (0, 500):
            window = Window(np.zeros(500, np.float32), start, start + 500)
            sink.score(recorded(name), window, np.float32([0.25, start / 1000]))
        if breaks:
            raise OutputError("broken")


def test_a_recording_that_breaks_halfway_has_no_rows(tmp_path: Path) -> None:
    sink = SubmissionSink(tmp_path / "kept" / "scores.csv", LABELS, RATE)
    with opened([sink]):
        scored(sink, "a.wav")
        with pytest.raises(OutputError, match="broken"):
            scored(sink, "b.wav", breaks=True)
        scored(sink, "c.wav")
        assert not (tmp_path / "kept" / "scores.csv").exists()
    rows = (tmp_path / "kept" / "scores.csv").read_text().splitlines()
    assert rows == ["row_id,comcuc,x", "a_5,0.25,0", "a_10,0.25,0.5", "c_5,0.25,0", "c_10,0.25,0.5"]


def test_an_engine_that_fails_leaves_no_table(tmp_path: Path) -> None:
    sink = SubmissionSink(tmp_path / "scores.csv", LABELS, RATE)

    def work() -> None:
        with opened([sink]):
            scored(sink, "a.wav")
            scored(sink, "b.wav", breaks=True)

    with pytest.raises(OutputError):
        work()
    assert os.listdir(tmp_path) == []


def test_two_recordings_whose_rows_would_have_one_name_are_refused() -> None:
    one, other = (FoundAudio(Path(name), PurePath("dawn.wav")) for name in ("a/dawn.wav", "b/dawn.wav"))
    SubmissionSink.check_recordings([one])
    with pytest.raises(OutputError, match=r"^a/dawn\.wav and b/dawn\.wav would both write the row dawn_5: run them"):
        SubmissionSink.check_recordings([one, other])


@pytest.mark.parametrize("content", ["Notes of May\n", "row_id,other\n", "row_id,comcuc,x,y\n"])
def test_what_is_no_submission_of_this_model_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(WrongOutputError, match=r"scores\.csv: it is no earlier submission of this model: use another"):
        SubmissionSink(path, LABELS, RATE).open()
    assert path.read_text() == content


def test_an_earlier_submission_is_written_again(tmp_path: Path) -> None:
    for names in (["a.wav", "b.wav"], ["c.wav"]):
        sink = SubmissionSink(tmp_path / "scores.csv", LABELS, RATE)
        with opened([sink]):
            for name in names:
                scored(sink, name)
    assert [row[:2] for row in (tmp_path / "scores.csv").read_text().splitlines()[1:]] == ["c_", "c_"]
