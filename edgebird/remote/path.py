"""Paths of files elsewhere: `s3://bucket/...`, `sftp://host/...`, `gs://bucket/...`, used as those of this machine."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any

from edgebird.errors import UsageError
from edgebird.remote.file import RemoteFile
from edgebird.remote.storage import SCHEMES, RemoteStatus, RemoteStorage, keep_login, storage_of

_URL = re.compile(rf"({'|'.join(SCHEMES)}):/+([^/]+)(?:/(.*))?", re.DOTALL | re.IGNORECASE)
_HOST = re.compile(r"[^:@]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?")


class RemotePath(PosixPath):
    """A path whose first parts are a scheme and a bucket or host. Its text is a URL, without a login.

    What recordings and results need is here; all else of a `Path` would look on this machine. Raises OSError.
    """

    def __str__(self) -> str:
        text = super().__str__()
        scheme, colon, rest = text.partition(":/")
        return f"{scheme}://{rest}" if colon else text

    def __fspath__(self) -> str:
        return str(self)

    @property
    def storage(self) -> RemoteStorage:
        """Where it is."""
        return storage_of(self.parts[0].rstrip(":"), self.parts[1])

    @property
    def below(self) -> str:
        """The path below the bucket, or from the root of the host on."""
        return "/".join(self.parts[2:])

    def relative_to(self, *other: Any, **_: Any) -> PurePosixPath:  # type: ignore[override]
        """The path below another one: no URL any more."""
        return PurePosixPath(*super().relative_to(*other).parts)

    def absolute(self) -> RemotePath:
        """Return it."""
        return self

    def status(self) -> RemoteStatus:
        """What is there. Raises FileNotFoundError where nothing is in a bucket that is."""
        try:
            return self.storage.status(self.below)
        except FileNotFoundError:
            self.storage.require()
            raise

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its kind, size and time."""
        found = self.status()
        kind, changed = stat.S_IFDIR if found.is_folder else stat.S_IFREG, found.mtime_ns // 10**9
        return os.stat_result((kind, 0, 0, 1, 0, 0, found.size, changed, changed, changed))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is a file or a folder."""
        try:
            return bool(self.status())
        except FileNotFoundError:
            return False

    def is_file(self, **_: Any) -> bool:
        """Whether there is a file."""
        return self.exists() and not self.status().is_folder

    def is_dir(self, **_: Any) -> bool:
        """Whether there is a folder."""
        return self.exists() and self.status().is_folder

    def open(self, mode: str = "rb", buffering: int = -1, *_: Any) -> Any:
        """Open it for reading bytes."""
        assert mode == "rb"
        file = RemoteFile(self.storage, self.below, self.status().size)
        return io.BufferedReader(file) if buffering else file

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        try:
            self.storage.remove(self.below)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def find(self) -> dict[str, RemoteStatus]:
        """All files below it, by their paths below it; none where there is no such folder."""
        try:
            return self.storage.find(self.below)
        except FileNotFoundError:
            return {}

    def glob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # type: ignore[override]
        """Files below it, as many folders deep as the pattern has."""
        depth = pattern.count("/")
        return (self / name for name in self.find() if name.count("/") == depth and Path(name).match(pattern))

    def put(self, local: Path) -> None:
        """Have a file of this machine there, whole, in the place of another."""
        self.storage.write(self.below, local)


def here(path: Path, what: str) -> Path:
    """A path of this machine. Raises UsageError for a URL, of which a folder `s3:` would be made here."""
    if _URL.fullmatch(str(path)):
        raise UsageError(f"{what}: a file or folder of this machine is wanted; detect --out and export-table take URLs")
    return path


def place(path: Path) -> Path:
    """What a user means by a path: a RemotePath for a URL, from which a login is taken and kept apart.

    Raises UsageError where two logins are given for one host, and for an address that is none: it is not told, for a
    password may be in it.
    """
    match = _URL.fullmatch(str(path))
    if match is None:
        return path
    scheme, authority, below = match[1].lower(), match[2], match[3]
    login, _, where = authority.rpartition("@")
    if scheme == "sftp" and (not _HOST.fullmatch(where) or "@" in (below or "").partition("/")[0]):
        raise UsageError("sftp://: wanted USER:PASSWORD@HOST:PORT/FOLDER; in a password / is %2F, @ is %40, % is %25")
    if login and scheme != "sftp":
        raise UsageError(f"{scheme}://{where}: it takes no login in its address, but from where its programs do")
    if login:
        keep_login(where, login)
    return RemotePath(f"{scheme}:", where, below or "")
