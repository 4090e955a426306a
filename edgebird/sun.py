"""Sunrise, sunset and twilight of a day at a place, the polar circles included.

The sun's place is that of Meeus, Astronomical Algorithms (1998), chapter 25, low accuracy: within 0.01 degrees from
1950 to 2050. Sunrise and sunset are those of the upper limb with 34' of refraction, at sea level and with a flat
horizon; twilight is of the centre. Hills, height and weather move all of them by minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from functools import lru_cache
from math import asin, atan2, cos, degrees, radians, sin
from typing import TypeAlias

HORIZON = -0.8333  # degrees: 34' of refraction and 16' from the centre to the limb
CIVIL, NAUTICAL, ASTRONOMICAL = -6.0, -12.0, -18.0

_J2000 = datetime(2000, 1, 1, 12, tzinfo=timezone.utc)
_DAY = timedelta(days=1)
_EARTH_LATE = 70.0 / 86400  # days that the turning Earth is behind even time, TT - UT1
_TURN = 360.98564736629  # degrees that the Earth turns in a day
_STEPS = 18  # halvings of half a day: to a sixth of a second


class Polar(Enum):
    """Why the sun does not cross a height on a day."""

    NEVER_SETS = "never sets"
    NEVER_RISES = "never rises"


Crossing: TypeAlias = datetime | Polar


@dataclass(frozen=True, slots=True)
class SunTimes:
    """The sun of one day: from the midnight before its noon to the midnight after it, by the sun.

    Each time is a datetime, or a Polar where the sun does not cross that height in its half of the day: NEVER_SETS as
    it stays above it, NEVER_RISES as it stays below it. Dawns and dusks are the beginning and end of twilight. Near a
    polar circle a day may have a sunrise without a sunset, and in summer a sunset may be after midnight by the clock.
    """

    noon: datetime
    sunrise: Crossing
    sunset: Crossing
    civil_dawn: Crossing
    civil_dusk: Crossing
    nautical_dawn: Crossing
    nautical_dusk: Crossing
    astronomical_dawn: Crossing
    astronomical_dusk: Crossing


@lru_cache(maxsize=64)
def sun_times(latitude: float, longitude: float, day: date, zone: tzinfo = timezone.utc) -> SunTimes:
    """Return the times of a day, in a time zone: of the noon that is nearest to its 12 o'clock.

    latitude, longitude: degrees, north and east positive. Raises ValueError for a place that is none.
    """
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError(f"latitude {latitude}, longitude {longitude}: wanted -90 to 90, -180 to 180")
    noon = _at_hour_angle(0.0, longitude, datetime.combine(day, time(12), zone).astimezone(timezone.utc))
    before, after = (_at_hour_angle(180.0, longitude, noon + half * _DAY / 2) for half in (-1, 1))

    def height(moment: datetime) -> float:
        return altitude(latitude, longitude, moment)

    def crossings(of: float) -> tuple[Crossing, Crossing]:
        both = _crossing(before, noon, of, height), _crossing(after, noon, of, height)
        rises, sets = (one.astimezone(zone) if isinstance(one, datetime) else one for one in both)
        return rises, sets

    limits = [one for of in (HORIZON, CIVIL, NAUTICAL, ASTRONOMICAL) for one in crossings(of)]
    return SunTimes(noon.astimezone(zone), *limits)


def altitude(latitude: float, longitude: float, moment: datetime) -> float:
    """Return how high the centre of the sun is, in degrees, without refraction. moment: with its offset."""
    declination, angle = _place(longitude, moment)
    north = radians(latitude)
    return degrees(asin(sin(north) * sin(declination) + cos(north) * cos(declination) * cos(radians(angle))))


def _place(longitude: float, moment: datetime) -> tuple[float, float]:
    """The sun's declination in radians, and its hour angle in degrees, -180 to 180. Meeus (25.2) to (25.8), (12.4)."""
    days = (moment - _J2000) / _DAY
    centuries = (days + _EARTH_LATE) / 36525
    anomaly = radians(357.52911 + 35999.05029 * centuries - 0.0001537 * centuries**2)
    mean = 280.46646 + 36000.76983 * centuries + 0.0003032 * centuries**2
    centre = (1.914602 - 0.004817 * centuries) * sin(anomaly)
    centre += (0.019993 - 0.000101 * centuries) * sin(2 * anomaly) + 0.000289 * sin(3 * anomaly)
    node = radians(125.04 - 1934.136 * centuries)
    ecliptic = radians(mean + centre - 0.00569 - 0.00478 * sin(node))  # with nutation and aberration
    tilt = radians(23.4392911 - 0.0130042 * centuries + 0.00256 * cos(node))
    ascension = degrees(atan2(cos(tilt) * sin(ecliptic), cos(ecliptic)))
    sidereal = 280.46061837 + _TURN * days + 0.000387933 * centuries**2
    return asin(sin(tilt) * sin(ecliptic)), (sidereal + longitude - ascension + 180) % 360 - 180


def _at_hour_angle(wanted: float, longitude: float, near: datetime) -> datetime:
    """When the sun is at an hour angle in degrees, nearest to a moment."""
    for _ in range(3):
        angle = _place(longitude, near)[1]
        near -= _DAY * (((angle - wanted + 180) % 360 - 180) / _TURN)
    return near


def _crossing(midnight: datetime, noon: datetime, limit: float, height: Callable[[datetime], float]) -> Crossing:
    """When the sun crosses a height between a midnight and a noon, by halving."""
    if height(noon) < limit:
        return Polar.NEVER_RISES
    if height(midnight) >= limit:
        return Polar.NEVER_SETS
    low, high = midnight, noon
    for _ in range(_STEPS):
        middle = low + (high - low) / 2
        low, high = (low, middle) if height(middle) >= limit else (middle, high)
    return high
