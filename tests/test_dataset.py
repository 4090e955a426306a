"""`detect --format parquet` and `export-table`: what others read, and that nothing is there twice or lost."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from edgebird.archives.dataset import Partition, merge
from edgebird.archives.schema import COLUMNS, ERRORS
from edgebird.archives.spool import Spool
from edgebird.bundle import open_bundle, with_calibration
from edgebird.calibration import Calibration, Curve
from edgebird.errors import OutputError
from edgebird.formats import FORMATS
from edgebird.voices import Voices
from tests.conftest import require
from tests.foreign import RATE, scene
from tests.test_resume import archive, birds, detect, edgebird, killed_and_gone_on
from tests.test_voice_watch import Loud

__all__ = ["birds"]

_WALL = re.compile(rb'"wall_s":[0-9.]+')


def rows(root: Path, table: str = "detections") -> list[tuple[Any, ...]]:
    """All rows of a table, as DuckDB reads them, in an order of their own; without the wall clock's seconds."""
    require("duckdb")
    import duckdb  # as text: without pytz it has no times with a zone

    if not any((root / table).rglob("*.parquet")):
        return []
    question = f"SELECT columns(*)::VARCHAR FROM read_parquet('{root}/{table}/**/*.parquet', hive_partitioning = true)"
    with duckdb.connect() as connection:
        relation = connection.sql(question)
        columns = relation.columns
        found = relation.fetchall()
    kept = [index for index, name in enumerate(columns) if name not in ("wall_s", "file_time")]
    return sorted((tuple(row[index] for index in kept) for row in found), key=repr)


def stored_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a table."""
    import pyarrow.parquet

    return [row for path in folder.rglob("*.parquet") for row in pyarrow.parquet.ParquetFile(path).read().to_pylist()]


def everything(root: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {table: rows(root, table) for table in COLUMNS}


def _killed(*arguments: object) -> None:
    raise OutputError("killed")


@pytest.fixture
def season(tmp_path: Path, birds: Path) -> Path:
    """An archive with a recording of two days, one that is damaged, one that is none, and its dataset, with scores."""
    require("pyarrow")
    audio = archive(tmp_path / "audio", 5)
    cut = audio / "R0" / "20230502_000000.wav"
    soundfile.write(cut, scene(12, [(1, 0.9, 0, 5)]), RATE)
    cut.write_bytes(cut.read_bytes()[:-60000])
    (audio / "R1" / "20230503_000000.wav").write_text("no sound")
    out = tmp_path / "season"
    wanted = (audio, "--bundle", birds, "--timezone", "Europe/Berlin", "--format", "parquet", "--out", out)
    assert detect(*wanted, "--scores", "0.4")[0] == 1
    return out


def test_duckdb_and_pandas_read_it_and_every_second_is_accounted_for(season: Path) -> None:
    require("pandas")
    require("duckdb")
    import duckdb
    import pandas

    detections = pandas.read_parquet(season / "detections")
    assert set(detections["recorder"]) == {"R0", "R1"}
    first = detections.sort_values(["recording", "start_s"]).iloc[0]
    assert (first["recording"], first["common_name"], first["start_s"]) == ("R0/20230501_000000.wav", "Low Tone", 0)
    assert str(first["time"]) == "2023-04-30 22:00:00+00:00"
    assert str(first["local_time"]) == "2023-05-01 00:00:00"
    summaries = pandas.read_parquet(season / "summaries")
    cut = summaries[summaries["recording"] == "R0/20230502_000000.wav"].iloc[0]
    assert cut["scored_s"] + cut["gap_s"] + cut["tail_s"] == pytest.approx(12)
    assert cut["gap_s"] > 3
    assert (summaries["file_size"] > 0).all()
    with duckdb.connect() as connection:
        asked = f"SELECT recorder, day, count(*) FROM '{season}/detections/**/*.parquet' GROUP BY ALL ORDER BY ALL"
        counted = [(name, str(day), count) for name, day, count in connection.sql(asked).fetchall()]
    assert [row[:2] for row in counted] == [("R0", "2023-05-01"), ("R0", "2023-05-02"), ("R1", "2023-05-01")]
    errors = pandas.read_parquet(season / "errors").sort_values("recording")
    assert list(errors["kind"]) == ["incomplete", "unreadable"]
    assert [str(day) for day in errors["day"]] == ["2023-05-02", "unknown"]
    scores = pandas.read_parquet(season / "scores")
    assert (scores["score"] >= 0.4).all()
    assert len(scores) > len(detections)
    schema = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for table, columns in COLUMNS.items():
        (line,) = [line for line in schema.splitlines() if line.startswith(f"| `{table}` |")]
        assert re.findall(r"`(\w+)`", line)[1:] == list(columns), "docs/formats.md"


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_made_of_it_as_detect_writes_them(tmp_path: Path, birds: Path, name: str) -> None:
    """Byte for byte, but for the wall clock: nobody has to detect again for Raven."""
    require("pyarrow")
    audio, explain = archive(tmp_path / "audio", 3), ["--explain"] if name == "jsonl" else []
    if name == "jsonl":
        curves = {label.code: Curve(1.0, 0.5, 5, 5) for label in open_bundle(birds).card.labels[:2]}
        birds = shutil.copytree(birds, tmp_path / "calibrated")
        with_calibration(open_bundle(birds), Calibration(curves, "ears", 0.1, None, 0.2, "0", "2026"))
    common = (audio, "--bundle", birds, "--timezone", "UTC", "--channel", "each", *explain, "--min-windows", 2)
    assert detect(*common, "--format", "parquet", "--out", tmp_path / "dataset")[0] == 0
    looks = ("--format", name, "--time-columns", "--relative-paths")
    for out in ([], ["--out"]) if name != "audacity" else (["--out"],):
        code, direct, _ = edgebird("detect", *common, *looks, *(out and [*out, tmp_path / "direct"]))
        assert code == 0
        code, exported, _ = edgebird("export-table", tmp_path / "dataset", *looks, *(out and [*out, tmp_path / "made"]))
        assert code == 0
        assert _WALL.sub(b"", exported.encode()) == _WALL.sub(b"", direct.encode())
        assert out or exported.count("\n") > 3
        assert out or name != "jsonl" or '"probability"' in exported
    direct_files, made = (
        {path.relative_to(folder): _WALL.sub(b"", path.read_bytes()) for path in folder.rglob("*.*") if path.is_file()}
        for folder in (tmp_path / "direct", tmp_path / "made")
    )
    assert direct_files == made
    assert len(made) == 3


def test_a_part_of_it_is_exported(season: Path) -> None:
    code, told, _ = edgebird("export-table", season, "--format", "jsonl", "--recorder", "R0", "--from", "2023-05-02")
    assert code == 0
    assert {Path(json.loads(line)["source"]).name for line in told.splitlines()} == {"20230502_000000.wav"}
    code, told, _ = edgebird("export-table", season, "--format", "jsonl", "--to", "2023-04-30")
    assert (code, told) == (0, "")
    code, _, problem = edgebird("export-table", season.parent, "--format", "csv")
    assert (code, problem) == (1, f"error: {season.parent}: no dataset of edgebird is there, or nothing is in it yet\n")


def test_what_changed_takes_the_place_of_what_was(season: Path, birds: Path, tmp_path: Path) -> None:
    """Also where it is of another day then, where it cannot be read any more, and where it can be at last."""
    audio = tmp_path / "audio"
    wanted = [audio, "--bundle", birds, "--timezone", "Europe/Berlin", "--format", "parquet", "--scores", "0.4"]
    code, told = detect(*wanted, "--out", season)
    assert (code, told) == (1, f"error: cannot write {season}: it holds a dataset: give --resume to add to it\n")
    soundfile.write(audio / "R1" / "20230503_000000.wav", scene(6, [(0, 0.9, 0, 5)]), RATE)
    (audio / "R0" / "20230501_000000.wav").write_text("no sound")
    soundfile.write(audio / "R0" / "20230501_000002.wav", scene(6, [(1, 0.9, 0, 5)]), RATE)
    code, told = detect(*wanted, "--out", season, "--resume", "--shard", "1/1")
    assert told.startswith("4 of 7 recordings are done already, parts of 1 are missing\n")
    detect(*wanted, "--out", tmp_path / "anew")
    assert everything(season) == everything(tmp_path / "anew")
    assert len(rows(season, ERRORS)) == 2
    wanted[4] = "Pacific/Auckland"  # other days for all that is UTC
    for number in (1, 2):  # and other shards than those that did it
        detect(*wanted, "--out", season, "--resume", "--shard", f"{number}/2")
    detect(*wanted, "--out", tmp_path / "far")
    assert everything(season) == everything(tmp_path / "far")


def test_a_spool_that_was_not_put_in_is_put_in_by_whoever_comes(tmp_path: Path, birds: Path) -> None:
    """A job of an array that was killed, and an array of another size the day after."""
    require("pyarrow")
    audio, out = archive(tmp_path / "audio", 4), tmp_path / "season"
    wanted = (audio, "--bundle", birds, "--format", "parquet", "--out", out, "--resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgebird.archives.parquet_sink.merge", _killed)
        detect(*wanted, "--shard", "1/2")
    assert not rows(out)
    assert detect(*wanted)[0] == 0
    detect(*wanted[:-2], tmp_path / "whole")
    assert everything(out) == everything(tmp_path / "whole")
    assert all(path.stat().st_size == 0 for path in out.rglob("*.spool"))


def test_a_power_cut_that_took_the_end_of_the_spool_costs_no_recording(tmp_path: Path, birds: Path) -> None:
    """The journal may be on the disk when the spool is not."""
    require("pyarrow")
    audio, out = archive(tmp_path / "audio", 4), tmp_path / "season"
    wanted = (audio, "--bundle", birds, "--format", "parquet", "--out", out, "--resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgebird.archives.parquet_sink.merge", _killed)
        detect(*wanted)
    (spool,) = out.rglob("*.spool")
    os.truncate(spool, spool.stat().st_size * 2 // 3)
    assert "2 of 4 recordings are done already" in detect(*wanted)[1]
    detect(*wanted[:-2], tmp_path / "whole")
    assert everything(out) == everything(tmp_path / "whole")


def test_what_voices_took_is_counted_in_a_dataset_and_told_again_by_its_tables(tmp_path: Path, birds: Path) -> None:
    """Else nobody could tell a night without owls from one with talking people."""
    require("pyarrow")
    out, voices = tmp_path / "season", Voices(0.4, 0.0, Loud)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgebird.cli.job._voices", lambda job: voices)
        wanted = (archive(tmp_path / "audio", 1), "--bundle", birds, "--format", "parquet", "--out", out)
        assert detect(*wanted, "--voices", "drop-detection", "--explain")[0] == 0
    (summary,) = stored_rows(out / "summaries")
    (row,) = stored_rows(out / "rejected")
    assert (summary["voice_detections"], summary["detections"], row["reason"]) == (1, 0, "voice")
    _, told, _ = edgebird("export-table", out, "--format", "jsonl")
    assert [(event["event"], event.get("voice_detections")) for event in map(json.loads, told.splitlines())] == [
        ("rejected", None),
        ("summary", 1),
    ]


def test_names_of_recorders_may_be_anything(tmp_path: Path) -> None:
    for name in ("R 1", "a=b/c", "Übersee%20", "nan"):
        for day in ("2023-05-01", None):
            assert Partition.of(Partition(name, day).folder) == Partition(name, day)


def test_putting_in_twice_is_putting_in_once(tmp_path: Path, birds: Path) -> None:
    """A program that was killed between the files and the note does it again."""
    require("pyarrow")
    audio, out = archive(tmp_path / "audio", 2), tmp_path / "season"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgebird.archives.parquet_sink.merge", _killed)
        detect(audio, "--bundle", birds, "--format", "parquet", "--out", out)
    (path,) = out.rglob("*.spool")
    for _ in range(2):
        merge(out, "1-of-1", Spool(path).lines())
        once = everything(out)
    assert len(once["summaries"]) == 2
    with pytest.MonkeyPatch.context() as patch:  # with a column less, as an earlier version had it
        patch.setitem(COLUMNS, "summaries", {k: v for k, v in COLUMNS["summaries"].items() if k != "voice_detections"})
        merge(out, "1-of-1", Spool(path).lines())
    merge(out, "1-of-1", list(Spool(path).lines())[:1])
    assert everything(out) == once
    shutil.rmtree(out / "summaries")
    wanted = (audio, "--bundle", birds, "--format", "parquet", "--out", out, "--resume")
    assert detect(*wanted) == (0, "2 of 2 recordings are done already\n")
    assert everything(out) == once, "nothing was left to do but this"
    assert path.stat().st_size == 0


@pytest.mark.slow
def test_kills_leave_a_dataset_as_an_undisturbed_run_does(tmp_path: Path, birds: Path) -> None:
    """Two kills, or `EDGEBIRD_KILLS=50`."""
    require("pyarrow")
    kills = int(os.environ.get("EDGEBIRD_KILLS", "2"))
    wanted = killed_and_gone_on(tmp_path, birds, "parquet", kills)
    detect(*wanted, tmp_path / "whole")
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
