"""A capture process: one microphone or stream, started, read with patience, and ended whatever it is doing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgebird.capture.wire import FAIL, Message, Parser

_PIPE_BYTES = 1 << 18  # half a second of two channels at 96 kHz is more: that takes two readings
_END_S = 2.0
_CLOSE_S = 2.0  # to say good-bye to a server, for which a capture takes a little less at most


@dataclass(frozen=True)
class Capture:
    """What to run: a module that speaks the protocol of `wire`, and its options, which may hold credentials."""

    module: str
    options: Mapping[str, Any]

    def having(self, more: Mapping[str, Any]) -> Capture:
        """The same with more options."""
        return Capture(self.module, {**self.options, **more})


class CaptureProcess:
    """A running capture; a context manager that leaves no process behind, unless a driver holds it (`exit_code`)."""

    def __init__(self, capture: Capture) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", capture.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if capture.options.get("verbose") else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is for us: we end our captures ourselves
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._parser = Parser()
        self._buffer = memoryview(bytearray(_PIPE_BYTES))
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or too many pipes: then it is small
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.ended = False
        self._say(capture.options)

    def begin(self, position: int) -> None:
        """Have blocks counted from this position, in frames of the capture."""
        self._say({"begin": position})

    def _say(self, content: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # one that has ended is seen at the next read
            self._stdin.write(json.dumps(dict(content)).encode() + b"\n")
            self._stdin.flush()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and where a driver that hangs keeps it from ending."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_S / 10 if self.ended else 0)
        return None

    def messages(self, patience_s: float) -> Iterator[Message]:
        """Give what has come, after waiting for it at most so long. `ended` is set when nothing more will.

        What is no message comes as a FAIL.
        """
        if select.select([self._stdout], [], [], patience_s)[0]:
            size = os.readv(self._stdout.fileno(), [self._buffer])
            self.ended = not size
            try:
                yield from self._parser.feed(self._buffer[:size])
            except ValueError as error:
                fault = json.dumps({"reason": "error", "text": str(error)}).encode()
                yield Message(FAIL, fault, time.monotonic(), 0)

    def __enter__(self) -> CaptureProcess:
        return self

    def __exit__(self, *_exception: object) -> None:
        """End it: first by the end of its input, then by force."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._stdout.close()
