"""The sun: rules relative to it are wrong by as much as it is, and beyond the polar circles it may not rise at all."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.sun import HORIZON, Polar, altitude, sun_times

ROWS = json.loads((Path(__file__).parent / "data" / "sun.json").read_text(encoding="utf-8"))
BERLIN = ZoneInfo("Europe/Berlin")


def test_each_time_is_that_of_astral_and_ephem_to_a_minute_beyond_the_polar_circles_too() -> None:
    """tests/record_sun.py wrote what both say, where they agree; that there is none is ephem's word alone."""
    wrong = []
    for latitude, longitude, day, name, by_ephem, by_astral in ROWS:
        ours = getattr(sun_times(latitude, longitude, date.fromisoformat(day)), name)
        if by_astral is None or isinstance(ours, Polar):
            well = ours == Polar(by_ephem) if by_ephem.startswith("never") else False
        else:
            theirs = [datetime.fromisoformat(one).replace(tzinfo=timezone.utc) for one in (by_ephem, by_astral)]
            well = all(abs(ours - one) < timedelta(seconds=60) for one in theirs)
        wrong += [] if well else [(latitude, longitude, day, name, by_ephem, by_astral, ours)]
    assert not wrong
    assert len(ROWS) > 400
    assert {row[4] for row in ROWS} >= {"never sets", "never rises"}


def test_a_day_is_that_of_the_clock_wherever_the_clock_is_not_the_suns() -> None:
    """Kiritimati keeps the date of the other side of the date line: by longitude alone it would be yesterday's sun."""
    times = sun_times(1.87, -157.4, date(2026, 3, 20), ZoneInfo("Pacific/Kiritimati"))
    assert isinstance(times.sunrise, datetime)
    assert str(times.sunrise)[:16] == "2026-03-20 06:34"  # by ephem 2026-03-19 16:34 UTC
    assert times.sunrise.utcoffset() == timedelta(hours=14)


def test_times_have_the_offset_of_their_own_moment_when_the_clock_changes() -> None:
    before, after = (sun_times(52.52, 13.41, date(2026, 10, day), BERLIN).sunrise for day in (24, 25))
    assert isinstance(before, datetime)
    assert isinstance(after, datetime)
    assert [one.utcoffset() for one in (before, after)] == [timedelta(hours=2), timedelta(hours=1)]
    assert after.astimezone(timezone.utc) - before.astimezone(timezone.utc) == pytest.approx(
        timedelta(days=1, seconds=105), abs=timedelta(seconds=20)
    )


def test_in_a_white_night_the_sun_sets_after_midnight_and_twilight_does_not_end() -> None:
    times = sun_times(64.15, -21.94, date(2026, 6, 21))
    assert isinstance(times.sunset, datetime)
    assert times.sunset.date() == date(2026, 6, 22)
    assert times.civil_dusk == times.astronomical_dawn == Polar.NEVER_SETS


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="latitude 91"):
        sun_times(91, 0, date(2026, 1, 1))


@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    day=st.dates(date(1950, 1, 1), date(2080, 1, 1)),
)
def test_the_sun_is_at_the_horizon_when_it_rises_and_sets_and_where_it_does_not_it_is_as_said(
    latitude: float, longitude: float, day: date
) -> None:
    times = sun_times(latitude, longitude, day)
    noon = altitude(latitude, longitude, times.noon)
    for crossing, half in ((times.sunrise, -1), (times.sunset, 1)):
        if crossing is Polar.NEVER_RISES:
            assert noon < HORIZON
        elif crossing is Polar.NEVER_SETS:
            assert altitude(latitude, longitude, times.noon + half * timedelta(hours=12)) > HORIZON - 0.2
        else:
            assert altitude(latitude, longitude, crossing) == pytest.approx(HORIZON, abs=0.01)
            assert timedelta(0) <= half * (crossing - times.noon) < timedelta(hours=12, minutes=1)
