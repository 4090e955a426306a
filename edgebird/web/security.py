"""Who may see the pages, and what a browser may do with them.

Every answer forbids scripts and styles that are not ours. A server that everybody may see is reached by this computer's
own names only, so that a page elsewhere cannot read it by giving this address a name of its own (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgebird.web.options import ServeOptions, is_loopback
from edgebird.web.proxy import Asked, asked

COOKIE = "edgebird"
SESSION_S = 30 * 86_400.0
_SESSIONS = 1000
_LARGEST_BODY = 64 * 1024
_RATE, _BURST = 30.0, 300.0  # requests a second of one address, and how many at once
_TRY_EVERY_S, _TRIES = 12.0, 8.0  # passwords of one address
_ADDRESSES = 4096
_OPEN_PATHS = ("/static/", "/login")  # without a session

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-frame-options": "DENY",
}


def content_policy(nonce: str) -> str:
    """Return the Content-Security-Policy. nonce: of the style that wavesurfer.js puts into its own shadow tree."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
        "media-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


@dataclass(eq=False)
class Buckets:
    """Counts what each address does: `rate` a second on average, `burst` at once. clock: monotonic seconds."""

    rate: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, address: str) -> bool:
        """Whether the address may do it once more."""
        now = self.clock()
        left, since = self._left.pop(address, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.rate)
        self._left[address] = (left - 1 if left >= 1 else left), now
        while len(self._left) > _ADDRESSES:
            self._left.pop(next(iter(self._left)))  # who was not seen for longest
        return left >= 1


@dataclass(eq=False)
class Doorkeeper:
    """Knows who is let in. Sessions live in memory: a new start of the server asks for the password again."""

    options: ServeOptions
    clock: Callable[[], float] = time.monotonic
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tries = Buckets(1 / _TRY_EVERY_S, _TRIES, self.clock)

    def let_in(self) -> str:
        """Return a new session that is let in."""
        session = secrets.token_urlsafe(32)
        self._known[session] = self.clock() + SESSION_S
        while len(self._known) > _SESSIONS:
            self._known.pop(next(iter(self._known)))
        return session

    def forget(self, session: str) -> None:
        """Let a session in no longer."""
        self._known.pop(session, None)

    def knows(self, session: str) -> bool:
        """Whether a session is let in."""
        return self._known.get(session, 0.0) > self.clock()

    def token(self, session: str) -> str:
        """Return what a form of this session has to send back: no other page knows it."""
        return hmac.new(self.secret, session.encode(), hashlib.sha256).hexdigest()

    def is_token(self, session: str, token: str) -> bool:
        """Whether a form was made for this session."""
        return bool(session) and hmac.compare_digest(self.token(session).encode(), token.encode("utf-8", "replace"))

    def is_password(self, password: str) -> bool:
        """Whether this is the password; takes as long whatever is wrong with it."""
        given, wanted = (
            hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (password, self.options.password or "")
        )
        return hmac.compare_digest(given, wanted) and self.options.password is not None

    def judge(self, request: Request) -> Response | None:
        """Return what is answered to somebody who is not let in; None for somebody who is."""
        path = path_of(request)
        if self.options.is_open or path.startswith(_OPEN_PATHS):
            return None
        if self.options.user_header is not None:
            let_in = bool(asked_by(request).user)
            return None if let_in else refusal(request, 401, "the proxy in front of this server has let nobody in")
        if self.knows(request.state.session):
            return None
        given = password_of(request.headers.get("authorization", ""))
        if given is not None:
            if not self.tries.take(address_of(request)):
                return refusal(request, 429, "too many passwords were tried: wait a minute")
            if self.is_password(given):
                return None
        if path.startswith("/api/"):
            answer = refusal(request, 401, "a password is needed: as Basic authorization, with any user, or as Bearer")
            answer.headers["www-authenticate"] = 'Basic realm="edgebird", charset="UTF-8"'
            return answer
        query = request.scope["query_string"].decode("latin-1")
        target = path + (f"?{query}" if query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)


def password_of(authorization: str) -> str | None:
    """Return the password of an Authorization header; None if there is none in it."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def path_of(request: Request) -> str:
    """Return the path that routes go by. That of `request.url` can be what somebody wrote into the header Host."""
    path: str = request.scope["path"]
    return path


def address_of(request: Request) -> str:
    """Return who asks, as far as limits go."""
    return asked_by(request).address


def asked_by(request: Request) -> Asked:
    """Return who asks, and how."""
    found: Asked = request.state.asked
    return found


def refusal(request: Request, status: int, reason: str) -> Response:
    """Return an answer in the form that was asked for: JSON of the API, else one line of text."""
    if path_of(request).startswith("/api/"):
        return JSONResponse({"error": reason, "code": status}, status)
    return PlainTextResponse(f"{status}: {reason}\n", status)


def session_of(request: Request) -> str:
    """Return the session that a browser sends, beside what other servers of this computer gave it; "" if none."""
    return request.cookies.get(COOKIE, "")


class Guard:
    """Stands before the application: limits, sessions and the headers of every answer."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self._app, self._door = app, doorkeeper
        self._requests = Buckets(_RATE, _BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        session = session_of(request)
        is_new = not session.isascii() or not 20 <= len(session) <= 100
        nonce = secrets.token_urlsafe(16)
        request.state.session = session = secrets.token_urlsafe(32) if is_new else session
        request.state.nonce, request.state.door = nonce, self._door
        peer = request.client.host if request.client else ""
        request.state.asked = asked(self._door.options, peer, request.headers.getlist, scope["scheme"])

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers["content-security-policy"] = content_policy(nonce)
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
                given = getattr(request.state, "new_session", session if is_new else None)
                if given is not None and not path_of(request).startswith(("/static/", "/api/")):
                    headers.append("set-cookie", _cookie(given, asked_by(request).is_secure))
            await send(message)

        refused = self._refused(request)
        if refused is not None:
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, _limited(receive), with_headers)

    def _refused(self, request: Request) -> Response | None:
        if self._door.options.is_open and not is_loopback(_name_of(request)):
            return refusal(request, 403, "this server is known as 127.0.0.1 or localhost only")
        if not self._requests.take(address_of(request)):
            answer = refusal(request, 429, "too many requests: wait a moment")
            answer.headers["retry-after"] = "5"
            return answer
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            return refusal(request, 413, f"at most {_LARGEST_BODY} bytes are taken")
        if request.method not in ("GET", "HEAD", "OPTIONS") and request.headers.get("sec-fetch-site", "none") not in (
            "none",
            "same-origin",
        ):
            return refusal(request, 403, "another site sent this form")
        return self._door.judge(request)


def _name_of(request: Request) -> str:
    """The name by which the server was asked for, without its port."""
    host = request.headers.get("host", "")
    return host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]


def _cookie(session: str, is_secure: bool) -> str:
    """The session for a browser. Lax: else who follows a link from elsewhere sends none, and is given a new one."""
    age = f"; Max-Age={SESSION_S:.0f}" if session else "; Max-Age=0"
    return f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax{age}" + ("; Secure" if is_secure else "")


def _limited(receive: Receive) -> Receive:
    """A body without a stated length ends where it is too long."""
    left = _LARGEST_BODY

    async def take() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return take
