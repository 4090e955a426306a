"""Files: written whole or not at all, and known by their hash."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from edgebird.errors import OutputError, WrongOutputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file to write; it takes the place of `path` on success and goes on failure.

    The temporary file is in the same folder, which is made if it is missing. An OSError in the body is taken to be
    about the file: it becomes an OutputError that names `path`.
    """
    with _errors(path):
        temporary = _beside(path)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Give a UTF-8 text stream, newlines as they are, that becomes `path` on success; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("x", encoding="utf-8", newline="") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())  # else a power cut can leave the new name with no content


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
                os.fsync(stream.fileno())
                self._temporary.replace(self._path)
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
    """A temporary file in the same folder, which is made if it is missing."""
    if path.exists() and not path.is_file():
        # Renaming would fail for a folder, and replace a device such as /dev/null for good.
        raise OutputError(f"cannot write {path}: it exists and is not a regular file")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A plain name, not tempfile's: that one would leave results that only their owner can read.
    return path.with_name(f".edgebird-{secrets.token_hex(8)}.tmp")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Tell an OSError as an OutputError that names a file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def make_folder(folder: Path, path: Path | None = None) -> None:
    """Make a folder and those above it. path: what shall be written there, if it is not the folder, for messages.

    Raises WrongOutputError where a file is in the way, else OutputError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = WrongOutputError if isinstance(error, FileExistsError | NotADirectoryError) else OutputError
        raise kind(f"cannot write {path or folder}: {error.strerror}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
