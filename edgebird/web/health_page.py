"""The page `health`: what became of every second, how late results are, what the computer and the bundle are like."""

from __future__ import annotations

import os
import resource
import shutil
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgebird.stored.coverage import clock, coverage
from edgebird.stored.health import events, last_state, statistics
from edgebird.stored.local import local_time
from edgebird.stored.ranges import Days, account
from edgebird.web.asking import day_or_last, whole_of
from edgebird.web.rendering import page, svg
from edgebird.web.site import Site, site_of

_TROUBLES = ("gap", "source", "sink", "engine", "retention")
_SHOWN = 40
_POINTS = 500  # of a curve


def health(request: Request) -> Response:
    """The page."""
    site, many = site_of(request), whole_of(request, "days", 1, 92, 7)
    with site.reading() as connection:
        state = last_state(connection)
        last = day_or_last(request, state)
        span = Days(last - timedelta(days=many - 1), last)
        sources = coverage(connection, span.first, span.last)
        local = local_time(connection, span.first, span.last)
        end = min(local.midnight(last + timedelta(days=1)), local.at(clock(state.told))) if state.told else None
        troubles = events(connection, _TROUBLES, _SHOWN)
    picture, _ = account(sources, span, local, end)
    begin = local.midnight(span.first)
    accounts = {one.source: one.seconds(begin, end) for one in sources} if end and end > begin else {}
    values = {
        "span": span, "many": many, "picture": svg(picture), "accounts": accounts, "state": state, "until": end,
        "troubles": troubles, "disks": disks(site), "temperatures": temperatures(), "load": os.getloadavg()[0],
        "server": own_cost(),
        "card": site.card, "card_problem": site.card_problem, "bundle": site.options.bundle,
    }  # fmt: skip
    return page(request, "health.html", values)


def health_curves(request: Request) -> Response:
    """Figures over the time of the page, for its curves: seconds since 1970 and a list for each figure."""
    site, many = site_of(request), whole_of(request, "days", 1, 92, 7)
    with site.reading() as connection:
        last = day_or_last(request, last_state(connection))
        found = statistics(connection, last - timedelta(days=many - 1), last, _POINTS)
    times = [round(datetime.fromisoformat(event["time"]).timestamp()) for event in found]
    return JSONResponse({"time": times, **{name: [_figure(event, name) for event in found] for name in FIGURES}})


FIGURES = ("latency_s", "inference_ms", "cpu_percent", "misses", "memory_mb")


def _figure(event: dict[str, Any], name: str) -> float | None:
    value = event.get(name)
    return value["p99"] if isinstance(value, dict) else value


@dataclass(frozen=True, slots=True)
class OwnCost:
    """What this server takes itself: CPU since its start, % of one core, and most memory that was resident."""

    percent: float
    memory_mb: float


_BEGAN = time.monotonic(), time.process_time()


def own_cost() -> OwnCost:
    """Return it."""
    passed, spent = time.monotonic() - _BEGAN[0], time.process_time() - _BEGAN[1]
    return OwnCost(100 * spent / max(passed, 1e-3), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def disks(site: Site) -> list[tuple[str, int, int]]:
    """Return folder, bytes free and bytes of all, of the database's disk and the clips'."""
    found: dict[int, tuple[str, int, int]] = {}
    for folder in (site.options.database.parent, site.options.clips):
        try:
            if folder is not None:
                usage = shutil.disk_usage(folder)
                found[folder.stat().st_dev] = str(folder), usage.free, usage.total
        except OSError:
            continue
    return list(found.values())


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Return what the computer's sensors say, in degrees Celsius; nothing where there are none."""
    found: dict[str, float] = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        try:
            milli = int((zone / "temp").read_text(encoding="ascii"))
            kind = (zone / "type").read_text(encoding="utf-8", errors="replace").strip()
        except (OSError, ValueError):
            continue
        if milli > -40_000:  # some give -256 C for parts that are off
            found[f"{kind or zone.name}"] = milli / 1000
    return found
