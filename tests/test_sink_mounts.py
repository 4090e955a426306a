"""A drive that is not mounted: the station hears, says so, and writes nothing where the drive should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile

from edgebird.errors import UsageError
from edgebird.live.assembly import check_settings
from edgebird.settings.keywords import keyword_settings
from edgebird.settings.model import ClipSettings, OutputSettings
from edgebird.sinks import Sink
from edgebird.sinks.build import keeping_sinks
from edgebird.sinks.chain import Chain
from edgebird.sinks.clips import ClipSink
from edgebird.sinks.mounts import on_mounts, warn_of_drives
from edgebird.sinks.retention import Limits, Retention
from tests.foreign import RATE, scene, tone_bundle
from tests.sinking import Tape, detection, noon, query


class Told(Sink):
    name = "told"

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def take(self, event: dict[str, object], memory: object) -> None:
        self.events.append(event)

    def states(self, state: str) -> dict[object, object]:
        return {e["sink"]: e.get("error") for e in self.events if e["event"] == "sink" and e["state"] == state}


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A mount point, an empty folder on the system's disk."""
    path = tmp_path / "birds"
    path.mkdir()
    return path


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The folders that are mount points."""
    paths: set[str] = set()
    monkeypatch.setattr("os.path.ismount", lambda path: str(path) in paths)
    return paths


def all_sinks(drive: Path) -> list[Sink]:
    output = OutputSettings(
        out=drive / "tables", log=drive / "log", csv=drive / "birds.csv", database=drive / "birds.db",
        require_mount=(drive,),
    )  # fmt: skip
    makers = Retention(drive / "clips", Limits(max_bytes=10**9)), ClipSink(ClipSettings(drive / "clips"))
    return [*keeping_sinks(output, 100), *(on_mounts(maker, drive / "clips", (drive,)) for maker in makers)]


NAMES = {"folder", "lines", "table", "database", "retention", "clips"}


def test_nothing_is_written_where_the_drive_is_missing_and_all_is_when_it_comes(drive: Path, mounted: set[str]) -> None:
    tape, told, at = Tape(), Told(), [1000.0]
    chain = Chain([told, *all_sinks(drive)], noon, lambda: at[0])
    chain.open()
    chain.take(detection(tape), tape)
    chain.tick()
    assert told.states("failed") == dict.fromkeys(NAMES, f"{drive} is not mounted")
    assert list(drive.iterdir()) == []
    mounted.add(str(drive))
    at[0] += 61
    chain.tick()
    tape.wind_to(30)
    chain.take(detection(tape), tape)
    assert told.states("recovered").keys() == NAMES
    chain.close()
    assert query(drive / "birds.db", "SELECT count(*) FROM detections") == [(1,)]
    assert len(list(drive.glob("clips/*/*.flac"))) == 1


def test_a_drive_that_goes_while_it_is_written_is_not_written_to_elsewhere(drive: Path, mounted: set[str]) -> None:
    """Unmounted, its folder on the system's disk is there and can be written; a clip still waits for its sound."""
    tape, told, at = Tape(), Told(), [1000.0]
    mounted.add(str(drive))
    chain = Chain([told, *all_sinks(drive)], noon, lambda: at[0])
    chain.open()
    tape.wind_to(20.5)
    chain.take(detection(tape), tape)
    mounted.clear()
    drive.rename(drive.with_name("unplugged"))
    drive.mkdir()
    for _ in range(3):
        chain.take(detection(tape), tape)
        chain.tick()
        at[0] += 61
    assert told.states("failed") == dict.fromkeys(NAMES, f"{drive} is not mounted")
    chain.close()
    assert list(drive.iterdir()) == []
    lost = {e["sink"]: e["lost"] for e in told.events if e["event"] == "sink" and e["state"] == "closed"}
    assert lost.keys() == NAMES
    assert min(lost["lines"], lost["database"]) > 3  # the detections, and what the others told


def test_a_drive_that_is_mounted_over_an_open_output_gets_what_comes(drive: Path, mounted: set[str]) -> None:
    """What is under it would be hidden: a log into nowhere for months."""
    tape, told = Tape(), Told()
    mounted.add(str(drive))
    chain = Chain([told, *all_sinks(drive)[:4]], noon)
    chain.open()
    chain.take(detection(tape), tape)
    drive.rename(drive.with_name("below"))
    for folder in ("log", "tables"):
        (drive / folder).mkdir(parents=True)
    chain.take(detection(tape), tape)
    chain.close()
    assert told.states("failed") == {}
    assert query(drive / "birds.db", "SELECT count(*) FROM detections") == [(1,)]
    texts = [path for path in drive.rglob("*") if path.suffix in (".jsonl", ".csv")]
    lines = {path.name: len(path.read_text().splitlines()) for path in texts}
    assert lines == {"20230502.jsonl": 1, "garden.jsonl": 1, "birds.csv": 2}


@pytest.mark.parametrize(
    ("mounts", "wrong"),
    [
        (["/media/birds"], ""),
        (["/media"], ""),
        ("/media/birds", ""),
        (["/media/bird"], "/media/bird: no output is there"),
    ],
)
def test_a_mount_point_without_an_output_is_a_slip_of_the_pen(mounts: object, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "dawn.wav").touch()
    settings = keyword_settings(
        tmp_path / "dawn.wav", None, {"bundle": "b", "clips": "/media/birds/clips", "require_mount": mounts}
    )
    if not wrong:
        check_settings(settings)
        return
    with pytest.raises(UsageError, match=wrong):
        check_settings(settings)


def test_what_is_on_the_drive_by_a_link_is_bound_to_it_and_nothing_else(drive: Path, mounted: set[str]) -> None:
    link = drive.with_name("link")
    link.symlink_to(drive / "clips")
    sink = Told()
    assert on_mounts(sink, drive.with_name("birds2") / "log", (drive,)) is sink
    assert on_mounts(sink, link / "log", (drive,)) is not sink


def test_an_output_that_seems_meant_for_a_drive_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who does not know the setting fills the system's card, a week later."""
    monkeypatch.setattr("edgebird.sinks.mounts._is_on_system_disk", lambda path: path.name != "mounted")
    outputs = [Path("/media/birds/clips"), Path("/var/lib/edgebird"), Path("/mnt/mounted"), Path("/media/guarded/log")]
    warn_of_drives((Path("/media/guarded"),), outputs)
    assert [record.args for record in caplog.records] == [(outputs[0],)]


def test_a_station_without_its_drive_hears_and_leaves_the_folder_empty(drive: Path, tmp_path: Path) -> None:
    tone_bundle(tmp_path / "tones")
    soundfile.write(tmp_path / "dawn.wav", scene(10, [(1, 0.8, 3, 6)]), RATE, subtype="PCM_16")
    done = _listen(
        tmp_path, "--database", drive / "a" / "birds.db", "--clips", drive / "clips", "--require-mount", drive
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {e["error"] for e in events if e["event"] == "sink" and e["state"] == "failed"} == {
        f"{drive} is not mounted"
    }
    assert [e["event"] for e in events if e["event"] in ("detection", "summary")] == ["detection", "summary"]
    assert list(drive.iterdir()) == []


def _listen(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command: Sequence[object] = (sys.executable, "-m", "edgebird", "listen", "--bundle", "tones", "--file", "dawn.wav")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [*map(str, command), *map(str, arguments)], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
