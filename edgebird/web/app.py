"""The application: which address is answered by what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edgebird.errors import AudioError, DatabaseError
from edgebird.pictures import stylesheet
from edgebird.web import health_page, login, pages, review_pages, serving_media
from edgebird.web.api import routes as api_routes
from edgebird.web.rendering import page
from edgebird.web.security import Doorkeeper, Guard, path_of, refusal
from edgebird.web.site import Site

_THREADS = 4  # that answer requests: listening has the rest of the computer


def make_app(site: Site) -> Starlette:
    """Return the application for a station."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = Starlette(
        routes=[
            Route("/", pages.now),
            Route("/days", pages.days),
            Route("/species", pages.species_list),
            Route("/species/{code}", pages.species),
            Route("/detections", pages.detections),
            Route("/detection/{id}", pages.detection),
            Route("/health", health_page.health),
            Route("/health.json", health_page.health_curves),
            *review_pages.ROUTES,
            *serving_media.ROUTES,
            *login.ROUTES,
            *api_routes(),
            Route("/static/pictures.css", _pictures),
            Route("/favicon.ico", lambda request: RedirectResponse("/static/icon.svg", 308)),
            Mount("/static", StaticFiles(packages=[("edgebird.web", "static")])),
        ],
        middleware=[Middleware(Guard, doorkeeper=Doorkeeper(site.options))],
        exception_handlers={HTTPException: _refuse, DatabaseError: _fail, AudioError: _no_sound},
        lifespan=lifespan,
    )
    app.state.site = site
    return app


def _pictures(request: Request) -> Response:
    return PlainTextResponse(stylesheet(), media_type="text/css", headers={"cache-control": "max-age=3600"})


def _is_for_a_person(request: Request) -> bool:
    return not path_of(request).startswith(("/api/", "/media/")) and "text/html" in request.headers.get("accept", "")


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if _is_for_a_person(request):
        return page(request, "error.html", {"status": error.status_code, "reason": error.detail}, error.status_code)
    answer = refusal(request, error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _fail(request: Request, error: Exception) -> Response:
    if _is_for_a_person(request):
        return page(request, "error.html", {"status": 503, "reason": str(error)}, 503)
    return refusal(request, 503, str(error))


def _no_sound(request: Request, error: Exception) -> Response:
    return refusal(request, 404, str(error))
