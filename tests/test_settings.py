"""The settings of a station: what a person writes is what they get, and a slip is said in one line that helps."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Any

import pytest

from edgebird.errors import UsageError
from edgebird.settings.build import station_settings
from edgebird.settings.checks import split_thresholds
from edgebird.settings.model import ClipSettings, DetectionSettings, SourceSettings, StationSettings
from edgebird.settings.sources import make_source

MICROPHONE = '[[source]]\nmic = ""\n'


def settings(folder: Path, text: str, **given: Any) -> StationSettings:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return station_settings(path, given)


def problem(folder: Path, text: str) -> str:
    """The one line that a file which is wrong gives, without the folder."""
    with pytest.raises(UsageError) as raised:
        settings(folder, text)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"{folder}/")


def test_a_few_lines_are_a_station(tmp_path: Path) -> None:
    station = settings(tmp_path, f'bundle = "birds"\n{MICROPHONE}')
    assert station.sources == (SourceSettings("mic", "mic", ""),)
    assert station.detection == DetectionSettings(bundle=tmp_path / "birds")
    assert station.output.clips is None
    assert (station.buffer_s, station.duration_s, station.stats_every_s) == (15, None, 60)


def test_everything_that_is_written_arrives(tmp_path: Path) -> None:
    station = settings(
        tmp_path,
        """
        bundle = "/srv/birds"
        hop = 2
        min-windows = 2
        quiet-hours = ["22:00-04:30", "12:00-13:00"]
        timezone = "Europe/Berlin"
        latitude = 52.5
        longitude = 13
        duration = 60
        [thresholds]
        comcuc = 0.5
        "Turdus merula" = 0.6
        [output]
        log = "log"
        [clips]
        folder = "clips"
        format = "wav"
        max-size = "20GB"
        min-free = "1.5 gb"
        keep-best = 3
        [[source]]
        name = "garden"
        mic = 2
        channel = 1
        [[source]]
        url = "rtsp://192.168.1.20/live"
        transport = "udp"
        [[source]]
        file = "dawn.wav"
        realtime = true
        [[source]]
        stdin = "s16le:48000:1"
        """,
    )
    detection = station.detection
    assert (detection.bundle, detection.hop_s, detection.min_windows) == (Path("/srv/birds"), 2.0, 2)
    assert detection.quiet_hours == ((time(22), time(4, 30)), (time(12), time(13)))
    assert (detection.timezone, detection.latitude, detection.longitude) == ("Europe/Berlin", 52.5, 13.0)
    assert detection.thresholds == {"comcuc": 0.5, "Turdus merula": 0.6}
    assert station.output.log == tmp_path / "log"
    assert station.output.clips == ClipSettings(
        tmp_path / "clips", "wav", max_size=20 * 10**9, min_free=1_500_000_000, best_per_species=3
    )
    assert station.sources == (
        SourceSettings("garden", "mic", "2", channel=1),
        SourceSettings("192.168.1.20", "url", "rtsp://192.168.1.20/live", transport="udp"),
        SourceSettings(str(tmp_path / "dawn.wav"), "file", str(tmp_path / "dawn.wav"), realtime=True),
        SourceSettings("stdin", "stdin", "s16le:48000:1"),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("treshold = 0.5", "station.toml: unknown key 'treshold': did you mean threshold? known: bundle, runtime, "),
        ("[clips]\nfolder = 'x'\npree = 1", "unknown key 'pree' in [clips]: did you mean pre? known: folder, format, "),
        (f"{MICROPHONE}hop = 2", "'hop' in a [[source]]: it belongs at the top, before the first [table]; known: name"),
        ("keep-best = 3", "unknown key 'keep-best': it belongs in [clips]; known: "),
        ("threshold = 1.5", "station.toml: threshold = 1.5: wanted a number, 0 to 1"),
        ("threshold = true", "threshold = true: wanted a number, 0 to 1"),
        ("hop = nan", "hop = nan: wanted a number of seconds, 0.01 to 60"),
        ("threads = 1.5", "threads = 1.5: wanted a whole number, 1 or more"),
        ("precision = 'fp8'", "precision = 'fp8': wanted one of fp32, fp16, bf16, int8"),
        ("runtime = 'cuda'", "runtime = 'cuda': wanted one of auto, ort-cpu, "),
        ("explain = 1", "explain = 1: wanted true or false"),
        ("bundle = ''", "bundle = '': wanted a path"),
        ("timezone = 'Mars/Base'", "timezone = 'Mars/Base': wanted UTC, local, an offset such as +02:00, or a name"),
        ("quiet-hours = '22:00-04:30'", """quiet-hours = '22:00-04:30': wanted a list such as ["22:00-04:30"]"""),
        ("quiet-hours = ['9:00-10:00']", "wanted a list such as"),
        ("quiet-hours = ['09:00-09:00']", "wanted a list such as"),
        ("thresholds = {comcuc = 2}", "wanted a number, 0 to 1, for comcuc"),
        ("clips = 3", "clips = 3: wanted a table, [clips]"),
        ("[clips]\nmax-size = 20", "clips.max-size = 20: wanted a size such as 500MB or 20GB"),
        ("[clips]\npre = 1", "settings of clips, but no folder"),
        ("latitude = 52.5", "latitude and longitude belong together"),
        ("source = {mic = ''}", "source is written [[source]]"),
        ("[[source]]\nname = 'a b'\nmic = ''", "source 'a b': name 'a b': wanted letters, digits, - and _"),
        ("[[source]]\nname = 'pond'", "source 'pond': wanted one of mic, url, file, stdin, got none"),
        ("[[source]]\nmic = ''\nurl = 'rtsp://h/x'", "source 1: wanted one of mic, url, file, stdin, got mic and url"),
        ("[[source]]\nmic = ''\nchannel = 0", "source 1: channel 0: wanted 1 for the first, or more"),
        ("[[source]]\nmic = true", "source 1: mic is not the name or number of a device"),
        ("[[source]]\nmic = ''\ntransport = 'tcp'", "source 1: transport is for url, not for mic"),
        ("[[source]]\nurl = 'rtsp://h/x'\ntransport = 'http'", "transport 'http': wanted tcp or udp"),
        ("[[source]]\nurl = 'somewhere'", "source 1: a url that is none: wanted SCHEME://HOST/..., such as rtsp://"),
        ("[[source]]\nstdin = '48000'", "stdin '48000': wanted FORMAT:RATE:CHANNELS, such as s16le:48000:1"),
        ("[[source]]\nname = 'a'\nmic = ''\n" * 2, "station.toml: two sources are called 'a': give each its own name"),
        ("[[source]]\nstdin = 's16le:48000:1'\n" * 2, "two sources read stdin: only one can"),
        ("hop = 2\nhop = 3", "station.toml: not TOML: "),
    ],
)
def test_a_slip_is_said_in_one_line_with_what_was_wanted(tmp_path: Path, text: str, expected: str) -> None:
    complete = text if "source" in text else f"{text}\n{MICROPHONE}"
    if "bundle" not in text:
        complete = f'bundle = "birds"\n{complete}'
    assert expected in problem(tmp_path, complete)


def test_what_is_missing_is_said_with_both_ways_to_give_it(tmp_path: Path) -> None:
    assert "--mic" in problem(tmp_path, 'bundle = "birds"')
    assert "--bundle BUNDLE, or bundle =" in problem(tmp_path, MICROPHONE)
    with pytest.raises(FileNotFoundError):  # exit code 1, as for every path that does not exist
        station_settings(tmp_path / "absent.toml", {})


def test_a_file_from_a_windows_editor_is_read(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_bytes(b'\xef\xbb\xbfbundle = "birds"\r\n[[source]]\r\nmic = "USB"\r\n')
    assert station_settings(tmp_path / "station.toml", {}).sources[0].address == "USB"
    (tmp_path / "station.toml").write_bytes('bundle = "v\xf6gel"'.encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8 text: save it as UTF-8"):
        station_settings(tmp_path / "station.toml", {})


def test_passwords_come_from_the_environment_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'bundle = "birds"\n[[source]]\nurl = "rtsp://me:${POND_PASSWORD}@${POND_HOST}/live"\n'
    monkeypatch.setenv("POND_PASSWORD", "s3cret")
    monkeypatch.delenv("POND_HOST", raising=False)
    message = problem(tmp_path, text)
    assert message == (
        "station.toml: source 1: url needs the environment variable POND_HOST, which is not set or empty"
    )
    monkeypatch.setenv("POND_HOST", "10.0.0.7")
    station = settings(tmp_path, text)
    assert station.sources[0].address == "rtsp://me:s3cret@10.0.0.7/live"
    assert station.sources[0].name == "10.0.0.7"
    assert "s3cret" not in repr(station)
    monkeypatch.setenv("POND_HOST", "[bad")
    assert "s3cret" not in problem(tmp_path, text)
    assert "s3cret" not in problem(tmp_path, 'bundle = "birds"\n[[source]]\nurl = "me:s3cret@host"\n')


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(
        f'bundle = "birds"\nhop = 5\nmin-windows = 3\n[thresholds]\na = 0.1\nb = 0.2\n{MICROPHONE}'
    )
    given = {"bundle": Path("mine"), "hop": 1.0, "min-windows": None, **split_thresholds(["0.4", "b=0.9"])}
    garden = make_source("mic", "USB", "garden")
    station = station_settings(tmp_path / "station.toml", {**given, "clips.folder": "clips"}, [garden])
    assert station.detection == DetectionSettings(
        Path("mine"), hop_s=1.0, threshold=0.4, thresholds={"a": 0.1, "b": 0.9}, min_windows=3
    )
    assert station.sources == (garden,)
    assert station.output.clips == ClipSettings(Path("clips"))


def test_the_command_line_alone_is_enough_and_is_checked_alike() -> None:
    mic = make_source("mic", "")
    given = {"bundle": Path("birds"), "quiet-hours": ["22:00-04:30"]}
    assert station_settings(None, given, [mic]).detection.quiet_hours == ((time(22), time(4, 30)),)
    with pytest.raises(UsageError, match=r"^--max-size '5': wanted a size such as 500MB or 20GB$"):
        station_settings(None, {**given, "clips.max-size": "5"}, [mic])
    with pytest.raises(UsageError, match="--threshold much: wanted X, or CODE=X for one species"):
        split_thresholds(["much"])
    with pytest.raises(UsageError, match="no folder for them: give --clips DIR"):
        station_settings(None, {**given, "clips.format": "wav"}, [mic])
