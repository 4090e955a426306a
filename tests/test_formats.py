"""Output: every format byte for byte as the programs that read it expect, and files that are whole or absent."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest

from edgebird.errors import OutputError, UsageError
from edgebird.events import Event, Events, timestamp, to_json
from edgebird.files import atomic_text
from edgebird.formats import FORMATS, Submission, TableOptions, formatter
from edgebird.pooling import Onset, Pooled
from edgebird.types import Detection, Label, Origin, Rejected, Summary, Window
from tests.conftest import require

RATE = 32000
LABELS = [Label("comcuc", "Cuculus canorus", "Common Cuckoo"), Label("bat1", "Nyctalus noctula", "Noctule, common")]
STARTED = datetime(2023, 5, 1, 5, 0, 0, tzinfo=timezone(timedelta(hours=2)))
ORIGIN = Origin("dawn.wav", Path("/rec/site, north/dawn.wav"), STARTED)
CUCKOO = Detection(label=0, score=float(np.float32(0.93)), start=400_000, end=640_000, windows=3, streak=3)
NOCTULE = Detection(label=1, score=0.5, start=720_000, end=863_457, windows=1, streak=1)
SUMMARY = Summary(scored=800_000, gap=48_000, tail=15_457, windows=9, detections=2, wall_s=1.23456)
TELL = Events(LABELS, RATE).tell


def output(name: str, origin: Origin = ORIGIN) -> str:
    """All of one output in which two birds were heard, and all else that a table does not show."""
    form = formatter(name, RATE)
    results: list[Pooled | Summary] = [Onset(CUCKOO), CUCKOO, Rejected(NOCTULE, "below_min_windows"), NOCTULE, SUMMARY]
    return form.header() + "".join(form.line(origin, TELL(origin, result)) for result in results)


def test_jsonl() -> None:
    cuckoo = (
        '"source":"dawn.wav","time":"2023-05-01T05:00:12.500+02:00","start_s":12.5,"end_s":20.0,"code":"comcuc",'
        '"scientific_name":"Cuculus canorus","common_name":"Common Cuckoo","score":0.93,"windows":3}\n'
    )
    noctule = (
        '"source":"dawn.wav","time":"2023-05-01T05:00:22.500+02:00","start_s":22.5,"end_s":26.98303125,"code":"bat1",'
        '"scientific_name":"Nyctalus noctula","common_name":"Noctule, common","score":0.5,"windows":1'
    )
    assert output("jsonl") == (
        f'{{"event":"onset",{cuckoo}{{"event":"detection",{cuckoo}'
        f'{{"event":"rejected",{noctule},"reason":"below_min_windows"}}\n{{"event":"detection",{noctule}}}\n'
        '{"event":"summary","source":"dawn.wav","time":"2023-05-01T05:00:26.983+02:00","wall_s":1.235,'
        '"scored_s":25.0,"gap_s":1.5,"tail_s":0.48303125,"windows":9,"detections":2}\n'
    )


def test_birdnet_csv() -> None:
    assert output("csv") == (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        '12.5,20.0,Cuculus canorus,Common Cuckoo,0.9300,"/rec/site, north/dawn.wav"\n'
        '22.5,26.98303125,Nyctalus noctula,"Noctule, common",0.5000,"/rec/site, north/dawn.wav"\n'
    )


def test_raven() -> None:
    assert output("raven") == (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
        "Species Code\tConfidence\tBegin Path\tFile Offset (s)\tBegin File\n"
        "1\tSpectrogram 1\t1\t12.5\t20.0\t0.0\t16000.0\tCommon Cuckoo\tcomcuc\t0.9300\t"
        "/rec/site, north/dawn.wav\t12.5\tdawn.wav\n"
        "2\tSpectrogram 1\t1\t22.5\t26.98303125\t0.0\t16000.0\tNoctule, common\tbat1\t0.5000\t"
        "/rec/site, north/dawn.wav\t22.5\tdawn.wav\n"
    )


def test_raven_counts_on_over_several_recordings(tmp_path: Path) -> None:
    """As Raven does where it opens several files: the start of each is the end of the one before."""
    form = formatter("raven", RATE, TableOptions(in_sequence=True, relative_to=tmp_path, times=True))
    origins = [Origin(name, tmp_path / "site" / name, STARTED) for name in ("a.wav", "b.wav", "c.wav")]
    rows = []
    for origin, heard in zip(origins, ([], [CUCKOO, NOCTULE], [CUCKOO]), strict=True):
        rows += [form.line(origin, TELL(origin, result)) for result in [*heard, SUMMARY]]
    found = [row.rstrip("\n").split("\t") for row in rows if row]
    header = form.header().rstrip("\n").split("\t")
    lasts = (SUMMARY.scored + SUMMARY.gap + SUMMARY.tail) / RATE
    wanted = ["Selection", "Begin Time (s)", "File Offset (s)", "Begin File", "Begin Path", "Begin Clock Time"]
    assert [[row[header.index(name)] for name in wanted] for row in found] == [
        ["1", str(round(lasts + 12.5, 9)), "12.5", "b.wav", "site/b.wav", "05:00:12.500"],
        ["2", str(round(lasts + 22.5, 9)), "22.5", "b.wav", "site/b.wav", "05:00:22.500"],
        ["3", str(round(2 * lasts + 12.5, 9)), "12.5", "c.wav", "site/c.wav", "05:00:12.500"],
    ]
    assert all(len(row) == len(header) for row in found)


@pytest.mark.parametrize("name", ["csv", "kaleidoscope", "raven", "audacity"])
def test_tables_tell_channels_and_the_time_of_day_if_asked(name: str) -> None:
    form = formatter(name, RATE, TableOptions(times=True, channels=True))
    line = form.line(ORIGIN, TELL(replace(ORIGIN, channel=2), CUCKOO)).rstrip("\n")
    end = {
        "csv": ",2023-05-01T05:00:12.500+02:00,2",
        "kaleidoscope": ",2023-05-01,05:00:12,1",  # Kaleidoscope counts from 0
        "raven": "\t2023/05/01\t05:00:12.500",
        "audacity": "Common Cuckoo 0.93 (channel 2)",
    }[name]
    assert line.endswith(end)
    if header := form.header().rstrip("\n"):
        separator = "\t" if name == "raven" else ","
        names, row = (next(csv.reader([text], delimiter=separator)) for text in (header, line))
        assert len(names) == len(row)
        assert name != "raven" or row[names.index("Channel")] == "2"


def test_tables_of_a_calibrated_model_end_with_probabilities_and_one_that_goes_on_keeps_its_columns() -> None:
    heard = {**TELL(ORIGIN, CUCKOO), "probability": 0.81234}
    for name, separator in (("csv", ","), ("raven", "\t")):
        plain, calibrated = TableOptions(times=True), TableOptions(times=True, probabilities=True)
        form = formatter(name, RATE, calibrated)
        assert form.header().endswith(f"{separator}Probability\n")
        ends = [form.line(ORIGIN, event).rstrip("\n").split(separator)[-1] for event in (heard, TELL(ORIGIN, CUCKOO))]
        assert ends == ["0.8123", ""]
        headers = {options: formatter(name, RATE, options).header() for options in (plain, calibrated)}
        for began, header in headers.items():
            for now in headers:
                assert now.going_on(header.rstrip("\n"), headers.__getitem__) == began
                assert now.going_on(None, headers.__getitem__) == now


def test_audacity() -> None:
    assert output("audacity") == (
        "12.500000\t20.000000\tCommon Cuckoo 0.93\n22.500000\t26.983031\tNoctule, common 0.50\n"
    )


def test_kaleidoscope() -> None:
    assert output("kaleidoscope") == (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST\n"
        '"/rec","site, north","dawn.wav",12.5,7.5,Common Cuckoo,0.9300\n'
        '"/rec","site, north","dawn.wav",22.5,4.48303125,"Noctule, common",0.5000\n'
    )


def test_extensions_and_names_of_the_formats() -> None:
    extensions = {name: formatter(name, RATE).extension for name in FORMATS}
    assert extensions == {"jsonl": "jsonl", "csv": "csv", "raven": "txt", "audacity": "txt", "kaleidoscope": "csv"}
    with pytest.raises(UsageError, match="unknown format 'xml': choose from jsonl, csv, raven"):
        formatter("xml", RATE)


def test_kaleidoscope_finds_files_given_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = formatter("kaleidoscope", RATE).line(Origin("a.wav", Path("a.wav")), TELL(ORIGIN, CUCKOO))
    assert next(csv.reader([line]))[:3] == [str(tmp_path.parent), tmp_path.name, "a.wav"]


def test_a_live_source_is_called_by_its_name() -> None:
    garden = Origin("garden")
    event = TELL(garden, CUCKOO)
    assert (event["source"], event["time"]) == ("garden", None)
    assert formatter("csv", RATE).line(garden, event).endswith(",garden\n")
    assert formatter("kaleidoscope", RATE).line(garden, event).startswith('"","","garden",12.5,')


def test_seconds_are_short_decimals_at_any_rate() -> None:
    # a sample at 32 kHz is 31.25 us exactly; one at 44.1 kHz has no finite decimals
    detection = replace(CUCKOO, start=3, end=1_234_567)
    assert TELL(ORIGIN, detection)["start_s"] == 0.00009375
    assert TELL(ORIGIN, detection)["end_s"] == 38.58021875
    assert Events(LABELS, 44_100).tell(ORIGIN, detection)["end_s"] == 27.994716553


def test_time_is_right_after_a_change_to_summer_time() -> None:
    try:
        berlin = ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")
    night = Origin("night.wav", started=datetime(2023, 3, 26, 1, 30, tzinfo=berlin))
    assert timestamp(night, 3600 * RATE, RATE) == "2023-03-26T03:30:00.000+02:00"


def test_json_is_strict() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"event": "stats", "latency_ms": float("nan")})


NASTY = Origin("a\tb\r.wav", Path("/rec/s\n\udcff/a\tb\r.wav"))  # and a byte that is not UTF-8, as Linux allows


@pytest.mark.parametrize("name", FORMATS)
def test_no_file_name_breaks_a_row_or_the_encoding(name: str) -> None:
    text = output(name, NASTY).encode().decode()  # would raise on a surrogate
    if name == "jsonl":
        assert [json.loads(line)["source"] for line in text.splitlines()] == [NASTY.name] * 5
        return
    if name in {"raven", "audacity"}:
        rows = [line.split("\t") for line in text.splitlines()]
    else:
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert NASTY.name in rows[-1][-1] + rows[-1][2]  # as it is, in quotes
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == (2 if name == "audacity" else 3)


def test_submission_names_rows_by_the_end_of_the_window_and_keeps_every_digit() -> None:
    table = Submission(LABELS, RATE)
    assert table.header() == "row_id,comcuc,bat1\n"
    scores = np.array([0.1, 1 / 3], dtype=np.float32)
    window = Window(np.zeros(160_000, dtype=np.float32), start=320_000, end=400_000)  # padded: half of it is audio
    line = table.line(ORIGIN, window, scores)
    assert line == "dawn_15,0.100000001,0.333333343\n"
    assert np.array(line.split(",")[1:], dtype=np.float32).tolist() == scores.tolist()


# what crowsetta calls inside, not what it reads
INPLACE = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.rename is deprecated")


@INPLACE
def test_crowsetta_reads_raven(tmp_path: Path) -> None:
    path = tmp_path / "dawn.txt"
    path.write_text(output("raven", replace(ORIGIN, path=NASTY.path)), encoding="utf-8")
    boxes = require("crowsetta").formats.bbox.Raven.from_file(path, annot_col="Species Code").to_bbox()
    assert [(box.onset, box.offset, box.low_freq, box.high_freq, box.label) for box in boxes] == [
        (12.5, 20.0, 0.0, 16000.0, "comcuc"),
        (22.5, 26.98303125, 0.0, 16000.0, "bat1"),
    ]


@INPLACE
def test_crowsetta_reads_raven_when_all_times_are_whole_seconds(tmp_path: Path) -> None:
    form = formatter("raven", RATE)
    path = tmp_path / "dawn.txt"
    event: Event = TELL(ORIGIN, replace(CUCKOO, start=0, end=160_000))
    path.write_text(form.header() + form.line(ORIGIN, event), encoding="utf-8")
    (box,) = require("crowsetta").formats.bbox.Raven.from_file(path, annot_col="Common Name").to_bbox()
    assert (box.onset, box.offset, box.label) == (0.0, 5.0, "Common Cuckoo")


def test_crowsetta_reads_audacity(tmp_path: Path) -> None:
    path = tmp_path / "dawn.txt"
    path.write_text(output("audacity"), encoding="utf-8")
    labels = require("crowsetta").formats.seq.AudSeq.from_file(path).to_seq()
    assert labels.onsets_s.tolist() == [12.5, 22.5]
    assert labels.offsets_s.tolist() == [20.0, 26.983]
    assert labels.labels.tolist() == ["Common Cuckoo 0.93", "Noctule, common 0.50"]


def test_atomic_text_makes_folders_and_writes_utf8_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site" / "dawn.csv"
    with atomic_text(path) as stream:
        stream.write("Türkentaube\n")
        assert not path.exists()
    assert path.read_bytes() == "Türkentaube\n".encode()
    assert os.listdir(path.parent) == ["dawn.csv"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "dawn.csv"
    path.write_text("old", encoding="utf-8")

    def interrupted() -> None:
        with atomic_text(path) as stream:
            stream.write("half of the n")
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["dawn.csv"]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dawn.csv"

    def full() -> None:
        with atomic_text(path):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"^cannot write .*dawn\.csv: No space left on device$"):
        full()
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "dawn.csv", tmp_path, Path(os.devnull)):
        with pytest.raises(OutputError, match=f"cannot write {path}"), atomic_text(path):
            pass
    assert Path(os.devnull).is_char_device()  # and not replaced by a file
