"""The pages: now, days, species, detections. Each is one read of the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edgebird.errors import AudioError
from edgebird.sinks.firsts import firsts_of_days
from edgebird.stored.days import HeardSpecies, day_after, day_before, days_with, names_of, species_by_hour
from edgebird.stored.drawn import day_view, said_first
from edgebird.stored.health import events, last_state
from edgebird.stored.ranges import Days, heard_by_day, hours_of, scores_of, season
from edgebird.stored.records import Filter, Record, best, neighbours, record, records, rejected
from edgebird.web.asking import day_of, day_or_last, filter_of, id_of, text_of
from edgebird.web.media import clip_path, read_clip
from edgebird.web.rendering import page, svg
from edgebird.web.site import Site, site_of

_LAST = 25  # on the page `now`
_PAGE = 50
_BEST = 6
_KEPT = 16  # answers of what takes long to count
_YEAR = 364  # days of a season before its last
_AROUND_S = 60.0
_STALE_S = 300.0  # since the station told something: statistics come every minute


def species_address(code: str) -> str:
    """Return the page of a species."""
    return f"/species/{quote(code, safe='')}"


def now(request: Request) -> Response:
    """What is heard now: sources, and the last detections."""
    site = site_of(request)
    with site.reading() as connection:
        state = last_state(connection)
        gaps: dict[str, Any] = {}
        for gap in events(connection, ("gap",), 100):
            gaps.setdefault(gap["source"], gap)
        heard = records(connection, Filter(), _LAST)
        day = day_or_last(request, state)
        firsts = [
            (first.code, site.names.of(first.code, *names_of(connection, first.code)), said)
            for first in firsts_of_days(connection, day, day)
            if (said := said_first(first))
        ]
    figures = {one["source"]: one for one in (state.stats or {}).get("sources", ())}
    sources = [
        {
            "name": name,
            "figures": figures.get(name),
            "event": event or None,
            "gap": gaps.get(name),
            "state": _state(figures.get(name), state.stats, event),
        }
        for name, event in state.sources.items()
    ]
    shown = [(one, site.name(one)) for one in heard]
    reviews = site.reviews.of(heard)
    fresh = state.age_s is not None and state.age_s < _STALE_S
    values = {
        "state": state,
        "is_fresh": fresh,
        "sources": sources,
        "heard": shown,
        "reviews": reviews,
        "day": day,
        "firsts": firsts,
    }
    return page(request, "now.html", values)


def _state(figures: Mapping[str, Any] | None, stats: Mapping[str, Any] | None, event: Mapping[str, Any]) -> str:
    """What a source was said to be last: by its own event, or by statistics after it."""
    if figures and stats and not (event and event["time"] and event["time"] >= stats["time"]):
        return str(figures["state"])
    return str(event.get("state", "unknown"))


def days(request: Request) -> Response:
    """A day: species by hour, and when nobody heard."""
    site, source = site_of(request), text_of(request, "source")
    with site.reading() as connection:
        state = last_state(connection)
        day = day_or_last(request, state)
        view = day_view(connection, day, site.names, source, species_address)
        around = day_before(connection, day), day_after(connection, day)
    listed = [(one, site.name(one)) for one in view.species]
    names = {one.code: name for one, name in listed}
    values = {
        "day": day, "view": view, "picture": svg(view.picture), "before": around[0], "after": around[1],
        "listed": listed, "names": names, "source": source, "sources": sorted(state.sources),
    }  # fmt: skip
    return page(request, "days.html", values)


def species_list(request: Request) -> Response:
    """All species of the last year, or of a range of days."""
    site, words = site_of(request), (text_of(request, "q") or "").casefold()
    with site.reading() as connection:
        state = last_state(connection)
        span = _span(request, day_or_last(request, state, "to"), day_after(connection, date.min))
        found = _kept_species(site, connection, span, state.told)
    listed = [(one, site.name(one)) for one in found]
    listed = [(one, name) for one, name in listed if words in f"{name} {one.scientific_name} {one.code}".casefold()]
    return page(request, "species_list.html", {"listed": listed, "span": span, "q": text_of(request, "q") or ""})


def _span(request: Request, last: date, began: date | None) -> Days:
    """The range of days that is asked for, else a year, or less where the station began later."""
    first = day_of(request, "from") or max(last - timedelta(days=_YEAR), min(last, began or date.min))
    span = Days(first, last)
    if not 0 < span.many <= 3660:
        raise HTTPException(400, "wanted a first day before the last, at most ten years")
    return span


def _kept_species(site: Site, connection: Any, span: Days, told: str | None) -> list[HeardSpecies]:
    """The species of a range of days, counted again when the station has told something an hour later."""
    found: list[HeardSpecies] = _kept(
        site, ("species", span, told), lambda: species_by_hour(connection, span.first, span.last)
    )
    return found


def _kept(site: Site, key: tuple[str, Days, str | None], make: Callable[[], Any]) -> Any:
    """What takes long to count, made again when the station has told something an hour later. key: what, when, told."""
    kind, span, told = key
    hour = kind, span, (told or "")[:13]
    found = site.kept.get(hour)
    if found is None:
        found = make()
        if len(site.kept) > _KEPT:
            site.kept.clear()  # by one thread, while others look
        site.kept[hour] = found
    return found


def species(request: Request) -> Response:
    """A species: its season, hours, scores and best clips."""
    site, code = site_of(request), str(request.path_params["code"])
    with site.reading() as connection:
        state = last_state(connection)
        span = _span(request, day_or_last(request, state, "to"), day_after(connection, date.min))
        wanted = Filter(code=code, first=span.first, last=span.last)
        newest = records(connection, Filter(code=code), 1)
        if not newest:
            raise HTTPException(404, "this species was not heard here")
        name = site.name(newest[0])
        heard = _kept(site, ("heard", span, state.told), lambda: heard_by_day(connection, span))
        pictures = {
            "season": svg(season(connection, code, name, span, heard)),
            "hours": svg(hours_of(connection, code, span)),
            "scores": svg(scores_of(connection, code, span)),
        }
        top = best(connection, Filter(code=code, first=span.first, last=span.last, with_clip=True), _BEST)
        many = days_with(connection, code)
    clips = [one for one in top if clip_path(site.options.clips, one.clip)]
    values = {
        "one": newest[0], "name": name, "span": span, "pictures": pictures, "clips": clips, "many": many.total(),
        "days": len(many), "first": min(many, default=None), "query": _query(wanted),
    }  # fmt: skip
    return page(request, "species.html", values)


def _query(wanted: Filter) -> str:
    given: dict[str, object] = {
        "species": wanted.code,
        "source": wanted.source,
        "from": wanted.first,
        "to": wanted.last,
    }
    given |= {"min_confidence": wanted.min_score, "clip": "1" if wanted.with_clip else None}
    return urlencode({key: str(value) for key, value in given.items() if value is not None})


def detections(request: Request) -> Response:
    """Detections, newest first, a page at a time."""
    site, wanted = site_of(request), filter_of(request)
    with site.reading() as connection:
        found = records(connection, wanted, _PAGE + 1)
        sources = sorted(last_state(connection).sources)
    shown = [(one, site.name(one)) for one in found[:_PAGE]]
    older = f"/detections?{_query(wanted)}&before={found[_PAGE - 1].id}" if len(found) > _PAGE else None
    reviews = site.reviews.of(found[:_PAGE])
    values = {"heard": shown, "wanted": wanted, "older": older, "reviews": reviews, "sources": sources}
    return page(request, "detections.html", values)


def detection(request: Request) -> Response:
    """One detection: its sound, what was around it, and what people said."""
    site = site_of(request)
    with site.reading() as connection:
        one = record(connection, id_of(request))
        if one is None:
            raise HTTPException(404, "there is no such detection")
        values = around(site, connection, one)
    return page(request, "detection.html", values)


def around(site: Site, connection: Any, one: Record) -> Mapping[str, Any]:
    """Return what a page shows of a detection."""
    near = [(other, site.name(other)) for other in neighbours(connection, one, _AROUND_S)]
    path = clip_path(site.options.clips, one.clip)
    clip, problem = None, "" if one.clip else "There is no sound of it: none was kept, or it was deleted for its age."
    if one.clip and not path:
        problem = "Its clip is not in the folder of clips." if site.options.clips else "No folder of clips was given."
    try:
        clip = read_clip(path) if path else None
    except AudioError as error:
        problem = str(error)
    return {
        "one": one, "name": site.name(one), "near": near, "rejected": rejected(connection, one, _AROUND_S),
        "clip": clip, "problem": problem, "review": site.reviews.of([one]).get(one.id), "around_s": _AROUND_S,
    }  # fmt: skip
