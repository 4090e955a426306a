"""The table of settings: each row is complete, and a row that is added is all that a new setting takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import MISSING
from pathlib import Path

import pytest
import typer.testing

from edgebird.cli.app import make_app
from edgebird.parity import TOLERANCES
from edgebird.settings.build import station_settings
from edgebird.settings.model import ALERT_ROWS, KINDS, PANELS, PRECISIONS, ROWS, SOURCE_ROWS
from edgebird.settings.row import SettingRow
from edgebird.settings.sources import given_sources, make_source

ROOT = Path(__file__).parents[1]
ALL = [*ROWS, *ALERT_ROWS, *SOURCE_ROWS]
every_row = pytest.mark.parametrize("row", ALL, ids=[row.key for row in ALL])


@every_row
def test_a_row_says_all_there_is_to_say(row: SettingRow) -> None:
    setting = row.setting
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", setting.key)
    assert setting.help.endswith(".")
    assert "{" not in row.help.replace("${NAME}", "")
    assert setting.check.wanted()
    if setting.option:
        assert re.fullmatch(r"--[a-z]+(-[a-z]+)*", setting.option.name)
        assert bool(setting.option.metavar) != (setting.check.kind is bool)
        assert setting.option.panel in PANELS
    assert set(setting.kinds) <= set(KINDS)


@every_row
def test_a_default_passes_its_own_check_and_so_does_the_example(
    row: SettingRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default that nobody could write down could not be taken back either."""
    for name in re.findall(r"\$\{(\w+)\}", str(row.setting.example)):
        monkeypatch.setenv(name, "secret")
    if row.default not in (None, MISSING):
        assert row.setting.check.read(row.default) == row.default
    elif row.default is MISSING and row.table not in ("source", "alert"):
        assert row.setting.missing
    if row.setting.example is not None:
        row.setting.check.read(row.setting.example)
    assert row.setting.example is not None or row.default is not None


def test_keys_and_the_options_of_a_command_are_each_there_once() -> None:
    keys = [row.key for row in ALL]
    assert sorted(set(keys)) == sorted(keys)
    for command in ("listen", "detect"):
        found = [row.setting.option for row in ALL if row.setting.option]
        options = [option.name for option in found if command in option.commands]
        assert sorted(set(options)) == sorted(options)


@pytest.mark.parametrize("command", ["listen", "detect"])
def test_a_command_has_the_options_of_the_table_with_their_help(command: str) -> None:
    shown = typer.testing.CliRunner().invoke(make_app(), [command, "--help"], terminal_width=200).output
    words = " ".join(shown.split())
    for row in ALL:
        option = row.setting.option
        if option and command in option.commands:
            metavar = f"{'[NAME=]' if option.named else ''}{option.metavar}"
            assert " ".join(f"{option.name} {metavar} {row.help}".split()) in words


def test_the_precisions_in_the_help_are_those_that_there_are() -> None:
    assert ", ".join(TOLERANCES) == PRECISIONS


def test_options_of_sources_go_to_those_that_have_them() -> None:
    given = {"source.mic": ["garden=USB", ""], "source.file": [Path("a=b.wav")], "source.channel": 2}
    given |= {"source.realtime": True, "source.stdin": "s16le:48000:2"}
    assert given_sources(given) == [
        make_source("mic", "USB", "garden", channel=2),
        make_source("mic", "", channel=2),
        make_source("file", "a=b.wav", realtime=True, channel=2),
        make_source("stdin", "s16le:48000:2", channel=2),
    ]


def test_zero_is_a_value_and_no_value_is_none() -> None:
    given = {"bundle": Path("birds"), "clips.folder": "clips", "clips.keep-best": 0, "clips.pre": 0.0, "hop": None}
    station = station_settings(None, given, [make_source("mic", "")])
    assert station.output.clips is not None
    assert (station.output.clips.best_per_species, station.output.clips.pre_s) == (0, 0.0)
    assert station.detection.hop_s == 2.5


# ----------------------------------------------------------------------------- a setting more, in a copy of the package
NEW_ROW = """
    boost_db: float = field(default=1.5, metadata=set_by(
        Setting("boost", "Decibels that quiet sound gains, default {default}.", checks.number(0, 60, "decibels"),
                Option("--boost", "DB", REPORTS, BOTH))))
"""
NEW_SOURCE_ROW = """
    cut_hz: float | None = field(default=None, metadata=set_by(
        Setting("low-cut", "Takes away what is below.", checks.number(20, 2000, "hertz"),
                Option("--low-cut", "HZ", SOURCES), example=200, kinds=("mic", "url"))))
"""
STATION = 'bundle = "birds"\nboost = {boost}\n[[source]]\nmic = ""\nlow-cut = {cut}\n'
SHOW = """
import sys
from pathlib import Path
from edgebird.settings.build import station_settings
station = station_settings(Path(sys.argv[1]), {})
print(station.detection.boost_db, station.sources[0].cut_hz)
"""


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package in which one file is changed: the table has two rows more."""
    folder = tmp_path_factory.mktemp("patched")
    links = shutil.ignore_patterns("export", "runtimes", "benchmarks", "data", "__pycache__")
    shutil.copytree(ROOT / "edgebird", folder / "edgebird", ignore=links)
    shutil.copytree(ROOT / "runtimes", folder / "edgebird" / "runtimes", ignore=links)
    shutil.copytree(ROOT / "docs" / "station", folder / "docs" / "station")
    shutil.copy(ROOT / "docs" / "station.md", folder / "docs")
    table = folder / "edgebird" / "settings" / "model.py"
    text = table.read_text(encoding="utf-8")
    for field, row in (("min_windows", NEW_ROW), ("transport", NEW_SOURCE_ROW)):
        assert text.count(f"\n    {field}: ") == 1
        text = text.replace(f"\n    {field}: ", f"{row}    {field}: ")
    table.write_text(text, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def edgebird(folder: Path, *arguments: object) -> tuple[int, str]:
    done = run(folder, "-m", "edgebird", *arguments)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def station_file(folder: Path, boost: object = 3, cut: object = 80) -> Path:
    path = folder / "station.toml"
    path.write_text(STATION.format(boost=boost, cut=cut), encoding="utf-8")
    return path


def test_a_new_row_is_an_option_with_help_of_the_commands_it_names(patched: Path) -> None:
    for command in ("listen", "detect"):
        code, shown = edgebird(patched, command, "--help")
        assert code == 0
        assert "--boost DB Decibels that quiet sound gains, default 1.5." in shown
        assert ("--low-cut HZ Takes away what is below." in shown) == (command == "listen")


def test_a_new_row_is_a_key_whose_value_arrives(patched: Path) -> None:
    assert run(patched, "-c", SHOW, station_file(patched)).stdout == "3.0 80.0\n"
    (patched / "plain.toml").write_text('bundle = "birds"\n[[source]]\nmic = ""\n', encoding="utf-8")
    assert run(patched, "-c", SHOW, "plain.toml").stdout == "1.5 None\n"


def test_what_is_wrong_with_a_new_row_is_said_as_of_all(patched: Path) -> None:
    wanted = "wanted a number of decibels, 0 to 60"
    code, told = edgebird(patched, "listen", "--config", station_file(patched, boost=99))
    assert (code, told) == (2, f"error: {patched}/station.toml: boost = 99: {wanted}")
    code, told = edgebird(patched, "listen", "--config", station_file(patched, cut='"much"'))
    place = f"error: {patched}/station.toml: source 1"
    assert (code, told) == (2, f"{place}: low-cut 'much': wanted a number of hertz, 20 to 2000")
    code, told = edgebird(patched, "detect", "x.wav", "--bundle", "birds", "--boost", "-1")
    assert (code, told) == (2, f"error: --boost -1.0: {wanted}")
    code, told = edgebird(patched, "listen", "--mic", "--low-cut", "1", "--bundle", "birds")
    assert (code, told) == (2, "error: low-cut 1.0: wanted a number of hertz, 20 to 2000")
    station_file(patched).write_text('bundle = "birds"\nbost = 3\n', encoding="utf-8")
    code, told = edgebird(patched, "listen", "--config", "station.toml")
    assert code == 2
    assert "unknown key 'bost': did you mean boost? known: bundle, " in told


def test_a_new_row_is_in_the_documentation_when_that_is_made(patched: Path) -> None:
    done = run(patched, "-m", "edgebird.settings.reference", "docs")
    assert (done.returncode, done.stderr) == (0, "")
    example = (patched / "docs" / "station" / "station.toml").read_text(encoding="utf-8")
    assert re.search(r"^#boost = 1.5 +# decibels that quiet sound gains$", example, re.MULTILINE)
    assert re.search(r"^#low-cut = 200 +# takes away what is below$", example, re.MULTILINE)
    page = (patched / "docs" / "station.md").read_text(encoding="utf-8")
    assert "| `boost` | `--boost`, also of `detect` | a number of decibels, 0 to 60 | 1.5 | Decibels that" in page
    assert "| `source.low-cut` | `--low-cut` | a number of hertz, 20 to 2000 |" in page
