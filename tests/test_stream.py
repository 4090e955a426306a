"""Network streams for real, from servers of our own: nothing is lost, every fault is told, no password is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.capture import wire
from edgebird.capture.addresses import redact
from tests.conftest import require
from tests.live_servers import RtspServer, captured, free_port, rtsp_server, wait_until

RATE = 48000


@pytest.fixture(scope="module", autouse=True)
def _av() -> None:
    require("av")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise, 16 bit, every value possible."""
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    samples = np.random.default_rng(5).integers(-32768, 32768, 2 * RATE, dtype=np.int16)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def server(noise: Path) -> Iterator[RtspServer]:
    with rtsp_server(noise) as server:
        yield server


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_lossless_stream_arrives_bit_by_bit(server: RtspServer, noise: Path, transport: str) -> None:
    with captured("stream", {"url": server.url("/l16"), "transport": transport}) as heard:
        assert heard.wait(wire.OPEN) == {"rate": RATE, "channels": 1, "device": server.url("/l16")}
        assert heard.wait(wire.FAIL) == {"reason": "ended", "text": f"{server.url('/l16')}: the stream ended"}
    np.testing.assert_array_equal(heard.samples(), soundfile.read(noise, dtype="float32")[0])
    sizes = [len(block.payload) // 4 / RATE for block in heard.all(wire.DATA)]
    assert set(np.round(sizes[1:-1], 1)) == {0.1}, "packets of 20 ms are not joined"
    last = heard.all(wire.DATA)[-1]
    assert last.position + len(last.payload) // 4 == 2 * RATE


def test_a_compressed_stream_is_decoded_without_holes(server: RtspServer) -> None:
    with captured("stream", {"url": server.url("/opus")}) as heard:
        channels = heard.wait(wire.OPEN)["channels"]
        wait_until(lambda: len(heard.samples()) > RATE * channels, "second of sound")
        assert heard.stop() == 0
    blocks = heard.all(wire.DATA)
    frames = [len(block.payload) // 4 // channels for block in blocks]
    assert [block.position for block in blocks] == [sum(frames[:i]) for i in range(len(frames))]
    assert heard.samples().std() > 0.1


class _Doorkeeper(BaseHTTPRequestHandler):
    """Answers every request with the number in its path."""

    def do_GET(self) -> None:
        self.send_error(int(self.path.partition("?")[0].strip("/")))

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def doorkeeper() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Doorkeeper) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"user:hunter2@127.0.0.1:{http.server_port}"
        http.shutdown()


def told(url: str, seconds: float = 10) -> str:
    """The reason for which a stream cannot be opened; no message may hold its password."""
    with captured("stream", {"url": url, "timeout_s": 2}) as heard:
        failure = heard.wait(wire.FAIL, seconds)
        assert heard.process.wait(20) == 0
    assert all(b"hunter2" not in message.payload for message in heard.messages)
    assert failure["text"].startswith(redact(url) + ": ")
    return str(failure["reason"])


def test_why_a_stream_cannot_be_opened_is_told_without_its_password(doorkeeper: str) -> None:
    assert told(f"http://{doorkeeper}/404") == "not_found"
    assert told(f"http://{doorkeeper}/401?token=hunter2") == "unauthorized"
    assert told(f"http://{doorkeeper}/403") == "unauthorized"
    assert told(f"http://{doorkeeper}/500") == "error"
    assert told(f"rtsp://user:hunter2@127.0.0.1:{free_port()}/birds") == "refused"
    assert told("rtsp://user:hunter2@no.such.name.invalid/birds") == "unresolved"


def test_a_wrong_path_of_an_rtsp_server_is_not_found(server: RtspServer) -> None:
    assert told(server.url("/attic", credentials="user:hunter2@")) == "not_found"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RtspServer]:
    """A server that a test may kill; its stream is long."""
    samples = np.random.default_rng(5).integers(-9000, 9000, 60 * RATE, dtype=np.int16)
    soundfile.write(tmp_path / "noise.wav", samples, RATE, subtype="PCM_16")
    with rtsp_server(tmp_path / "noise.wav") as server:
        yield server


def test_a_server_that_dies_ends_the_stream_and_may_come_back(own_server: RtspServer) -> None:
    with captured("stream", {"url": own_server.url("/l16", "user:hunter2@")}) as heard:
        assert heard.wait(wire.OPEN)["device"] == own_server.url("/l16", "***@")
        own_server.kill()
        assert heard.wait(wire.FAIL)["reason"] in ("ended", "disconnected")
    own_server.restart()
    with captured("stream", {"url": own_server.url("/l16")}) as heard:
        heard.wait(wire.OPEN)


@pytest.mark.slow
def test_a_server_that_stalls_is_told_in_time(own_server: RtspServer) -> None:
    """In mid-stream, and when it is opened: without a timeout both would wait for ever."""
    with captured("stream", {"url": own_server.url("/l16"), "timeout_s": 1}) as heard:
        heard.wait(wire.OPEN)
        own_server.stop()
        assert heard.wait(wire.FAIL, seconds=3)["reason"] == "stalled"
    assert told(own_server.url("/l16"), seconds=5) == "stalled"


def test_a_recording_is_heard_as_it_sounds_but_for_the_first_seconds(own_server: RtspServer, tmp_path: Path) -> None:
    """Read at full speed it would overrun its parent."""
    with captured("stream", {"url": str(tmp_path / "noise.wav")}) as heard:
        wait_until(lambda: len(heard.samples()) > 9 * RATE, "sound")
        heard.process.kill()
    assert len(heard.samples()) < 11 * RATE


def test_damaged_packets_leave_the_rest_alone(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp3"
    soundfile.write(path, np.random.default_rng(5).normal(0, 0.1, 5 * RATE), RATE)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 3000] = bytes(3000)
    path.write_bytes(damaged)
    with captured("stream", {"url": str(path)}) as heard:
        assert heard.wait(wire.FAIL)["reason"] == "ended"
    last = heard.all(wire.DATA)[-1]
    assert 4 * RATE < last.position < 5.2 * RATE
    assert len(heard.samples()) > 4 * RATE


def test_it_ends_with_its_parent_while_it_waits_for_a_server(own_server: RtspServer) -> None:
    own_server.stop()
    with captured("stream", {"url": own_server.url("/l16"), "timeout_s": 60}) as heard:
        assert heard.stop() == 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host:8554/birds", "rtsp://host:8554/birds"),
        ("rtsp://user:hunter2@host:8554/birds", "rtsp://***@host:8554/birds"),
        ("rtsp://user:p@hunter2@host/birds", "rtsp://***@host/birds"),
        ("rtsp://user:hun/ter2@host/birds", "rtsp://***@host/birds"),
        ("rtsp://hunter2@[fe80::1]/birds@2", "rtsp://***@[fe80::1]/birds@2"),
        ("rtsp://host:8554/birds@2", "rtsp://host:8554/birds@2"),
        ("HTTPS://host/a?x=1&access_token=hunter2&y=2", "HTTPS://host/a?x=1&access_token=***&y=2"),
        ("http://host/a?usr=hunter2&pwd=hunter2&t=1#t", "http://host/a?usr=***&pwd=***&t=1#t"),
        ("http://host/a?t=1&pwd=hun#ter2", "http://host/a?t=1&pwd=***"),
        ("http://host/a?token=hun'ter2&t=1", "http://host/a?token=***&t=1"),
        ("http://host/a?pw=hunter2&md5=hunter2&t=1", "http://host/a?pw=***&md5=***&t=1"),
        ("http://host/a?Hash=hunter2&jwt=hunter2&t=1", "http://host/a?Hash=***&jwt=***&t=1"),
        ("http://host/a?hdnea=exp=1~hmac=hunter2&hdnts=hunter2", "http://host/a?hdnea=***&hdnts=***"),
        ("rtsp://admin:O'Brien@127.0.0.1:1/x", "rtsp://***@127.0.0.1:1/x"),
        ('rtsp://admin:a"b@cam', "rtsp://***@cam"),
        ("rtsp://user:pa ss@host", "rtsp://***@host"),
        ("rtsp://user:pa\nss@host", "rtsp://***@host"),
        ("rtsp://admin:1234/5@host", "rtsp://***@host"),
        ("rtsp://admin:12#34@host:554/birds@2", "rtsp://***@host:554/birds@2"),
        ("rtsp://admin:h@nt/er2@host/birds", "rtsp://***@host/birds"),
        ("rtsp://hunt/er2@host/birds", "rtsp://***@host/birds"),
        ("rtsp://a:h@nter2@2/birds", "rtsp://***@2/birds"),
        ("rtsp://host:8554/birds@home", "rtsp://***@home"),
        ("//a:hunter2@host/birds", "//***@host/birds"),
        ("rtsp://host/user=admin_password=hunter2_channel=1.sdp", "rtsp://host/user=***"),
        ("cannot open 'rtsp://a:hunter2@host/x', retry", "cannot open 'rtsp://***@host/x', retry"),
    ],
)
def test_credentials_are_redacted(url: str, shown: str) -> None:
    assert redact(url) == shown
