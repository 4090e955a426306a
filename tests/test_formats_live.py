"""What radios do within one connection: another track, and with it another rate, channels or headers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest

from edgebird.capture import wire
from edgebird.capture.links import Links
from edgebird.types import FloatArray
from tests.conftest import require
from tests.live_servers import Captured, captured
from tests.sounds import encoded, seconds_of, tones
from tests.web_server import Request, WebServer, web_server

CD, MONO, STEREO = (44100, 2), (48000, 1), (48000, 2)


@pytest.fixture(scope="module", autouse=True)
def _av() -> None:
    require("av")


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def parts(heard: Captured) -> list[tuple[int, int, FloatArray]]:
    """What was heard in each format: rate, channels, and the sound as mono; nothing may be told as lost."""
    found: list[tuple[int, int, FloatArray]] = []
    for message in heard.messages:
        if message.kind == wire.OPEN:
            opened = json.loads(message.payload)
            found.append((opened["rate"], opened["channels"], np.empty(0, np.float32)))
        elif message.kind == wire.DATA and message.payload:
            rate, channels, sound = found[-1]
            assert message.position == len(sound), "something is told as lost"
            more = np.frombuffer(message.payload, np.float32).reshape(-1, channels).mean(1)
            found[-1] = rate, channels, np.concatenate([sound, more])
    return found


def all_of(server: WebServer, content: bytes) -> list[tuple[int, int, FloatArray]]:
    """All that is heard of a live stream that ends, in order, by format; it is asked for once."""

    def route(request: Request) -> None:
        request.begin("application/octet-stream")
        request.wfile.write(content)

    server.routes["/birds"] = route
    server.requests.clear()
    with captured("stream", {"url": server.url("/birds"), "timeout_s": 5}) as heard:
        assert heard.wait(wire.FAIL)["reason"] == "ended"
    assert server.paths() == ["/birds"]
    return parts(heard)


@pytest.mark.parametrize(
    ("form", "first", "second"),
    [
        ("mp3", CD, (32000, 1)),
        ("mp3", MONO, STEREO),
        ("adts", CD, (32000, 1)),
        ("adts", MONO, STEREO),
        ("flac", CD, (32000, 1)),
        ("flac in ogg", CD, (32000, 1)),
        ("vorbis", CD, (32000, 1)),
        ("vorbis", MONO, STEREO),
        ("vorbis", CD, CD),
        ("opus", MONO, STEREO),
        ("opus", STEREO, STEREO),
    ],
)
def test_the_next_track_of_a_radio_may_have_another_format(
    server: WebServer, form: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    content = b"".join(
        encoded(tones(pitch, 2, *each), each[0], form) for pitch, each in ((1000, first), (2500, second), (4000, first))
    )
    found = all_of(server, content)
    assert [(rate, channels) for rate, channels, _ in found] == ([first, second, first] if first != second else [first])
    for pitch, own in ((1000, 0), (2500, 1), (4000, 2)):
        heard_s = [seconds_of(sound, rate, pitch) for rate, _, sound in found]
        assert sum(heard_s) == pytest.approx(2, abs=0.06)
        assert max(heard_s) == heard_s[own if first != second else 0]
    assert sum(len(sound) / rate for rate, _, sound in found) == pytest.approx(6, abs=0.25)


@pytest.mark.parametrize("form", ["mp3", "adts", "wav", "aac in ts", "mp2 in ts", "opus in webm", "flac in ogg"])
def test_what_radios_send_is_heard_whole(server: WebServer, form: str) -> None:
    ((rate, channels, sound),) = all_of(server, encoded(tones(1000, 2, *STEREO), 48000, form))
    assert (rate, channels) == STEREO
    assert seconds_of(sound, rate, 1000) == pytest.approx(2, abs=0.03)


def pieces(content: bytes, step: int) -> list[bytes]:
    file = io.BytesIO(content)
    links, found = Links(content[:4], lambda size: file.read(min(size, step))), []
    while True:
        found.append(b"".join(iter(lambda: links.read(4096), b"")))
        if not links.go_on():
            return found


@pytest.mark.parametrize("form", ["vorbis", "flac"])
def test_a_stream_is_cut_where_a_piece_begins_however_it_comes(form: str) -> None:
    first, second = (encoded(tones(pitch, 0.3, 32000), 32000, form) for pitch in (1000, 2000))
    for step in (1, 11, 4096, 1 << 20):
        assert pieces(first + second, step) == [first, second]
    assert pieces(first[:-5], 11) == [first[:-5]]
    damaged = first[:-5] + second  # the last page ends in the next piece
    assert b"".join(pieces(damaged, 100)) == damaged, "nothing is thrown away"
    assert b"".join(pieces(first + b"rubbish" * 100 + second, 100)) == first + b"rubbish" * 100 + second
    assert pieces(first + b"rubbish" * 100 + second, 100)[-1] == second
