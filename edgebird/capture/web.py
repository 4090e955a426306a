"""HTTP by the standard library: certificates, redirects, passwords and errors are seen here, and not by FFmpeg.

FFmpeg is given a file whose bytes come from here (reader.py, hls.py).
"""

from __future__ import annotations

import errno
import io
import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead, InvalidURL
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from edgebird.capture.addresses import NoAddressError, parts_of, redact
from edgebird.capture.authorization import Credentials
from edgebird.capture.certificates import Trust
from edgebird.capture.serve import CaptureError

_FURTHER = 5  # redirects, one after the other
_REDIRECTS = (301, 302, 303, 307, 308)
_SAFE = "%/?:@!$&'()*+,;=-._~[]|"  # what is left as it is in a path
_AGENT = "edgebird"  # some servers refuse requests without one
_GONE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN)


def fault_of(error: Exception, name: str, timeout_s: float) -> CaptureError:
    """Say what a connection failed of; no text of the error's own, which may hold an address."""
    if isinstance(error, CaptureError):
        return error
    if isinstance(error, TimeoutError):
        return CaptureError("stalled", f"{name}: nothing came for {timeout_s:g} s")
    if isinstance(error, socket.gaierror):
        return CaptureError("unresolved", f"{name}: this name has no address: check it, and the network")
    if isinstance(error, ConnectionRefusedError):
        return CaptureError("refused", f"{name}: nobody listens there")
    if isinstance(error, IncompleteRead | ConnectionError) or (isinstance(error, OSError) and error.errno in _GONE):
        return CaptureError("disconnected", f"{name}: the connection broke off")
    if isinstance(error, NoAddressError | InvalidURL):
        return CaptureError("error", f"{name}: {NoAddressError.text}")
    if isinstance(error, UnicodeError):
        return CaptureError("error", f"{name}: a character of its address, name or password cannot be sent")
    if isinstance(error, HTTPException):
        return CaptureError("error", f"{name}: this is no HTTP: {type(error).__name__}")
    text = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return CaptureError("error", f"{name}: {text}")


@dataclass
class Answer:
    """What a server sends. url: where it is after redirects, with the user's name and password if they belong there."""

    url: str
    body: HTTPResponse

    def header(self, name: str) -> str:
        """A header, empty if there is none."""
        return str(self.body.headers.get(name, ""))


class Web:
    """Asks servers as one user. name: of the stream, for errors; timeout_s: between two bytes.

    Every method raises CaptureError, and no other error.
    """

    def __init__(self, trust: Trust, timeout_s: float, name: str) -> None:
        self.trust, self.timeout_s, self.name = trust, timeout_s, name
        self._last: _Connection | None = None
        self._idle: _Connection | None = None  # one that can be asked again
        self._challenges: dict[tuple[str, ...], list[str]] = {}  # by server: how it wants its password

    def fault(self, error: Exception) -> CaptureError:
        """See `fault_of`."""
        return fault_of(error, self.name, self.timeout_s)

    def open(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask for a URL, wherever that leads."""
        for _ in range(_FURTHER + 1):
            try:
                answer = self._ask(url, headers or {})
            except (OSError, HTTPException, ValueError) as error:
                raise self.fault(error) from None
            if answer.body.status not in _REDIRECTS:
                self._require_success(answer)
                return answer
            url = self.leads_to(url, answer.header("Location"))
            answer.body.close()
        raise CaptureError("error", f"{self.name}: it redirects in a circle")

    def fetch(self, url: str, headers: dict[str, str] | None = None, most: int = 1 << 26) -> tuple[str, bytes]:
        """Return where a URL led and all that is there, at most so many bytes."""
        answer = self.open(url, headers)
        try:
            data = answer.body.read(most + 1)
            if len(data) > most:
                answer.body.close()
                raise CaptureError("error", f"{self.name}: more than {most >> 20} MB at {redact(answer.url)}")
            if answer.body.length:
                raise IncompleteRead(data)
        except (OSError, HTTPException, ValueError) as error:
            raise self.fault(error) from None
        self._idle = None if answer.body.will_close else self._last
        return answer.url, data

    def leads_to(self, url: str, place: str) -> str:
        """Return the address that one names, a redirect or a playlist: of HTTP alone, and not from https to http."""
        try:
            further = urljoin(url, place.strip())
            old, new = parts_of(url), parts_of(further)
        except ValueError:
            raise CaptureError("error", f"{self.name}: it leads to an address that is none") from None
        if new.scheme not in ("http", "https") or not new.hostname:
            text = f"it leads to {redact(further)}, which is not followed: only http and https are"
            raise CaptureError("error", f"{self.name}: {text}")
        if old.scheme == "https" and new.scheme == "http" and self.trust != Trust(False):
            text = f"it leads from https to {redact(further)}: give that address, if it is right"
            raise CaptureError("untrusted", f"{self.name}: {text}")
        if "@" not in new.netloc and "@" in old.netloc and _origin(old) == _origin(new):
            user = old.netloc.rpartition("@")[0]
            return new._replace(netloc=f"{user}@{new.netloc}").geturl()
        return further

    # ----------------------------------------------------------------------------------------------------------- inside
    def _ask(self, url: str, headers: dict[str, str]) -> Answer:
        """Ask with a password if the server is known to want one, and once more if only then it says so."""
        parts = parts_of(url)
        credentials, origin = Credentials.of(parts), _origin(parts)
        if credentials and origin in self._challenges:
            headers = {**headers, "Authorization": credentials.answer(self._challenges[origin], _target(parts)) or ""}
        response = self._request(parts, headers)
        if response.status == 401 and credentials:
            challenges = response.headers.get_all("WWW-Authenticate") or []
            response.close()
            authorization = credentials.answer(challenges, _target(parts))
            if authorization is None:
                wanted = (
                    ", ".join(sorted({challenge.split(" ")[0] for challenge in challenges})) or "it does not say how"
                )
                text = f"this server wants a password in a way that edgebird does not know ({wanted})"
                raise CaptureError("unauthorized", f"{self.name}: {text}")
            self._challenges[origin] = challenges
            response = self._request(parts, {**headers, "Authorization": authorization})
        return Answer(url, response)

    def _request(self, parts: SplitResult, headers: dict[str, str]) -> HTTPResponse:
        idle, self._idle = self._idle, None
        if idle:
            try:
                if idle.origin == _origin(parts):
                    return self._exchange(idle, parts, headers)
            except (HTTPException, OSError):  # it may have been closed since
                pass
            idle.close()
        return self._exchange(self._connection(parts), parts, headers)

    def _exchange(self, connection: _Connection, parts: SplitResult, headers: dict[str, str]) -> HTTPResponse:
        target = _target(parts)
        if connection.asks_proxy:
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
        connection.request("GET", target, headers={"User-Agent": _AGENT, "Accept": "*/*", **headers})
        self._last = connection
        return connection.getresponse()

    def _connection(self, parts: SplitResult) -> _Connection:
        from urllib.request import getproxies, proxy_bypass

        try:
            proxy = parts_of(getproxies().get(parts.scheme, ""))
        except NoAddressError:
            raise CaptureError("error", f"{self.name}: the environment names a proxy whose address is none") from None
        by_proxy = bool(proxy.hostname) and not proxy_bypass(parts.hostname or "")
        return _Connection(self, parts, proxy if by_proxy else None)

    def _require_success(self, answer: Answer) -> None:
        status = answer.body.status
        if status in (200, 206):
            return
        answer.body.close()
        if status in (404, 410):
            raise CaptureError("not_found", f"{self.name}: there is nothing at this path (HTTP {status})")
        if status in (401, 403, 407):
            why = "name or password is wrong" if "@" in urlsplit(answer.url).netloc else "it wants name and password"
            raise CaptureError("unauthorized", f"{self.name}: {why} (HTTP {status})")
        raise CaptureError("error", f"{self.name}: the server answers HTTP {status}")


class _Connection(HTTPConnection):
    """Speaks TLS where there is a Trust, and takes an answer that begins with ICY, as SHOUTcast's do, for HTTP."""

    def __init__(self, web: Web, parts: SplitResult, proxy: SplitResult | None) -> None:
        host, secure = parts.hostname or "", parts.scheme == "https"
        self.default_port = 443 if secure else 80  # which the header `Host` leaves out
        port = parts.port or self.default_port
        self.origin, self.asks_proxy = _origin(parts), bool(proxy and not secure)
        self._certified, self._trust, self._name = host, web.trust if secure else None, web.name
        self.response_class = _Response
        if proxy is None:
            super().__init__(host, port, timeout=web.timeout_s)
        else:
            super().__init__(proxy.hostname or "", proxy.port or 3128, timeout=web.timeout_s)
            if secure:
                self.set_tunnel(host, port)

    def connect(self) -> None:
        """See the standard library."""
        if self._trust is None:
            super().connect()
        else:
            self.sock = self._trust.secure(self._plain, self._certified, self._name)

    def _plain(self) -> socket.socket:
        super().connect()
        sock: socket.socket = self.sock
        return sock


class _Response(HTTPResponse):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        raw: io.BufferedReader = self.fp
        if raw.peek(3)[:3] == b"ICY":
            raw.read(3)
            self.fp = io.BufferedReader(_Prefixed(b"HTTP/1.0", raw))


class _Prefixed(io.RawIOBase):
    """Bytes before those of another file."""

    def __init__(self, first: bytes, rest: io.BufferedReader) -> None:
        super().__init__()
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._first or self._rest.read1(len(buffer))
        self._first = b""
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._rest.close()
        super().close()


def _origin(parts: SplitResult) -> tuple[str, ...]:
    return parts.scheme, parts.hostname or "", str(parts.port or "")


def _target(parts: SplitResult) -> str:
    return quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_SAFE)
