"""What a person in a terminal sees; without one, other tests say what programs get."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.foreign import RATE, scene, tone_bundle
from tests.live_servers import bounded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle and two recordings."""
    folder = tmp_path_factory.mktemp("terminal")
    tone_bundle(folder / "tones")
    for name in ("dawn.wav", "dusk.wav"):
        soundfile.write(folder / name, scene(30, [(1, 0.8, 10, 15)]), RATE)
    return folder


def in_terminal(folder: Path, *arguments: str, **redirected: Any) -> tuple[int, str]:
    """Run `edgebird` in a terminal of 100 columns; its exit code and what the terminal shows, without colours."""
    controller, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal, **redirected}
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with (
        subprocess.Popen([sys.executable, "-m", "edgebird", *arguments], cwd=folder, env=environment, **streams) as run,
        bounded(run),
    ):
        os.close(terminal)
        shown = b""
        while piece := _read(controller):
            shown += piece
    os.close(controller)
    return run.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""


def test_a_person_reads_a_table_with_progress_and_what_became_of_every_file(folder: Path) -> None:
    code, screen = in_terminal(folder, "detect", "dawn.wav", "dusk.wav", "--bundle", "tones")
    assert code == 0
    assert len(re.findall(r"^  0:00:07\.5 - 0:00:17\.5  0\.\d\d  Middle Tone", screen, re.MULTILINE)) == 2
    assert "2/2 dusk.wav" in screen  # the bar
    assert re.search(r"^dusk\.wav: 30\.0 s, 1 detections$", screen, re.MULTILINE)
    assert re.search(r"^2 recordings: 60\.0 s, [\d.]+ x real time$", screen, re.MULTILINE)


def test_results_in_a_file_stay_clean_while_the_bar_runs(folder: Path) -> None:
    with (folder / "out.jsonl").open("wb") as out:
        code, screen = in_terminal(folder, "detect", "dawn.wav", "--bundle", "tones", stdout=out)
    assert code == 0
    assert "1/1 dawn.wav" in screen
    events = (folder / "out.jsonl").read_text().splitlines()
    assert [event[:20] for event in events] == ['{"event":"detection"', '{"event":"summary","']


def test_lines_for_a_program_are_not_mixed_with_a_bar(folder: Path) -> None:
    code, screen = in_terminal(folder, "detect", "dawn.wav", "--bundle", "tones", "--format", "jsonl")
    assert code == 0
    assert "1/1" not in screen
    assert '"common_name":"Middle Tone"' in screen


def test_errors_go_where_stderr_was_sent(folder: Path) -> None:
    (folder / "bad.wav").write_text("not sound")
    with (folder / "errors.log").open("wb") as log:
        code, screen = in_terminal(folder, "detect", "bad.wav", "dawn.wav", "--bundle", "tones", stderr=log)
    assert code == 1
    assert "Middle Tone" in screen
    assert "error" not in screen
    assert (folder / "errors.log").read_text().startswith("runtime ort-cpu")
    assert "\nerror: cannot read bad.wav: " in (folder / "errors.log").read_text()
