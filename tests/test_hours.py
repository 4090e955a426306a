"""Spans of the day by the sun: owls are asked for by night, wherever that is, and where there is none too."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.detection import Analysis, source_settings
from edgebird.errors import UsageError
from edgebird.hours import within
from edgebird.live.assembly import check_settings, listen_options
from edgebird.live.hush import ListenOptions
from edgebird.settings.build import station_settings
from edgebird.settings.hours import MORNING, Spans, hours
from edgebird.settings.model import DetectionSettings
from edgebird.settings.sources import make_source
from edgebird.sun import HORIZON, altitude, sun_times
from edgebird.types import AudioBlock, Detection, Rejected
from tests.foreign import tone_card

BERLIN, TROMSO = (52.52, 13.41), (69.65, 18.96)
ZONE = ZoneInfo("Europe/Berlin")
RATE = 8000
CARD = replace(tone_card(RATE, "batch"), window_samples=RATE)


def spans(*texts: str) -> Spans:
    read: Spans = hours().read(list(texts))
    return read


CASES = [
    # sunrise 05:31, sunset 20:31, civil twilight 04:51 to 21:10 in Berlin on that day
    ("sunrise-sunset", "05:40", True),
    ("sunrise-sunset", "05:20", False),
    ("sunrise-sunset", "20:40", False),
    ("sunset-sunrise", "20:40", True),
    ("sunset-sunrise", "03:00", True),
    ("sunset-sunrise", "12:00", False),
    ("civil-dawn - civil-dusk", "05:00", True),
    ("civil-dawn - civil-dusk", "21:20", False),
    ("sunrise-01:00 - sunrise+02:00", "04:40", True),
    ("sunrise-01:00 - sunrise+02:00", "07:40", False),
    ("sunset+00:30-04:30", "20:50", False),
    ("sunset+00:30-04:30", "21:10", True),
    ("sunset+00:30-04:30", "04:29", True),
    ("sunset-23:00", "22:59", True),
    ("22:00-sunrise", "05:20", True),
    ("22:00-sunrise", "21:59", False),
    ("12:00-sunset", "11:59", False),
    ("22:00-04:30", "04:29", True),
    ("04:00-22:00", "03:59", False),
]


@pytest.mark.parametrize(("span", "clock", "inside"), CASES)
def test_a_moment_is_in_a_span_by_the_sun_of_its_day_or_night(span: str, clock: str, inside: bool) -> None:
    moment = datetime.combine(date(2026, 5, 1), time.fromisoformat(clock), ZONE)
    assert within(spans(span), moment, BERLIN) is inside


@pytest.mark.parametrize(("month", "day_span", "night_span"), [(6, True, False), (12, False, True)])
def test_beyond_the_polar_circle_a_day_without_end_is_all_day_and_one_without_sun_is_none(
    month: int, day_span: bool, night_span: bool
) -> None:
    for hour in range(24):
        moment = datetime(2026, month, 21, hour, tzinfo=ZoneInfo("Europe/Oslo"))
        assert within(spans("sunrise-sunset"), moment, TROMSO) is day_span
        assert within(spans("sunset-sunrise"), moment, TROMSO) is night_span
        assert within(spans("sunrise-02:00 - sunset+02:00"), moment, TROMSO) is day_span


@given(
    latitude=st.floats(-65, 65),
    longitude=st.floats(-180, 180),
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
)
def test_day_is_when_the_sun_is_up_and_night_is_the_rest(latitude: float, longitude: float, moment: datetime) -> None:
    """In the zone of the place: a day of the clock is a day of its sun."""
    zone = timezone(timedelta(hours=round(longitude / 15)))
    height = altitude(latitude, longitude, moment.replace(tzinfo=zone))
    if abs(height - HORIZON) > 0.01:
        by_day, by_night = (
            within(spans(span), moment.replace(tzinfo=zone), (latitude, longitude))
            for span in ("sunrise-sunset", "sunset-sunrise")
        )
        assert (by_day, by_night) == (height > HORIZON, height < HORIZON)


def test_every_event_of_the_sun_has_a_time() -> None:
    times = sun_times(*BERLIN, date(2026, 3, 21))
    for event in MORNING:
        assert isinstance(getattr(times, event.replace("-", "_")), datetime)


def test_outside_of_its_hours_a_source_tells_nothing_and_says_why() -> None:
    options = ListenOptions(quiet_hours=spans("12:00-13:00"), listen_hours=spans("sunrise-sunset"), place=BERLIN)
    day = datetime(2026, 5, 1, tzinfo=ZONE)
    assert options.refusal(day.replace(hour=10)) is None
    assert options.refusal(day.replace(hour=12)) == "quiet_hours"
    assert options.refusal(day.replace(hour=23)) == "outside_listen_hours"
    assert options.refusal(None) is None


def station(tmp_path: Path, more: str, head: str = "latitude = 52.52\nlongitude = 13.41") -> Any:
    path = tmp_path / "station.toml"
    path.write_text(f'bundle = "birds"\n{head}\n[[source]]\nname = "garden"\nmic = ""\n{more}', encoding="utf-8")
    return station_settings(path, {})


def test_a_source_has_hours_of_its_own_beside_those_of_the_station(tmp_path: Path) -> None:
    found = station(
        tmp_path,
        'quiet-hours = ["sunset-sunrise"]\nlisten-hours = ["06:00-22:00"]\n',
        'quiet-hours = ["01:00-02:00"]\nlatitude = 52.52\nlongitude = 13.41',
    )
    check_settings(found)
    options = listen_options(found.sources[0], found)
    assert options.quiet_hours == spans("01:00-02:00", "sunset-sunrise")
    assert (options.listen_hours, options.place) == (spans("06:00-22:00"), BERLIN)


@pytest.mark.parametrize(
    "more", ['listen-hours = ["sunrise-12:00"]', 'day-list = "x"', 'quiet-hours = ["sunset-04:00"]']
)
def test_the_sun_of_no_place_is_refused(tmp_path: Path, more: str) -> None:
    with pytest.raises(UsageError, match="source garden: latitude and longitude are needed"):
        check_settings(station(tmp_path, more, ""))
    check_settings(station(tmp_path, more))
    check_settings(station(tmp_path, 'day-list = "x"\nday = ["06:00-18:00"]', ""))


def test_the_sun_of_no_place_is_refused_for_the_whole_station_too() -> None:
    with pytest.raises(UsageError, match="quiet-hours by the sun: latitude and longitude are needed"):
        DetectionSettings(Path("birds"), quiet_hours=spans("sunset-sunrise"))


def test_each_list_holds_in_its_part_of_the_day_also_when_the_sun_sets_meanwhile(tmp_path: Path) -> None:
    """The paths are relative to the file, as that of species-list is."""
    first, second, *_ = CARD.labels
    (tmp_path / "day.txt").write_text(first.code)
    (tmp_path / "night.txt").write_text(second.code)
    found = station(tmp_path, 'day-list = "day.txt"\nnight-list = "night.txt"\n')
    judge = source_settings(found.sources[0], replace(found.detection, hop_s=1.0), CARD)
    sunset = sun_times(*BERLIN, date(2026, 5, 1), ZONE).sunset
    assert isinstance(sunset, datetime)
    analysis, results = Analysis(CARD, judge, lambda position: sunset + timedelta(seconds=position / RATE - 3)), []
    for window in analysis.push(AudioBlock(np.zeros(7 * RATE, np.float32), 0)):
        loud = window.start in (0, 6 * RATE)
        results += analysis.take(window, np.full(len(CARD.labels), 0.9 if loud else 0.0, np.float32))
    results += analysis.close()
    assert [(one.label, one.start // RATE) for one in results if isinstance(one, Detection)] == [(0, 0), (1, 6)]
    assert {one.reason for one in results if isinstance(one, Rejected)} == {"not_in_species_list"}


def test_hours_of_a_source_given_in_python_are_those_of_the_file() -> None:
    source = make_source("mic", "", "garden", **{"listen-hours": ["sunrise-sunset"], "day-list": "day.txt"})
    assert (source.listen_hours, source.day_list) == (spans("sunrise-sunset"), Path("day.txt"))
