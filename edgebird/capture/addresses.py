"""Addresses of streams: without their credentials, and whether their host has an address."""

from __future__ import annotations

import re
import socket
from urllib.parse import urlsplit

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<authority>[^\s/?#'\"]*)(?P<rest>[^\s'\"]*)", re.IGNORECASE)
# Such as ?token=..., &pwd=..., and /user=admin_password=..., as some cameras want it.
_SECRET = re.compile(
    r"(?P<name>[/?&;][^=&;/?\s]*(?:pass|pwd|token|key|secret|auth|sig|session|user|usr|login|account|credential)"
    r"[^=&;/?\s]*=)[^&;#\s'\"]*",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a URL, or a text with URLs in it, without the credentials: `rtsp://***@host/path?token=***`."""
    return _URL.sub(_redacted, text)


def _redacted(url: re.Match[str]) -> str:
    scheme, authority, rest = url["scheme"], url["authority"], url["rest"]
    port = authority.rpartition(":")[2]
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    elif "@" in rest and ":" in authority and not port.isdecimal():  # a password with a slash that is not escaped
        authority, rest = "***@", rest.rpartition("@")[2]
    return scheme + authority + _SECRET.sub(r"\g<name>***", rest)


def resolves(url: str) -> bool:
    """Tell whether the host has an address: FFmpeg does not tell this error from others."""
    try:
        host = urlsplit(url).hostname
        return host is None or bool(socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
