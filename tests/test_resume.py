"""`detect --resume` and `--shard`: what is done stays done, whatever ended the run, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile
import typer.testing

from edgebird.archives.journal import Journal, Run, Shard, journal_path, read_journals
from edgebird.archives.resuming import run_of
from edgebird.bundle import CARD_FILE, open_bundle
from edgebird.cli.app import make_app
from edgebird.cli.archive import ArchiveJob, Keeping
from edgebird.errors import IncompleteAudioError, OutputError, ScoreError, WrongOutputError
from edgebird.fingerprint import Fingerprint, fingerprint
from edgebird.settings.model import DetectionSettings, OutputSettings
from edgebird.settings.place import PlaceSettings
from edgebird.sinks import Recorded, opened
from edgebird.sources import FoundAudio
from edgebird.types import Origin
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_bundle(tmp_path_factory.mktemp("bundles") / "tones").path


def archive(folder: Path, count: int) -> Path:
    """Recordings of six seconds with a tone, by two recorders."""
    for number in range(count):
        path = folder / f"R{number % 2}" / f"20230501_{number:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, scene(6, [(number % 3, 0.9, 0, 5)]), RATE)
    return folder


def edgebird(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    result = typer.testing.CliRunner().invoke(make_app(), [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def detect(*arguments: object) -> tuple[int, str]:
    """Exit code and what is told on stderr."""
    code, _, told = edgebird("detect", *arguments)
    return code, told


def tables(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.csv")}


def test_what_is_done_is_not_done_again_and_what_changed_is(tmp_path: Path, birds: Path) -> None:
    """A season takes weeks: a second run must cost seconds, and a recording that was cut off when it was copied counts
    anew.
    """
    audio, out = archive(tmp_path / "audio", 4), tmp_path / "out"
    wanted = (audio, "--bundle", birds, "--format", "csv", "--out", out, "--resume")
    assert detect(*wanted)[0] == 0
    before = {path: path.stat().st_ino for path in out.rglob("*.csv")}
    code, told = detect(*wanted)
    assert (code, told) == (0, "4 of 4 recordings are done already\n")
    changed, lost = sorted(before)[0], sorted(before)[1]
    soundfile.write(audio / changed.relative_to(out).with_suffix(".wav"), scene(6, [(2, 0.9, 0, 5)]), RATE)
    lost.unlink()
    code, told = detect(*wanted)
    assert code == 0
    assert told.startswith("2 of 4 recordings are done already\n")
    again = {path for path in out.rglob("*.csv") if path.stat().st_ino != before[path]}
    assert {changed} <= again <= {changed, lost}
    assert b"High Tone" in changed.read_bytes()


@pytest.mark.parametrize("other", [("--threshold", "0.5"), ("--time-columns",), ("--species-list",)])
def test_other_settings_do_all_again(tmp_path: Path, birds: Path, other: tuple[str, ...]) -> None:
    """Tables of two thresholds in one folder would be compared as if they were of one."""
    audio = archive(tmp_path / "audio", 2)
    wanted = (audio, "--bundle", birds, "--format", "csv", "--out", tmp_path / "out", "--resume", *other)
    listed = tmp_path / "species.txt"
    listed.write_text("tonlow\n")
    wanted = (*wanted, listed) if other == ("--species-list",) else wanted
    assert detect(audio, "--bundle", birds, "--format", "csv", "--out", tmp_path / "out", "--resume")[0] == 0
    assert "done already" not in detect(*wanted)[1]
    assert "2 of 2 recordings are done already" in detect(*wanted)[1]
    if other == ("--species-list",):  # its name is the same, what is in it is not
        listed.write_text("tonmid\n")
        assert "done already" not in detect(*wanted)[1]


def test_a_run_without_resume_makes_the_journal_false_and_takes_it_away(tmp_path: Path, birds: Path) -> None:
    audio, out = archive(tmp_path / "audio", 2), tmp_path / "out"
    wanted = (audio, "--bundle", birds, "--format", "csv", "--out", out)
    detect(*wanted, "--resume")
    detect(*wanted, "--threshold", "0.99")
    assert "done already" not in detect(*wanted, "--resume")[1]


def test_a_damaged_recording_is_done_once_and_told_each_time_and_one_that_cannot_be_read_is_tried_again(
    tmp_path: Path, birds: Path
) -> None:
    """The exit code of a run that goes on is that of one that did all."""
    audio, out = archive(tmp_path / "audio", 3), tmp_path / "out"
    first, second, _ = sorted(audio.rglob("*.wav"))
    first.write_bytes(first.read_bytes()[:-20000])
    second.write_text("no sound")
    wanted = (audio, "--bundle", birds, "--format", "csv", "--out", out, "--resume")
    assert detect(*wanted)[0] == 1
    code, told = detect(*wanted)
    assert code == 1
    assert told.startswith("2 of 3 recordings are done already, parts of 1 are missing\n")
    assert told.count("cannot read") == 1
    assert "1 of 3 recordings could not be read, and parts of 1 are missing" in told


def test_shards_do_everything_once(tmp_path: Path, birds: Path) -> None:
    """What two jobs of an array did is what one job would have done, in the same folder."""
    audio = archive(tmp_path / "audio", 9)
    common = (audio, "--bundle", birds, "--format", "csv", "--out")
    detect(*common, tmp_path / "whole")
    done = []
    for number in (1, 2):
        assert detect(*common, tmp_path / "parts", "--resume", "--shard", f"{number}/2")[0] == 0
        done.append(len(tables(tmp_path / "parts")))
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")
    assert 0 < done[0] < done[1]
    code, told = detect(*common, tmp_path / "parts", "--resume")
    assert (code, told) == (0, "9 of 9 recordings are done already\n")
    assert detect(*common, tmp_path / "parts", "--shard", "3/2")[0] == 2


def test_options_that_do_not_fit_are_refused(tmp_path: Path, birds: Path) -> None:
    audio = archive(tmp_path / "audio", 1)
    code, told = detect(audio, "--bundle", birds, "--resume")
    assert (code, told) == (2, "error: --resume goes on in a folder: give --out DIR, and no --submission\n")
    code, told = detect(audio, "--bundle", birds, "--submission", tmp_path / "s.csv", "--shard", "1/2")
    assert (code, "write over" in told) == (2, True)


def test_another_geographic_model_in_the_same_folder_does_all_again(tmp_path: Path, birds: Path) -> None:
    """What is rare is another thing then."""
    geo, bundle = tone_bundle(tmp_path / "geo").path, open_bundle(birds)
    ids = []
    for _ in range(2):
        ids.append(run_of(bundle, PlaceSettings(geo=geo), {}).id)
        (geo / CARD_FILE).write_text((geo / CARD_FILE).read_text() + " ")
    assert ids[0] != ids[1]


def test_a_torn_line_of_a_journal_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    """SIGKILL, or a full disk, in the middle of a line."""
    path, run, found = journal_path(tmp_path, "csv", Shard(1, 2)), Run({"bundle": "x"}), Fingerprint(1, 2, "00")
    journal = Journal(path, run)
    journal.open()
    journal.add("a.wav", found)
    with pytest.raises(WrongOutputError, match="another edgebird writes there"):
        Journal(path, run).open()
    journal.close()
    whole = path.read_bytes()
    for torn in (b'{"done":"b.wav","si', b"\0" * 100, b'{"done":"b.wav"}'):
        path.write_bytes(whole + torn)
        assert list(read_journals(tmp_path, "csv").done) == ["a.wav"]
        journal.open()
        journal.add("c.wav", found)
        journal.close()
        assert list(read_journals(tmp_path, "csv").done) == ["a.wav", "c.wav"]
        path.write_bytes(whole)
    assert [json.loads(line).get("run") for line in whole.splitlines()] == [run.id, None]


def test_a_fingerprint_sees_both_ends(tmp_path: Path) -> None:
    """A card that was read anew: same sizes, same times, another recording."""
    path = tmp_path / "x"
    seen = set()
    for at in (None, 0, 9999):
        data = bytearray(10000)
        if at is not None:
            data[at] = 1
        path.write_bytes(data)
        os.utime(path, ns=(0, 0))
        seen.add(fingerprint(path))
    assert len(seen) == 3
    assert [fingerprint(tmp_path), fingerprint(tmp_path / "none")] == [None, None]


def killed_and_gone_on(folder: Path, bundle: Path, form: str, kills: int) -> tuple[object, ...]:
    """Detect into `out`, killed at random and gone on with; the arguments, but the folder for another run."""
    audio, out = archive(folder / "audio", 8 * kills), folder / "out"
    wanted = (audio, "--bundle", bundle, "--timezone", "UTC", "--format", form, "--runtime", "ort-cpu", "--out")
    command = [sys.executable, "-m", "edgebird", "-q", "detect", *map(str, wanted), str(out), "--resume"]
    random, done = np.random.default_rng(1), 0
    for _ in range(kills):
        process = subprocess.Popen(command, cwd=ROOT)
        aim = done + int(random.integers(1, 6))
        while len(read_journals(out, form).done) < aim and process.poll() is None:
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was through before it was killed: the test shows nothing"
        before, done = done, len(read_journals(out, form).done)
        assert done >= max(aim, before)
    code, told = detect(*wanted, out, "--resume")
    assert code == 0
    assert told.startswith(f"{done} of {8 * kills} recordings are done already\n")
    return wanted


def test_five_random_kills_leave_what_an_undisturbed_run_does(tmp_path: Path, birds: Path) -> None:
    """`EDGEBIRD_KILLS=50` kills more often. What is done before a kill is not done after it."""
    wanted = killed_and_gone_on(tmp_path, birds, "csv", int(os.environ.get("EDGEBIRD_KILLS", "5")))
    detect(*wanted, tmp_path / "whole")
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob(".edgebird-*")), "what a killed program began is left"


def test_a_full_disk_costs_no_line_that_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line in the middle would make all behind it count for nothing."""
    path, state = journal_path(tmp_path, "csv", Shard()), Fingerprint(1, 2, "x")
    journal = Journal(path, Run({"bundle": "x"}))
    journal.open()
    journal.add("a.wav", state)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
        with pytest.raises(OutputError, match="the disk is full"):
            journal.add("b.wav", state)
    journal.add("c.wav", state)
    journal.close()
    assert read_journals(tmp_path, "csv").done.keys() == {"a.wav", "c.wav"}


def test_a_clock_that_went_back_makes_no_recording_be_done_for_ever(tmp_path: Path) -> None:
    """What a journal says last is true, whatever time it says; and a dataset knows all places of a recording's rows."""
    path = journal_path(tmp_path, "parquet", Shard())
    path.parent.mkdir()
    lines = [
        {"done": "a", "size": size, "mtime_ns": 0, "ends": "", "at": -size, "partition": f"p{size}"} for size in (1, 2)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"run": "r"}, *lines]))
    found = read_journals(tmp_path, "parquet")
    assert found.is_done("a", "r", Fingerprint(2, 0, ""))
    assert found.places("a") == {("1-of-1", "p1"), ("1-of-1", "p2")}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_channel_that_the_engine_could_not_score_is_tried_again_whatever_lacks_of_another(
    tmp_path: Path, birds: Path, form: str
) -> None:
    if form == "parquet":
        require("pyarrow")
    bundle, audio = open_bundle(birds), FoundAudio(tmp_path / "a.wav", PurePath("a.wav"))
    keeping = Keeping(ArchiveJob(resume=True), DetectionSettings(birds), OutputSettings(form, tmp_path / "out"), 0)
    engine, damaged = ScoreError("no scores"), IncompleteAudioError("damaged")
    for problems in ((engine, damaged), (damaged, engine)):
        (sink,) = keeping.sinks(bundle, [audio])
        keeping.left([sink], [audio])
        with opened([sink]):
            told = Recorded(Origin("a.wav", audio.path), audio.relative, RATE, Fingerprint(1, 2, "x"))
            sink.begin(told)
            for problem in problems:
                sink.lack(told, problem)
            sink.end(told, complete=True)
        done = read_journals(tmp_path / "out", form).done.values()
        assert all(one.failed for one in done)
