"""Outputs stay as they are, byte for byte: those of every format, of every sink, and of what is told on stderr.

What would break for a user: a script that reads a column, a Raven table that no longer opens, a database that an old
query does not fit, a settings file that is refused after an update. The outputs in tests/data/outputs are those of
earlier versions. A change of them is a change for users: make it on purpose, and say it in CHANGELOG.md.

A runtime double gives the scores (`stored_runtime`), commands run as people run them (`command_runner`), and what
differs from run to run is masked (`unchanged_text`). To record the outputs again:

    EDGEBIRD_RECORD=1 python -m pytest tests/test_outputs_unchanged.py

which fails, so that it cannot be left on; then read what `git diff tests/data/outputs` shows.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.command_runner import Job
from tests.unchanged_cases import CASES, STATION, Command, write_inputs
from tests.unchanged_text import lines_of, masked, text_of, without_bar, words

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests/data/outputs"
RECORD = os.environ.get("EDGEBIRD_RECORD", "0") not in ("", "0")
BY_SETTINGS = Command("listen --config station.toml")
ENVIRONMENT = {
    "TZ": "XYZ-3",  # three hours east of Greenwich, the whole year and wherever the tests run
    "LC_ALL": "C.UTF-8",
    "COLUMNS": "100",
    "TERM": "xterm",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_LEAVE = ("PATH", "HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME", "TMPDIR")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Command, str]:
    """What every command left behind."""
    folder = tmp_path_factory.mktemp("outputs")
    inputs = folder / "inputs"
    inputs.mkdir()
    write_inputs(inputs)
    commands = list(dict.fromkeys([BY_SETTINGS, *(command for case in CASES.values() for command in case)]))
    commands.sort(key=lambda command: -command.hold_s)  # those that wait begin
    places = {command: folder / str(number) for number, command in enumerate(commands)}
    for place in places.values():
        place.mkdir()
        shutil.copytree(inputs, place / "here", copy_function=os.link)
    _run([_job(command, place) for command, place in places.items()], folder / "jobs.json")
    before = {path.relative_to(inputs) for path in inputs.rglob("*")}
    return {command: _shown(command, place, before) for command, place in places.items()}


def _job(command: Command, place: Path) -> Job:
    return Job(
        arguments=command.arguments,
        cwd=str(place / "here"),
        results=str(place),
        stdin=command.stdin,
        hold_s=command.hold_s,
        terminal=command.terminal,
    )


def _run(jobs: list[Job], path: Path) -> None:
    path.write_text(json.dumps(jobs), encoding="utf-8")
    environment = {name: os.environ[name] for name in _LEAVE if name in os.environ} | ENVIRONMENT
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run(
        [sys.executable, "-m", "tests.command_runner", path], cwd=ROOT, env=environment, check=True, timeout=300
    )


def _shown(command: Command, place: Path, before: set[Path]) -> str:
    """Exit code, stdout, stderr and every new file of a command."""
    here = place / "here"
    parts = [f"exit code {(place / 'code').read_text()}\n"]
    parts += [_part(name, _printed(command, place / name, here)) for name in ("stdout", "stderr")]
    files: dict[str, str] = {}
    for path in sorted(path for path in here.rglob("*") if path.is_file() and path.relative_to(here) not in before):
        name = masked(path.relative_to(here).as_posix(), str(here))
        files[name] = files.get(name, "") + text_of(path, str(here), command.sources)
    return "".join([*parts, *(_part(name, text) for name, text in sorted(files.items()))])


def _printed(command: Command, path: Path, here: Path) -> str:
    if path.name == "stdout":
        text = text_of(path, str(here), command.sources)
    else:
        text = text_of(path, str(here), command.sources if len(command.sources) > 1 else ())
        if command.line.startswith("detect"):  # it warns of recordings as it reads ahead
            text = "".join(sorted(lines_of(text), key=lambda line: not line.startswith("WARNING")))
    if command.line.endswith("--help"):
        return words(text)
    return without_bar(text) if command.terminal == "both" else text


def _part(name: str, text: str) -> str:
    """Text below a heading; the lack of a last line end is told."""
    end = "" if not text or text.endswith("\n") else "\n(no line end)\n"
    return f"---- {name}\n{text}{end}"


def _body(case: str, outputs: Mapping[Command, str]) -> str:
    """What is kept of a case."""
    return "\n".join(f"$ edgebird {command.line}{_how(command)}\n{outputs[command]}" for command in CASES[case])


def _how(command: Command) -> str:
    stdin = f" < {command.stdin}" if command.stdin else ""
    return stdin + (f"  (in a terminal: {command.terminal})" if command.terminal else "")


@pytest.mark.parametrize("case", CASES)
def test_a_command_leaves_what_it_left_before(case: str, outputs: Mapping[Command, str]) -> None:
    path, found = KEPT / f"{case}.txt", _body(case, outputs)
    if RECORD:
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8", newline="\n")
        pytest.fail(f"recorded {path.name}: run the tests again without EDGEBIRD_RECORD", pytrace=False)
    with path.open(encoding="utf-8", newline="") as file:
        kept = file.read()
    if found != kept:
        difference = difflib.unified_diff(lines_of(kept), lines_of(found), f"{path.name}, as kept", "as it is now")
        pytest.fail("".join(difference), pytrace=False)


def test_a_settings_file_does_what_the_same_options_do(outputs: Mapping[Command, str]) -> None:
    assert outputs[BY_SETTINGS] == outputs[Command(STATION)]


def test_nothing_is_kept_that_no_command_is_asked_for() -> None:
    assert {path.stem for path in KEPT.iterdir()} == CASES.keys()
