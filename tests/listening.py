"""`edgebird listen` as people run it: a process of its own, whose events are read as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pytest

from edgebird.events import Event
from tests.live_servers import wait_until

_MARK = "EDGEBIRD_TEST_RUN"  # in the environment of a process and so of its capture processes


class Listening:
    """A running command. events: what it has printed so far; arrived: when each came, seconds of the wall clock."""

    def __init__(self, command: list[str], env: dict[str, str], stdin: int | IO[bytes] = subprocess.DEVNULL) -> None:
        self._mark = f"{_MARK}={uuid4()}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            command,
            env={**env, name: value, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.events: list[Event] = []
        self.arrived: list[float] = []
        self.err = ""
        self.cores = 0.0  # that it needed when it was measured
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_events, self._read_err)]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.arrived.append(time.time())
            self.events.append(json.loads(line))

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line.decode()

    def of(self, kind: str, source: str, **fields: Any) -> list[Event]:
        """The events of a kind and a source, with these fields."""
        return [e for e in list(self.events) if _fits(e, {"event": kind, "source": source, **fields})]

    def states(self, source: str) -> list[str]:
        """What was told of a source."""
        return [event["state"] for event in self.of("source", source)]

    def summary(self, source: str) -> Event:
        """Its account."""
        (event,) = self.of("summary", source)
        return event

    def wait(self, kind: str, *sources: str, count: int = 1, seconds: float = 40, **fields: Any) -> None:
        """Wait until there were so many events of a kind, of each of the sources, with these fields."""
        for source in sources:
            wait_until(
                lambda source=source: len(self.of(kind, source, **fields)) >= count or self._must_run(),
                f"{kind} {fields} of {source}: {self.states(source)} {self.err[-500:]}",
                seconds,
            )

    def wait_states(self, *states: tuple[str, str], count: int = 1) -> None:
        """Wait until each source was told to be in a state, so often."""
        for source, state in states:
            self.wait("source", source, state=state, count=count)

    def _must_run(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"it ended with {self.process.returncode}: {self.err}")
        return False

    def captures(self) -> list[int]:
        """Its capture processes, also when it has ended itself."""
        return [pid for pid in _marked(self._mark) if pid != self.process.pid]

    def measure_cores(self, seconds: float) -> None:
        """Measure how many cores it needs, without its captures."""
        began, before = time.monotonic(), _cpu_s(self.process.pid)
        time.sleep(seconds)
        self.cores = (_cpu_s(self.process.pid) - before) / (time.monotonic() - began)

    def end(self, number: int | None = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal, or none, and wait for the end; the exit code. Accounts must close, nothing may be left."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.close()
        wait_until(lambda: not self.captures(), "no capture process left behind")
        assert "Traceback" not in self.err, self.err
        self.check_accounts()
        return code

    def close(self) -> None:
        """Kill it if it still runs, and read the rest of what it said."""
        self.process.kill()
        for reader in self._readers:
            reader.join(10)
        left = self.captures() if any(reader.is_alive() for reader in self._readers) else []
        for pid in left:  # its pipes cannot be closed while what holds them is read
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with self.process:  # closes its pipes
            pass
        assert not left, f"{len(left)} capture processes held the station's output"

    def check_accounts(self) -> None:
        """Every second is scored, told as a gap, or the rest that is too short to score: in samples, exactly."""
        for summary in (event for event in self.events if event["event"] == "summary" and "audio_s" in event):
            parts = summary["scored_s"] + summary["gap_s"] + summary["tail_s"]
            assert parts == pytest.approx(summary["audio_s"], abs=1e-6), summary
            gaps = sum(gap["end_s"] - gap["start_s"] for gap in self.of("gap", summary["source"]))
            assert gaps == pytest.approx(summary["gap_s"], abs=1e-6), summary


@contextmanager
def listening(*arguments: object, env: dict[str, str] | None = None, **pipes: Any) -> Iterator[Listening]:
    """Run `edgebird listen` with these arguments; it is killed if it still runs at the end."""
    command = [sys.executable, "-m", "edgebird", "listen", *map(str, arguments), "--format", "jsonl", "--threads", "1"]
    heard = Listening(command, {**os.environ} if env is None else env, **pipes)
    try:
        yield heard
    finally:
        heard.close()


def _fits(event: Event, fields: dict[str, Any]) -> bool:
    return all(event.get(key) == value for key, value in fields.items())


def _marked(mark: str) -> list[int]:
    """Processes with this in their environment; zombies have none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0
