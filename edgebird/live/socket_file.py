"""The file of a Unix socket: made, found and removed, whatever its path and whatever was there before."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgebird.errors import OutputError

_LONGEST = 107  # bytes of an address of Linux, without its end
_WAITING = 16  # connections that were not accepted yet
_ASK_S = 1.0


def bind(path: Path) -> socket.socket:
    """Return a socket that listens at a path, for its own user alone, and does not block.

    What a process that was killed has left there is removed, if it is this user's. Raises OutputError where something
    else is there, somebody listens, or nothing can be made.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        os.fchmod(server.fileno(), 0o600)  # before there is a file: nobody else may connect in between
        with _address(path) as address:
            server.bind(address)
        server.listen(_WAITING)
        server.setblocking(False)
    except OSError as error:
        server.close()
        raise OutputError(f"cannot listen at {path}: {error.strerror or error}") from error
    except OutputError:
        server.close()
        raise
    return server


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Return a socket that is connected to the one at a path. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with _address(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens at. Raises OutputError for all else that is there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid():
        raise OutputError(f"cannot listen at {path}: what is there is another user's, and stays")
    if not stat.S_ISSOCK(found.st_mode):
        raise OutputError(f"cannot listen at {path}: what is there is no socket, and stays")
    try:
        connect(path, _ASK_S).close()
    except OSError as error:
        if error.errno != errno.ECONNREFUSED:
            raise
    else:
        raise OutputError(f"cannot listen at {path}: another program does, perhaps a station with the same settings")
    with suppress(FileNotFoundError):
        path.unlink()


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give an address of a path; one that is too long for that goes through its folder."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
