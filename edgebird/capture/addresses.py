"""Addresses of streams: without their credentials, in parts, and whether their host has an address."""

from __future__ import annotations

import re
import socket
from urllib.parse import SplitResult, urlsplit

_BEGIN = re.compile(r":/*|//")  # the end of a scheme
# All up to the last @ before the host, and up to a later one too: a password may have any character that is not
# escaped. A number behind a later one is no host, but part of a path.
_CREDENTIALS = re.compile(r"(?:[^/?#]*@)?(?:.*@(?!\d{1,3}(?:[/?#]|$)))?", re.DOTALL)
# Such as ?token=..., &pwd=..., and /user=admin_password=..., as some cameras want it.
_SECRET = re.compile(
    r"(?P<name>[/?&;#][^=&;/?#\s]*(?:pass|pw|token|key|secret|auth|sig|session|user|usr|login|account|credential|md5|sha"
    r"|hash|hmac|jwt|hdn|bearer|ticket)[^=&;/?#\s]*=)[^&]*",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return an address, or a text with one in it, without the credentials: `rtsp://***@host/path?token=***`.

    Where a password and a path look alike, as in `name:80/a@b`, it is taken for a password.
    """
    begin = _BEGIN.search(text)
    at = begin.end() if begin else 0
    found = _CREDENTIALS.match(text, at) if begin else None
    end = found.end() if found else at
    return text[:at] + "***@" * (end > at) + _SECRET.sub(r"\g<name>***", text[end:])


class NoAddressError(ValueError):
    """A text is no address. Its words hold nothing of that text."""

    text = "this is no address: look at its host and port; / ? # @ in a password are written %2F %3F %23 %40"

    def __init__(self) -> None:
        super().__init__(self.text)


def parts_of(url: str) -> SplitResult:
    """Return the parts of an address, of which port and host can be read. Raises NoAddressError."""
    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "x").encode("idna")
    except ValueError:
        raise NoAddressError from None
    return parts


def resolves(url: str) -> bool:
    """Tell whether the host has an address: FFmpeg does not tell this error from others."""
    try:
        host = urlsplit(url).hostname
        return host is None or bool(socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
