"""What is stored as pictures: the same on the station's pages and in its reports."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from edgebird.pictures.day import DayMap, HourColumn, MapRow, Phase, day_map
from edgebird.sinks.firsts import First, firsts_of_days
from edgebird.stored.coverage import Coverage, coverage, deaf
from edgebird.stored.days import HeardSpecies, species_by_column
from edgebird.stored.health import last_state
from edgebird.stored.local import Hour, StationClock, local_time
from edgebird.stored.names import LocalNames
from edgebird.stored.spans import Span
from edgebird.sun import SunTimes, sun_times

_DAY = timedelta(days=1)
_AWAY_DAYS = 30

Address = Callable[[str], str | None]  # of the page of a species, by its code


@dataclass(frozen=True, slots=True)
class DayView:
    """A day. picture: SVG. account: seconds of each source by what became of them. deaf_s: of all sources at once.

    hours: how long it is, 24 but where clocks are changed.
    """

    day: date
    picture: str
    species: Sequence[HeardSpecies]
    firsts: Mapping[str, str]
    account: Mapping[str, Mapping[str, float]]
    deaf_s: float
    sun: Sequence[str]
    hours: float


def day_view(
    connection: sqlite3.Connection,
    day: date,
    names: LocalNames,
    source: str | None = None,
    address: Address | None = None,
) -> DayView:
    """Return a day of all sources or one. A day that is not over ends with the last that the station told."""
    clock = _Day(day, local_time(connection, day, day))
    hours = clock.local.hours(day)
    species = species_by_column(connection, day, hours, source)
    sources = [one for one in coverage(connection, day, day) if source in (None, one.source)]
    start, end = clock.begin, clock.told(last_state(connection).told)
    silent = deaf(sources, start, end)
    firsts = {first.code: said for first in firsts_of_days(connection, day, day) if (said := said_first(first))}
    rows = [_row(one, names, firsts, address) for one in species]
    title = f"Species by hour on {day}: {sum(one.count for one in species)} detections of {len(species)} species"
    sun = sun_of(connection, day)
    shown = DayMap(
        title,
        rows,
        [clock.phase(span, "nobody heard: " + _why(sources, span)) for span in silent],
        {one.source: _silences(one, clock, start, end) for one in sources},
        _nights(sun, clock),
        _sun_marks(sun, clock),
        _columns(hours),
    )
    account = {one.source: one.seconds(start, end) for one in sources}
    deaf_s = sum((b - a).total_seconds() for a, b in silent)
    drawn_sun = [said for _, said in shown.sun]
    return DayView(day, day_map(shown), species, firsts, account, deaf_s, drawn_sun, clock.length)


@dataclass(frozen=True, slots=True)
class _Day:
    """A day by the station's clock. local: of it."""

    day: date
    local: StationClock

    @property
    def begin(self) -> datetime:
        return self.local.midnight(self.day)

    @property
    def end(self) -> datetime:
        return self.local.midnight(self.day + _DAY)

    @property
    def length(self) -> float:
        """Hours."""
        return self.hours(self.end)

    def hours(self, moment: datetime) -> float:
        """How long a moment is after the beginning."""
        return (moment - self.begin).total_seconds() / 3600

    def told(self, text: str | None) -> datetime:
        """The end, or until when something was told of it."""
        last = datetime.fromisoformat(text) if text else self.end
        return last if self.begin <= last < self.end else self.end

    def phase(self, span: Span, title: str) -> Phase:
        """A span, with its times for the reader."""
        start, end = map(self.local.at, span)
        return Phase(self.hours(start), self.hours(end), f"{start:%H:%M:%S} to {end:%H:%M:%S}, {title}")


def _columns(hours: Sequence[Hour]) -> list[HourColumn]:
    """As they are drawn; the second of an hour that comes twice is marked."""
    found = [HourColumn(one.start, one.end, one.number) for one in hours[:1]]
    for before, one in pairwise(hours):
        found.append(HourColumn(one.start, one.end, one.number, " again" if one.number <= before.number else ""))
    return found


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


def _silences(one: Coverage, clock: _Day, start: datetime, end: datetime) -> list[Phase]:
    """When a source was not heard; what comes after the end is not known yet."""
    spans = deaf([one], start, end)
    later = [] if end >= clock.end else [(end, clock.end)]
    found = [clock.phase(span, _why([one], span)) for span in spans]
    return [*found, *(clock.phase(span, "not told yet") for span in later)]


def _why(sources: Iterable[Coverage], span: Span) -> str:
    """Why a span was not heard: its reasons, those of most seconds first."""
    total: dict[str, float] = {}
    for one in sources:
        for reason, seconds in one.seconds(*span).items():
            if reason != "scored" and seconds > 0:
                total[reason] = total.get(reason, 0) + seconds
    return ", ".join(sorted(total, key=lambda reason: -total[reason])) or "unknown"


# ------------------------------------------------------------------------------------------------------------- the sun
def sun_of(connection: sqlite3.Connection, day: date) -> SunTimes | None:
    """Of the station's place, by its clock at noon of that day; None without a place."""
    place = last_state(connection).place
    if place is None:
        return None
    local = local_time(connection, day, day)
    return sun_times(*place, day, local.zone_at(local.midnight(day) + _DAY / 2))


def clock_hour(moment: datetime, day: date) -> float:
    """The hour of the day by the clock, below 0 or above 24 on the days beside it."""
    return (moment.replace(tzinfo=None) - datetime.combine(day, time())).total_seconds() / 3600


def _nights(sun: SunTimes | None, clock: _Day) -> list[Phase]:
    """Night, between sunset and sunrise."""
    if sun is None:
        return []
    rise, down, whole = sun.sunrise, sun.sunset, clock.length
    up_from = clock.hours(rise) if isinstance(rise, datetime) else (whole if "rises" in rise.value else 0.0)
    up_to = clock.hours(down) if isinstance(down, datetime) else (up_from if "rises" in down.value else whole)
    nights = [(0.0, min(whole, up_from)), (max(0.0, up_to), whole)]
    return [Phase(start, end, "night") for start, end in nights if end > start]


def _sun_marks(sun: SunTimes | None, clock: _Day) -> list[tuple[float, str]]:
    if sun is None:
        return []
    marks = []
    for moment, event in ((sun.sunrise, "sunrise"), (sun.sunset, "sunset")):
        if isinstance(moment, datetime) and 0 <= (hour := clock.hours(moment)) <= clock.length:
            marks.append((hour, f"{event} {clock.local.at(moment):%H:%M}"))
        elif not isinstance(moment, datetime):
            said = (12.0, f"the sun {moment.value}")
            marks += [] if said in marks else [said]
    return marks
