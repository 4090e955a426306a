"""What an RTSP server wants of who asks for its stream: FFmpeg tells no more than that it was refused."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgebird.capture.serve import CaptureError

if TYPE_CHECKING:
    from edgebird.capture.certificates import Trust

_PORTS = {"rtsp": 554, "rtsps": 322}
_TIMEOUT_S = 3.0
_CHALLENGE = re.compile(rb"^www-authenticate:[ \t]*digest[ \t](.*)$", re.IGNORECASE | re.MULTILINE)
_ALGORITHM = re.compile(rb"algorithm[ \t]*=[ \t]*\"?(sha-(?:256|512)[\w-]*)", re.IGNORECASE)


def wants_sha256(url: str, trust: Trust) -> bool:
    """Whether the server takes digests of SHA-256 alone, and no older ones. It is asked without the credentials."""
    try:
        challenges = _CHALLENGE.findall(_answer(url, trust))
    except (OSError, ValueError, CaptureError):
        return False
    return bool(challenges) and all(map(_ALGORITHM.search, challenges))


def _answer(url: str, trust: Trust) -> bytes:
    """The head of what an RTSP server answers to a DESCRIBE."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme.lower()]
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = f"DESCRIBE {address} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    head = b""

    def connect() -> socket.socket:
        return socket.create_connection((host, port), _TIMEOUT_S)

    with trust.secure(connect, host, "") if parts.scheme.lower() == "rtsps" else connect() as connection:
        connection.sendall(request.encode())
        while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
            head += more
    return head.partition(b"\r\n\r\n")[0].replace(b"\r", b"")
