"""Review: people say what was right, of a sample whose probabilities are known, or of what they look up."""

from __future__ import annotations

import secrets
from pathlib import PurePath
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from edgebird.stored.health import last_state
from edgebird.stored.records import record
from edgebird.web.asking import form_of, text_of, whole
from edgebird.web.exports import ebird_records, raven_table
from edgebird.web.login import own_address
from edgebird.web.media import clips_there
from edgebird.web.pages import around
from edgebird.web.rendering import page
from edgebird.web.reviews import VERDICTS, Frame, QueueItem, Verdict
from edgebird.web.sampling import Stratum, band_of, draw
from edgebird.web.security import asked_by
from edgebird.web.site import Site, site_of

MOST = 1000  # of a draw
_TEXT = 120  # characters of a name


def review(request: Request) -> Response:
    """The next of the queue, or the way to a new one."""
    site = site_of(request)
    skipped = {whole(text, "skip", 0, 2**53) for text in request.query_params.getlist("skip")[:50]}
    item: QueueItem | None = site.reviews.next_item(skipped)
    values: dict[str, Any] = {"item": item, "skipped": sorted(skipped), "one": None}
    with site.reading() as connection:
        one = record(connection, item.detection) if item else None
        values["sources"] = sorted(last_state(connection).sources)
        if item is not None and one is not None and item.is_of(one):
            values |= around(site, connection, one)
        values["species"] = _species(site, connection)
    done = site.reviews.last()
    values["counts"] = {verdict: sum(one["verdict"] == verdict for one in done) for verdict in VERDICTS}
    return page(request, "review.html", values)


def _species(site: Site, connection: Any) -> list[tuple[str, str]]:
    """Codes and names of what the station has ever told, for choosing."""
    rows = connection.execute("SELECT code, scientific_name, common_name FROM detections GROUP BY code").fetchall()
    return sorted(((row[0], site.names.of(*row)) for row in rows), key=lambda pair: pair[1])


async def new_draw(request: Request) -> Response:
    """Draw a new queue."""
    fields = await form_of(request)
    many = whole(fields.get("many") or None, "many", 1, MOST, 50)
    chosen = {key: (fields.get(key) or "").strip()[:_TEXT] or None for key in ("species", "source", "from", "to")}
    await run_in_threadpool(_draw, site_of(request), many, chosen)
    return RedirectResponse("/review", 303)


def _draw(site: Site, many: int, chosen: dict[str, str | None]) -> None:
    frame: dict[Stratum, list[int]] = {}
    unheard, there = 0, clips_there(site.options.clips)
    for number, code, score, clip in _frame_rows(site, chosen):
        if clip and PurePath(clip).parts[-2:] in there:
            frame.setdefault(Stratum(code, band_of(score)), []).append(number)
        else:
            unheard += 1
    if not frame:
        raise HTTPException(409, "there is no detection to review: none of these has its sound in the folder of clips")
    seed = secrets.randbits(48)
    days = chosen["from"], chosen["to"]
    size = sum(map(len, frame.values()))
    site.reviews.add_draw(
        Frame(chosen["species"], chosen["source"], *days, many, size, unheard), seed, draw(frame, many, seed)
    )


def _frame_rows(site: Site, chosen: dict[str, str | None]) -> list[tuple[int, str, float, str | None]]:
    """Number, code, score and clip of all detections that are meant."""
    conditions = {"species": "code = ?", "source": "source = ?", "from": "time >= ?", "to": "substr(time, 1, 10) <= ?"}
    given = [(conditions[key], value) for key, value in chosen.items() if value]
    where = " AND ".join(condition for condition, _ in given) or "1"
    with site.reading() as connection:
        statement = f"SELECT id, code, score, clip FROM detections WHERE {where}"
        return [tuple(row) for row in connection.execute(statement, [value for _, value in given])]


async def add_review(request: Request) -> Response:
    """Keep what somebody says of a detection."""
    fields, site = await form_of(request), site_of(request)
    number = whole(fields.get("detection"), "detection", 1, 2**53)
    verdict, species = fields.get("verdict", ""), (fields.get("species") or "").strip()[:_TEXT] or None
    if verdict not in (*VERDICTS, "undo"):
        raise HTTPException(400, f"verdict: wanted {', '.join(VERDICTS)} or undo")
    reviewer = asked_by(request).user[:_TEXT]
    said = Verdict(verdict, species if verdict == "wrong" else None, reviewer or None)
    await run_in_threadpool(_keep, site, number, said)
    return RedirectResponse(own_address(fields.get("next") or f"/detection/{number}"), 303)


def _keep(site: Site, number: int, said: Verdict) -> None:
    with site.reading() as connection:
        one = record(connection, number)
    if one is None:
        raise HTTPException(404, "there is no such detection")
    if said.verdict == "undo":
        site.reviews.undo(one)
    else:
        site.reviews.add(one, said)


def export(request: Request) -> Response:
    """Verified detections, for other programs."""
    site, kind = site_of(request), str(request.path_params["kind"])
    verified = site.reviews.last("right") + [one for one in site.reviews.last("wrong") if one["species"]]
    if kind == "raven.txt":
        return _file(raven_table(verified, site.options.clips), kind, "text/tab-separated-values")
    if kind == "ebird.csv":
        with site.reading() as connection:
            place = last_state(connection).place
            known = {code: names for code, *names in connection.execute(_NAMES)}
        location = text_of(request, "location") or "edgebird station"
        return _file(ebird_records(verified, known, location, place), kind, "text/csv")
    raise HTTPException(404, "there are raven.txt and ebird.csv")


_NAMES = "SELECT code, scientific_name, common_name FROM detections GROUP BY code"


def _file(text: str, name: str, kind: str) -> Response:
    return Response(text, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


ROUTES = [
    Route("/review", review),
    Route("/review", add_review, methods=["POST"]),
    Route("/review/draw", new_draw, methods=["POST"]),
    Route("/export/{kind}", export),
]
