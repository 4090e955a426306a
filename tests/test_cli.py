"""The command line, as people and scripts meet it: exit codes, one-line errors, and nothing but results on stdout.

The model hears three tones (see `tone_bundle`), so that every detection of these recordings is known beforehand.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import soundfile

from edgebird.bundle import Bundle
from edgebird.cli import main
from edgebird.formats import FORMATS
from edgebird.runtimes import RUNTIMES, RuntimeOptions, open_runtime
from edgebird.runtimes.ort import OrtRuntime
from edgebird.types import FloatArray
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle

# High in the first half of window 0; low in windows 7.5 to 12.5 s; middle in the last, which ends early.
MEADOW = scene(22.2, [(2, 0.9, 0, 2.5), (0, 0.8, 10, 15), (1, 0.7, 19, 22.2)])
HEARD = [("tonhig", 0.0, 5.0, 0.45, 1), ("tonlow", 7.5, 17.5, 0.8, 3), ("tonmid", 17.5, 22.2, 0.448, 1)]
EXTENSIONS = {"jsonl": "jsonl", "csv": "csv", "raven": "txt", "audacity": "txt", "kaleidoscope": "csv"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The JSON lines of stdout, which must be all of it."""
        events = [json.loads(line) for line in self.out.splitlines()]
        return [event for event in events if not kinds or event["event"] in kinds]

    def error(self) -> str:
        """The only error line."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return line


class Command(Protocol):
    def __call__(self, *arguments: object) -> Ended: ...


@pytest.fixture
def edgebird(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run a command in this process, without a terminal; whatever happens, it must not be a traceback."""
    logger = logging.getLogger("edgebird")
    level, handlers = logger.level, logger.handlers

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["edgebird", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int | None)
        return Ended(end.value.code or 0, captured.out, captured.err)

    yield run
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_bundle(tmp_path_factory.mktemp("cli") / "tones").path


@pytest.fixture
def meadow(tmp_path: Path) -> Path:
    return write(tmp_path / "20230524_153000.WAV")


def write(path: Path, samples: Any = MEADOW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)
    return path


def birds(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Detections as in HEARD; 16-bit audio costs the fourth decimal of a score."""
    return [
        (event["code"], event["start_s"], event["end_s"], pytest.approx(event["score"], abs=2e-4), event["windows"])
        for event in events
        if event["event"] == "detection"
    ]


def test_detect_prints_what_is_heard_and_then_the_account(edgebird: Command, tones: Path, meadow: Path) -> None:
    ended = edgebird("detect", meadow, "--bundle", tones)
    assert ended.code == 0
    assert birds(ended.events()) == HEARD
    times = [event["time"] for event in ended.events("detection")]
    assert times[1] == "2023-05-24T15:30:07.500+00:00"  # AudioMoth names are UTC
    (summary,) = ended.events("summary")
    assert ended.events()[-1] == summary
    assert {key: summary[key] for key in ("scored_s", "gap_s", "tail_s", "windows", "detections")} == {
        "scored_s": 22.2,
        "gap_s": 0.0,
        "tail_s": 0.0,
        "windows": 8,
        "detections": 3,
    }
    assert "runtime ort-cpu" in ended.err  # what `auto` took
    assert meadow.name in ended.err


def test_listen_to_a_file_hears_what_detect_hears(edgebird: Command, tones: Path, meadow: Path) -> None:
    """A station is tried out with recordings: it must not find other birds than the batch run."""
    options = ("--bundle", tones, "--min-windows", 2, "--explain", "--threshold", 0.4)
    detect, listen = edgebird("detect", meadow, *options), edgebird("listen", "--file", meadow, *options)
    assert (detect.code, listen.code) == (0, 0)
    strip = re.compile(r'"wall_s":[\d.]+')
    assert strip.sub("", listen.out) == strip.sub("", detect.out) != ""


def test_listen_refuses_sources_that_would_write_one_file(edgebird: Command, tones: Path, meadow: Path) -> None:
    other = meadow.parent / "other" / meadow.name
    other.parent.mkdir()
    other.write_bytes(meadow.read_bytes())
    ended = edgebird("listen", "--file", meadow, "--file", other, "--bundle", tones, "--out", meadow.parent / "out")
    assert (ended.code, ended.out) == (1, "")
    assert "would both write" in ended.error()
    assert not (meadow.parent / "out").exists()


def test_listen_refuses_a_model_that_needs_groups_of_four(edgebird: Command, tmp_path: Path, meadow: Path) -> None:
    """A live source has no start from which to count them, so its scores would not be the proven ones."""
    bundle = tone_bundle(tmp_path / "batch", db_floor="batch").path
    ended = edgebird("listen", "--file", meadow, "--bundle", bundle)
    assert (ended.code, ended.out) == (1, "")
    assert "db-floor" in ended.error() or "db_floor" in ended.error()


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ("detect gone.wav --bundle BUNDLE", 1, "gone.wav: no such file"),
        ("detect AUDIO --bundle nowhere", 1, "nowhere: no such bundle"),
        ("detect AUDIO --bundle AUDIO", 1, "a bundle is a folder"),
        ("detect AUDIO --bundle BUNDLE --precision fp16", 1, "no fp16 graph"),
        ("detect AUDIO --bundle BUNDLE --species-list gone.txt", 1, "gone.txt"),
        ("detect AUDIO --bundle BUNDLE --out AUDIO", 1, "cannot write"),
        ("detect AUDIO --bundle BUNDLE --submission AUDIO/x.csv", 1, "cannot write"),
        ("verify nowhere", 1, "nowhere: no such bundle"),
        ("bench nowhere", 1, "nowhere: no such bundle"),
        ("export gone.bin --out new", 1, "gone.bin"),
        ("detect AUDIO --bundle BUNDLE --runtime warp", 2, "--runtime 'warp': wanted one of auto, "),
        ("detect AUDIO --bundle BUNDLE --format xls", 2, "--format 'xls': wanted one of jsonl, csv, "),
        ("detect AUDIO --bundle BUNDLE --hop 6", 2, "hop 6 s"),
        ("detect AUDIO --bundle BUNDLE --hop nan", 2, "--hop nan: wanted a number of seconds"),
        ("detect AUDIO --bundle BUNDLE --threshold 1.5", 2, "--threshold 1.5: wanted a number, 0 to 1"),
        ("detect AUDIO --bundle BUNDLE --min-windows 0", 2, "--min-windows 0: wanted a whole number, 1 or more"),
        ("detect AUDIO --bundle BUNDLE --timezone Mars/Olympus", 2, "--timezone 'Mars/Olympus': wanted UTC, "),
        ("detect AUDIO --bundle BUNDLE --submission x.csv --hop 1", 2, "--hop"),
        ("detect AUDIO --bundle BUNDLE --format csv --explain", 2, "--explain"),
        (f"detect AUDIO --bundle {'b' * 300}", 1, "File name too long"),
        (f"verify {'b' * 300}", 1, "File name too long"),
        (f"export {'b' * 300} --out new", 1, f"{'b' * 300}: cannot be read: File name too long"),
        ("bench BUNDLE --seconds inf", 2, "--seconds inf"),
        ("listen --bundle BUNDLE", 2, "--file"),
        ("export AUDIO --out new --db-floor file", 2, "--db-floor"),
        ("verify BUNDLE --runtime warp", 2, "unknown runtime 'warp'"),
    ],
)
def test_a_foreseen_error_is_one_line_and_its_exit_code(
    edgebird: Command, tones: Path, meadow: Path, arguments: str, code: int, problem: str
) -> None:
    """Scripts act on the code, people on the line; nothing is written and stdout stays empty."""
    if arguments.startswith("export"):
        require("torch")
    before = sorted(meadow.parent.iterdir())
    words = arguments.replace("BUNDLE", str(tones)).replace("AUDIO", str(meadow)).split()
    ended = edgebird(*words)
    assert (ended.code, ended.out) == (code, ""), ended.err
    assert problem in ended.error()
    assert sorted(meadow.parent.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "detect",
        "detect x.wav",
        "detect x.wav --bundle y --hop soon",
        "detect x --bundle y --threads 0",
        "--loud",
        "fly",
    ],
)
def test_wrong_usage_is_plain_text_without_a_terminal(edgebird: Command, arguments: str) -> None:
    """Boxes and colours make a log unreadable."""
    ended = edgebird(*arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: edgebird" in ended.err
    assert ended.err.isascii()
    assert "\x1b" not in ended.err


@pytest.mark.parametrize("command", ["export", "verify", "detect", "listen", "bench", "doctor"])
def test_every_command_has_help_with_an_example(edgebird: Command, command: str) -> None:
    ended = edgebird(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Example: edgebird {command}" in ended.out
    assert "\x1b" not in ended.out


@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_quiet_and_verbose_work_anywhere_on_the_line(edgebird: Command, tones: Path, meadow: Path, place: int) -> None:
    """-q is for cron: not a word but errors. The results are the same."""
    words: list[object] = ["detect", meadow, "--bundle", tones]
    for option in ("-q", "--quiet", "-v", "--verbose"):
        ended = edgebird(*words[:place], option, *words[place:])
        assert ended.code == 0
        assert birds(ended.events()) == HEARD
        assert (ended.err == "") == (option in ("-q", "--quiet"))


def test_quiet_does_not_hide_errors(edgebird: Command, tones: Path) -> None:
    assert "gone.wav" in edgebird("-q", "detect", "gone.wav", "--bundle", tones).error()


@pytest.fixture
def field_trip(tmp_path: Path) -> Path:
    """What comes home on a memory card: good files, silence, and three ways to be broken."""
    folder = tmp_path / "card"
    write(folder / "a" / "meadow.wav")
    write(folder / "b" / "silence.flac", np.zeros(6 * RATE, np.float32))
    damaged = write(folder / "b" / "damaged.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 60 * RATE))
    os.truncate(damaged, damaged.stat().st_size // 2)  # the first half can be read, and heard
    (folder / "corrupt.wav").write_bytes(b"RIFF and then nothing that makes sense" * 9)
    (folder / "empty.wav").touch()
    (folder / "notes.txt").write_text("not a recording")
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_bad_files_stop_no_others_and_what_is_whole_of_them_is_written(
    edgebird: Command, tones: Path, field_trip: Path, tmp_path: Path, name: str
) -> None:
    """One file a recording, subfolders kept, just the header where nothing was heard; half of a file is half of one."""
    out, extension = tmp_path / "out", EXTENSIONS[name]
    ended = edgebird("detect", field_trip, "--bundle", tones, "--format", name, "--out", out)
    assert (ended.code, ended.out) == (1, "")
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert [name for line in errors for name in ("corrupt", "empty") if f"{name}." in line] == ["corrupt", "empty"]
    assert len(errors) == 2
    (warning,) = [line for line in ended.err.splitlines() if line.startswith("WARNING: ")]
    assert re.search(
        r"damaged\.flac: damaged or cut off, decoding ended at \d\d\.\d s: the last .* s are missing", warning
    )
    assert "2 of 5 recordings could not be read, and parts of 1 are missing" in ended.err
    written = [path for path in out.rglob("*") if path.is_file()]
    names = ("a/meadow", "b/damaged", "b/silence")
    wanted = [out / f"{name}.{extension}" for name in names]
    assert sorted(written) == wanted
    meadow, _, silence = (path.read_text().splitlines() for path in wanted)
    assert len(silence) == {"audacity": 0}.get(name, 1)  # jsonl: the summary
    assert len(meadow) == len(silence) + len(HEARD)
    if name != "jsonl":
        assert meadow[: len(silence)] == silence
    text = "\n".join(meadow)
    positions = [text.index(label) for label in ("High Tone", "Low Tone", "Middle Tone")]
    assert positions == sorted(positions)


def test_a_cut_recording_is_accounted_for_to_its_stated_end(edgebird: Command, tones: Path, meadow: Path) -> None:
    """What is scored and what is told as missing are together what the header says; -q hides the warning alone."""
    os.truncate(meadow, 44 + 2 * 12 * RATE)
    ended = edgebird("detect", meadow, "--bundle", tones)
    assert ended.code == 1
    assert birds(ended.events())[0] == HEARD[0]
    (gap,) = ended.events("gap")
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (12.0, 22.2, "cut_off")
    (summary,) = ended.events("summary")
    assert (summary["scored_s"], summary["gap_s"], summary["tail_s"]) == (12.0, 10.2, 0)
    assert ended.err.count("decoding ended at 12.0 s: the last 10.2 s of 22.2 s are missing") == 1
    quiet = edgebird("detect", meadow, "--bundle", tones, "-q")
    assert (quiet.code, quiet.err) == (1, "error: parts of 1 of 1 recordings are missing\n")


STEREO = np.stack([MEADOW, scene(22.2, [(1, 0.9, 5, 10)])], axis=1)


def test_channels_are_averaged_taken_alone_or_each(edgebird: Command, tones: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", STEREO)
    options = ("detect", path, "--bundle", tones)
    alone = edgebird(*options, "--channel", 1)
    assert birds(alone.events()) == HEARD
    assert {event["channel"] for event in alone.events()} == {1}
    each = edgebird(*options, "--channel", "each")
    assert each.code == 0
    channels = [(event["event"], event["channel"], event.get("code")) for event in each.events("detection", "summary")]
    assert [one for one in channels if one[1] == 1] == [("detection", 1, code) for code, *_ in HEARD] + [
        ("summary", 1, None)
    ]
    assert [one for one in channels if one[1] == 2] == [("detection", 2, "tonmid"), ("summary", 2, None)]
    assert "x.wav, channel 2: 22.2 s, 1 detections" in each.err
    assert all("channel" not in event for event in edgebird(*options).events())
    raven = edgebird(*options, "--channel", "each", "--format", "raven", "--out", tmp_path / "out")
    assert raven.code == 0
    rows = [line.split("\t") for line in (tmp_path / "out/x.txt").read_text().splitlines()]
    assert [row[2] for row in rows] == ["Channel", "1", "1", "1", "2"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("channel", "more", "code", "problem"),
    [
        ("3", (), 1, "x.wav: channel 3 was asked for, and it has 2 channels"),
        ("0", (), 2, "--channel '0': wanted 1 for the first, or more, or each"),
        ("left", (), 2, "--channel 'left'"),
        ("each", ("--submission", "s.csv"), 2, "--channel each"),
    ],
)
def test_channels_that_are_not_there_are_refused(
    edgebird: Command, tones: Path, tmp_path: Path, channel: str, more: tuple[str, ...], code: int, problem: str
) -> None:
    path = write(tmp_path / "x.wav", STEREO)
    ended = edgebird("detect", path, "--bundle", tones, "--channel", channel, *more)
    assert (ended.code, ended.out) == (code, "")
    assert problem in ended.error()


def test_a_sample_beyond_all_reason_is_the_recordings_fault_and_costs_no_other(
    edgebird: Command, tones: Path, meadow: Path
) -> None:
    """The engine is not blamed, and what is around the sample is heard."""
    spoiled = MEADOW.copy()
    spoiled[11 * RATE] = 1e30
    path = meadow.parent / "a.wav"
    soundfile.write(path, spoiled, RATE, subtype="FLOAT")
    ended = edgebird("detect", path, meadow, "--bundle", tones)
    assert ended.code == 1
    assert "cannot be trusted" not in ended.err
    (gap,) = ended.events("gap")
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (11.0, 11.1, "not_finite")
    assert birds([event for event in ended.events() if event["source"] == str(meadow)]) == HEARD
    assert len(ended.events("summary")) == 2
    assert "a.wav: samples that are no sound" in ended.err


def test_a_submission_keeps_its_grid_behind_a_gap(edgebird: Command, tones: Path, tmp_path: Path) -> None:
    spoiled = MEADOW.copy()
    spoiled[6 * RATE] = np.inf
    soundfile.write(tmp_path / "a.wav", spoiled, RATE, subtype="FLOAT")
    table = tmp_path / "submission.csv"
    assert edgebird("detect", tmp_path / "a.wav", "--bundle", tones, "--submission", table).code == 1
    rows = [line.partition(",")[0] for line in table.read_text().splitlines()]
    assert rows == ["row_id", "a_5", "a_10", "a_15", "a_20", "a_25"]


def test_what_was_assumed_of_a_time_zone_is_said_once_and_marked(edgebird: Command, tones: Path, meadow: Path) -> None:
    for name in ("SM4_20230524_153000.wav", "nobody knows.wav", "20230524T153000Z.wav"):
        shutil.copy(meadow, meadow.parent / name)
    ended = edgebird("detect", meadow.parent, "--bundle", tones)
    assert ended.err.count("its time zone is not told") == 1
    assumed = {Path(event["source"]).name: event.get("zone_assumed") for event in ended.events()}
    assert assumed == {
        meadow.name: "UTC",
        "SM4_20230524_153000.wav": "local",
        "nobody knows.wav": None,
        "20230524T153000Z.wav": None,
    }
    ended = edgebird("detect", meadow, "--bundle", tones, "--timezone", "UTC")
    assert "time zone" not in ended.err
    assert all("zone_assumed" not in event for event in ended.events())


def test_listen_tells_the_gaps_of_a_file_as_detect_does(edgebird: Command, tones: Path, meadow: Path) -> None:
    os.truncate(meadow, 44 + 2 * 12 * RATE)
    detect, listen = (edgebird(*words, meadow, "--bundle", tones) for words in (("detect",), ("listen", "--file")))
    assert (detect.code, listen.code) == (1, 1)
    for kind in ("gap", "detection"):
        assert detect.events(kind) == listen.events(kind) != []
    keys = ("scored_s", "gap_s", "tail_s", "windows", "detections")
    accounts = [[ended.events("summary")[0][key] for key in keys] for ended in (detect, listen)]
    assert accounts[0] == accounts[1]


def test_several_recordings_share_one_table_on_stdout(edgebird: Command, tones: Path, field_trip: Path) -> None:
    """One header, so that `> all.csv` is a table."""
    ended = edgebird(
        "detect", field_trip / "a", field_trip / "b" / "silence.flac", "--bundle", tones, "--format", "csv"
    )
    rows = list(csv.reader(ended.out.splitlines()))
    assert rows[0] == ["Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File"]
    assert [row[3] for row in rows[1:]] == ["High Tone", "Low Tone", "Middle Tone"]


def test_audacity_labels_of_several_recordings_are_not_mixed_on_stdout(
    edgebird: Command, tones: Path, field_trip: Path
) -> None:
    ended = edgebird("detect", field_trip, "--bundle", tones, "--format", "audacity")
    assert (ended.code, ended.out) == (2, "")
    assert "--out" in ended.error()


@pytest.mark.parametrize("option", ["--out", "--submission"])
def test_recordings_whose_results_could_not_be_told_apart_are_refused_up_front(
    edgebird: Command, tones: Path, meadow: Path, tmp_path: Path, option: str
) -> None:
    """After a night of work one of them would be gone, or nobody could say whose row is whose."""
    twin = write(tmp_path / "other" / meadow.name)
    ended = edgebird("detect", meadow, twin, "--bundle", tones, option, tmp_path / "new")
    assert (ended.code, ended.out) == (1, "")
    assert str(meadow) in ended.error()
    assert str(twin) in ended.error()
    assert not (tmp_path / "new").exists()


def test_a_file_given_twice_is_done_once(edgebird: Command, tones: Path, meadow: Path) -> None:
    ended = edgebird("detect", meadow, meadow.parent, "--bundle", tones)
    assert len(ended.events("summary")) == 1


def test_explain_tells_every_rejected_candidate_with_its_reason(
    edgebird: Command, tones: Path, meadow: Path, tmp_path: Path
) -> None:
    """The answer to "why did it not report my cuckoo?"."""
    species = tmp_path / "species.txt"
    species.write_text("Tonus gravis_Tiefer Ton\ntonhig\nCorvus corax_Common Raven\n")
    options = ("--bundle", tones, "--species-list", species, "--min-windows", 2)
    plain, explained = edgebird("detect", meadow, *options), edgebird("detect", meadow, *options, "--explain")
    assert birds(plain.events()) == birds(explained.events()) == [HEARD[1]]
    assert not plain.events("rejected")
    assert [(event["code"], event["reason"]) for event in explained.events("rejected")] == [
        ("tonhig", "below_min_windows"),
        ("tonmid", "not_in_species_list"),
    ]
    assert "1 of 3 entries" in plain.err  # the raven is no label of this model


@pytest.mark.parametrize(
    ("name", "zone", "time"),
    [
        ("SITE_20230524_153000.wav", "+02:00", "2023-05-24T15:30:07.500+02:00"),
        ("SITE_20230524_153000.wav", "UTC", "2023-05-24T15:30:07.500+00:00"),
        ("20230524_153000.WAV", "America/Lima", "2023-05-24T15:30:07.500-05:00"),
        ("dawn.wav", "UTC", None),
    ],
)
def test_the_time_of_a_detection_is_that_of_the_place(
    edgebird: Command, tones: Path, tmp_path: Path, name: str, zone: str, time: str | None
) -> None:
    ended = edgebird("detect", write(tmp_path / name), "--bundle", tones, "--timezone", zone)
    assert ended.events("detection")[1]["time"] == time


def test_a_submission_holds_the_models_scores_of_every_five_seconds(
    edgebird: Command, bundle: Bundle, recording: Path, tmp_path: Path
) -> None:
    """The competition's format: one row each 5 s, a column a class, digits enough to rank by."""
    table = tmp_path / "submission.csv"
    ended = edgebird("detect", recording, "--bundle", bundle.path, "--threads", 1, "--submission", table)
    assert (ended.code, ended.out) == (0, "")
    header, *rows = csv.reader(table.read_text().splitlines())
    assert header == ["row_id", *(label.code for label in bundle.card.labels)]
    assert len(header) == 1 + 264
    assert [row[0] for row in rows] == [f"20230524_153000_{end}" for end in (5, 10, 15, 20, 25)]
    samples, _ = soundfile.read(recording, dtype="float32")
    windows = np.pad(samples, (0, 5 * 160_000 - len(samples))).reshape(5, 160_000)
    runtime = open_runtime(bundle, "ort-cpu", RuntimeOptions(threads=1))
    scores = np.concatenate([runtime.infer(window[None]) for window in windows])
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), scores, rtol=1e-6)
    digits = [len(re.sub(r"e.*|^[0.]*|\.", "", value)) for row in rows for value in row[1:]]
    assert np.mean(np.array(digits) >= 7) > 0.9  # a score may end in zeros, which are not written


def test_a_submission_goes_on_after_a_file_that_breaks_halfway(
    edgebird: Command, tones: Path, field_trip: Path, tmp_path: Path
) -> None:
    """And the detections can be had in the same run; of a file that breaks off there are the rows before."""
    table = tmp_path / "submission.csv"
    ended = edgebird("detect", field_trip, "--bundle", tones, "--submission", table, "--format", "csv")
    assert ended.code == 1
    rows = [line.partition(",")[0] for line in table.read_text().splitlines()]
    assert rows[:6] == ["row_id", *(f"meadow_{end}" for end in (5, 10, 15, 20, 25))]
    assert rows[6:9] == ["damaged_5", "damaged_10", "damaged_15"]
    assert rows[-2:] == ["silence_5", "silence_10"]
    assert "Low Tone" in ended.out


def test_a_place_that_is_taken_is_told_before_anything_is_scored(
    edgebird: Command, tones: Path, tmp_path: Path
) -> None:
    table, out, trip = tmp_path / "s.csv", tmp_path / "o", tmp_path / "trip"
    trip.mkdir()
    for name in "abc":
        write(trip / f"{name}.wav")
    (out / "c.jsonl").mkdir(parents=True)
    ended = edgebird("detect", trip, "--bundle", tones, "--submission", table, "--out", out)
    assert (ended.code, ended.out) == (1, "")
    assert "it exists and is not a regular file" in ended.error()
    assert not table.exists()
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_a_reader_that_has_enough_leaves_the_submission_whole(tones: Path, meadow: Path, tmp_path: Path) -> None:
    table = tmp_path / "submission.csv"
    read, written = os.pipe()
    os.close(read)
    process = started("detect", meadow, "--bundle", tones, "--submission", table, "--format", "jsonl", stdout=written)
    os.close(written)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, "rror" in told) == (0, False), told
    assert len(table.read_text().splitlines()) > 1


def test_verify_proves_a_bundle_and_says_how(edgebird: Command, tones: Path) -> None:
    ended = edgebird("verify", tones, "--json")
    assert ended.code == 0
    report = json.loads(ended.out)
    assert report["passed"] is True
    (result,) = report["results"]
    assert (result["precision"], result["runtime"], result["passed"]) == ("fp32", "ort-cpu", True)
    assert 0 <= result["parity"]["p99"] <= result["parity"]["max_abs"] <= result["tolerance"]["max"]
    assert result["parity"]["top1_agreement"] == 1
    assert result["worst_window_name"] in ("Low Tone", "Middle Tone", "High Tone")
    lines = edgebird("verify", tones).out
    for words in ("fp32 on ort-cpu: PASSED", "largest score difference", "top label agrees in 100%", "worst window"):
        assert words in lines


def test_verify_fails_with_exit_code_1(edgebird: Command, tones: Path, tmp_path: Path) -> None:
    """A script that runs before deployment must be stopped, by wrong scores and by damage."""
    ended = edgebird("verify", tones, "--runtime", "null", "--json")
    assert (ended.code, json.loads(ended.out)["passed"]) == (1, False)
    assert "FAILED" in edgebird("verify", tones, "--runtime", "null").out
    damaged = Path(shutil.copytree(tones, tmp_path / "damaged"))
    with (damaged / "golden.npz").open("r+b") as file:
        file.write(b"X")
    ended = edgebird("verify", damaged)
    assert (ended.code, ended.out) == (1, "")
    assert "golden.npz: damaged" in ended.error()


@pytest.mark.parametrize(("machine", "bits"), [("armv7l", 31), ("aarch64", 31), ("i686", 31), ("x86_64", 63)])
def test_32_bits_are_refused_in_one_line(
    edgebird: Command, monkeypatch: pytest.MonkeyPatch, machine: str, bits: int
) -> None:
    """A 32-bit system on a 64-bit Pi, too: else it would be a traceback of a package that does not exist for it."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sys.maxsize", 2**bits - 1)
    ended = edgebird("--version")
    if bits == 63:
        assert (ended.code, ended.err) == (0, "")
        return
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith(f"error: this is a Python of 32 bits ({machine})")


def test_doctor_tells_what_runs_and_what_to_install(edgebird: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = edgebird("doctor")
    assert ended.code == 0
    for name in RUNTIMES:
        assert re.search(rf"^{name} +(runs|cannot run): ", ended.out, re.MULTILINE)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ended = edgebird("doctor")
    assert ended.code == 0  # to say what is missing is its task
    assert re.search(r"^ort-cpu +cannot run: .*pip install 'edgebird\[cpu\]'", ended.out, re.MULTILINE)


def test_bench_keeps_every_sample_in_its_report(edgebird: Command, tones: Path, tmp_path: Path) -> None:
    """Other programs compare these files: the keys are a contract."""
    ended = edgebird("bench", tones, "--seconds", 0.05, "--threads", 1, "--json", tmp_path / "report.json")
    assert ended.code == 0
    assert "ort-cpu fp32" in ended.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["format"] == 1
    assert report.keys() >= {"format", "machine", "bundle", "runs"}
    assert report["bundle"]["sha256"]
    (run,) = report["runs"]
    assert run.keys() >= {"runtime", "precision", "scenario", "batch", "latency_ms", "samples_ms", "parity", "verdict"}
    assert (run["runtime"], run["precision"], run["scenario"], run["batch"]) == ("ort-cpu", "fp32", "single", 1)
    assert run["verdict"] in ("STEADY", "NOISY", "THROTTLED", "INVALID")
    assert len(run["samples_ms"]) >= 50
    latency = run["latency_ms"]
    assert latency.keys() >= {"min", "mean", "p50", "p90", "p95", "p99", "p999", "max", "cv"}
    ranked = [latency[key] for key in ("min", "p50", "p90", "p95", "p99", "p999", "max")]
    assert ranked == sorted(ranked)
    assert latency["max"] == pytest.approx(max(run["samples_ms"]), abs=1e-4)
    assert run["parity"]["max_abs"] <= 1e-4
    assert run["provider"] == "CPUExecutionProvider"  # the device that really ran


def test_bench_gives_no_figure_for_wrong_scores(edgebird: Command, tones: Path, tmp_path: Path) -> None:
    """A fast engine that hears nothing would win every comparison."""
    ended = edgebird("bench", tones, "--runtime", "null", "--seconds", 0.05, "--json", tmp_path / "report.json")
    assert (ended.code, ended.out) == (1, "")
    assert "not measured" in ended.error()
    (run,) = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert run["verdict"] == "INVALID"
    assert not [key for key in run if key.endswith("_ms")]


def test_bench_measures_windows_that_share_a_floor_in_their_groups(
    edgebird: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone they have other scores, which nobody has proven: such a bundle could never be measured."""
    sizes: list[int] = []
    infer = OrtRuntime.infer

    def spy(self: OrtRuntime, windows: FloatArray) -> FloatArray:
        sizes.append(len(windows))
        return infer(self, windows)

    monkeypatch.setattr(OrtRuntime, "infer", spy)
    bundle = tone_bundle(tmp_path / "batch", db_floor="batch").path
    assert edgebird("bench", bundle, "--runtime", "ort-cpu", "--seconds", 0.05).code == 0
    assert sizes[0] == 1  # the first inference
    assert set(sizes[1:]) == {4}


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A command as a process of its own, for signals and pipes."""
    command = [sys.executable, "-m", "edgebird", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], text=True, **pipes)


def test_ctrl_c_ends_with_130_and_no_half_written_file(tones: Path, meadow: Path, tmp_path: Path) -> None:
    """A hop of one sample makes 140 000 windows, so that it is always at work when it is interrupted."""
    out = tmp_path / "out"
    process = started("detect", meadow, "--bundle", tones, "--hop", 1 / RATE, "--format", "csv", "--out", out)
    deadline = time.monotonic() + 60
    while not (out.is_dir() and any(out.iterdir())) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, ""), told
    assert "interrupted" in told
    assert "Traceback" not in told
    assert not list(out.iterdir())


@pytest.mark.parametrize("arguments", ["detect AUDIO --bundle BUNDLE", "doctor", "verify BUNDLE", "--help"])
def test_a_reader_that_has_enough_is_no_error(tones: Path, meadow: Path, arguments: str) -> None:
    """`edgebird ... | head -1`: here the reader is gone before the first line."""
    words = arguments.replace("BUNDLE", str(tones)).replace("AUDIO", str(meadow)).split()
    read, written = os.pipe()
    os.close(read)
    process = started(*words, stdout=written)
    os.close(written)
    _, told = process.communicate(timeout=60)
    assert not re.search("traceback|exception|error|pipe", told, re.IGNORECASE), told
    if arguments.startswith("detect"):
        assert process.returncode == 0


def test_results_are_utf8_whatever_the_locale(tones: Path, meadow: Path, tmp_path: Path) -> None:
    """A bird in a path must not end the run on a box whose locale is C."""
    path = tmp_path / "Gr\u00fcnspecht.wav"
    path.write_bytes(meadow.read_bytes())
    command = [sys.executable, "-m", "edgebird", "detect", str(path), "--bundle", str(tones), "--format", "csv"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert "Gr\u00fcnspecht.wav" in ended.stdout.decode("utf-8")


def test_results_that_cannot_be_written_are_an_error_not_a_traceback() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([sys.executable, "-m", "edgebird", "doctor"], stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr.decode() == "error: cannot write the results: No space left on device\n"


def test_results_come_though_nobody_can_be_told_of_errors(tones: Path, meadow: Path) -> None:
    """A service whose log is full, or closed: the first line for it must not end the work."""
    command = [sys.executable, "-m", "edgebird", "detect", "gone.wav", str(meadow), "--bundle", str(tones)]
    with open("/dev/full", "wb") as full:
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=full)
    closed = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], stdout=subprocess.PIPE)
    for ended in (told, closed):
        assert ended.returncode == 1
        events = [json.loads(line)["event"] for line in ended.stdout.decode().splitlines()]
        assert events == ["detection"] * len(HEARD) + ["summary"]
