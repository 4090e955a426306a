"""Templates: every value is escaped, and every page knows who asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from edgebird import __version__
from edgebird.web.security import path_of
from edgebird.web.site import site_of

_ENVIRONMENT = Environment(
    loader=PackageLoader("edgebird.web", "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Return a page. values: of the template, besides what all of them have."""
    door = request.state.door
    common = {
        "csrf": door.token(request.state.session),
        "nonce": request.state.nonce,
        "path": path_of(request),
        "version": __version__,
        "has_password": site_of(request).options.password is not None,
    }
    return HTMLResponse(_ENVIRONMENT.get_template(template).render({**common, **values}), status)


def svg(text: str) -> Markup:
    """Return a picture of `edgebird.pictures`, which has escaped all text, as it stands."""
    return Markup(text)


def duration(seconds: float | None) -> str:
    """Return a length of time as a person says it."""
    if seconds is None:
        return "never"
    if seconds < 90:
        return f"{max(0.0, seconds):.3g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def clock_time(text: str | None, length: int = 8) -> str:
    """Return the time of day of a time; with a length of 19 the day before it."""
    if not text:
        return "unknown"
    return text[11 : 11 + length] if length <= 8 else text[:length].replace("T", " ")


def day_text(day: date) -> str:
    """Return a day as a heading says it."""
    return f"{day:%A}, {day.day} {day:%B %Y}"


_ENVIRONMENT.filters.update(duration=duration, clock=clock_time, daytext=day_text)
