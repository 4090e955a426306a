"""Whether the wall clock can be believed: a computer without a clock of its own may be years off until a network comes.

Nothing is deleted for its age by a clock that is in doubt.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

HELD_S = 86400.0  # after a jump: clocks that were set wrong are mostly set right within hours
_JUMP_S = 60.0  # steps up to that are what time servers do
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd makes it when it has heard a server
_TIMEDATECTL, _PATIENCE_S = ("timedatectl", "show", "--property=NTPSynchronized", "--value"), 5.0
_TIMEX_BYTES, _STATUS_AT, _UNSYNCHRONISED = 512, 5 * ctypes.sizeof(ctypes.c_long), 0x40  # struct timex, STA_UNSYNC


def steady() -> float:
    """Seconds since boot, also while the computer slept; no clock that is set moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def is_synchronised() -> bool | None:
    """Whether a time server or a radio keeps the clock right; None if nobody says.

    systemd-timesyncd says so by a file. The kernel knows it from chrony (with `rtcsync`, as Debian has it), ntpd and
    others; a service with ProtectClock=yes may not ask it, but `timedatectl`, which does.
    """
    if _SYNCHRONISED.exists():
        return True
    timex = (ctypes.c_char * _TIMEX_BYTES)()  # larger than it is anywhere; all zeros ask and change nothing
    try:
        answer = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError, TypeError):
        return None
    if answer < 0:
        return _timedatectl()
    status = ctypes.c_int.from_buffer(timex, _STATUS_AT).value
    return not status & _UNSYNCHRONISED


def _timedatectl() -> bool | None:
    try:
        done = subprocess.run(
            _TIMEDATECTL, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


class WallClock:
    """The wall clock, in Unix time, and what speaks against it; look at it now and then, for a jump to be seen.

    clock: Unix time. since_boot: seconds that nobody sets. synchronised: see `is_synchronised`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = steady,
        synchronised: Callable[[], bool | None] = is_synchronised,
    ) -> None:
        self.now, self._since_boot, self._synchronised = clock, since_boot, synchronised
        self._offset: float | None = None
        self._held_until: float | None = None

    def look(self) -> None:
        """See whether it was set since the last look."""
        at = self._since_boot()
        offset = self.now() - at
        if self._offset is not None and abs(offset - self._offset) > _JUMP_S:
            self._held_until = at + HELD_S
        self._offset = offset

    def doubt(self) -> str:
        """Why its time may be wrong, "" if nothing speaks against it."""
        self.look()
        if self._held_until is not None and self._since_boot() < self._held_until:
            return f"the clock was set by more than {_JUMP_S:.0f} s in the last {HELD_S / 3600:.0f} hours"
        synchronised = self._synchronised()
        if synchronised is None and os.uname().sysname == "Linux":
            return "nobody says whether the clock is synchronised"
        return "the clock is not synchronised" if synchronised is False else ""
