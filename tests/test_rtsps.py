"""RTSP over TLS: a camera's certificate is verified, or recognised by its fingerprint."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.capture import wire
from edgebird.capture.tunnel import carry
from tests.camera import Habits, camera
from tests.conftest import require
from tests.live_servers import captured, rtsp_server, wait_until
from tests.web_server import Certificate, make_certificate

RATE = 48000


@pytest.fixture(scope="module", autouse=True)
def _av() -> None:
    require("av")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificates") / "expired", "20200101", "20200201")


@contextmanager
def over_tls(url: str, certificate: Certificate) -> Iterator[str]:
    """Put TLS before an RTSP server."""
    port = int(url.split(":")[2].split("/")[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    door = socket.create_server(("127.0.0.1", 0))

    def pass_on(plain: socket.socket) -> None:
        with (
            suppress(OSError),
            plain,
            context.wrap_socket(plain, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", port)) as behind,
        ):
            carry(secured, behind, lambda _: True)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=pass_on, args=(door.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"rtsps://localhost:{door.getsockname()[1]}/{url.rpartition('/')[2]}"
    finally:
        door.close()


def test_a_camera_with_an_expired_certificate_is_heard_by_its_fingerprint_alone(
    certificate: Certificate, tmp_path: Path
) -> None:
    noise = np.random.default_rng(5).integers(-32768, 32768, 2 * RATE, dtype=np.int16)
    soundfile.write(tmp_path / "noise.wav", noise, RATE, subtype="PCM_16")
    with (
        rtsp_server(tmp_path / "noise.wav") as server,
        over_tls(server.url("/l16"), certificate) as url,
    ):
        secret = url.replace("://", "://user:hunter2@")
        for verify, env in ((True, {}), (True, certificate.trusted), (f"sha256:{'0' * 64}", {})):
            with captured("stream", {"url": secret, "verify": verify}, {**os.environ, **env}) as heard:
                failure = heard.wait(wire.FAIL)
            assert failure["reason"] == "untrusted"
            assert certificate.fingerprint in failure["text"]
            assert "hunter2" not in failure["text"]
        with captured("stream", {"url": url, "verify": f"sha256:{certificate.fingerprint}"}) as heard:
            assert heard.wait(wire.FAIL) == {"reason": "ended", "text": f"{url}: the stream ended"}
        np.testing.assert_array_equal(heard.samples(), soundfile.read(tmp_path / "noise.wav", dtype="float32")[0])
        assert "fingerprint" in heard.wait(wire.OPEN)["device"]
        assert "fingerprint" in heard.wait(wire.NOTE)["text"]


@pytest.mark.parametrize("deaf", [False, True], ids=["that sends", "that sends nothing"])
def test_a_camera_behind_tls_is_told_good_bye(certificate: Certificate, deaf: bool) -> None:
    """Else it keeps a session for a minute, and a small one refuses the next client."""
    with camera(Habits(deaf=deaf)) as ours, over_tls(ours.url(), certificate) as url:
        with captured("stream", {"url": url, "verify": False}) as heard:
            wait_until(lambda: "PLAY" in ours.requests, "request", 30)
            if not deaf:
                wait_until(lambda: bool(heard.all(wire.OPEN)), "sound", 30)
            assert heard.stop() == 0
        wait_until(lambda: ours.requests.count("TEARDOWN") == ours.requests.count("PLAY"), "good-bye")
