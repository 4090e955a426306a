"""What a request asks for, checked: whatever cannot be is answered with 400 and the reason."""

from __future__ import annotations

from datetime import date
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from edgebird.stored.health import LastState
from edgebird.stored.records import Filter

_LONGEST = 200
_FIELDS = 50
_LARGEST = 2**53


def text_of(request: Request, name: str) -> str | None:
    """Return a parameter of the address; None if it is missing or empty."""
    value = request.query_params.get(name, "")
    if len(value) > _LONGEST or "\0" in value:
        raise HTTPException(400, f"{name} is too long, or holds what no text does")
    return value or None


def day_of(request: Request, name: str) -> date | None:
    """Return a day, YYYY-MM-DD."""
    value = text_of(request, name)
    if value is None:
        return None
    try:
        if len(value) != 10:
            raise ValueError
        day = date.fromisoformat(value)
    except ValueError:
        raise HTTPException(400, f"{name}: wanted a day such as 2026-05-01") from None
    if not 1900 <= day.year <= 2999:
        raise HTTPException(400, f"{name}: wanted a day between 1900 and 2999")
    return day


def whole_of(request: Request, name: str, least: int, most: int, default: int) -> int:
    """Return a whole number in a range."""
    return whole(text_of(request, name), name, least, most, default)


def whole(value: str | None, name: str, least: int, most: int, default: int | None = None) -> int:
    """Return the number that a text is, in a range; the default for no text."""
    if value is None and default is not None:
        return default
    text = value or ""
    if len(text) > 20 or not text.lstrip("-").isascii() or not text.lstrip("-").isdecimal():
        raise HTTPException(400, f"{name}: wanted a whole number")
    try:
        number = int(text)
    except ValueError:
        raise HTTPException(400, f"{name}: wanted a whole number") from None
    if not least <= number <= most:
        raise HTTPException(400, f"{name}: wanted {least} to {most}")
    return number


def score_of(request: Request, name: str) -> float | None:
    """Return a score, 0 to 1."""
    value = text_of(request, name)
    if value is None:
        return None
    try:
        score = float(value)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise HTTPException(400, f"{name}: wanted a number from 0 to 1")
    return score


def id_of(request: Request) -> int:
    """Return the number of a detection in the path."""
    text = str(request.path_params["id"])
    if not text.isascii() or not text.isdecimal() or not 0 < len(text) <= 18:
        raise HTTPException(404, "there is no such detection")
    return int(text)


def filter_of(request: Request) -> Filter:
    """Return which detections are asked for."""
    first, last = day_of(request, "from") or day_of(request, "date"), day_of(request, "to") or day_of(request, "date")
    before = whole_of(request, "before", 0, _LARGEST, 0) or None
    return Filter(
        text_of(request, "species"),
        text_of(request, "source"),
        first,
        last,
        score_of(request, "min_confidence"),
        before,
        with_clip=text_of(request, "clip") == "1",
    )


def day_or_last(request: Request, state: LastState, name: str = "date") -> date:
    """Return the day that is asked for, else that of what was told last, else today."""
    given = day_of(request, name)
    if given is not None:
        return given
    return date.fromisoformat(state.told[:10]) if state.told else date.today()


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form that this site sent. Anybody else's is answered with 403."""
    try:
        body = await request.body()
    except ClientDisconnect:
        raise HTTPException(413, "the form is too long") from None
    try:
        fields = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS))
    except (UnicodeDecodeError, ValueError):
        raise HTTPException(400, "this is no form") from None
    token = fields.get("csrf") or request.headers.get("x-csrf-token", "")
    if not request.state.door.is_token(request.state.session, token):
        raise HTTPException(403, "this form is not of this session: load the page again, and send it from there")
    return fields
