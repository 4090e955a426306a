"""An HTTP server of our own that behaves as those of streams do: a memory that comes at once, titles, endings, TLS.

It is reached from this machine alone and ends with its `with` block.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgebird.types import FloatArray
from tests.live_servers import require_server

Route: TypeAlias = Callable[["Request"], None]
RATE = 32000

_AUTHORITY = """[ca]
default_ca = one
[one]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = DNS:localhost
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate for `localhost` that nobody has signed but itself. fingerprint: 64 hex digits."""

    path: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """Its SHA-256 in hex digits."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.path.read_text())).hexdigest()

    @property
    def trusted(self) -> dict[str, str]:
        """The environment of a process that trusts it."""
        return {"SSL_CERT_FILE": str(self.path)}


def make_certificate(folder: Path, first_day: str, last_day: str) -> Certificate:
    """Make a certificate that is valid from one day to another, such as 20200101; needs openssl."""
    require_server("openssl", shutil.which("openssl") is not None, "openssl")
    folder.mkdir(parents=True)
    (folder / "authority").write_text(_AUTHORITY)
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    request = (
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out request -subj /CN=localhost"
    )
    sign = "ca -batch -config authority -selfsign -keyfile key -in request -out certificate -notext"
    for command in (request, f"{sign} -startdate {first_day}000000Z -enddate {last_day}000000Z"):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return Certificate(folder / "certificate", folder / "key")


class Request(BaseHTTPRequestHandler):
    """One request; `server.owner` says what is at its path."""

    def do_GET(self) -> None:
        owner: WebServer = self.server.owner  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        owner.requests.append((path, dict(self.headers.items())))
        owner.connections.append(self.connection)
        with contextlib.suppress(OSError):  # whoever asked has gone
            if path in owner.routes:
                owner.routes[path](self)
            else:
                self.send_error(404)
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass

    def answer(self, content: bytes, kind: str = "audio/mpeg", status: int = 200, **headers: str) -> None:
        """Answer with something whole."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin(self, kind: str = "audio/mpeg", **headers: str) -> None:
        """Begin an answer without a length, which ends with its connection."""
        self.send_response(200)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


class WebServer:
    """Serves what `routes` says, by path, over TLS if it has a certificate.

    requests: the paths and headers so far. down: while it is set, connections are closed at once.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.routes: dict[str, Route] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections: list[socket.socket] = []
        self.down = False
        self._scheme = "https" if certificate else "http"
        self._http = _Server(("127.0.0.1", 0), Request)
        self._http.owner = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.path, certificate.key)
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path: str, credentials: str = "", host: str = "localhost") -> str:
        """An address of it; credentials such as `user:password@`."""
        return f"{self._scheme}://{credentials}{host}:{self._http.server_port}{path}"

    def add(self, path: str, content: bytes | str, kind: str = "audio/mpeg", **headers: str) -> None:
        """Serve something whole at a path."""
        data = content.encode() if isinstance(content, str) else content
        self.routes[path] = lambda request: request.answer(data, kind, **headers)

    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for path, _ in self.requests]

    def hang_up(self) -> None:
        """Close all connections, as a server does that is started again."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def stop(self) -> None:
        """End it."""
        self.hang_up()
        self._http.shutdown()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: WebServer

    def verify_request(self, _request: Any, _address: Any) -> bool:
        return not self.owner.down

    def handle_error(self, _request: Any, _address: Any) -> None:  # such as a handshake that was broken off
        pass


@contextlib.contextmanager
def web_server(certificate: Certificate | None = None) -> Iterator[WebServer]:
    """Run a server."""
    server = WebServer(certificate)
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Radio:
    """A live stream with a memory, as Icecast has: who connects gets `burst` bytes at once, then what comes.

    content: encoded sound, `speed` bytes a second. It begins when it is made, `ahead_s` within it. titles: whether
    there is one after each 4096 bytes, though nobody asks for them.
    """

    content: bytes
    speed: float
    burst: int = 65536
    ahead_s: float = 10.0
    titles: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def at(self) -> int:
        """How many bytes have sounded."""
        return min(len(self.content), round((time.monotonic() - self.since + self.ahead_s) * self.speed))

    def __call__(self, request: Request) -> None:
        """Serve it."""
        request.begin(**({"icy_metaint": "4096"} if self.titles else {}))
        start = sent = max(0, self.at - self.burst)
        while sent < len(self.content):
            until = self.at
            if self.titles:
                until = min(until, sent + 4096 - (sent - start) % 4096)
            request.wfile.write(self.content[sent:until])
            if self.titles and until > sent and (until - start) % 4096 == 0:
                request.wfile.write(b"\x02" + b"StreamTitle='a';".ljust(32, b"\0"))
            sent = until
            if sent == self.at:
                time.sleep(0.02)


def basic(user: str, password: str, route: Route) -> Route:
    """Ask for a name and a password before a route."""
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def guarded(request: Request) -> None:
        if request.headers.get("Authorization") == wanted:
            route(request)
        else:
            request.answer(b"", status=401, WWW_Authenticate='Basic realm="birds"')

    return guarded


def song(seconds: float, seed: int = 5) -> FloatArray:
    """Noise with chirps in it, no two seconds alike: float32 at RATE, Hz."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    pitch = 3000 + 800 * np.repeat(generator.normal(size=int(seconds * 8) + 1), RATE // 8)[: len(time_s)]
    tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    return np.asarray(0.2 * tone + generator.normal(0, 0.05, len(time_s)), np.float32)
