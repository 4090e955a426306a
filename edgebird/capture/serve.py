"""What capture processes share: their options, their end, and a standard output that carries messages alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, TypeAlias

from edgebird.capture import wire
from edgebird.capture.blocks import Beginnings
from edgebird.errors import AudioError

Options: TypeAlias = dict[str, Any]

_HURRY_S, _CLOSE_S = 0.3, 1.2


class CaptureError(AudioError):
    """Why a source is lost: a reason of `wire.REASONS`, and one line without credentials.

    resume: what the next capture of the source has to know, see `wire`.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.resume: dict[str, Any] = {}


class Ending:
    """How a capture process ends: at once, but for what it has to close in order, which gets a moment.

    What is closed at the end is closed on the thread that captures, which therefore looks at `wanted` now and then;
    where it waits for a server, `hurry` ends that.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._close: Callable[[], object] | None = None
        self._hurry: Callable[[], object] = lambda: None

    @property
    def wanted(self) -> bool:
        """Whether the parent wants the end, or has died."""
        return self._wanted.is_set()

    def at_end(self, close: Callable[[], object], hurry: Callable[[], object]) -> None:
        """Have something closed at the end, in place of what was told before. hurry: called on another thread."""
        self._close, self._hurry = close, hurry

    def want(self) -> None:
        """End the process: now, or when all is closed."""
        self._wanted.set()
        if self._close:
            time.sleep(_HURRY_S)
            self._hurry()
            time.sleep(_CLOSE_S)
        os._exit(0)

    def close_now(self) -> None:
        """Close what would be closed at the end; the process goes on."""
        close, self._close = self._close, None
        if close:
            with suppress(Exception):
                close()

    def close(self) -> None:
        """Close what has to be closed; end the process if that hangs."""
        if self._close:
            threading.Thread(target=self.want, name="end", daemon=True).start()
            self.close_now()


def serve(capture: Callable[[Options, BinaryIO, Ending, Beginnings], None]) -> None:
    """Run a capture process: read the options, capture until the parent closes our input, tell it what went wrong.

    capture: takes the options, the pipe to write messages to, how we end and where blocks begin anew; it returns when
    the end is wanted, else ends by raising CaptureError. What else it raises is a fault of ours, and told as one. Never
    returns.
    """
    # systemd sends SIGTERM to all processes of a service at once: we end with our parent, who knows why.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    options: Options = json.loads(line)
    ending, beginnings = Ending(), Beginnings()
    threading.Thread(target=_obey_parent, args=(ending, beginnings), name="parent", daemon=True).start()
    pipe = _take_stdout()
    if not options.get("verbose"):
        hush()
    try:
        capture(options, pipe, ending, beginnings)
    except CaptureError as error:
        _tell(pipe, error)
    except BrokenPipeError:  # the parent has gone
        pass
    except Exception as error:  # noqa: BLE001  a fault of ours is told, too
        _tell(pipe, _own_fault(error))
    ending.close()
    os._exit(0)  # at once: libraries that hang must not hold up the end


def _own_fault(error: Exception) -> CaptureError:
    """Say what failed, and where on stderr; no text of the error's own, which may hold an address and its password."""
    with suppress(OSError):
        print("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__, file=sys.stderr, flush=True)
    return CaptureError("error", f"a fault in edgebird: {type(error).__name__}")


def hush() -> None:
    """Send what C libraries write to stderr to nowhere; where a fault of ours is still arrives."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _take_stdout() -> BinaryIO:
    """Return stdout for messages; what others print there goes to stderr from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _obey_parent(ending: Ending, beginnings: Beginnings) -> None:
    for line in sys.stdin.buffer:
        beginnings.tell(json.loads(line)["begin"])
    ending.want()  # the end of our input: the parent says stop, or has died


def _tell(pipe: BinaryIO, error: CaptureError) -> None:
    with suppress(BrokenPipeError):
        more = {"resume": error.resume} if error.resume else {}
        wire.say(pipe, wire.FAIL, reason=error.reason, text=str(error), **more)
