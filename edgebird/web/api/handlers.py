"""What answers the API's operations."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from edgebird import __version__
from edgebird.errors import DatabaseError
from edgebird.sinks.firsts import firsts_of_days
from edgebird.stored.days import days_with, species_by_hour
from edgebird.stored.health import last_state
from edgebird.stored.records import Record, count, newest_id, record, records
from edgebird.web.api.declared import MOST
from edgebird.web.asking import day_or_last, filter_of, id_of, score_of, whole_of
from edgebird.web.live import event_of, server_events
from edgebird.web.security import path_of
from edgebird.web.serving_media import clip, spectrogram
from edgebird.web.site import Site, site_of

_BEGAN = time.monotonic()
_QUIET_S = 15.0
_FLOOR_DBFS, _CLIPPED_DBFS = -60.0, -0.1
_VERIFIED = {"right": "correct", "wrong": "false_positive"}
_CONTROL = (
    "edgebird's pages only read: who listens cannot be stopped from here. Use systemctl restart or reload edgebird"
)


def ping(request: Request) -> Response:
    """Whether the server answers."""
    return JSONResponse({"status": "ok"})


def health(request: Request) -> Response:
    """How the server and its database are."""
    try:
        with site_of(request).reading() as connection:
            newest_id(connection)
        database: dict[str, Any] = {"status": "connected"}
    except DatabaseError as error:
        database = {"status": "unavailable", "error": str(error)}
    status = "healthy" if database["status"] == "connected" else "unhealthy"
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return JSONResponse(
        {"status": status, "version": f"edgebird {__version__}", "timestamp": now, "database": database}
    )


def kpis(request: Request) -> Response:
    """Headline figures of all days."""
    with site_of(request).reading() as connection:
        today = day_or_last(request, last_state(connection))
        days = days_with(connection)
        (species,) = connection.execute("SELECT count(DISTINCT code) FROM detections").fetchone()
    best = max(days, key=lambda day: (days[day], day), default=None)
    streak = 0
    while days.get(today - timedelta(days=streak)):
        streak += 1
    began = today - timedelta(days=max(0, streak - 1))
    return JSONResponse(
        {
            "lifetimeSpecies": species,
            "todayDetections": days.get(today, 0),
            "bestDay": {"date": str(best or ""), "count": days[best] if best else 0},
            "detectionStreak": {"days": streak, "startDate": str(began) if streak else ""},
        }
    )


def sources(request: Request) -> Response:
    """Return all sources, as they were told last, or as they are now."""
    site = site_of(request)
    with site.reading() as connection:
        state = last_state(connection)
    figures = {one["source"]: one["state"] for one in (state.stats or {}).get("sources", ())}
    found = [
        {
            "id": name,
            "name": name,
            "displayName": name,
            "type": "audio",
            "state": figures.get(name) or event.get("state", "unknown"),
        }
        for name, event in state.sources.items()
    ]
    return JSONResponse({"sources": found})


def detection_json(site: Site, one: Record, verdict: str | None = None) -> dict[str, Any]:
    """Return a detection as BirdNET-Go's clients read it."""
    end = None
    if one.time:
        end = (datetime.fromisoformat(one.time) + timedelta(seconds=one.end_s - one.start_s)).isoformat(
            timespec="milliseconds"
        )
    return {
        "id": one.id, "date": (one.time or "")[:10], "time": (one.time or "")[11:19], "timestamp": one.time,
        "source": {"id": one.source, "displayName": one.source, "type": "audio"}, "beginTime": one.time, "endTime": end,
        "speciesCode": one.code, "scientificName": one.scientific_name, "commonName": site.name(one),
        "confidence": one.score, "verified": _VERIFIED.get(verdict or "", "unverified"), "locked": False,
        "clipName": one.clip.replace("\\", "/").rpartition("/")[2] if one.clip else None,
    }  # fmt: skip


def _listed(site: Site, found: list[Record]) -> list[dict[str, Any]]:
    reviews = site.reviews.of(found)
    return [detection_json(site, one, reviews[one.id]["verdict"] if one.id in reviews else None) for one in found]


def recent(request: Request) -> Response:
    """Return the newest detections."""
    return detections(request, 50)


def detections(request: Request, default: int = 100) -> Response:
    """Return detections, newest first."""
    site, wanted, limit = site_of(request), filter_of(request), whole_of(request, "limit", 1, MOST, default)
    with site.reading() as connection:
        found = records(connection, wanted, limit + 1)
        total = count(connection, wanted)
    headers = {"x-total-count": str(total)}
    if len(found) > limit:
        query = {**request.query_params, "limit": limit, "before": found[limit - 1].id}
        headers["link"] = f'<{path_of(request)}?{urlencode(query)}>; rel="next"'
    return JSONResponse(_listed(site, found[:limit]), headers=headers)


def detection(request: Request) -> Response:
    """Return one detection."""
    site = site_of(request)
    with site.reading() as connection:
        one = record(connection, id_of(request))
    if one is None:
        raise HTTPException(404, "there is no such detection")
    return JSONResponse(_listed(site, [one])[0])


def daily(request: Request) -> Response:
    """Return the species of a day by hour."""
    site, least = site_of(request), score_of(request, "min_confidence") or 0.0
    limit = whole_of(request, "limit", 1, MOST, MOST)
    with site.reading() as connection:
        day = day_or_last(request, last_state(connection))
        found = [one for one in species_by_hour(connection, day, day) if one.best >= least][:limit]
        new = {first.code for first in firsts_of_days(connection, day, day) if first.ever}
    return JSONResponse(
        [
            {
                "scientific_name": one.scientific_name, "common_name": site.name(one), "species_code": one.code,
                "count": one.count, "hourly_counts": [one.counts.get(hour, 0) for hour in range(24)],
                "high_confidence": one.best >= 0.8, "max_confidence": one.best, "first_heard": one.first[11:19],
                "latest_heard": one.last[11:19], "is_new_species": one.code in new,
            }
            for one in found
        ]
    )  # fmt: skip


_ALL = """
    SELECT code, scientific_name, common_name, count(*), min(time), max(time), avg(score), max(score)
    FROM detections GROUP BY code ORDER BY count(*) DESC, code"""


def summary(request: Request) -> Response:
    """Return all species ever."""
    site = site_of(request)
    with site.reading() as connection:
        rows = [tuple(row) for row in connection.execute(_ALL)]
    return JSONResponse(
        [
            {
                "scientific_name": scientific, "common_name": site.names.of(code, scientific, common),
                "species_code": code, "count": many, "first_heard": first, "last_heard": last,
                "avg_confidence": round(mean, 6), "max_confidence": best,
            }
            for code, scientific, common, many, first, last, mean, best in rows
        ]
    )  # fmt: skip


def system(request: Request) -> Response:
    """Say what computer this is."""
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    described = {
        "hostname": socket.gethostname(),
        "platform_version": platform.version(),
        "kernel_version": platform.release(),
        "uptime_seconds": int(uptime),
        "app_uptime_seconds": int(time.monotonic() - _BEGAN),
        "num_cpu": os.cpu_count() or 0,
        "os_display": platform.system(),
        "architecture": platform.machine(),
        "time_zone": time.strftime("%z"),
    }
    return JSONResponse(described)


async def stream(request: Request) -> Response:
    """Detections as they come."""
    site = site_of(request)

    def tell(message: dict[str, Any]) -> str:
        one: Record = message["record"]
        return event_of("detection", detection_json(site, one), one.id)

    first = event_of("connected", {"message": "edgebird", "timestamp": datetime.now().astimezone().isoformat()})
    events = server_events(site.hub, first, tell, ("detection",), _QUIET_S)
    return StreamingResponse(events, media_type="text/event-stream")


async def levels(request: Request) -> Response:
    """How loud sources are: 0 to 100, from -60 dBFS to full scale."""
    site = site_of(request)
    first = event_of("connected", {"message": "edgebird"})
    events = server_events(
        site.hub, first, lambda message: event_of("audio-level", levels_json(message)), ("state",), _QUIET_S
    )
    return StreamingResponse(events, media_type="text/event-stream")


def levels_json(state: dict[str, Any]) -> dict[str, Any]:
    """Return a message `state` of the live socket as levels."""
    made = {}
    for one in state["sources"]:
        level, peak = (one[key] if one[key] is not None else 2 * _FLOOR_DBFS for key in ("level_dbfs", "peak_dbfs"))
        loud = round(min(100.0, max(0.0, 100 * (1 - level / _FLOOR_DBFS))), 1)
        clips = one["state"] == "clipping" or peak >= _CLIPPED_DBFS
        made[one["name"]] = {"source": one["name"], "name": one["name"], "level": loud, "clipping": clips}
    return {"type": "audio-level", "levels": made}


def no_image(request: Request) -> Response:
    """There are no pictures of birds."""
    raise HTTPException(404, "edgebird has no pictures of birds")


def no_control(request: Request) -> Response:
    """Refuse."""
    raise HTTPException(403, _CONTROL)


HANDLERS: dict[str, Callable[..., Any]] = {
    "ping": ping, "health": health, "kpis": kpis, "sources": sources, "streams": sources, "recent": recent,
    "stream": stream, "detections": detections, "detection": detection, "levels": levels, "daily": daily,
    "summary": summary, "system": system, "audio": clip, "spectrogram": spectrogram, "image": no_image,
    "restart": no_control, "reload": no_control,
}  # fmt: skip
