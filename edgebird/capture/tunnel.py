"""RTSP over TLS with a certificate that is verified: FFmpeg speaks plain RTSP to a port of this machine, we TLS beyond.

FFmpeg's own rtsps takes any certificate, and has no option for that. The port takes one connection, from this machine,
and is closed then; addresses in requests name this machine, of which cameras read the path alone.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlunsplit

from edgebird.capture.addresses import parts_of, redact
from edgebird.capture.certificates import Trust
from edgebird.capture.opening import read_to_the_end
from edgebird.capture.serve import CaptureError
from edgebird.capture.web import fault_of

_PORT = 322  # of rtsps, as IANA has it and FFmpeg
_MOST = 1 << 16  # bytes at once
_GOOD_BYE_S = 0.5  # that it may take


@dataclass
class Tunnel:
    """A way to a camera. url: for FFmpeg. failure: why it ended, if the camera was not the one to say so."""

    url: str
    failure: CaptureError | None = field(default=None)
    relay: threading.Thread | None = None

    def finish(self) -> None:
        """Wait until what FFmpeg has said last is on its way, now that it has closed its side."""
        if self.relay:
            self.relay.join(_GOOD_BYE_S)


def rtsps_tunnel(url: str, trust: Trust, timeout_s: float) -> Tunnel:
    """Connect to an rtsps address; the way there ends when either side does. Raises CaptureError and NoAddressError."""
    parts, name = parts_of(url), redact(url)
    host = parts.hostname or ""
    address = host, parts.port or _PORT

    def connect() -> socket.socket:
        return socket.create_connection(address, timeout_s)

    try:
        secured = trust.secure(connect, host, name)
    except (OSError, ValueError) as error:
        raise fault_of(error, name, timeout_s) from None
    door = socket.create_server(("127.0.0.1", 0), backlog=1)
    user = parts.netloc.rpartition("@")[0]
    here = f"{user}@" * bool(user) + f"127.0.0.1:{door.getsockname()[1]}"
    tunnel = Tunnel(urlunsplit(("rtsp", here, *parts[2:])))
    tunnel.relay = threading.Thread(target=_relay, args=(tunnel, door, secured, name), name="tunnel", daemon=True)
    tunnel.relay.start()
    return tunnel


def _relay(tunnel: Tunnel, door: socket.socket, secured: ssl.SSLSocket, name: str) -> None:
    def look(data: bytes) -> bool:
        if data.startswith(b"RTSP/1.0 3"):  # FFmpeg would go there without our TLS
            tunnel.failure = CaptureError("error", f"{name}: {_elsewhere(data)}")
        return tunnel.failure is None

    with suppress(OSError), secured:
        with door:
            plain, _ = door.accept()
        with plain, read_to_the_end(secured, plain):
            carry(secured, plain, look)


def carry(secured: ssl.SSLSocket, plain: socket.socket, look: Callable[[bytes], bool]) -> None:
    """Carry bytes both ways until one side ends. One thread does both: a TLS connection is not for two.

    look: sees what comes over TLS, and says whether to go on.
    """
    timeout_s = secured.gettimeout()
    while True:
        ready = [secured] if secured.pending() else select.select([secured, plain], [], [])[0]
        if plain in ready:
            if not (data := plain.recv(_MOST)):
                return
            secured.sendall(data)
        if secured in ready:
            secured.setblocking(False)  # what has come may be of TLS alone, as its tickets are
            try:
                data = secured.recv(_MOST)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            finally:
                secured.settimeout(timeout_s)
            if not data or not look(data):
                return
            plain.sendall(data)


def _elsewhere(answer: bytes) -> str:
    lines = answer.decode("latin-1").splitlines()
    place = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("location:")), "")
    return f"the camera sends us on to another address, {redact(place) or 'which it does not name'}: give that one"
