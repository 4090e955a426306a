"""Runs many commands of edgebird, each in a process of its own, without starting Python for each.

`python -m tests.command_runner JOBS.json` reads a list of jobs, see `Job`. What a job printed lies in its folder
afterwards: `stdout`, `stderr` and `code`. Needs the command line's contract only: `sys.argv`, the standard streams,
`SystemExit`.
"""

from __future__ import annotations

import importlib
import json
import os
import pty
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypedDict

_AT_ONCE = 2
_SECONDS = 60  # that a command may take


class Job(TypedDict):
    """A command to run.

    arguments: of `edgebird`. cwd: where it runs. results: a folder for what it prints. stdin: a file, or "" for
    nothing; hold_s: how long stdin stays open after it. terminal: which streams a terminal shows, "", "stdout" or
    "both".
    """

    arguments: list[str]
    cwd: str
    results: str
    stdin: str
    hold_s: float
    terminal: str


def main() -> None:
    """Run the jobs of a file."""
    from edgebird.runtimes import RUNTIMES

    RUNTIMES["stored"] = "tests.stored_runtime"
    waiting: list[Job] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    running: dict[int, Job] = {}
    while waiting or running:
        while waiting and len(running) < _AT_ONCE:
            job = waiting.pop(0)
            running[_fork(lambda job=job: _run(job))] = job  # type: ignore[misc]
        _load(Path(running.pop(os.wait()[0])["results"]) / "modules")


def _load(names: Path) -> None:
    """Import what a command needed, so that those after it find it."""
    for name in names.read_text(encoding="utf-8").split() if names.exists() else ():  # a command may be killed
        if name not in sys.modules:
            with suppress(ImportError):
                importlib.import_module(name)


def _run(job: Job) -> int:
    """Run a command and note what it printed; 0."""
    results = Path(job["results"])
    os.chdir(job["cwd"])
    with (results / "stdout").open("wb") as out, (results / "stderr").open("wb") as err:
        streams = [_stdin(job), out.fileno(), err.fileno()]
        if not job["terminal"]:
            code = _ended(_fork(lambda: _edgebird(job, streams)))
        else:
            controller, terminal = pty.openpty()
            streams[1:] = [terminal, terminal if job["terminal"] == "both" else err.fileno()]
            child = _fork(lambda: _edgebird(job, streams))
            os.close(terminal)
            while shown := _read(controller):
                out.write(shown)
            os.close(controller)
            code = _ended(child)
    (results / "code").write_text(str(code), encoding="utf-8")
    return 0


def _stdin(job: Job) -> int:
    if not job["hold_s"]:
        return os.open(job["stdin"] or os.devnull, os.O_RDONLY)
    feeding = ["sh", "-c", 'cat "$0"; sleep "$1"', job["stdin"], str(job["hold_s"])]
    feeder = subprocess.Popen(feeding, stdout=subprocess.PIPE)
    assert feeder.stdout is not None
    return os.dup(feeder.stdout.fileno())


def _edgebird(job: Job, streams: list[int]) -> int:
    """Be the command; its exit code."""
    signal.alarm(_SECONDS)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["edgebird", *job["arguments"]]
    from edgebird.cli import main as edgebird

    try:
        edgebird()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        (Path(job["results"]) / "modules").write_text("\n".join(sys.modules), encoding="utf-8")
    return 0


def _fork(work: Callable[[], int]) -> int:
    """Do work in a process of its own, whose exit code it gives; the process."""
    child = os.fork()
    return child if child else _end_with(work)


def _end_with(work: Callable[[], int]) -> NoReturn:
    code = 1
    try:
        code = work()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(child: int) -> int:
    """Wait for the end of a process; its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the last process has left the terminal
        return b""


if __name__ == "__main__":
    main()
