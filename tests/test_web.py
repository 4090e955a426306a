"""Streams of HTTP: certificates, passwords, playlists, pages, endings, and that nothing is heard twice."""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from edgebird.capture import wire
from edgebird.types import FloatArray
from tests.conftest import require
from tests.live_servers import captured, wait_until
from tests.web_server import RATE, Certificate, Radio, Request, WebServer, basic, make_certificate, song, web_server


@pytest.fixture(scope="module", autouse=True)
def _av() -> None:
    require("av")


@pytest.fixture(scope="module")
def sound() -> FloatArray:
    return song(40)


@pytest.fixture(scope="module")
def mp3(sound: FloatArray) -> bytes:
    """40 s of MP3."""
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.9)
    return file.getvalue()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificates") / "own", "20200101", "20500101")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def told(url: str, env: dict[str, str] | None = None, **options: Any) -> tuple[str, str]:
    """The reason for which a stream is not heard, and the words; no message may hold a password."""
    with captured("stream", {"url": url, "timeout_s": 2, **options}, {**os.environ, **(env or {})}) as heard:
        failure = heard.wait(wire.FAIL)
    assert all(b"hunter2" not in message.payload for message in heard.messages)
    assert "\n" not in failure["text"]
    return failure["reason"], failure["text"].partition(": ")[2]


def hears(url: str, env: dict[str, str] | None = None, **options: Any) -> str:
    """What a stream that is heard calls itself."""
    with captured("stream", {"url": url, "timeout_s": 2, **options}, {**os.environ, **(env or {})}) as heard:
        wait_until(lambda: bool(heard.all(wire.OPEN) or heard.all(wire.FAIL)), "stream")
        assert not heard.all(wire.FAIL), heard.all(wire.FAIL)
        wait_until(lambda: len(heard.samples()) > 0.5 * RATE, "sound")
    assert all(b"hunter2" not in message.payload for message in heard.messages)
    return str(heard.wait(wire.OPEN)["device"])


# --------------------------------------------------------------------------------------------------------- certificates
def test_a_certificate_that_nobody_has_signed_is_refused_until_it_is_named(
    certificate: Certificate, mp3: bytes
) -> None:
    with web_server(certificate) as server:
        server.add("/birds", mp3)
        reason, text = told(server.url("/birds", "user:hunter2@"))
        assert reason == "untrusted"
        assert f'verify = "sha256:{certificate.fingerprint}"' in text
        assert "nobody whom this computer trusts has signed it" in text
        assert server.requests == [], "nothing may be asked of a server that is not known, least of all with a password"
        known = f"sha256:{certificate.fingerprint}"
        assert hears(server.url("/birds"), verify=known).endswith(
            "its certificate is recognised by the fingerprint in verify)"
        )
        assert hears(server.url("/birds"), verify=False).endswith("its certificate is not verified: verify is false)")
        assert hears(server.url("/birds"), certificate.trusted) == server.url("/birds")
        reason, text = told(server.url("/birds"), verify="sha256:" + "0" * 64)
        assert reason == "untrusted"
        assert f"it is not the one in verify, but {known}" in text or known in text


def test_a_certificate_for_another_host_is_refused(certificate: Certificate, mp3: bytes) -> None:
    with web_server(certificate) as server:
        server.add("/birds", mp3)
        reason, text = told(server.url("/birds", host="127.0.0.1"), certificate.trusted)
    assert reason == "untrusted"
    assert "it is not for 127.0.0.1" in text


@pytest.mark.parametrize(
    ("days", "words"), [(("20200101", "20200201"), "it has expired"), (("20400101", "20500101"), "it is not valid yet")]
)
def test_a_certificate_out_of_time_is_refused_unless_it_is_named(
    days: tuple[str, str], words: str, mp3: bytes, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "own", *days)
    with web_server(certificate) as server:
        server.add("/birds", mp3)
        reason, text = told(server.url("/birds"), certificate.trusted)
        assert reason == "untrusted"
        assert words in text
        assert "clock" in text
        hears(server.url("/birds"), verify=f"sha256:{certificate.fingerprint}")


def test_a_server_without_tls_is_no_matter_of_certificates(server: WebServer) -> None:
    reason, text = told(server.url("/birds").replace("http:", "https:"))
    assert reason == "error"
    assert "there is no TLS at this port" in text


def test_what_ffmpeg_cannot_verify_is_refused() -> None:
    reason, text = told("rtmps://localhost/birds")
    assert reason == "untrusted"
    assert "verify = false" in text


# ------------------------------------------------------------------------------------------------- what servers send
def test_a_stream_that_ends_has_ended(server: WebServer, mp3: bytes) -> None:
    """Without a length nobody knows the end before."""
    server.routes["/birds"] = lambda request: (request.begin(), request.wfile.write(mp3[:32000]))[0]
    reason, text = told(server.url("/birds"))
    assert (reason, text) == ("ended", "the stream ended")


def test_a_stream_that_breaks_off_or_stalls_is_told_apart(server: WebServer, mp3: bytes) -> None:
    def short(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(mp3)))
        request.end_headers()
        request.wfile.write(mp3[:32000])

    def stall(request: Request) -> None:
        request.begin()
        request.wfile.write(mp3[:32000])
        time.sleep(5)

    server.routes |= {"/short": short, "/stall": stall}
    assert told(server.url("/short"))[0] == "disconnected"
    assert told(server.url("/stall"), timeout_s=1) == ("stalled", "nothing came for 1 s")


def test_titles_between_the_sound_are_left_out(server: WebServer, mp3: bytes) -> None:
    """Some servers send them to everyone."""
    server.routes["/birds"] = Radio(mp3, len(mp3) / 40, titles=True)
    server.routes["/plain"] = Radio(mp3, len(mp3) / 40)
    with captured("stream", {"url": server.url("/birds")}) as heard:
        wait_until(lambda: len(heard.samples()) > 2 * RATE, "sound")
    with captured("stream", {"url": server.url("/plain")}) as plain:
        wait_until(lambda: len(plain.samples()) > 2 * RATE, "sound")
    assert all("Icy-Metadata" not in headers for _, headers in server.requests)
    assert heard.samples()[: 2 * RATE].std() == pytest.approx(plain.samples()[: 2 * RATE].std(), rel=0.02)


def test_a_shoutcast_server_answers_in_its_own_way(server: WebServer, mp3: bytes) -> None:
    server.routes["/birds"] = lambda request: (
        request.wfile.write(b"ICY 200 OK\r\nicy-name: birds\r\n\r\n" + mp3) and None
    )
    hears(server.url("/birds"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<!DOCTYPE html><html><body>Listen!</body></html>" * 9, "this is a web page, not a stream"),
        ("Not a song. " * 99, "this is no sound that FFmpeg knows"),
        ("#EXTM3U\n# nothing\n", "this is a playlist without an address in it"),
        ("#EXTM3U\nfile:///etc/passwd\n", "it leads to file:///etc/passwd, which is not followed"),
        ("#EXTM3U\nrtsp://localhost/birds\n", "which is not followed: only http and https are"),
        ("#EXTM3U\nbirds.m3u\n", "this is a playlist of playlists"),
    ],
)
def test_what_is_no_stream_says_what_it_is(server: WebServer, content: str, words: str) -> None:
    server.add("/birds.m3u", content, "text/plain")
    reason, text = told(server.url("/birds.m3u", "user:hunter2@"))
    assert reason == "error"
    assert words in text


@pytest.mark.parametrize(
    "content",
    [
        "{}\r\n",
        "#EXTM3U\r\n#EXTINF:-1,Birds\r\n{}\r\n",
        "[playlist]\nNumberOfEntries=1\nFile1={}\nTitle1=Birds\n",
        '<?xml version="1.0"?><playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{}</location></track>'
        "</trackList></playlist>",
    ],
)
def test_playlists_are_followed(server: WebServer, mp3: bytes, content: str) -> None:
    """Icecast has one for each stream, and it is what people copy."""
    server.add("/birds.m3u", content.format(server.url("/birds")), "audio/x-mpegurl")
    server.routes["/birds"] = basic("user", "hunter2", Radio(mp3, len(mp3) / 40))
    assert hears(server.url("/birds.m3u", "user:hunter2@")) == server.url("/birds.m3u", "***@")


def test_passwords_go_to_the_server_they_are_for(server: WebServer, mp3: bytes) -> None:
    server.add("/birds", mp3)
    with web_server() as first:
        first.routes["/away"] = basic(
            "user", "hunter2", lambda request: request.answer(b"", status=302, Location=server.url("/birds"))
        )
        hears(first.url("/away", "user:hunter2@"))
        assert told(first.url("/away", "user:hunter3@"))[0] == "unauthorized"
    assert all("Authorization" not in headers for _, headers in server.requests)


def test_digest_is_answered_as_rfc_7616_wants_it(server: WebServer, mp3: bytes) -> None:
    def guarded(request: Request) -> None:
        given = dict(re.findall(r'(\w+)="?([^",]+)"?', request.headers.get("Authorization", "")))
        user = hashlib.sha256(b"user:birds:hunter2").hexdigest()
        asked = hashlib.sha256(f"GET:{request.path}".encode()).hexdigest()
        middle = ":".join(given.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
        if given.get("response") == hashlib.sha256(f"{user}:{middle}:{asked}".encode()).hexdigest():
            request.answer(mp3)
        else:
            challenge = 'Digest realm="birds", nonce="abc", qop="auth,auth-int", algorithm=SHA-256, opaque="x"'
            request.answer(b"", status=401, WWW_Authenticate=challenge)

    server.routes["/birds"] = guarded
    hears(server.url("/birds?a=1", "user:hunter2@"))
    server.add("/other", b"", status=401, WWW_Authenticate="Negotiate")  # type: ignore[arg-type]
    assert "does not know (Negotiate)" in told(server.url("/other", "user:hunter2@"))[1]


def test_nothing_leads_from_https_to_http(certificate: Certificate, server: WebServer, mp3: bytes) -> None:
    server.add("/birds", mp3)
    with web_server(certificate) as secure:
        secure.routes["/away"] = lambda request: request.answer(b"", status=302, Location=server.url("/birds"))
        secure.add("/birds.m3u", server.url("/birds"))
        for path in ("/away", "/birds.m3u"):
            reason, text = told(secure.url(path), certificate.trusted)
            assert reason == "untrusted"
            assert "it leads from https to http://" in text
    assert server.requests == []


def test_a_recording_whose_index_is_at_its_end_is_heard(server: WebServer, sound: FloatArray, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "birds.m4a"), "w") as container:  # without faststart
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None, : 20 * RATE], "flt", "mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    data = (tmp_path / "birds.m4a").read_bytes()

    def ranged(request: Request) -> None:
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        part = data[start:]
        status, place = (206, {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}) if start else (200, {})
        request.answer(part, "audio/mp4", status, Accept_Ranges="bytes", **place)

    server.routes["/birds.m4a"] = ranged
    hears(server.url("/birds.m4a"))
