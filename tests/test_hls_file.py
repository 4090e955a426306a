"""Segments of HLS as one file: what is not there and what begins anew is told as it is, at the place where it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from edgebird.capture import hls
from edgebird.capture.hls import HlsFile
from edgebird.capture.serve import CaptureError
from edgebird.capture.web import Web

URL = "http://host/live.m3u8"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls, "_RETRY_S", 0.01)


class Server:
    """Gives the playlists one after the other, the last one again and again, and all segments but those missing."""

    name, timeout_s = "birds", 1.0

    def __init__(self, *playlists: str, missing: tuple[str, ...] = ()) -> None:
        self.first, *self.further = playlists
        self._left: Iterator[str] = iter(self.further)
        self._last, self._missing = self.first, missing

    def leads_to(self, _url: str, place: str) -> str:
        return place

    def fetch(self, url: str, *_headers: Any, **_most: Any) -> tuple[str, bytes]:
        if url in self._missing:
            raise CaptureError("not_found", "birds: there is nothing at this path (HTTP 404)")
        self._last = next(self._left, self._last) if url == URL else self._last
        return url, self._last.encode() if url == URL else f"<{url}>".encode()

    def open(self, resume: dict[str, Any] | None = None) -> HlsFile:
        return HlsFile(cast(Web, self), URL, self.first, lambda: None, resume)


def playlist(first: int, count: int) -> str:
    """Segments of 2 s by their number; it is due again at once."""
    lines = [f"#EXTM3U\n#EXT-X-TARGETDURATION:0.1\n#EXT-X-MEDIA-SEQUENCE:{first}"]
    return "\n".join([*lines, *(f"#EXTINF:2,\n{first + index}" for index in range(count))])


def hear(file: HlsFile) -> list[int]:
    """The numbers of the segments that are heard until it ends."""
    data = b"".join(iter(lambda: file.read(1 << 16), b"")).decode()
    return [int(number) for number in data.strip("<>").split("><") if number]


def ended_before(number: int, at: float | None = None) -> dict[str, Any]:
    """What a capture leaves that has heard ten segments of 2 s, the last before a number."""
    return {"next": number, "missing_s": 0.0, "heard": [20.0, 10], "at": time.monotonic() if at is None else at}


@pytest.mark.parametrize("first", [0, 1], ids=["at 0, as FFmpeg does", "at 1"])
def test_an_encoder_that_starts_again_is_no_continuation(first: int) -> None:
    """Nobody knows how long it was away: a loss that is said to be known would shift every later detection."""
    file = Server(playlist(40, 3), playlist(first, 3)).open()
    assert hear(file) == [40, 41, 42]
    assert file.failure is not None
    assert (file.failure.reason, str(file.failure)) == ("ended", "birds: the playlist begins anew")
    assert "hls" not in file.resume, "the next capture would go on by a number that says nothing"
    assert Server(playlist(first, 4)).open(file.resume.get("hls")).lost_s is None


def test_a_first_segment_that_is_gone_costs_no_reconnect() -> None:
    file = Server(playlist(5, 3), playlist(5, 3) + "\n#EXT-X-ENDLIST", missing=("5",)).open()
    assert hear(file) == [6, 7]
    assert file.failure is None
    assert file.resume["hls"]["missing_s"] == 0.0, "nothing is missing between what was heard"
    assert file.lost_s is None


def test_a_first_segment_that_is_gone_is_lost_before_what_is_heard_again() -> None:
    """A loss that is told one segment too late gives the sound before it a wrong time."""
    file = Server(playlist(5, 3), missing=("5",)).open(ended_before(5))
    assert file.read(99) == b"<6>"
    assert file.lost_s == 2.0
    assert file.read(99) == b"<7>"


def test_segments_that_the_server_forgot_while_it_was_waited_for_are_lost_before_what_is_heard() -> None:
    file = Server(playlist(2, 3), playlist(8, 3)).open(ended_before(5))
    assert file.read(99) == b"<8>"
    assert file.lost_s == 6.0


def test_a_segment_that_is_missing_later_ends_the_file_before_what_follows() -> None:
    file = Server(playlist(5, 3), missing=("6",)).open()
    assert hear(file) == [5]
    assert str(file.failure) == "birds: segments are missing"
    assert file.resume["hls"]["next"] == 7
    assert Server(playlist(5, 4)).open(file.resume["hls"]).lost_s == 2.0


def test_numbers_that_the_clock_contradicts_say_nothing() -> None:
    """The encoder was away for a minute with its server, and counts from 0 again: it has come to our number since."""
    a_minute_ago = time.monotonic() - 60
    file = Server(playlist(0, 5)).open(ended_before(3, a_minute_ago))
    assert file.lost_s is None, "that nothing was lost would shift every later detection by a minute"
    went_on = Server(playlist(0, 33)).open(ended_before(3, a_minute_ago))
    assert went_on.lost_s == 0.0
    assert went_on.read(99) == b"<3>"
