"""Files: written whole or not at all, and known by their hash."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from edgebird.errors import OutputError, WrongOutputError
from edgebird.remote.path import RemotePath

_TEMPORARY = re.compile(
    r"\.edgebird-(?:([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-(\d+)-([0-9a-f]{8}))?[0-9a-f]{16}\.tmp"
)
_TOKEN = secrets.token_hex(4)  # tells this process from an earlier one of the same number, which is 1 in a container
_LONGEST_LINE = 1 << 20  # bytes
_SURELY_DEAD_S = 2 * 86400.0  # since the last change of what may be another computer's
_COMPUTER, _BOOT, _SPACE = "/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux


def temporary_beside(path: Path) -> Path:
    """A name for what shall take the place of `path`: in its folder, hidden, and known as ours to `remove_orphans`."""
    return path.with_name(f".edgebird-{'-'.join(_here())}-{os.getpid()}-{_TOKEN}{secrets.token_hex(8)}.tmp")


@cache
def _here() -> tuple[str, ...]:
    """What tells processes apart that share a folder: computer, boot, and name space of process numbers."""
    space = os.readlink(_SPACE) if os.path.islink(_SPACE) else ""
    return tuple(hashlib.sha256(part).hexdigest()[:8] for part in (_read(_COMPUTER), _read(_BOOT), space.encode()))


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes().strip()
    except OSError:
        return b""


@cache
def remove_orphans(folder: Path) -> None:
    """Remove what programs left in a folder when they were killed while they wrote; once a process for each folder.

    What another process still writes stays. Of another computer, or of one that cannot be told, only what nobody has
    touched for two days goes. Clones of a system have one machine-id: what seems to be of an earlier boot was written
    before this one, or is another computer's.
    """
    with suppress(OSError):
        for path in list(folder.glob(".edgebird-*.tmp")):
            with suppress(OSError):  # another thread's has its name by now: what is behind it is looked at all the same
                if _is_orphan(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_orphan(path: Path) -> bool:
    found = _TEMPORARY.fullmatch(path.name)
    if found is None:
        return False
    computer, boot, space, pid, token = found.groups()
    here = _here()
    if computer == here[0] and _read(_COMPUTER):
        changed = path.stat().st_mtime
        if boot != here[1] and changed < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME):
            return True
        if boot == here[1] and space == here[2]:
            return token != _TOKEN if int(pid) == os.getpid() else not _runs(int(pid))
    return time.time() - path.stat().st_mtime > _SURELY_DEAD_S


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file to write; it takes the place of `path` on success and goes on failure.

    The temporary file is in the same folder, which is made if it is missing. A power cut leaves the old file or the new
    one. An OSError in the body is taken to be about the file: it becomes an OutputError that names `path`. For a file
    elsewhere the temporary one is on this machine.
    """
    with _errors(path):
        temporary = _beside(path)
        try:
            yield temporary
            _give_name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _give_name(temporary: Path, path: Path) -> None:
    if isinstance(path, RemotePath):
        path.put(temporary)
        temporary.unlink()
        return
    sync(temporary)  # else a power cut can leave the new name with no content
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Give a UTF-8 text stream, newlines as they are, that becomes `path` on success; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("x", encoding="utf-8", newline="") as stream:
        yield stream


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # some network shares
            raise
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> bool:
    """Give each the place of the other in one step; False where system or file system cannot. Raises OSError."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # an old C library, or not Linux
        return False
    done = rename(_AT_WORKING_FOLDER, os.fsencode(one), _AT_WORKING_FOLDER, os.fsencode(other), _EXCHANGE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))


class WholeText:
    """The same without a `with`: a UTF-8 text file that becomes `path` when it is kept, and until then has no name.

    All methods raise OutputError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _errors(path):
            self._temporary = _beside(path)
            self._stream = self._temporary.open("x", encoding="utf-8", newline="")

    def write(self, text: str) -> None:
        """Add text."""
        with _errors(self._path):
            self._stream.write(text)

    def keep(self) -> None:
        """Give it its name; it is on the disk afterwards, whole."""
        try:
            with _errors(self._path), self._stream as stream:
                stream.flush()
                if isinstance(self._path, RemotePath):
                    _give_name(self._temporary, self._path)
                    return
                os.fsync(stream.fileno())
                self._temporary.replace(self._path)
                sync(self._path.parent)
        except OutputError:
            self.drop()
            raise

    def drop(self) -> None:
        """Delete it."""
        with suppress(OSError):
            self._stream.close()
        with _errors(self._path):
            self._temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A temporary file in the same folder, which is made if it is missing; here for a file elsewhere."""
    if isinstance(path, RemotePath):
        path = Path(tempfile.gettempdir()) / path.name
    else:
        require_free(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_orphans(path.parent.absolute())
    return temporary_beside(path)  # a plain name, not tempfile's: that one would be its owner's alone


def require_free(path: Path) -> None:
    """Raise OutputError where a file cannot be written whole, as something else has its place or that of its folder."""
    with _errors(path):
        if path.exists() and not path.is_file():
            # Renaming would fail for a folder, and replace a device such as /dev/null for good.
            raise OutputError(f"cannot write {path}: it exists and is not a regular file")
        above = next((folder for folder in path.parents if folder.exists()), None)
        if above and not above.is_dir():
            code = errno.EEXIST if above == path.parent else errno.ENOTDIR
            raise OSError(code, os.strerror(code))


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Tell an OSError as an OutputError that names a file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def first_line(path: Path) -> str | None:
    """How a file begins, without the end of the line; None where there is nothing. Raises OutputError."""
    if not path.is_file():
        return None
    with _errors(path), path.open("rb") as file:
        start = file.readline(_LONGEST_LINE)
    return start.decode("utf-8", "replace").rstrip("\r\n") if start else None


def require_place(folder: Path) -> None:
    """Raise OutputError for a folder of a bucket or host that is not there."""
    if isinstance(folder, RemotePath):
        with _errors(folder):
            folder.storage.require()


def make_folder(folder: Path, path: Path | None = None) -> None:
    """Make a folder and those above it. path: what shall be written there, if it is not the folder, for messages.

    Elsewhere folders come with their files. Raises WrongOutputError where a file is in the way, else OutputError.
    """
    if isinstance(folder, RemotePath):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = WrongOutputError if isinstance(error, FileExistsError | NotADirectoryError) else OutputError
        raise kind(f"cannot write {path or folder}: {error.strerror}") from error


def identity(path: Path) -> tuple[int, int] | None:
    """Which file has a name: its disk and its number there; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def cache_folder() -> Path:
    """Where what can be made again is kept for the user: `~/.cache/edgebird`, or in XDG_CACHE_HOME; may not exist."""
    home = os.path.expanduser("~").replace("~", "/nonexistent")  # a user without a home: nothing can be kept there
    return Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "edgebird"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def whole_lines(file: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON objects of a file, one a line, each with its size in bytes.

    A torn or damaged line, and what is behind it, counts for nothing.
    """
    for data in file:
        try:
            line = json.loads(data)
        except ValueError:
            return
        if not data.endswith(b"\n") or not isinstance(line, dict):
            return
        yield len(data), line
