"""Whether a moment lies in a span of the day that the clock or the sun bounds, the polar circles included."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from edgebird.settings.hours import EVENING, MORNING, Bound, Span, SunBound
from edgebird.sun import Polar, sun_times

_HALF_A_DAY = timedelta(hours=12)


def within(spans: Iterable[Span], moment: datetime, place: tuple[float, float] | None) -> bool:
    """Tell whether a moment, with its offset, is in one of the spans; their ends are not.

    A span from a morning's event to an evening's is on one day, one from an evening's to a morning's over a night, and
    any other ends after it begins. place: latitude and longitude, needed for spans by the sun. Where the sun does not
    cross a height, a day is the whole solar day or nothing of it, without the offsets: from sunrise to sunset is all of
    a day on which it never sets, and nothing of one on which it never rises.
    """
    return any(_is_in(span, moment, place) for span in spans)


def _is_in(span: Span, moment: datetime, place: tuple[float, float] | None) -> bool:
    begin, end = span
    overnight = _half(begin) == "evening" and _half(end) == "morning"
    same_day = _half(begin) == "morning" and _half(end) == "evening"
    for days in (-1, 0, 1):
        day = moment.date() + timedelta(days=days)
        first, last = _at(begin, day, moment, place), _at(end, day, moment, place)
        if overnight or (last <= first and not same_day):
            last = _at(end, day + timedelta(days=1), moment, place)
        if first <= moment < last:
            return True
    return False


def _half(bound: Bound) -> str:
    if not isinstance(bound, SunBound):
        return ""
    return "morning" if bound.event in MORNING else "evening"


def _at(bound: Bound, day: date, moment: datetime, place: tuple[float, float] | None) -> datetime:
    """When a bound is on a day, in the time zone of the moment."""
    if not isinstance(bound, SunBound):
        return datetime.combine(day, bound, moment.tzinfo)
    assert place is not None  # settings are refused without
    times = sun_times(*place, day, moment.tzinfo)
    crossing = getattr(times, bound.event.replace("-", "_"))
    if isinstance(crossing, datetime):
        return crossing + bound.offset
    if crossing is Polar.NEVER_RISES:
        return times.noon
    return times.noon + (_HALF_A_DAY if bound.event in EVENING else -_HALF_A_DAY)
