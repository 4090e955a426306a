"""What a process needs that runs for months: it tells systemd how it is, and keeps its memory steady.

`notify` and `Watchdog` speak the protocol of sd_notify(3), a datagram to the socket that NOTIFY_SOCKET names; they do
nothing where the station was not started by systemd. `keep_steady` and `collecting` are for C's heap and for Python's
garbage.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

# Of mallopt(3), glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 64 * 1024  # bytes
_COLLECT_S = 60.0


def notify(state: str) -> None:
    """Send a state, such as READY=1."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect(address)
            connection.sendall(state.encode())
    except OSError as error:
        log.warning("cannot tell systemd %s: %s", state, error.strerror)


class Watchdog:
    """Says that the station is alive, at half the time systemd waits for that (WATCHDOG_USEC)."""

    def __init__(self) -> None:
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every = int(microseconds) / 2e6 if microseconds.isdecimal() and ours else None
        self._next = 0.0

    def tick(self) -> None:
        """Call it now and then."""
        now = time.monotonic()
        if self._every is not None and now >= self._next:
            self._next = now + self._every
            notify("WATCHDOG=1")


def keep_steady() -> None:
    """Have glibc keep one heap for all threads, and take large blocks from the system and give them back to it.

    By default each thread has a heap of its own, and the size from which blocks are large grows with every block that
    is freed: windows then lie between small blocks that live longer, and what is free between them grows for hours.
    Call before threads start; elsewhere than with glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, 2 * _LARGE)):
        if not mallopt(option, value):
            log.debug("mallopt refuses %d = %d", option, value)


@contextmanager
def collecting() -> Iterator[Callable[[], None]]:
    """Leave what exists now to itself in Python's garbage collections, and collect the rest once a minute.

    Gives what is to be called now and then; it collects when a minute is over, which takes a millisecond. By default
    the oldest generation is collected when it has grown by a quarter: beside 100,000 objects from imports that takes
    hours, and rings of dead objects hold their buffers as long. For a program that does nothing but listen: what dies
    meanwhile of what exists now is never collected.
    """
    due = time.monotonic() + _COLLECT_S

    def collect() -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + _COLLECT_S
            gc.collect()

    gc.collect()
    gc.freeze()
    try:
        yield collect
    finally:
        gc.unfreeze()
