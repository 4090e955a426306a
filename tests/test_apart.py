"""Engines that crash or hang: `doctor`, `auto` and whoever asks for one survive it and say it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgebird import demo
from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.runtimes import apart
from tests.conftest import require

ROOT = Path(__file__).parents[1]
BIRDS = demo.BUNDLE.parent / "three_birds.flac"
# What is in the place of onnxruntime, and what is said of it.
MODULES = {
    "crashes at import": ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashed (illegal instruction"),
    "segfaults": ("import ctypes; ctypes.string_at(0)", "crashed (segmentation fault)"),
    "aborts": ("import os; os.abort()", "crashed (aborted)"),
    "ends the process": ("import os; os._exit(3)", "ended its process (exit code 3)"),
    "asks to exit": ("raise SystemExit(3)", "failed: SystemExit: 3"),
    "is of another numpy": (
        "raise AttributeError('_ARRAY_API not found')",
        "failed: AttributeError: _ARRAY_API not found",
    ),
    "prints": ("import os; os.write(1, b'hello'); os.kill(os.getpid(), 4)", "crashed (illegal instruction"),
}
HANGS = "import time; time.sleep(1000)"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where modules are found before those that are installed."""
    (tmp_path / "modules").mkdir()
    return tmp_path


def edgebird(place: Path, *arguments: object, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command of edgebird in a process of its own. limit: seconds in which an engine must answer."""
    code = (
        "import sys; from edgebird.runtimes import apart; "
        f"apart.ANSWER_S = {limit}; apart.ask.__defaults__ = ({limit},); "
        "from edgebird.cli import main; sys.argv[0] = 'edgebird'; main()"
    )
    environment = os.environ | {
        "PYTHONPATH": f"{place / 'modules'}{os.pathsep}{ROOT}",
        "XDG_CACHE_HOME": str(place / "cache"),
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.parametrize("kind", MODULES)
def test_how_an_engine_ended_is_told(place: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    source, told = MODULES[kind]
    (place / "modules" / "engine.py").write_text(source)
    monkeypatch.syspath_prepend(str(place / "modules"))
    (answer,) = apart.ask("engine:say", ["ort-cpu"])
    assert isinstance(answer, RuntimeUnavailableError)
    assert str(answer).startswith(f"ort-cpu: {told}")


def test_doctor_and_auto_survive_an_engine_that_does_not(place: Path) -> None:
    require("openvino")
    source, told = MODULES["crashes at import"]
    (place / "modules" / "onnxruntime.py").write_text(source)
    ended = edgebird(place, "doctor")
    assert (ended.returncode, ended.stderr) == (0, "")
    for name in ("ort-cpu", "ort-cuda", "ort-tensorrt"):
        assert f"{name:<16} cannot run: {name}: {told}" in ended.stdout
    assert f"{'openvino':<16} runs: OpenVINO" in ended.stdout
    ended = edgebird(place, "detect", BIRDS, "--bundle", demo.BUNDLE, "--format", "jsonl")
    assert ended.returncode == 0, ended.stderr
    assert '"event":"detection"' in ended.stdout
    assert ended.stderr.splitlines()[0] == "runtime openvino"
    assert f"  not ort-cpu: {told}" in ended.stderr
    ended = edgebird(place, "detect", BIRDS, "--bundle", demo.BUNDLE, "--runtime", "ort-cpu")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: ort-cpu: {told}")


@pytest.mark.slow
def test_an_engine_that_hangs_is_given_up(place: Path) -> None:
    require("openvino")
    (place / "modules" / "onnxruntime.py").write_text(HANGS)
    ended = edgebird(place, "doctor", limit=3)
    assert f"{'ort-cpu':<16} cannot run: ort-cpu: hung (no answer in 3 s)" in ended.stdout
    ended = edgebird(place, "detect", BIRDS, "--bundle", demo.BUNDLE, limit=3)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"  not ort-cpu: hung \(no answer in \d s\)", ended.stderr)


def test_a_station_says_what_its_engine_does(place: Path) -> None:
    require("openvino")
    (place / "modules" / "onnxruntime.py").write_text(MODULES["crashes at import"][0])
    ended = edgebird(place, "listen", "--file", BIRDS, "--bundle", demo.BUNDLE, "--format", "jsonl")
    assert ended.returncode == 0, ended.stderr
    assert '"event":"detection"' in ended.stdout
    assert "  not ort-cpu: crashed (illegal instruction" in ended.stderr


def test_an_engine_that_crashes_with_the_model_is_found_before_it_opens_here(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import may be harmless, and the first kernel is not."""
    require("openvino")
    (place / "modules" / "onnxruntime.py").write_text(
        "import os, signal\n"
        "__version__ = '1.0'\n"
        "def get_available_providers(): return ['CPUExecutionProvider']\n"
        "class SessionOptions:\n"
        "    def add_session_config_entry(self, *_): pass\n"
        "def InferenceSession(*_, **__): os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    ended = edgebird(place, "detect", BIRDS, "--bundle", demo.BUNDLE)
    assert ended.returncode == 0, ended.stderr
    assert "  not ort-cpu: crashed (segmentation fault)" in ended.stderr


def test_an_engine_is_tried_once_for_each_version_and_graph(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start is as fast as it was."""
    (place / "modules" / "engine.py").write_text("")
    monkeypatch.syspath_prepend(str(place / "modules"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setattr(apart, "enabled", True)
    monkeypatch.setitem(apart._PACKAGES, "engine", ())
    asked: list[str] = []
    monkeypatch.setattr(apart, "ask", lambda _function, arguments, _seconds: asked.append(*arguments) or [""])

    def survives(graph: str) -> None:
        apart.survives("x", "engine", apart.Question("a:b", graph), (graph,))

    survives("one")
    start = time.perf_counter()
    survives("one")
    assert time.perf_counter() - start < 0.1
    assert asked == ["one"]
    survives("two")
    assert asked == ["one", "two"]
    os.utime(place / "modules" / "engine.py", (1, 1))  # another version
    survives("two")
    assert asked == ["one", "two", "two"]


ENGINE = (
    "import os, sys; from edgebird.runtimes import apart; apart._PACKAGES['engine'] = (); "
    "apart.ask = lambda function, arguments, seconds: (print('asked'), [''])[1]; "
    "apart.survives('x', 'engine', apart.Question('a:b', 'g'), ('g',)); "
)


@pytest.mark.parametrize(
    ("end", "again"),
    [
        ("", False),
        ("raise SystemExit(1)", False),
        ("apart.ended_well(); os._exit(1)", False),
        ("os.kill(os.getpid(), 11)", True),  # the engine, after hours
        ("os.kill(os.getpid(), 9)", True),  # the kernel, as memory was short
        (
            "apart._boot = lambda: 'the boot before'; apart._running.clear(); "
            "note = min((apart.cache_folder() / 'survived').iterdir(), key=lambda path: len(path.name)); "
            "apart._mark(note); os.kill(os.getpid(), 9)", False,
        ),
    ],
)  # fmt: skip
def test_an_engine_with_which_a_process_died_is_tried_apart_again(place: Path, end: str, again: bool) -> None:
    """The next start must not die of it. A power cut is no fault of the engine, and costs no start its seconds."""
    (place / "modules" / "engine.py").write_text("")
    environment = {"PYTHONPATH": f"{place / 'modules'}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(place / "cache")}

    def run(code: str) -> bool:
        done = subprocess.run(
            [sys.executable, "-c", ENGINE + code], env=os.environ | environment,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return "asked" in done.stdout

    assert [run(""), run(end), run(""), run("")] == [True, False, again, False]
    assert len(list((place / "cache" / "edgebird" / "survived").iterdir())) == 1


def test_two_stations_with_one_engine_say_nothing_of_each_other(place: Path) -> None:
    (place / "modules" / "engine.py").write_text("")
    environment = {"PYTHONPATH": f"{place / 'modules'}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(place / "cache")}
    first = subprocess.Popen(
        [sys.executable, "-uc", ENGINE + "print('open'); sys.stdin.read()"], env=os.environ | environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with first:
        assert first.stdout is not None
        assert [first.stdout.readline() for _ in range(2)] == ["asked\n", "open\n"]
        second = subprocess.run(
            [sys.executable, "-c", ENGINE], env=os.environ | environment,
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    assert second.stdout == ""


def test_an_engine_that_failed_is_tried_apart_before_it_is_opened_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A station opens it again in its own process, which a driver that is broken might end."""
    monkeypatch.setattr(apart, "enabled", True)
    monkeypatch.setattr(apart, "_running", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setitem(apart._PACKAGES, "json", ())
    asked: list[str] = []
    monkeypatch.setattr(apart, "ask", lambda *_: asked.append("") or [""])
    for distrusts in (False, True, False):
        if distrusts:
            apart.distrust()
        apart.survives("x", "json", apart.Question("a:b", "argument"), ())
    assert len(asked) == 2
    apart.ended_well()


def test_a_refusal_with_a_reason_is_told_where_it_is_met(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "enabled", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setitem(apart._PACKAGES, "json", ())
    for refusal in (NotInstalledError("x: no GPU"), RuntimeUnavailableError("out of memory")):
        monkeypatch.setattr(apart, "ask", lambda *_, told=refusal: [told])
        apart.survives("x", "json", apart.Question("a:b", "argument"), ())
        assert not list((place / "cache").rglob("*"))  # it is not known to survive


def test_a_user_without_a_home_or_a_process_can_still_open_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "enabled", True)
    monkeypatch.setitem(apart._PACKAGES, "json", ())
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr(apart, "ask", lambda *_: [""])
    apart.survives("x", "json", apart.Question("a:b", "argument"), ())

    def refuse(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(apart, "ask", refuse)
    apart.survives("x", "json", apart.Question("a:b", "argument"), ())


def test_several_are_asked_in_one_process_until_one_crashes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "modules" / "asked.py").write_text(
        "import os\n"
        "def say(text):\n"
        "    if text == 'die': os.kill(os.getpid(), 11)\n"
        "    if text == 'refuse':\n"
        "        from edgebird.errors import NotInstalledError\n"
        "        raise NotInstalledError('no such engine')\n"
        "    return f'{text} {os.getpid()}'\n"
    )
    monkeypatch.syspath_prepend(str(place / "modules"))
    one, two, died, refused, three = apart.ask("asked:say", ["one", "two", "die", "refuse", "three"])
    assert isinstance(one, str)
    assert isinstance(two, str)
    assert isinstance(three, str)
    assert one.split()[1] == two.split()[1] != three.split()[1]
    assert isinstance(died, RuntimeUnavailableError)
    assert str(died) == "die: crashed (segmentation fault)"
    assert isinstance(refused, NotInstalledError)
