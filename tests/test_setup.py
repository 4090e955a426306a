"""`edgebird setup`: five answers become a station that listens, nothing is written unseen, and no secret is shown."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import typer.testing
from typer.testing import Result

from edgebird.capture.devices import Device
from edgebird.cli import setup
from edgebird.cli.app import make_app
from edgebird.live.microphones import Loudness
from edgebird.settings.build import station_settings
from edgebird.settings.model import StationSettings
from edgebird.setup import home
from edgebird.setup.answers import ALERT_SECRET, STREAM_SECRET, environment_text, split_secret
from edgebird.web.options import read_password
from tests.conftest import require
from tests.foreign import tone_bundle

ROOT = Path(__file__).parents[1]
DEVICES = [
    Device(0, "USB Audio: - (hw:1,0)", "ALSA", 1, 48000, True),
    Device(1, "HDA: Front (hw:0,0)", "ALSA", 2, 48000, False),
    Device(2, "HDA: Front (hw:2,0)", "ALSA", 2, 48000, False),
]
SECRET_URL = 'rtsp://me:se"c\\r$t@camera/live'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_bundle(tmp_path_factory.mktemp("setup") / "tones").path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, with microphones that are heard, and streams that are not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("edgebird.live.microphones.list_microphones", lambda: DEVICES)
    monkeypatch.setattr("edgebird.live.microphones.measure", lambda _device, _seconds: Loudness(-20.0, -43.21))
    monkeypatch.setattr(
        "edgebird.live.microphones.measure_stream", lambda _url, _seconds: Loudness(None, None, "unresolved")
    )
    monkeypatch.setattr(setup.shell, "stdin_is_terminal", lambda: False)
    return tmp_path


def edgebird(*arguments: object, said: str = "") -> Result:
    return typer.testing.CliRunner().invoke(make_app(), ["setup", *map(str, arguments)], input=said)


def flags(model: Path, **others: str) -> list[object]:
    """All five answers; `-` leaves one out."""
    given = {"mic": "usb", "bundle": str(model), "place": "52.52,13.41", "page": "none", "alerts": "none"} | others
    return [
        "--service",
        "user",
        *(part for key, value in given.items() if value != "-" for part in (f"--{key}", value)),
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def settings_in(place: Path) -> StationSettings:
    return station_settings(place / ".config/edgebird/station.toml", {})


def test_flags_make_a_station_and_its_service(place: Path, bundle: Path) -> None:
    require("starlette")
    ended = edgebird(*flags(bundle, page="loopback"), "--yes")
    assert ended.exit_code == 0, ended.output
    station = settings_in(place)
    assert [(source.kind, source.address) for source in station.sources] == [("mic", "USB Audio: -")]
    assert (station.detection.bundle, station.detection.coordinates) == (bundle, (52.52, 13.41))
    assert station.output.database == place / ".local/share/edgebird/birds.db"
    units = place / ".config/systemd/user"
    listens, serves = ((units / name).read_text() for name in ("edgebird.service", "edgebird-serve.service"))
    assert f"listen --config {place}/.config/edgebird/station.toml\n" in listens
    assert f"serve --database {station.output.database} --clips {place}" in serves
    assert " --listen 127.0.0.1:8080\n" in serves
    assert not re.search("^[^#]*(/opt/edgebird|/etc/edgebird|/var/lib)", listens + serves, re.MULTILINE)
    assert "-43.2 dBFS" in ended.stderr
    assert "ort-cpu: largest score difference" in ended.stderr
    assert "systemctl --user daemon-reload && systemctl --user enable --now edgebird edgebird-serve" in ended.stderr


def test_what_is_written_is_shown_before_and_nothing_else_happens(place: Path, bundle: Path) -> None:
    """Without --yes and without a person nothing is written, and the lines shown are those that --yes writes."""
    ended = edgebird(*flags(bundle))
    assert (ended.exit_code, ended.stderr.splitlines()[-1]) == (
        2,
        "error: nothing was written: give --yes to write this",
    )
    assert files(place) == {}
    assert edgebird(*flags(bundle), "--yes").stdout == ended.stdout
    for path, content in files(place).items():
        shown = "".join(f"+{line}\n" for line in content.decode().splitlines())
        assert f"+++ {place / path}\n" in ended.stdout
        assert shown in ended.stdout


@pytest.mark.parametrize("left_out", ["mic", "bundle", "place", "page", "alerts"])
def test_without_a_terminal_every_question_has_to_be_answered(place: Path, bundle: Path, left_out: str) -> None:
    ended = edgebird(*flags(bundle, **{left_out: "-"}), "--yes")
    wanted = "give --mic or --url, --bundle, --place, --page, --alerts, and --yes"
    assert (ended.exit_code, ended.stderr) == (2, f"error: there is no terminal to ask on: {wanted}\n")
    assert files(place) == {}


def test_a_person_is_asked_and_asked_again(place: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong answers cost nothing but another question; the microphones are listed with how loud they are."""
    monkeypatch.setattr(setup.shell, "stdin_is_terminal", lambda: True)
    said = ["7", "2", place / "none", bundle, "here", "52.5, 13.4", "all", "none", "none", "y"]
    ended = edgebird("--service", "user", said="".join(f"{line}\n" for line in said))
    assert ended.exit_code == 0, ended.output
    assert "  1  USB Audio: - (hw:1,0): -43.2 dBFS, peak -20.0\n" in ended.stderr
    assert ended.stderr.count("error: ") == 4
    station = settings_in(place)
    assert station.sources[0].address == "HDA: Front (hw:0,0)", "the short name would fit two"
    assert station.detection.coordinates == (52.5, 13.4)


def test_who_says_no_has_changed_nothing(place: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.shell, "stdin_is_terminal", lambda: True)
    ended = edgebird(*flags(bundle), said="n\n")
    assert (ended.exit_code, files(place)) == (1, {})


def test_settings_that_exist_are_replaced_when_that_is_said_and_kept(place: Path, bundle: Path) -> None:
    path, mine = place / ".config/edgebird/station.toml", '# mine\nurl = "rtsp://me:hunter2@pond"\ntoken = "hunter2"\n'
    path.parent.mkdir(parents=True)
    path.write_text(mine)
    refused = edgebird(*flags(bundle), "--yes")
    assert refused.exit_code == 2
    assert f"{path} exists: give --replace" in refused.stderr
    assert files(place) == {".config/edgebird/station.toml": mine.encode()}
    replaced = edgebird(*flags(bundle), "--yes", "--replace")
    assert replaced.exit_code == 0
    assert '-url = "rtsp://***\n-token =***\n' in replaced.stdout, "old secrets are not shown either"
    assert path.with_name("station.toml.old").read_text() == mine
    before = files(place)
    again = edgebird(*flags(bundle), "--yes", "--replace")
    assert again.stderr.endswith("nothing to do: the station is set up like this\n")
    assert files(place) == before
    assert edgebird(*flags(bundle, place="none"), "--yes", "--replace").exit_code == 0
    assert path.with_name("station.toml.old").read_text() == mine, "the first copy is kept"
    assert settings_in(place).detection.coordinates is None


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it
def test_secrets_are_in_files_of_their_owner_and_nowhere_else(
    place: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("apprise")
    address = "ntfys://birds:hunter2@ntfy.example/topic"
    (place / "address").write_text(f"{address}\nmore\n")
    environment = place / ".config/edgebird/environment"
    environment.parent.mkdir(parents=True)
    environment.write_text("OTHER=1\n")
    environment.chmod(0o644)
    given = flags(bundle, mic="-", url=SECRET_URL, page="network", alerts=str(place / "address"))
    ended = edgebird(*given, "--yes")
    assert ended.exit_code == 0, ended.output
    for path in (environment, environment.with_name("password")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    password = read_password(environment.with_name("password"))
    kept = files(place)
    del kept["address"], kept[".config/edgebird/environment"], kept[".config/edgebird/password"]
    for secret in ("hunter2", 'se"c', password):
        assert secret not in ended.output
        assert not any(secret.encode() in content for content in kept.values())
    text = environment.read_text()
    assert text.startswith("OTHER=1\n")
    assert 'EDGEBIRD_STREAM_URL="rtsp://me:se\\"c\\\\r\\$t@camera/live"\n' in text
    monkeypatch.setenv(ALERT_SECRET, address)
    monkeypatch.setenv(STREAM_SECRET, SECRET_URL)
    station = settings_in(place)
    assert station.sources[0].address == SECRET_URL
    assert [alert.to for alert in station.alerts] == [(address,)] * 2
    assert edgebird(*given, "--yes", "--replace").stderr.endswith("nothing to do: the station is set up like this\n")
    assert read_password(environment.with_name("password")) == password


def test_the_environment_comes_through_a_shell_as_it_was() -> None:
    """systemd takes the same four characters with a backslash in double quotes as a shell."""
    value = "a\"b\\c$d`e %20 #'~!"
    text = environment_text("X=0\nOLD=y\n", {"X": value})
    shell = subprocess.run(["sh", "-c", f'{text}printf %s "$X"'], capture_output=True, text=True, check=True)
    assert (shell.stdout, text.splitlines()[0]) == (value, "OLD=y")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("mic", "sofa", "no microphone 'sofa'"),
        ("mic", "HDA", "fits several microphones"),
        ("bundle", "nowhere", "nowhere"),
        ("place", "91,0", "no such place '91,0'"),
        ("page", "world", "no such page 'world'"),
        ("alerts", "/nowhere", "/nowhere: No such file or directory"),
        ("alerts", os.devnull, "its first line is empty"),
    ],
)
def test_a_wrong_answer_is_one_line_and_nothing_is_written(
    place: Path, bundle: Path, option: str, value: str, told: str
) -> None:
    ended = edgebird(*flags(bundle, **{option: value}), "--yes")
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.exit_code in (1, 2)
    assert len(errors) == 1
    assert told in errors[0]
    assert files(place) == {}


def test_a_bundle_that_does_not_score_as_it_should_is_refused(place: Path, tmp_path: Path) -> None:
    """Whoever sets up a station must not find out in autumn that it heard nothing right."""
    import numpy as np

    from edgebird.bundle import seal

    folder = tone_bundle(tmp_path / "bad").path
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["scores"] = arrays["scores"][::-1]
    np.savez(folder / "golden.npz", **arrays)
    seal(folder)
    ended = edgebird(*flags(folder), "--yes")
    assert ended.exit_code == 1
    assert "does not score as the original did" in ended.stderr
    assert not (place / ".config").exists()


def test_the_system_s_service_is_the_documented_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the wheel brings is what docs/station has; with the places of docs/station.md nothing in it changes."""
    for name in ("edgebird.service", "edgebird-serve.service"):
        shown = (ROOT / "docs" / "station" / name).read_text(encoding="utf-8")
        assert (ROOT / "edgebird" / "setup" / name).read_text(encoding="utf-8") == shown
    monkeypatch.setattr("edgebird.setup.home.program", lambda: "/opt/edgebird/bin/edgebird")
    at = home.home("system")
    assert at.unit() == (ROOT / "docs" / "station" / "edgebird.service").read_text(encoding="utf-8")
    assert " --listen 0.0.0.0:8080 --password-file /etc/edgebird/password\n" in at.unit(
        home.serve_options("network", at)
    )


def test_the_system_s_service_sees_no_homes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgebird.setup.home.program", lambda: "/opt/edgebird/bin/edgebird")
    monkeypatch.setattr(home.Home, "group", 7)
    with pytest.raises(home.UsageError, match="sees no homes"):
        home.home("system").check(Path("/home/pi/birds"))
    home.home("system").check(Path("/opt/edgebird/birds"))


def test_a_package_s_service_is_left_to_the_package(tmp_path: Path) -> None:
    assert not home.home("system", root=tmp_path).packaged
    unit = tmp_path / "usr/lib/systemd/system/edgebird.service"
    unit.parent.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "station" / "edgebird.service", unit)
    assert home.home("system", root=tmp_path).packaged
    assert not home.home("system", tmp_path / "mine.toml", tmp_path).packaged


@pytest.mark.parametrize("address", ["nonsense", "//host/x", "rtsp://", "http://[::1"])
def test_an_address_that_is_none_is_not_shown(address: str) -> None:
    with pytest.raises(home.UsageError) as raised:
        split_secret(address)
    assert address not in str(raised.value).replace("SCHEME://HOST", "").replace("rtsp://192", "")
