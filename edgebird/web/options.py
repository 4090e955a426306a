"""What `edgebird serve` is asked for, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edgebird.errors import UsageError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST = 1024  # characters of a password


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where the station's files are, and who may see them.

    clips: the folder that the station writes clips to, None for no sound. reviews: a database of their own. live: the
    station's socket. bundle: to show the proofs of. password: None if there is none. user_header: the header in which
    a proxy names who it has let in, None without a proxy. proxies: where those are whose word counts.
    """

    database: Path
    reviews: Path
    live: Path
    clips: Path | None = None
    names: Path | None = None
    bundle: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    password: str | None = None
    user_header: str | None = None
    proxies: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if not (self.is_local or self.password or self.user_header):
            raise UsageError(
                f"others could read {self.host}:{self.port}: give --password-file FILE, or --proxy-header NAME of a "
                "proxy that lets people in, or stay at 127.0.0.1"
            )
        if self.reviews.resolve() == self.database.resolve():
            raise UsageError(f"--reviews {self.reviews} is the station's own database, which is only read")
        if self.password and self.user_header:
            raise UsageError("give --password-file or --proxy-header, not both: who lets people in?")

    @property
    def is_local(self) -> bool:
        """Whether this computer alone can reach it."""
        return is_loopback(self.host)

    @property
    def is_open(self) -> bool:
        """Whether everybody who reaches it may see it."""
        return self.password is None and self.user_header is None


def is_loopback(host: str) -> bool:
    """Whether a name or address is this computer's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_address(text: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:8080`, `[::1]:8080` or `:8080` (this computer). Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or not 0 <= int(port) <= 65_535 or "/" in host:
        raise UsageError(f"no such address {text!r}: wanted HOST:PORT such as 127.0.0.1:8080")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise UsageError(f"no such address {text!r}: an IPv6 address stands in brackets, [::1]:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


def read_proxy(text: str) -> Network:
    """Return the address or network of a proxy, `127.0.0.1` or `172.18.0.0/16`. Raises UsageError."""
    try:
        return ipaddress.ip_network(text.strip("[]"))
    except ValueError:
        wanted = "wanted an address such as 127.0.0.1, or a network such as 172.18.0.0/16"
        raise UsageError(f"no such proxy {text!r}: {wanted}") from None


def read_password(path: Path) -> str:
    """Return the first line of a file that nobody else can read. Raises UsageError."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = path.stat().st_mode
            password = file.readline(_LONGEST + 1).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read password file {path}: {reason}") from error
    if mode & stat.S_IROTH:
        raise UsageError(f"password file {path}: everybody on this computer can read it: chmod o-rwx {path}")
    if not 8 <= len(password) <= _LONGEST:
        raise UsageError(f"password file {path}: its first line is the password, of 8 to {_LONGEST} characters")
    return password
