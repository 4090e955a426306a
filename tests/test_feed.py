"""What a station asks of a source: whatever is fed to it has all of that."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from edgebird.live import captured
from edgebird.live.captured import LiveSource
from edgebird.live.feed import Feed
from edgebird.live.intake import LiveOptions
from edgebird.live.process import Capture
from edgebird.live.pulled import PacedSource, PulledSource
from edgebird.live.stretch import CaptureStretch
from edgebird.types import FloatArray
from tests.live_servers import wait_until

RATE = 8000
MAKERS: list[Callable[[], Feed]] = [
    lambda: LiveSource("mic", Capture("", {}), LiveOptions(rate=RATE)),
    lambda: PulledSource("file", list, RATE),
    lambda: PacedSource("file", list, RATE, buffer_s=1),
]
EVERY = pytest.mark.parametrize("make", MAKERS, ids=["captured", "pulled", "paced"])


@EVERY
def test_a_source_has_all_that_a_station_asks_for(make: Callable[[], Feed]) -> None:
    """What it lacks would first be missed by a station that runs: at its end, or when a source is lost."""
    feed, asked = make(), [name for name in vars(Feed) if not name.startswith("_")]
    assert {"waiting", "finished", "failure", "drift_ppm", "pid", "start", "expect", "read", "changes", "stop"} == set(
        asked
    )
    for name in asked:
        if callable(wanted := getattr(Feed, name)):
            parameters = list(inspect.signature(wanted).parameters)[1:]
            assert list(inspect.signature(getattr(feed, name)).parameters) == parameters, name
    assert set(Feed.__annotations__) == {"name", "live"}
    assert isinstance(feed.name, str)
    assert isinstance(feed.live, bool)
    assert feed.failure is None


@EVERY
def test_a_source_that_has_not_begun_is_empty_and_not_at_its_end(make: Callable[[], Feed]) -> None:
    """Else a station of one source would end before it has heard anything."""
    feed = make()
    assert not feed.finished
    assert (feed.waiting, feed.drift_ppm, feed.pid, feed.read(), feed.changes()) == (0, None, None, None, [])


def test_a_file_goes_on_only_while_it_is_read_and_a_microphone_always() -> None:
    """Of a file the reader decides the pace: it has no latency, and no onset comes before its detection."""
    assert [make().live for make in MAKERS] == [True, False, True]


@pytest.mark.parametrize("place", ["resampled", "rest"])
def test_a_fault_with_what_a_capture_gave_costs_no_source(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the last of it, which is written when the capture has ended."""
    monkeypatch.setattr(captured, "FIRST_PAUSE_S", 0.05)
    works, faults = getattr(CaptureStretch, place), [MemoryError("no room")]

    def fails_once(self: CaptureStretch, *given: object) -> tuple[FloatArray, float]:
        if faults:
            raise faults.pop()
        result: tuple[FloatArray, float] = works(self, *given)
        return result

    monkeypatch.setattr(CaptureStretch, place, fails_once)
    script = [["audio", 0.1, 0.5], ["fail", "disconnected"]]
    source = LiveSource("mic", Capture("tests.fake_capture", {"rate": RATE, "script": script}), LiveOptions(rate=RATE))
    changes = []
    source.start(lambda: None)
    wait_until(lambda: (changes.extend(source.changes()), len(changes) >= 3)[1], "the source to come back", 20)
    source.stop()
    wait_until(lambda: (changes.extend(source.changes()), changes[-1].state == "closed")[1], "its end", 20)
    assert [change.state for change in changes[:3]] == ["open", "lost", "recovered"]
    assert changes[1].detail == "error: a fault in edgebird: MemoryError: no room"
