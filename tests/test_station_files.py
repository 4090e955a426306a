"""The files a person copies to make a station: they are right, and say all there is to say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from edgebird.settings.build import station_settings
from edgebird.settings.model import ALERT_ROWS, ROWS, SOURCE_ROWS
from edgebird.settings.reference import markdown, station_toml
from edgebird.settings.telling import MqttSettings

ROOT = Path(__file__).parents[1]
STATION = ROOT / "docs" / "station"
SETTINGS = (STATION / "station.toml").read_text(encoding="utf-8")
SERVICE = (STATION / "edgebird.service").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "station.md").read_text(encoding="utf-8")
KEYS = {row.setting.key for row in (*ROWS, *ALERT_ROWS, *SOURCE_ROWS)}


def test_example_and_page_are_what_the_table_of_settings_says() -> None:
    """If not: `python -m edgebird.settings.reference docs`."""
    assert station_toml() == SETTINGS
    assert markdown() in PAGE


def test_the_example_is_a_station() -> None:
    station = station_settings(STATION / "station.toml", {})
    assert [source.name for source in station.sources] == ["garden"]
    assert station.detection.min_windows == 2
    assert station.output.clips is not None
    assert station.output.clips.max_size == 20 * 10**9


def test_every_setting_is_in_the_example_and_right_when_it_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is commented out is `#key = value`, without a space."""
    monkeypatch.setenv("POND_USER", "me")
    monkeypatch.setenv("POND_PASSWORD", "secret")
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    monkeypatch.setenv("NTFY_URL", "ntfy://birds")
    monkeypatch.setenv("BIRDWEATHER_TOKEN", "secret")
    whole = re.sub(r"^#(?=[^ \n])", "", SETTINGS, flags=re.MULTILINE)
    (tmp_path / "station.toml").write_text(whole, encoding="utf-8")
    station = station_settings(tmp_path / "station.toml", {})
    assert [source.kind for source in station.sources] == ["mic", "url", "file", "stdin"]
    assert station.detection.thresholds == {"comcuc": 0.5, "Turdus merula": 0.6}
    said = set(re.findall(r"^([a-z-]+) = ", whole, re.MULTILINE))
    said |= set(re.findall(r"^\[(?:[a-z-]+\.)?([a-z-]+)\]", whole, re.MULTILINE))  # those that are tables themselves
    assert said >= KEYS


def test_the_way_to_home_assistant_is_one_that_can_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of the page that changes station.toml: what comes out is a station with a broker."""
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    (line,) = re.findall(r"^sudo (sed .*) /etc/edgebird/station.toml$", PAGE, re.MULTILINE)
    shutil.copy(STATION / "station.toml", tmp_path)
    subprocess.run([*shlex.split(line), tmp_path / "station.toml"], check=True)
    station = station_settings(tmp_path / "station.toml", {})
    assert station.mqtt == MqttSettings("127.0.0.1", user="edgebird", password="secret")
    assert [source.name for source in station.sources] == ["garden"]


def test_what_the_example_calls_a_default_is_one(tmp_path: Path) -> None:
    """All that is commented out above the first table, but what the comment calls an example."""
    (tmp_path / "station.toml").write_text('bundle = "x"\n[clips]\nfolder = "x"\n[[source]]\nmic = ""\n')
    station = station_settings(tmp_path / "station.toml", {})
    assert station.output.clips
    defaults = {
        "runtime": station.detection.runtime,
        "precision": station.detection.precision,
        "hop": station.detection.hop_s,
        "buffer": station.buffer_s,
        "stats-every": station.stats_every_s,
        "format": station.output.clips.format,
        "pre": station.output.clips.pre_s,
        "post": station.output.clips.post_s,
    }
    for key, value in defaults.items():
        shown = f'"{value}"' if isinstance(value, str) else f"{value:g}"
        assert re.search(rf"^#{key} = {re.escape(shown)} ", SETTINGS, re.MULTILINE), key
    assert "threshold = 0.3 " in SETTINGS
    assert station.detection.threshold == 0.3


def _systemd_analyze() -> str:
    """The program; without it skip, or fail where EDGEBIRD_REQUIRE promises systemd."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if {"systemd", "all"} & set(os.environ.get("EDGEBIRD_REQUIRE", "").split(",")):
            pytest.fail("systemd was promised by EDGEBIRD_REQUIRE: systemd-analyze is not there")
        pytest.skip("systemd-analyze is not installed")
    return program


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The service file with a program that exists."""
    (program,) = re.findall(r"^ExecStart=(\S+)", SERVICE, re.MULTILINE)
    path = tmp_path / "edgebird.service"
    path.write_text(SERVICE.replace(program, "/bin/true"), encoding="utf-8")
    return path


def test_systemd_takes_the_service_without_a_complaint(unit: Path) -> None:
    done = subprocess.run(
        [_systemd_analyze(), "verify", "--man=no", unit], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_can_do_little_harm(unit: Path) -> None:
    """2.0 of 10 is what systemd calls OK; a network and a sound card cannot be had for less than 1."""
    done = subprocess.run(
        [_systemd_analyze(), "security", "--offline=true", "--no-pager", "--threshold=20", unit],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert done.returncode == 0, done.stdout[-200:]


def test_service_and_settings_speak_of_the_same_places() -> None:
    folder = "/var/lib/edgebird"
    assert "StateDirectory=edgebird\n" in SERVICE
    written = re.findall(r'^#?(?:log|database|csv|folder) = "([^"]+)"', SETTINGS, re.MULTILINE)
    assert len(written) == 4
    assert all(path.startswith(f"{folder}/") for path in written)
    assert "--config /etc/edgebird/station.toml" in SERVICE
    for place in (folder, "/etc/edgebird/environment", "/opt/edgebird/birds"):
        assert place in PAGE


def test_the_page_names_every_option_and_setting_as_they_are() -> None:
    """`key = ...` in the text, and the links to files."""
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    text = PAGE.partition("<!-- ")[0]  # what is written by hand
    assert set(re.findall(r"`([a-z-]+) = ", text)) <= KEYS
    for key in ("max-age", "max-size", "min-free", "keep-best", "stats-every", "thresholds", "buffer", "hop"):
        assert key in KEYS
        assert f"`{key}`" in text or f"`[{key}]`" in text
