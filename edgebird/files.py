"""Files: written whole or not at all, and known by their hash."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from edgebird.errors import OutputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file to write; it takes the place of `path` on success and goes on failure.

    The temporary file is in the same folder, which is made if it is missing. An OSError in the body is taken to be
    about the file: it becomes an OutputError that names `path`.
    """
    # A plain name, not tempfile's: that one would leave results that only their owner can read.
    temporary = path.with_name(f".edgebird-{secrets.token_hex(8)}.tmp")
    try:
        if path.exists() and not path.is_file():
            # Renaming would fail for a folder, and replace a device such as /dev/null for good.
            raise OutputError(f"cannot write {path}: it exists and is not a regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Give a UTF-8 text stream, newlines as they are, that becomes `path` on success; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("x", encoding="utf-8", newline="") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())  # else a power cut can leave the new name with no content


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
