"""What capture processes share: their options, their end, and a standard output that carries messages alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, TypeAlias

from edgebird.capture import wire
from edgebird.errors import AudioError

Options: TypeAlias = dict[str, Any]


class CaptureError(AudioError):
    """Why a source is lost: a reason of `wire.REASONS`, and one line without credentials."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def serve(capture: Callable[[Options, BinaryIO], None]) -> None:
    """Run a capture process: read the options, capture until the parent closes our input, tell it what went wrong.

    capture: takes the options and the pipe to write messages to, ends by raising CaptureError. Never returns.
    """
    # systemd sends SIGTERM to all processes of a service at once: we end with our parent, who knows why.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    options: Options = json.loads(line)
    threading.Thread(target=_exit_with_parent, name="parent", daemon=True).start()
    pipe = _take_stdout()
    if not options.get("verbose"):
        hush()
    try:
        capture(options, pipe)
    except CaptureError as error:
        _tell(pipe, error)
    except BrokenPipeError:  # the parent has gone
        pass
    os._exit(0)  # at once: libraries that hang must not hold up the end


def hush() -> None:
    """Send what C libraries write to stderr to nowhere; Python's own tracebacks still arrive."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _take_stdout() -> BinaryIO:
    """Return stdout for messages; what others print there goes to stderr from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _exit_with_parent() -> None:
    while os.read(0, 4096):  # the end of our input: the parent says stop, or has died
        pass
    os._exit(0)


def _tell(pipe: BinaryIO, error: CaptureError) -> None:
    with suppress(BrokenPipeError):
        wire.say(pipe, wire.FAIL, reason=error.reason, text=str(error))
