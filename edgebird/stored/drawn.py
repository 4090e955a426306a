"""What is stored as pictures: the same on the station's pages and in its reports."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from edgebird.pictures.day import DayMap, MapRow, Phase, day_map
from edgebird.sinks.firsts import First, firsts_of_days
from edgebird.stored.coverage import Coverage, clock, coverage, deaf
from edgebird.stored.days import HeardSpecies, species_by_hour
from edgebird.stored.health import last_state
from edgebird.stored.names import LocalNames
from edgebird.stored.spans import Span
from edgebird.sun import SunTimes, sun_times

_DAY = timedelta(days=1)
_AWAY_DAYS = 30

Address = Callable[[str], str | None]  # of the page of a species, by its code


@dataclass(frozen=True, slots=True)
class DayView:
    """A day. picture: SVG. account: seconds of each source by what became of them. deaf_s: of all sources at once."""

    day: date
    picture: str
    species: Sequence[HeardSpecies]
    firsts: Mapping[str, str]
    account: Mapping[str, Mapping[str, float]]
    deaf_s: float
    sun: Sequence[str]


def day_view(
    connection: sqlite3.Connection,
    day: date,
    names: LocalNames,
    source: str | None = None,
    address: Address | None = None,
) -> DayView:
    """Return a day of all sources or one. A day that is not over ends with the last that the station told."""
    species = species_by_hour(connection, day, day, source)
    sources = [one for one in coverage(connection, day, day) if source in (None, one.source)]
    start, end = datetime.combine(day, time()), _end(connection, day)
    silent = deaf(sources, start, end)
    firsts = {first.code: said for first in firsts_of_days(connection, day, day) if (said := said_first(first))}
    rows = [_row(one, names, firsts, address) for one in species]
    title = f"Species by hour on {day}: {sum(one.count for one in species)} detections of {len(species)} species"
    sun = sun_of(connection, day)
    shown = DayMap(
        title,
        rows,
        [_phase(span, day, "nobody heard: " + _why(sources, span)) for span in silent],
        {one.source: _silences(one, day, start, end) for one in sources},
        _nights(sun, day),
        _sun_marks(sun, day),
    )
    account = {one.source: one.seconds(start, end) for one in sources}
    deaf_s = sum((b - a).total_seconds() for a, b in silent)
    return DayView(day, day_map(shown), species, firsts, account, deaf_s, [said for _, said in shown.sun])


def said_first(first: First) -> str:
    """Say what a detection is the first of; "" if that is nothing to tell."""
    if first.ever:
        return "first ever"
    if first.of_year:
        return "first this year"
    return f"back after {first.days_away} days" if first.is_back(_AWAY_DAYS) else ""


def _row(one: HeardSpecies, names: LocalNames, firsts: Mapping[str, str], address: Address | None) -> MapRow:
    name = names.of(one.code, one.scientific_name, one.common_name)
    return MapRow(name, one.counts, address(one.code) if address else None, " ★" if one.code in firsts else "")


def _end(connection: sqlite3.Connection, day: date) -> datetime:
    """The end of a day, or until when something was told of it."""
    told, end = last_state(connection).told, datetime.combine(day + _DAY, time())
    last = clock(told) if told else end
    return min(end, last) if last.date() == day else end


def _hours(moment: datetime, day: date) -> float:
    return (moment - datetime.combine(day, time())).total_seconds() / 3600


def _phase(span: Span, day: date, title: str) -> Phase:
    told = f"{span[0]:%H:%M:%S} to {span[1]:%H:%M:%S}, {title}"
    return Phase(_hours(span[0], day), _hours(span[1], day), told)


def _silences(one: Coverage, day: date, start: datetime, end: datetime) -> list[Phase]:
    """When a source was not heard; what comes after the end is not known yet."""
    spans = deaf([one], start, end)
    later = [] if end >= datetime.combine(day + _DAY, time()) else [(end, datetime.combine(day + _DAY, time()))]
    found = [_phase(span, day, _why([one], span)) for span in spans]
    return [*found, *(_phase(span, day, "not told yet") for span in later)]


def _why(sources: Iterable[Coverage], span: Span) -> str:
    """Why a span was not heard: its reasons, those of most seconds first."""
    total: dict[str, float] = {}
    for one in sources:
        for reason, seconds in one.seconds(*span).items():
            if reason != "scored" and seconds > 0:
                total[reason] = total.get(reason, 0) + seconds
    return ", ".join(sorted(total, key=lambda reason: -total[reason])) or "unknown"


# ------------------------------------------------------------------------------------------------------------- the sun
def zone_of(connection: sqlite3.Connection) -> tzinfo:
    """The offset of what was told last; that of this computer where nothing was."""
    told = last_state(connection).told
    return (datetime.fromisoformat(told).tzinfo if told else None) or datetime.now().astimezone().tzinfo or timezone.utc


def sun_of(connection: sqlite3.Connection, day: date) -> SunTimes | None:
    """Of the station's place, by the offset of that day; None without a place."""
    place = last_state(connection).place
    if place is None:
        return None
    row = connection.execute("SELECT max(time) FROM detections WHERE time < ?", [(day + _DAY).isoformat()]).fetchone()
    zone = datetime.fromisoformat(row[0]).tzinfo if row[0] else None
    return sun_times(*place, day, zone or zone_of(connection))


def clock_hour(moment: datetime, day: date) -> float:
    """The hour of the day, below 0 or above 24 on the days beside it."""
    return _hours(moment.replace(tzinfo=None), day)


def _nights(sun: SunTimes | None, day: date) -> list[Phase]:
    """Night, between sunset and sunrise."""
    if sun is None:
        return []
    rise, down = sun.sunrise, sun.sunset
    up_from = clock_hour(rise, day) if isinstance(rise, datetime) else (24.0 if "rises" in rise.value else 0.0)
    up_to = clock_hour(down, day) if isinstance(down, datetime) else (up_from if "rises" in down.value else 24.0)
    nights = [(0.0, min(24.0, up_from)), (max(0.0, up_to), 24.0)]
    return [Phase(start, end, "night") for start, end in nights if end > start]


def _sun_marks(sun: SunTimes | None, day: date) -> list[tuple[float, str]]:
    if sun is None:
        return []
    marks = []
    for moment, event in ((sun.sunrise, "sunrise"), (sun.sunset, "sunset")):
        if isinstance(moment, datetime) and 0 <= (hour := clock_hour(moment, day)) <= 24:
            marks.append((hour, f"{event} {moment:%H:%M}"))
        elif not isinstance(moment, datetime):
            said = (12.0, f"the sun {moment.value}")
            marks += [] if said in marks else [said]
    return marks
