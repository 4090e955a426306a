"""The live screen of a station: all there is to know, in any terminal, without tearing and without costing much."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgebird.cli.screen import Screen
from edgebird.cli.spectrum import COLUMN_S, Spectrogram
from edgebird.events import Event
from edgebird.live.figures import Percentiles, Performance, SourceStatus, Status
from edgebird.types import FloatArray
from tests.live_servers import bounded

RATE = 32000
GARDEN = SourceStatus("garden", "open", "", -38.2, -12.0, 5025.3, 5020.1, 12.3, 0.8, 23.0)
POND = SourceStatus("pond", "lost", "connection refused", None, None, 60.0, 60.0, 0.0, 0.0, None)
COST = Performance(2000, Percentiles(70, 75, 85, 120), Percentiles(3.1, 3.4, 4.0, 5.2), 2, 0.123, 34, 312)


def whistle(_name: str, seconds: float) -> FloatArray:
    """3 kHz in half of every second, over a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).normal(0, 1e-3, len(t))
    return (noise + 0.3 * np.sin(2 * np.pi * 3000 * t) * (t % 1 >= 0.5)).astype(np.float32)


def screen(width: int = 100, height: int = 30, **changes: Any) -> Screen:
    settings = {"force_terminal": True, "color_system": "256", "file": io.StringIO(), **changes}
    return Screen(Console(width=width, height=height, _environ={}, **settings), RATE, whistle)


def drawn(screen: Screen, *sources: SourceStatus, runtime: str = "ort-cpu") -> list[str]:
    """The lines of the screen, without colours; each has the width it takes."""
    screen.show(Status(5025, runtime, sources, COST))
    picture = screen.picture(screen._drawn_until + 10)
    return ["".join(segment.text for segment in line) for line in picture.lines]


def onset(code: str = "eurwre1", score: float = 0.83, **changes: Any) -> Event:
    head = {"event": "onset", "source": "garden", "time": "2026-05-01T05:11:12.000+02:00", "start_s": 12.5}
    names = {"code": code, "scientific_name": "Troglodytes troglodytes", "common_name": "Eurasian Wren"}
    return {**head, **names, "score": score, "latency_s": 3.2, **changes}


def test_it_tells_how_every_source_is_and_what_it_costs() -> None:
    lines = drawn(screen(140, 40), GARDEN, POND)
    assert lines[0] == "edgebird  listening for 1:23:45 with ort-cpu"
    garden, pond, detail = lines[2:5]
    assert re.split(" {2,}", garden.replace("│", "").replace("█", "")) == [
        *("garden", "open", "-38", "12.3 s", "0.8 s", "1:23:45", "1:23:40", "+23 ppm")
    ]
    assert garden.index("█") < garden.index("│")  # level, then peak
    assert pond.split()[:2] == ["pond", "lost"]
    assert detail == "  connection refused"
    assert lines[-1] == (
        "real-time factor 0.12  inference p50 70 p99 85 ms  latency p50 3.1 p99 4.0 s  misses 2  CPU 34%  memory 312 MB"
    )


def test_a_detection_is_one_line_from_its_onset_to_its_end() -> None:
    shown = screen()
    shown.take(onset())
    shown.take(onset("comcuc", 0.5, time="2026-05-01T05:11:20.000+02:00", common_name="Common Cuckoo"))
    assert "05:11:12  0.83  Eurasian Wren (Troglodytes troglodytes)  after 3.2 s" in drawn(shown, GARDEN)
    ended = onset(score=0.91, event="detection")
    del ended["latency_s"]
    shown.take(ended)
    heard = [line for line in drawn(shown, GARDEN) if line.startswith("05:11")]
    assert heard[0].startswith("05:11:20  0.50  Common Cuckoo")  # the newest is first
    assert heard[1] == "05:11:12  0.91  Eurasian Wren (Troglodytes troglodytes)  after 3.2 s"
    assert len(heard) == 2


def test_several_sources_have_a_spectrogram_each_and_detections_say_whose() -> None:
    shown = screen(100, 40)
    shown.take(onset())
    lines = drawn(shown, GARDEN, POND)
    assert [line for line in lines if line.strip() in ("garden", "pond")] == ["garden", "pond"]
    assert sum("12 kHz" in line for line in lines) == 2
    assert any("Troglodytes troglodytes)  garden  after" in line for line in lines)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (132, 43), (300, 100), (20, 5)])
@pytest.mark.parametrize("sources", [1, 3, 12])
def test_it_fits_the_terminal_whatever_is_in_it(size: tuple[int, int], sources: int) -> None:
    long = replace(POND, name="水" * 40, detail="long " * 50)
    shown = screen(*size)
    for i in range(12):
        shown.take(onset(str(i), common_name="Wren " * 40))
    drawn(shown, GARDEN, *[replace(long, name=f"{i}{long.name}") for i in range(sources - 1)], runtime="r" * 200)
    out = shown._console.file
    assert isinstance(out, io.StringIO)
    shown._console.print(shown.picture(shown._drawn_until + 10))
    from rich.cells import cell_len

    lines = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).rstrip("\n").split("\n")
    assert max(map(cell_len, lines)) <= size[0]
    assert len(lines) < size[1]
    if size != (20, 5):
        assert any("memory 312 MB" in line for line in lines)
        assert any(line.startswith("05:11:12") for line in lines)


def test_where_not_all_sources_fit_those_in_trouble_are_shown() -> None:
    sources = [replace(GARDEN, name=f"s{i}") for i in range(20)] + [POND]
    lines = drawn(screen(60, 15), *sources)
    assert lines[2].split()[:2] == ["pond", "lost"]
    assert any(re.fullmatch(r"and \d+ more sources", line) for line in lines)


def test_a_screen_with_room_for_one_spectrogram_shows_a_source_that_is_heard() -> None:
    lines = drawn(screen(80, 24), POND, replace(POND, name="roof"), GARDEN)
    assert [line for line in lines if line.strip() in ("garden", "pond", "roof")] == ["garden"]


def test_before_the_first_source_and_after_the_last_there_is_a_screen() -> None:
    assert drawn(screen(80, 24))[0].startswith("edgebird  listening")
    assert screen().picture(0.0).lines == []


@pytest.mark.parametrize("changes", [{"no_color": True}, {"color_system": None}])
def test_without_colours_loudness_is_a_matter_of_characters(changes: dict[str, Any]) -> None:
    assert any("@" in line or "#" in line for line in drawn(screen(**changes), GARDEN))


def test_a_terminal_that_is_not_utf8_gets_ascii_alone() -> None:
    shown = screen(file=io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    shown.take(onset(common_name="Rüppell's Warbler"))
    lines = drawn(shown, replace(GARDEN, name="Gärten" * 9))
    assert "".join(lines).isascii()
    assert any("R?ppell's Warbler" in line for line in lines)


def test_no_name_can_move_the_cursor() -> None:
    assert "\x1b" not in "".join(drawn(screen(), replace(GARDEN, name="\x1b[2Jdawn.wav\n", detail="a\rb")))


def test_a_whistle_is_bright_at_its_frequency_and_silence_is_dark() -> None:
    spectrum = Spectrogram(RATE)
    noise = np.random.default_rng(1).normal(0, 1e-3, 30 * RATE).astype(np.float32)
    spectrum.push(noise, 50)
    spectrum.push(whistle("", 1), 5)
    spectrum.blank(5)
    picture = spectrum.picture(60, 12)  # 1 kHz a row, from 12 kHz down
    assert picture[:, :50].mean() < 0.1
    assert picture[8:10, 51:55].max(axis=0).min() == 1  # 3 kHz is the border of two rows
    assert picture[:7, 51:55].max() < 0.5
    assert not picture[:, 55:].any()


def test_what_was_drawn_only_moves_on() -> None:
    """A column is computed once: that keeps drawing cheap, and the picture calm."""
    spectrum = Spectrogram(RATE)
    sound = np.random.default_rng(2).normal(0, 0.1, 20 * RATE).astype(np.float32)
    spectrum.push(sound[: 10 * RATE], 100)
    before = spectrum.picture(60, 24)
    spectrum.push(sound, 7)
    assert np.array_equal(spectrum.picture(67, 24)[:, :60], before)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000, 96000])
def test_any_rate_can_be_drawn(rate: int) -> None:
    spectrum = Spectrogram(rate)
    spectrum.push(np.zeros(10, np.float32), 3)  # it has only just begun
    tone = np.sin(2 * np.pi * rate / 8 * np.arange(3 * rate) / rate).astype(np.float32)
    quiet = np.random.default_rng(3).normal(0, 1e-4, 3 * rate).astype(np.float32)
    spectrum.push(quiet, 20)
    spectrum.push(tone, 20)
    rows = spectrum.picture(10, 48).mean(axis=1)
    assert abs((47.5 - float(rows.argmax())) / 48 * spectrum.top_hz - rate / 8) < 600


STATION = """
import sys, time
from rich.console import Console
from edgebird.cli import shell
from edgebird.cli.screen import Screen
from tests.test_screen import COST, GARDEN, RATE, onset, whistle
from edgebird.live.figures import Status
import logging
shell.set_verbosity([])
log = logging.getLogger("edgebird.station")
with Screen(Console(stderr=True), RATE, whistle) as screen:
    screen.show(Status(1, "ort-cpu", (GARDEN,), COST))
    time.sleep(0.7)
    log.warning("garden: a line of the log")
    screen.take(onset())
    time.sleep(0.7)
    print("ready", file=sys.stdout, flush=True)
    sys.stdin.readline()
    time.sleep(0.7)
    log.warning("garden: another, %s", "which is longer than the terminal is wide " * 2)
    time.sleep(0.4)
print("done", file=sys.stderr)
"""


class Terminal:
    """As much of a terminal as rich uses: lines that scroll, and a cursor."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.lines = [""] * height
        self.scrolled: list[str] = []
        self.row = self.column = 0
        self.cursor = True

    def write(self, text: str) -> None:
        for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
            self._take(piece)

    def _take(self, piece: str) -> None:
        if piece == "\r":
            self.column = 0
        elif piece == "\n":
            self._down()
        elif not piece.startswith("\x1b"):
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + piece + line[self.column + len(piece) :]
            self.column += len(piece)
            assert self.column <= self.width, f"wrapped: {self.lines[self.row]!r}"
        elif piece.endswith("A"):
            self.row = max(0, self.row - int(piece[2:-1] or 1))
        elif piece == "\x1b[2K":
            self.lines[self.row] = ""
        elif piece == "\x1b[2J":
            self.lines = [""] * self.height
        elif piece == "\x1b[H":
            self.row = self.column = 0
        elif piece in ("\x1b[?25l", "\x1b[?25h"):
            self.cursor = piece.endswith("h")
        else:
            assert piece.endswith("m"), piece

    def _down(self) -> None:
        self.row += 1
        if self.row == self.height:
            self.row -= 1
            self.scrolled.append(self.lines.pop(0))
            self.lines.append("")


def _resize(descriptor: int, width: int, height: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def test_logs_stand_above_the_screen_and_nothing_tears() -> None:
    """In a real pseudo-terminal that gets smaller while it runs."""
    controller, terminal = pty.openpty()
    _resize(terminal, 80, 24)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONUTF8": "1"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(STATION)]
    shown = Terminal(80, 24)
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True
        ) as run,
        bounded(run),
    ):
        os.close(terminal)
        assert run.stdout
        assert run.stdin
        assert run.stdout.readline() == "ready\n"
        time.sleep(0.3)
        shown.write(_drain(controller).decode())
        lines = [line.rstrip() for line in shown.scrolled + shown.lines]
        assert lines[0] == "WARNING: garden: a line of the log"
        assert lines[1].startswith("edgebird  listening for 0:00:01 with ort-cpu")
        assert sum("Eurasian Wren" in line for line in lines) == 1
        assert sum("12 kHz" in line for line in lines) == 1
        _resize(controller, 60, 15)
        shown.width = 60
        run.stdin.write("\n")
        run.stdin.flush()
        sent = b""
        while run.poll() is None:  # a terminal that nobody reads holds 15 kB, which is a second's drawing or two
            sent += _drain(controller)
            time.sleep(0.02)
        shown.write((sent + _drain(controller)).decode())
    os.close(controller)
    assert run.returncode == 0
    assert shown.cursor
    lines = [line.rstrip() for line in shown.scrolled + shown.lines if line.strip()]
    assert lines[-1] == "done"
    assert sum("12 kHz" in line for line in lines) == 1
    assert sum("another, which" in line for line in lines) == 1
    assert sum("p99 4.0 s" in line for line in lines) == 1


def _drain(descriptor: int) -> bytes:
    """What the terminal has been sent so far."""
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while piece := os.read(descriptor, 1 << 16):
            data += piece
    except OSError:  # nothing more now, or the program has ended
        pass
    return data


def test_a_column_is_a_tenth_of_a_second() -> None:
    """The picture moves with the clock, however often it is drawn."""
    shown = screen()
    drawn(shown, GARDEN)
    before = shown._spectra["garden"].picture(200, 4)
    shown.picture(shown._drawn_until + 4.2 * COLUMN_S)
    assert np.array_equal(shown._spectra["garden"].picture(200, 4)[:, :-4], before[:, 4:])


def test_a_screen_that_cannot_end_gives_the_streams_back(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, before = screen(), (sys.stdout, sys.stderr)
    monkeypatch.setattr(shown, "_finish", lambda: None)
    with shown:
        sys.stdout = sys.stderr = io.StringIO()  # as the screen redirects them
    assert (sys.stdout, sys.stderr) == before
