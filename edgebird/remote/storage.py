"""A bucket, or a host, through fsspec: what is there, parts of its files, and whole files put there.

fsspec and what it needs are imported when the first such path is used. Nothing here tells a login: a URL's is taken
out of it by `path.place`, and kept here.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from edgebird.errors import EdgebirdError, UsageError

T = TypeVar("T")
log = logging.getLogger(__name__)

SCHEMES = {"s3": "remote", "sftp": "remote", "gs": "gcs"}  # and the extra that each needs
_TRIES, _PAUSE_S = 3, 1.0  # of a host whose connection was lost
_SSH_PORT, _PATIENCE_S, _ALIVE_S = 22, 60.0, 30
_LONGEST = 200  # characters of what a library says
_NO = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """A file, or a folder. size: bytes. mtime_ns: when it was changed. tag: a hash of its content, if the place has."""

    size: int
    mtime_ns: int
    tag: str = ""
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in at a host."""

    user: str
    password: str | None = field(default=None, repr=False)


_logins: dict[str, Login] = {}
_storages: dict[tuple[str, str], RemoteStorage] = {}
_guard = threading.Lock()


def keep_login(host: str, text: str) -> None:
    """Keep the `user` or `user:password` of a URL, whose letters may be percent-encoded. Raises UsageError."""
    user, colon, password = text.partition(":")
    login = Login(unquote(user), unquote(password) if colon else None)
    used_without = ("sftp", host) in _storages and host not in _logins
    if used_without or _logins.setdefault(host, login) != login:
        raise UsageError(
            f"sftp://{host}: two logins at one host, or one and none: give one everywhere, or run them apart"
        )


def logins() -> dict[str, Login]:
    """All logins that are kept, for a worker elsewhere."""
    return dict(_logins)


def take_logins(given: Mapping[str, Login]) -> None:
    """Keep those that another program had."""
    _logins.update(given)


def storage_of(scheme: str, authority: str) -> RemoteStorage:
    """The one storage of a bucket or host in this process."""
    with _guard:
        return _storages.setdefault((scheme, authority), RemoteStorage(scheme, authority))


class RemoteStorage:
    """One bucket, or host. Threads may share it. Methods raise OSError with one line, EdgebirdError without the extra.

    Paths are those below the bucket, or from the root of the host on.
    """

    def __init__(self, scheme: str, authority: str) -> None:
        self.name, self._scheme, self._authority = f"{scheme}://{authority}", scheme, authority
        self._fs: Any = None
        self._is_host = scheme == "sftp"
        self._lock = threading.RLock()

    def status(self, path: str) -> RemoteStatus:
        """What is at a path."""
        return self._call(lambda fs: _status(fs.info(self._key(path))))

    def require(self) -> None:
        """Raise OSError where there is no such bucket, or host."""
        try:
            self.status("")
        except FileNotFoundError:
            raise OSError(errno.ENODEV, f"no such {'host' if self._is_host else 'bucket'}") from None

    def find(self, path: str) -> dict[str, RemoteStatus]:
        """All files below a path, by their paths below it."""
        key = self._key(path)
        return self._call(lambda fs: _on_host(fs, key, self.name) if self._is_host else _in_bucket(fs, key, self.name))

    def read(self, path: str, start: int, end: int) -> bytes:
        """Some bytes of a file; fewer where it ends before."""
        return self._call(lambda fs: self._part(fs, self._key(path), start, end))

    def write(self, path: str, local: Path) -> None:
        """Put a file there: others see the old one or the new one, whole."""
        self._call(lambda fs: self._put(fs, self._key(path), local))

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._call(lambda fs: fs.rm_file(self._key(path)))

    def _key(self, path: str) -> str:
        return f"/{path}" if self._is_host else f"{self._authority}/{path}".rstrip("/")

    def _part(self, fs: Any, key: str, start: int, end: int) -> bytes:
        if not self._is_host:
            return bytes(fs.cat_file(key, start=start, end=end))
        with fs.ftp.open(key, "rb") as file:
            return b"".join(file.readv([(start, end - start)]))  # asks for all of it before the first comes

    def _put(self, fs: Any, key: str, local: Path) -> None:
        if not self._is_host:
            fs.put_file(str(local), key)
            return
        folder, _, name = key.rpartition("/")
        fs.makedirs(folder or "/", exist_ok=True)
        part = f"{folder}/.edgebird-{name}.part"  # what a program that was killed left is written over
        fs.ftp.put(str(local), part)
        fs.mv(part, key)

    def _call(self, do: Callable[[Any], T]) -> T:
        """Do something with the file system; anew where the connection to a host was lost."""
        with self._lock if self._is_host else nullcontext():  # one connection serves one thread at a time
            for left in reversed(range(_TRIES)):
                was_open = self._fs is not None
                try:
                    return do(self._opened())
                except EdgebirdError:
                    raise
                except _NO as error:
                    raise type(error)(error.errno or errno.ENOENT, self._words(error), self.name) from None
                except Exception as error:  # noqa: BLE001  libraries raise what they like
                    if not (left and self._is_host and was_open):
                        raise OSError(errno.EIO, self._words(error), self.name) from None
                    self._fs = None
                    time.sleep(_PAUSE_S)
        raise AssertionError

    def _opened(self) -> Any:
        with self._lock:
            if self._fs is None:
                self._fs = self._open()
            return self._fs

    def _open(self) -> Any:
        try:
            import fsspec

            kind = fsspec.get_filesystem_class(self._scheme)
        except ImportError as error:
            extra = SCHEMES[self._scheme]
            raise EdgebirdError(f"{self._scheme}:// needs more: pip install 'edgebird[{extra}]' ({error})") from None
        if not self._is_host:
            return kind(use_listings_cache=False, skip_instance_cache=True)
        host, _, port = self._authority.partition(":")
        login = _logins.get(self._authority, Login(""))
        options: dict[str, Any] = {"timeout": _PATIENCE_S}
        options |= {"username": login.user} if login.user else {}
        options |= {"password": login.password} if login.password is not None else {}
        fs = _of_known_hosts(kind)(host, port=int(port or _SSH_PORT), skip_instance_cache=True, **options)
        fs.ftp.get_channel().settimeout(_PATIENCE_S)
        fs.client.get_transport().set_keepalive(_ALIVE_S)
        return fs

    def _words(self, error: BaseException) -> str:
        """What an error says, without what nobody may read."""
        text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        for login in _logins.values():
            text = text.replace(login.password, "***") if login.password else text
        return " ".join(text.split())[:_LONGEST]


def _on_host(fs: Any, top: str, told: str) -> dict[str, RemoteStatus]:
    """Files below a folder, links followed, by their paths below it.

    Not fsspec's own walk: it takes a folder that cannot be listed, and a connection that is lost, for an empty one.
    """
    found: dict[str, RemoteStatus] = {}
    waiting, seen = [(top, "")], set()
    while waiting:
        folder, below = waiting.pop()
        try:
            real = fs.ftp.normalize(folder)
            listed = [] if real in seen else fs.ls(folder, detail=True)
        except PermissionError:
            log.warning("%s%s: left out, no permission", told, folder)
            continue
        except FileNotFoundError:
            if folder == top:
                raise
            continue  # deleted meanwhile
        seen.add(real)  # a link to a folder above would otherwise be followed for ever
        for about in listed:
            name = about["name"].rstrip("/").rpartition("/")[2]
            path = f"{folder.rstrip('/')}/{name}"
            if about["type"] == "link":
                try:
                    about = fs.info(path)
                except FileNotFoundError:
                    continue  # it leads nowhere
            if about["type"] == "directory":
                waiting.append((path, f"{below}{name}/"))
            elif about["type"] == "file":
                found[f"{below}{name}"] = _status(about)
    return found


def _in_bucket(fs: Any, key: str, told: str) -> dict[str, RemoteStatus]:
    """Files below a prefix, by their paths below it."""
    found, odd = {}, 0
    for name, about in fs.find(key, detail=True).items():
        if about["type"] != "file" or name == key:
            continue
        below = name[len(key) + 1 :]
        if below.startswith("/") or "//" in below:
            odd += 1
        else:
            found[below] = _status(about)
    if odd:
        log.warning("%s: %d files left out, whose names have a folder without a name", told, odd)
    return found


def _status(about: Mapping[str, Any]) -> RemoteStatus:
    """From what fsspec's file systems say of a file. Seconds: a list of S3 has parts of them, a question has none."""
    changed = about.get("LastModified") or about.get("mtime") or about.get("updated")
    if isinstance(changed, str):  # Google's
        from datetime import datetime

        changed = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    mtime_ns = int(changed.timestamp()) * 10**9 if changed else 0
    tag = str(about.get("ETag") or about.get("etag") or "").strip('"')
    return RemoteStatus(int(about.get("size") or 0), mtime_ns, tag, about["type"] == "directory")


def _of_known_hosts(kind: type[Any]) -> type[Any]:
    """fsspec's file system of a host, which would trust whoever answers, for the hosts in `known_hosts` alone.

    They are read before: then a host is asked for the kind of key that is known of it.
    """
    import paramiko

    class _KnownHosts(kind):  # type: ignore[misc]  # it has no types
        def _connect(self) -> None:
            self.client = paramiko.SSHClient()
            self.client.load_system_host_keys()
            if (everybody := Path("/etc/ssh/ssh_known_hosts")).exists():
                self.client.load_system_host_keys(str(everybody))
            self.client.set_missing_host_key_policy(_Refusing())
            self.client.connect(self.host, **self.ssh_kwargs)
            self.ftp = self.client.open_sftp()

    class _Refusing(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # it has no types
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            raise paramiko.SSHException(f"the key of {hostname} is not in known_hosts: log in there with ssh first")

    return _KnownHosts
