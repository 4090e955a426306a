"""Engines asked in a process of their own: what an import, a driver or a first inference does to a process stays there.

An engine built for a newer CPU ends the process that imports it, without a word; a driver may never answer. So `doctor`
asks here, and an engine is opened here first, once for each version, machine and graph: then it is known to survive.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib.util
import json
import logging
import math
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgebird import errors
from edgebird.errors import EdgebirdError, RuntimeUnavailableError
from edgebird.files import cache_folder
from edgebird.machine import cpu_name, found_in, installed_version

log = logging.getLogger(__name__)

ANSWER_S = 60.0  # in which a process must answer
_SURVIVED = "survived"  # the folder in the cache
_MARK_ENDS = ".running"
_MARK = "edgebird answers: "  # engines print, too
_CHILD = """
import sys
sys.path[:] = sys.argv[1].split(chr(10))  # before anything in the working folder can be taken for a module
import importlib, json, os, resource, signal
from edgebird.runtimes import apart
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
apart.enabled = False
mark, seconds, function, *arguments = json.loads(sys.argv[2])
signal.alarm(seconds)  # who asked may be gone
for argument in arguments:
    try:
        module, _, name = function.partition(":")
        told = ["", getattr(importlib.import_module(module), name)(argument)]
    except BaseException as error:
        told = [type(error).__name__, str(error)]
    print("\\n" + mark + json.dumps(told), flush=True)
os._exit(0)  # what an engine does at the end of a process is not asked here
"""
_CRASHES = {
    signal.SIGILL: "illegal instruction: it was built for another CPU",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGKILL: "killed: is there too little memory?",
}
# Python module of an engine -> the packages that may bring it.
_PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime_ep_webgpu": ("onnxruntime", "onnxruntime-ep-webgpu"),
    "onnxruntime_ep_nv_tensorrt_rtx": ("onnxruntime", "onnxruntime-ep-nv-tensorrt-rtx"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt-rtx-cu12",),
}
enabled = True  # False in the processes themselves
_running: dict[Path, IO[str]] = {}  # notes of engines that this process has opened, each with its mark


def ask(function: str, arguments: Sequence[str], seconds: float = ANSWER_S) -> Iterator[str | EdgebirdError]:
    """What a function (`module:name`, str -> str) answers to each argument, or its error, in order.

    A RuntimeUnavailableError where it crashed or did not answer in time; those behind are asked in another process.
    """
    waiting = list(arguments)
    while waiting:
        answers, fate = _run(function, waiting, seconds)
        for kind, text in answers:
            yield _understood(kind, text, waiting.pop(0))
        if waiting:
            yield RuntimeUnavailableError(f"{waiting.pop(0)}: {fate}")


def _run(function: str, arguments: Sequence[str], seconds: float) -> tuple[list[tuple[str, str]], str]:
    """What a process answered, and what became of it."""
    given = json.dumps([_MARK, math.ceil(seconds) + 5, function, *arguments])
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, "\n".join(sys.path), given],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what it started ends with it
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
        fate = _fate(process.returncode)
    except subprocess.TimeoutExpired:
        _kill(process)
        printed, _ = process.communicate()
        fate = f"hung (no answer in {seconds:.0f} s)"
    except BaseException:
        _kill(process)
        process.wait()
        raise
    lines = [line.removeprefix(_MARK) for line in printed.splitlines() if line.startswith(_MARK)]
    return [tuple(json.loads(line)) for line in lines], fate


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _fate(code: int) -> str:
    if code >= 0:
        return f"ended its process (exit code {code})"
    with suppress(ValueError):
        return f"crashed ({_CRASHES.get(signal.Signals(-code), signal.Signals(-code).name)})"
    return f"crashed (signal {-code})"


def _understood(kind: str, text: str, argument: str) -> str | EdgebirdError:
    if not kind:
        return text
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, EdgebirdError):
        return known(text)
    line = text.strip().partition("\n")[0][:300]
    return RuntimeUnavailableError(f"{argument}: failed: {kind}{': ' if line else ''}{line}")


def to_be_asked(module: str) -> bool:
    """Whether an engine of this Python module is installed, so that its import could do harm."""
    if not enabled:
        return False
    if module in sys.modules:
        return getattr(sys.modules[module], "__spec__", None) is not None
    return importlib.util.find_spec(module) is not None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked in another process: function and argument as of `ask`, and the time for an answer."""

    function: str
    argument: str
    seconds: float = ANSWER_S


def survives(name: str, module: str, question: Question, about: Iterable[str]) -> None:
    """Have an engine opened in a process of its own, unless that was done here before.

    It is done again where a process that had it died since: by the engine, perhaps. name: of the runtime. module: its
    Python module. question: what opens it. about: what else the result depends on, such as the graph. Raises
    RuntimeUnavailableError if it crashed, hung or failed in a way that nobody foresees; what it refuses with a reason,
    it will refuse again where that is said.
    """
    if not to_be_asked(module):
        return
    note = cache_folder() / _SURVIVED / _key(name, module, about)
    if _died(note):
        note.unlink(missing_ok=True)
    if not note.exists() and not _is_survived(name, question, note):
        return
    _mark(note)


def _is_survived(name: str, question: Question, note: Path) -> bool:
    """Ask, and note a good answer; False where nobody knows. Raises as `survives` does."""
    try:
        (answer,) = ask(question.function, [question.argument], question.seconds)
    except OSError as error:
        log.debug("%s: not tried in a process of its own: %s", name, error)
        return False
    if isinstance(answer, RuntimeUnavailableError) and str(answer).startswith(question.argument):
        raise RuntimeUnavailableError(name + str(answer).removeprefix(question.argument))
    if isinstance(answer, EdgebirdError):
        return False  # "out of memory" today may be a crash tomorrow
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError as error:
        log.debug("%s: tried in a process of its own at each start: %s", name, error)
    return True


def _mark(note: Path) -> None:
    """Leave a mark beside a note as long as this process runs: one that is left says that a process died with it."""
    if note in _running:
        return
    path = note.with_name(f"{note.name}.{os.getpid()}{_MARK_ENDS}")
    with suppress(OSError):
        mark = path.open("w", encoding="ascii")
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mark.write(_boot())
        mark.flush()
        _running[note] = mark


@atexit.register
def ended_well() -> None:
    """Say that this process ends, and not by an engine; called at its end."""
    while _running:
        _, mark = _running.popitem()
        with suppress(OSError):
            os.unlink(mark.name)
            mark.close()


def distrust() -> None:
    """Have the engines of this process tried in one of their own before they are opened again: they failed."""
    for note in _running:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def _died(note: Path) -> bool:
    """Whether a process that had this engine has ended without a word since the computer was started."""
    died = False
    for path in note.parent.glob(f"{note.name}.*{_MARK_ENDS}"):
        with suppress(OSError), path.open(encoding="ascii") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while it runs
            died |= mark.read() == _boot()  # else it was perhaps the power
            path.unlink()
    return died


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _key(name: str, module: str, about: Iterable[str]) -> str:
    """A name for this version of an engine, on this CPU and system, with this driver and graph."""
    spec = importlib.util.find_spec(module)
    origin = spec.origin if spec else None
    changed = Path(origin).stat().st_mtime_ns if origin and os.path.exists(origin) else 0
    driver = found_in("/proc/driver/nvidia/version", r"Kernel Module(?: for \w+)?\s+([\d.]+)")
    facts = [name, origin, changed, *map(installed_version, _PACKAGES[module]), cpu_name(), platform.platform()]
    facts += [driver[1] if driver else None, sys.version, *about]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
