"""A capture process ends in order and says why, whatever its address, its server or a fault of ours is."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edgebird.capture import tracks, wire
from edgebird.capture.certificates import Trust
from edgebird.capture.serve import CaptureError
from edgebird.capture.web import Web
from tests.conftest import require
from tests.live_servers import captured
from tests.web_server import web_server

_FAULTY = """
from edgebird.capture.serve import serve

def capture(options, pipe, ending, beginnings):
    raise ZeroDivisionError("of " + options["url"])

serve(capture)
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_a_fault_of_ours_is_told_and_the_process_ends_in_order(verbose: bool) -> None:
    """It was aborted by Python, and its station said for ever that it was disconnected."""
    options = {"url": "rtsp://user:hunter2@host/", "verbose": verbose}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _FAULTY], **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(json.dumps(options).encode() + b"\n")
        process.stdin.flush()  # and it stays open, as that of a parent who listens
        assert process.wait(20) == 0
        messages = wire.Parser().feed(process.stdout.read())
        where = process.stderr.read().decode()
    assert [message.json() for message in messages] == [
        {"reason": "error", "text": "a fault in edgebird: ZeroDivisionError"}
    ]
    assert "in capture" in where, "we want to know the place"
    assert "hunter2" not in where


@pytest.mark.parametrize(
    "url",
    [
        "rtsps://host:99999/birds",
        "rtsps://admin:hun/ter2@host/birds",
        "rtsps://" + "a" * 64 + "/birds",
        "rtsps:///birds",
        "rtsp://admin:hun/ter2@host/birds",
        "rtsp://[fe80::1/birds",
        "https://admin:hun#ter2@host/birds",
        "http://host:port/birds",
    ],
)
def test_what_is_no_address_is_called_so(url: str) -> None:
    require("av")
    with captured("stream", {"url": url, "timeout_s": 2}) as heard:
        failure = heard.wait(wire.FAIL)
        assert heard.process.wait(5) == 0
    assert failure["reason"] == "error"
    assert ": this is no address: look at its host and port;" in failure["text"]
    assert "ter2" not in failure["text"]


@pytest.mark.parametrize("place", ["http://host:99999/", "http://[fe80::1/", "http://" + "a" * 64 + "/", "//host:x/"])
def test_a_server_that_leads_to_no_address_is_told(place: str) -> None:
    with web_server() as server:
        server.routes["/birds"] = lambda request: request.answer(b"", status=302, Location=place)
        with pytest.raises(CaptureError, match=r"^birds: it leads to an address that is none$"):
            Web(Trust(), 2.0, "birds").open(server.url("/birds"))


def test_an_answer_that_is_too_large_is_no_broken_connection() -> None:
    with web_server() as server:
        server.add("/birds.m3u8", b"#" * ((1 << 20) + 99))
        with pytest.raises(CaptureError, match="birds: more than 1 MB at http://") as caught:
            Web(Trust(), 2.0, "birds").fetch(server.url("/birds.m3u8"), most=1 << 20)
    assert caught.value.reason == "error"


def test_what_ffmpeg_says_of_a_camera_with_video_fills_no_memory() -> None:
    """It is said of every damaged picture, for months; the packets that are missing may be of the picture."""
    av = require("av")
    lines: list[tuple[int, str, str]] = []
    missed = tracks.Missed.__new__(tracks.Missed)
    missed._lines = lines
    context = SimpleNamespace(name="aac", codec_context=None)
    sound: Any = SimpleNamespace(codec_context=context)
    picture: Any = SimpleNamespace()

    def packets() -> Any:
        for index in range(100):
            lines.append((24, "rtsp", "RTP: missed 3 packets"))
            stream = sound if index % 10 == 9 else picture
            yield SimpleNamespace(stream=stream, decode=lambda: ["frame"])

    container: Any = SimpleNamespace(
        streams=[sound, picture], format=SimpleNamespace(name="rtsp"), demux=lambda: packets()
    )
    heard = tracks.frames(av, container, sound, (5.0, 5.0), missed)
    assert [lost for _, lost in heard] == [0] * 10
    assert not lines
