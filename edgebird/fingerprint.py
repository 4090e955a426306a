"""What tells one state of a file from another without reading all of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from edgebird.remote.path import RemotePath
from edgebird.remote.storage import RemoteStatus

_END = 4096  # bytes: at the start of a recording is its header, and both ends differ from those of any other


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file's size in bytes, when it was changed in nanoseconds, and the hash of its ends in hex.

    In a bucket, which tells a hash of all of a file, that one.
    """

    size: int
    mtime_ns: int
    ends: str


def fingerprint(path: Path, listed: RemoteStatus | None = None) -> Fingerprint | None:
    """That of a file; None where it cannot be read, or is no regular file.

    listed: what a list of files elsewhere said of it just now, which spares asking again.
    """
    if isinstance(path, RemotePath):
        return _elsewhere(path, listed)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for its writer
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        ends = os.pread(descriptor, _END, 0), os.pread(descriptor, _END, _last(status.st_size))
        return Fingerprint(status.st_size, status.st_mtime_ns, _hash(*ends))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _elsewhere(path: RemotePath, listed: RemoteStatus | None) -> Fingerprint | None:
    try:
        known = listed if listed and listed.tag else path.status()
        if known.is_folder:
            return None
        if known.tag:
            return Fingerprint(known.size, known.mtime_ns, known.tag)
        spans = ((start, min(start + _END, known.size)) for start in (0, _last(known.size)))
        ends = [path.storage.read(path.below, *span) for span in spans if span[0] < span[1]]
        return Fingerprint(known.size, known.mtime_ns, _hash(*ends))
    except OSError:
        return None


def _last(size: int) -> int:
    """Where the second end begins: behind the first one."""
    return max(_END, size - _END)


def _hash(*ends: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for end in ends:
        digest.update(end)
    return digest.hexdigest()
