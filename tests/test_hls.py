"""HLS as servers have it: a playlist of playlists, headers, byte ranges, segments from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgebird.capture import wire
from tests.conftest import require
from tests.hls import encoded_segments
from tests.live_servers import Captured, captured
from tests.sounds import seconds_of, tones
from tests.web_server import RATE, Certificate, Request, Route, WebServer, make_certificate, web_server

PITCH, SECONDS = 1200, 4


@pytest.fixture(scope="module", autouse=True)
def _av() -> None:
    require("av")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, float]]:
    """A tone in four segments of MPEG-TS."""
    return encoded_segments(tones(PITCH, SECONDS, RATE)[:, 0], 1.0, tmp_path_factory.mktemp("ts") / "tone")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificates") / "own", "20200101", "20500101")


def playlist(lengths: list[float], lines: list[str]) -> str:
    """One that has ended. lines: of each segment, after the one that says how long it is."""
    pieces = [f"#EXTINF:{length:.6f},\n{line}" for length, line in zip(lengths, lines, strict=True)]
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:1", *pieces, "#EXT-X-ENDLIST", ""])


def names(segments: list[tuple[bytes, float]]) -> list[str]:
    return [f"{number}.ts" for number in range(len(segments))]


def hear(url: str, env: dict[str, str] | None = None, **options: object) -> Captured:
    """All that is heard until it ends."""
    with captured("stream", {"url": url, "timeout_s": 5, **options}, {**os.environ, **(env or {})}) as heard:
        heard.wait(wire.FAIL, 20)
    return heard


def assert_whole(heard: Captured) -> None:
    assert heard.wait(wire.FAIL)["reason"] == "ended"
    assert seconds_of(heard.samples(), RATE, PITCH) == pytest.approx(SECONDS, abs=0.05)
    ends = [block.position + len(block.payload) // 4 for block in heard.all(wire.DATA)]
    assert max(ends) == len(heard.samples()), "something is told as lost"


def test_a_playlist_of_playlists_leads_to_the_best_sound(
    server: WebServer, segments: list[tuple[bytes, float]]
) -> None:
    video = 'BANDWIDTH=900000,RESOLUTION=640x360,CODECS="avc1.4d401e,mp4a.40.2"'
    lines = [f"#EXT-X-STREAM-INF:{video}", "video/all.m3u8", '#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"']
    server.add("/live/birds.m3u8", "\n".join(["#EXTM3U", *lines, "../sound/all.m3u8?token=1", ""]))
    places = [f"{name}?token=2" for name in names(segments)]
    server.add("/sound/all.m3u8", playlist([length for _, length in segments], places))
    for number, (data, _) in enumerate(segments):
        server.add(f"/sound/{number}.ts", data)
    assert_whole(hear(server.url("/live/birds.m3u8")))
    assert server.paths() == ["/live/birds.m3u8", "/sound/all.m3u8", *(f"/sound/{n}.ts" for n in range(len(segments)))]


@pytest.mark.parametrize("gives_parts", [True, False], ids=["which the server gives", "which it does not"])
def test_segments_may_be_parts_of_one_file(server: WebServer, tmp_path: Path, gives_parts: bool) -> None:
    """fMP4, its header and its segments are byte ranges of one file."""
    segments = encoded_segments(tones(PITCH, SECONDS, RATE)[:, 0], 1.0, tmp_path / "tone", "fmp4")
    pieces = [(tmp_path / "tone" / "init.mp4").read_bytes(), *(data for data, _ in segments)]
    whole = b"".join(pieces)
    starts = np.cumsum([0, *map(len, pieces)])
    lines = [f"#EXT-X-BYTERANGE:{len(pieces[n])}@{starts[n]}\nall.mp4" for n in range(1, len(pieces))]
    text = playlist([length for _, length in segments], lines)
    server.add("/birds.m3u8", text.replace("\n", f'\n#EXT-X-MAP:URI="all.mp4",BYTERANGE="{len(pieces[0])}@0"\n', 1))

    def ranged(request: Request) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range") or "")
        if gives_parts and found:
            request.answer(whole[int(found[1]) : int(found[2]) + 1], "audio/mp4", 206)
        else:
            request.answer(whole, "audio/mp4")

    server.routes["/all.mp4"] = ranged
    assert_whole(hear(server.url("/birds.m3u8")))


def test_segments_with_a_certificate_that_nobody_has_signed_are_refused(
    server: WebServer, certificate: Certificate, segments: list[tuple[bytes, float]]
) -> None:
    with web_server(certificate) as secure:
        places = [secure.url(f"/{number}.ts?token=hunter2") for number in range(len(segments))]
        for number, (data, _) in enumerate(segments):
            secure.add(f"/{number}.ts", data)
        server.add("/birds.m3u8", playlist([length for _, length in segments], places))
        failure = hear(server.url("/birds.m3u8")).wait(wire.FAIL)
        assert failure["reason"] == "untrusted"
        assert certificate.fingerprint in failure["text"]
        assert "hunter2" not in failure["text"]
        assert secure.requests == []
        assert_whole(hear(server.url("/birds.m3u8"), certificate.trusted))


def test_encrypted_segments_are_not_fetched_where_nobody_looks_at_certificates(certificate: Certificate) -> None:
    """FFmpeg decrypts them, and takes any certificate."""
    with web_server(certificate) as secure:
        key = f'#EXT-X-KEY:METHOD=AES-128,URI="{secure.url("/key")}"\n0.ts'
        secure.add("/birds.m3u8", playlist([1.0], [key]))
        failure = hear(secure.url("/birds.m3u8"), certificate.trusted).wait(wire.FAIL)
        assert failure["reason"] == "untrusted"
        assert "encrypted HLS" in failure["text"]
        assert secure.paths() == ["/birds.m3u8"]


def test_a_segment_that_is_gone_is_told_as_long_as_it_was_and_the_rest_is_heard(
    server: WebServer, segments: list[tuple[bytes, float]]
) -> None:
    server.add("/birds.m3u8", playlist([length for _, length in segments], names(segments)))
    for number in {*range(len(segments))} - {1}:
        server.add(f"/{number}.ts", segments[number][0])
    first = hear(server.url("/birds.m3u8"))
    failure = first.wait(wire.FAIL)
    assert "segments are missing" in failure["text"]
    again = hear(server.url("/birds.m3u8"), resume=failure["resume"])
    assert again.wait(wire.NOTE) == {"kind": "resumed", "lost_s": pytest.approx(segments[1][1], abs=0.01)}
    heard_s = [seconds_of(heard.samples(), RATE, PITCH) for heard in (first, again)]
    assert heard_s == [pytest.approx(1, abs=0.1), pytest.approx(2, abs=0.1)]
    assert server.paths().count("/0.ts") == 1


def test_segments_that_become_encrypted_are_left_to_ffmpeg_when_the_stream_is_opened_again(
    server: WebServer, segments: list[tuple[bytes, float]]
) -> None:
    lines = names(segments)
    lines[2] = f'#EXT-X-KEY:METHOD=AES-128,URI="key"\n{lines[2]}'
    text = playlist([length for _, length in segments], lines)
    for number, (data, _) in enumerate(segments):
        server.add(f"/{number}.ts", data)
    server.routes["/birds.m3u8"] = growing(text)
    heard = hear(server.url("/birds.m3u8"))
    assert "it is encrypted from now on" in heard.wait(wire.FAIL)["text"]
    assert seconds_of(heard.samples(), RATE, PITCH) == pytest.approx(2, abs=0.1)


def growing(text: str) -> Route:
    """A playlist that has no key in it when it is asked for the first time."""
    head = text.partition("#EXT-X-KEY")[0].rpartition("#EXTINF")[0]
    answers: list[str] = []

    def answer(request: Request) -> None:
        answers.append(text if answers else head)
        request.answer(answers[-1].encode())

    return answer
