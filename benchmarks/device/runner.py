"""Runs steps, each with a limit and a log of its own, and packs what came out after each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GRACE_S = 5.0  # between SIGTERM and SIGKILL
_SHOWN = 300  # characters of what a step said last


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """A command. limit_s: in which it must end. on_gpu: it cannot succeed without a GPU."""

    name: str
    command: Sequence[str]
    limit_s: float
    on_gpu: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a step. code: its exit code, None where it ran past its limit. last: the last line it printed.

    traceback: it ended with one, which edgebird never should.
    """

    step: DeviceStep
    code: int | None
    seconds: float
    last: str
    traceback: bool

    @property
    def right(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def refused(self) -> bool:
        """Whether it failed as it must where there is no GPU: by itself, with a reason in one line."""
        return self.code == 1 and bool(self.last) and not self.traceback

    def __str__(self) -> str:
        ended = f"over its limit of {self.step.limit_s:g} s" if self.code is None else f"exit {self.code}"
        return f"{self.step.name}: {ended}, {self.seconds:.1f} s" + ("" if self.right else f" | {self.last}")


def run_steps(
    steps: Sequence[DeviceStep], folder: Path, report: Path, tell: Callable[[str], None], at_once: int = 1
) -> list[Ended]:
    """Run steps in order; their logs are in `folder`, with a summary, and the report is packed anew after each.

    at_once: how many run at the same time, where nothing is measured. Raises OSError if the report cannot be written.
    """
    outcomes = []
    with ThreadPoolExecutor(at_once) as pool:
        each = map if at_once == 1 else pool.map  # in this thread Ctrl-C ends the step
        for outcome in each(lambda step: _run(step, folder, tell), steps):
            outcomes.append(outcome)
            tell(str(outcome))
            (folder / "summary.txt").write_text("".join(f"{one}\n" for one in outcomes), encoding="utf-8")
            pack(folder, report)
    return outcomes


def pack(folder: Path, report: Path) -> None:
    """Everything in a folder as one file."""
    part = report.with_name(f".{report.name}.part")
    with tarfile.open(part, "w:gz") as archive:
        archive.add(folder, ".")
    part.replace(report)


def _run(step: DeviceStep, folder: Path, tell: Callable[[str], None]) -> Ended:
    tell(f"{step.name} (at most {step.limit_s:g} s)")
    log = folder / f"{step.name}.log"
    begun = time.monotonic()
    with log.open("wb") as stream:
        stream.write(f"$ {' '.join(step.command)}\n".encode())
        stream.flush()
        code = _exit_code(step, stream.fileno())
    text = log.read_text(encoding="utf-8", errors="replace")
    said = [line for line in text.splitlines()[1:] if line.strip()]
    last = said[-1].strip()[:_SHOWN] if said else ""
    return Ended(step, code, time.monotonic() - begun, last, "Traceback (most recent call last)" in text)


def _exit_code(step: DeviceStep, log: int) -> int | None:
    try:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},  # so that the last line is what it said last
            start_new_session=True,
        )
    except OSError as error:
        os.write(log, f"error: {step.command[0]}: {error.strerror}\n".encode())
        return 127
    try:
        return process.wait(step.limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, where it still runs, with all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with suppress(OSError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
