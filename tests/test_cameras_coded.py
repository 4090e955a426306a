"""Cameras that send compressed sound: AAC as RFC 3640 and as LATM have it, and MP3, from GStreamer's payloaders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgebird.capture import wire
from tests.conftest import require
from tests.live_servers import Captured, captured, rtsp_server, wait_until
from tests.sounds import encoded, seconds_of, tones

_PITCH = 1500
# What is at a path: the form, its rate and channels, and how GStreamer sends that.
_AAC = "aacparse ! rtpmp4gpay name=pay0 pt=96"
CODED = {
    "aac16": ("adts", 16000, 1, _AAC),
    "aac48": ("adts", 48000, 2, _AAC),
    "latm": ("adts", 48000, 1, "aacparse ! rtpmp4apay name=pay0 pt=96"),
    "mp3": ("mp3", 44100, 2, "mpegaudioparse ! rtpmpapay name=pay0 pt=14"),
}


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Captured]]:
    """All of them at once, to their end."""
    require("av")
    folder = tmp_path_factory.mktemp("coded")
    more = {}
    for name, (form, rate, channels, launch) in CODED.items():
        path = Path(folder / name)
        path.write_bytes(encoded(tones(_PITCH, 2, rate, channels), rate, form))
        more[name] = f'filesrc location="{path}" ! {launch}'
    with rtsp_server(folder / "mp3", more) as server, ExitStack() as stack:
        running = {
            name: stack.enter_context(captured("stream", {"url": server.url(f"/{name}"), "timeout_s": 10}))
            for name in CODED
        }
        for name, one in running.items():
            wait_until(lambda one=one: bool(one.all(wire.FAIL)), f"end of {name}", 40)
        yield running


@pytest.mark.parametrize("name", sorted(CODED))
def test_compressed_sound_of_cameras_is_heard_whole(heard: dict[str, Captured], name: str) -> None:
    _, rate, channels, _ = CODED[name]
    opened = heard[name].wait(wire.OPEN)
    assert (opened["rate"], opened["channels"]) == (rate, channels)
    assert heard[name].wait(wire.FAIL)["reason"] == "ended"
    sound = heard[name].samples().reshape(-1, channels).mean(1)
    assert seconds_of(sound, rate, _PITCH) == pytest.approx(2, abs=0.1)
    ends = [block.position + len(block.payload) // 4 // channels for block in heard[name].all(wire.DATA)]
    assert max(ends) == len(sound), "something is told as lost"
