"""Tells systemd that a station is ready, alive and stopping; nothing where it was not started by systemd.

The protocol of sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)


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
