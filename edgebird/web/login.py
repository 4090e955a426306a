"""Letting people in, where there is a password."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from edgebird.web.asking import form_of
from edgebird.web.rendering import page
from edgebird.web.security import Doorkeeper, address_of


def login_page(request: Request) -> Response:
    """Ask for the password."""
    return _page(request, request.query_params.get("next", "/"), "")


async def login(request: Request) -> Response:
    """Take a password."""
    fields, door = await form_of(request), _door(request)
    if not door.tries.take(address_of(request)):
        return _page(request, fields.get("next", "/"), "Too many passwords were tried: wait a minute.", 429)
    if not door.is_password(fields.get("password", "")):
        return _page(request, fields.get("next", "/"), "This is not the password.", 403)
    request.state.new_session = door.let_in()
    return RedirectResponse(own_address(fields.get("next", "/")), 303)


async def logout(request: Request) -> Response:
    """Let this session in no longer."""
    await form_of(request)
    _door(request).forget(request.state.session)
    request.state.new_session = ""
    return RedirectResponse("/login", 303)


def own_address(text: str) -> str:
    """Return an address of this site; "/" for one that leads elsewhere."""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and text.isascii()
    return text if is_ours else "/"


def _door(request: Request) -> Doorkeeper:
    door: Doorkeeper = request.state.door
    return door


def _page(request: Request, target: str, problem: str, status: int = 200) -> Response:
    return page(request, "login.html", {"next": own_address(target), "problem": problem}, status)


ROUTES = [
    Route("/login", login_page),
    Route("/login", login, methods=["POST"]),
    Route("/logout", logout, methods=["POST"]),
]
