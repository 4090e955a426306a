"""Results as events: what programs read, and what the tables are made of. Times are right, and every line is JSON."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.events import Event, Events, encodable, head, seconds, timestamp, to_json
from edgebird.pooling import Onset
from edgebird.types import Detection, Origin, Rejected, Summary
from tests.foreign import LABELS

RATE = 32000
STARTED = datetime(2023, 5, 24, 15, 30, tzinfo=timezone(timedelta(hours=2)))
CANDIDATE = Detection(label=1, score=0.8123456789, start=RATE, end=6 * RATE, windows=3, streak=2)
EVENTS = Events(LABELS, RATE)
DATED = Origin("garden", None, STARTED)


def test_a_detection_says_what_was_heard_where_and_when() -> None:
    assert EVENTS.tell(DATED, CANDIDATE) == {
        "event": "detection",
        "source": "garden",
        "time": "2023-05-24T15:30:01.000+02:00",
        "start_s": 1.0,
        "end_s": 6.0,
        "code": "tonmid",
        "scientific_name": "Tonus medius",
        "common_name": "Middle Tone",
        "score": 0.812346,
        "windows": 3,
    }


def test_onsets_and_rejected_candidates_are_told_like_detections() -> None:
    """Whoever reads one kind can read the others."""
    detection = EVENTS.tell(DATED, CANDIDATE)
    assert EVENTS.tell(DATED, Onset(CANDIDATE)) == {**detection, "event": "onset"}
    assert EVENTS.tell(DATED, Rejected(CANDIDATE, "below_min_windows")) == {
        **detection,
        "event": "rejected",
        "reason": "below_min_windows",
    }


def test_a_summary_accounts_for_all_audio_and_has_the_time_of_its_end() -> None:
    told = EVENTS.tell(DATED, Summary(4 * RATE, RATE, RATE // 2, windows=3, detections=1, wall_s=0.12345))
    assert told == {
        "event": "summary",
        "source": "garden",
        "time": "2023-05-24T15:30:05.500+02:00",
        "wall_s": 0.123,
        "scored_s": 4.0,
        "gap_s": 1.0,
        "tail_s": 0.5,
        "windows": 3,
        "detections": 1,
    }


def test_a_recording_of_unknown_date_has_no_time() -> None:
    """And not that of the file system, or of 1970, which would be believed."""
    assert head("gap", Origin("x.wav"), RATE, RATE) == {"event": "gap", "source": "x.wav", "time": None}


@pytest.mark.parametrize(
    ("started", "hours", "told"),
    [
        (datetime(2023, 10, 29, 1, 30), 1, "2023-10-29T02:30:00.000+02:00"),
        (datetime(2023, 10, 29, 1, 30), 2, "2023-10-29T02:30:00.000+01:00"),
        (datetime(2023, 3, 26, 1, 30), 1, "2023-03-26T03:30:00.000+02:00"),
    ],
    ids=["still summer time", "the hour that comes twice", "the hour that is left out"],
)
def test_a_night_with_a_change_of_the_clocks_has_right_times(started: datetime, hours: int, told: str) -> None:
    """An owl at half past two must not be an hour off, nor at a time that there was not."""
    origin = Origin("night", None, started.replace(tzinfo=ZoneInfo("Europe/Berlin")))
    assert timestamp(origin, hours * 3600 * RATE, RATE) == told


def test_times_are_told_to_the_millisecond_after_months_too() -> None:
    assert timestamp(DATED, 200 * 86400 * RATE + 32, RATE) == "2023-12-10T15:30:00.001+02:00"


@given(st.integers(0, 2**40))
def test_samples_come_back_from_their_seconds(samples: int) -> None:
    """A clip or a second run is cut by them: one sample off would be another window."""
    for rate in (8000, 32000, 44100, 48000):
        assert round(seconds(samples, rate) * rate) == samples
        assert abs(Fraction(seconds(samples, rate)) - Fraction(samples, rate)) < Fraction(1, 10**6)


def test_an_event_is_one_line_of_strict_json() -> None:
    """A reader of JSON lines takes neither NaN nor a line that is broken in two."""
    event: Event = {"source": "a\nb\u2028", "name": "Grünfink", "score": 0.5, "time": None}
    line = to_json(event)
    assert "\n" not in line
    assert "Grünfink" in line
    assert json.loads(line) == event
    assert list(json.loads(line)) == list(event)
    with pytest.raises(ValueError, match="Out of range float values"):
        to_json({"score": float("nan")})


def test_the_name_of_a_file_that_is_not_utf8_can_be_written() -> None:
    """Python reads its bytes as surrogates: the first such recording would end a night of work."""
    name = b"v\xf6gel.wav".decode("utf-8", "surrogateescape")
    line = to_json({"source": name})
    assert json.loads(line.encode())["source"] == "v\ufffdgel.wav"
    assert encodable("Grünfink 🐦") == "Grünfink 🐦"
