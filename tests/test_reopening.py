"""Streams of HTTP that are opened again: every second is heard once, or told as lost, and none both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgebird.live.captured import LiveOptions, LiveSource
from edgebird.live.process import Capture
from edgebird.live.rejoin import overlap
from edgebird.live.ring import Heard, Lost
from edgebird.types import FloatArray
from tests.conftest import require
from tests.hls import Channel, encoded_segments
from tests.live_servers import wait_until
from tests.sounds import encoded
from tests.web_server import RATE, Radio, WebServer, song, web_server

SOUND_S = 25.0


class Heart:
    """A source and what it has heard, as a station reads it."""

    def __init__(self, source: LiveSource) -> None:
        self._source = source
        self._pieces: list[Heard | Lost] = []
        self.states: list[str] = []

    def read(self) -> None:
        self.states += [change.state for change in self._source.changes()]
        while piece := self._source.read():
            self._pieces.append(piece)

    @property
    def audio(self) -> FloatArray:
        """All of it in its place; what was lost is zero."""
        self.read()
        parts = [p.block.samples if isinstance(p, Heard) else np.zeros(p.end - p.start) for p in self._pieces]
        return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)

    @property
    def lost_s(self) -> list[tuple[float, str]]:
        self.read()
        return [(round((p.end - p.start) / RATE, 2), p.reason) for p in self._pieces if isinstance(p, Lost)]

    @property
    def seconds(self) -> float:
        """How much is heard and lost in all."""
        self.read()
        return sum(len(p.block.samples) if isinstance(p, Heard) else p.end - p.start for p in self._pieces) / RATE

    def wait_for(self, seconds: float) -> None:
        """Wait until so much is heard and lost in all."""
        wait_until(lambda: self.seconds >= seconds, f"{seconds} s of sound", 60)

    def wait_state(self, state: str) -> None:
        wait_until(lambda: self.read() or state in self.states, state, 40)


@contextmanager
def listening(url: str, timeout_s: float = 2) -> Iterator[Heart]:
    capture = Capture("edgebird.capture.stream", {"url": url, "timeout_s": timeout_s})
    source = LiveSource("pond", capture, LiveOptions(rate=RATE, clocked=False))
    source.start(lambda: None)
    try:
        yield Heart(source)
    finally:
        source.stop()


def drift_s(audio: FloatArray, sent: FloatArray) -> float:
    """How much later in `sent` the last second of `audio` stands than its first, beyond what lies between, in seconds.

    Above 0 sound is missing that was not told as lost; below 0 it is there twice, or was told as lost and came.
    """
    starts = range(0, len(audio) - RATE, RATE // 2)
    first, last = _offset(audio, sent, starts), _offset(audio, sent, reversed(starts))
    assert first is not None, "this is not the sound that was sent"
    assert last is not None
    return (last - first) / RATE


def _offset(audio: FloatArray, sent: FloatArray, starts: Iterable[int]) -> int | None:
    """How much later in `sent` a second of `audio` stands: the first that begins at one of `starts` and is whole."""
    for start in starts:
        part = audio[start : start + RATE]
        if np.abs(part).reshape(-1, RATE // 100).max(1).min() > 0 and (end := overlap(part, sent, RATE, 0)):
            return end - RATE - start
    return None


def burst(server: WebServer, folder: Path) -> None:
    """Icecast sends its last 64 KB to everyone who connects."""
    sound = song(SOUND_S)
    mp3 = encoded(sound[:, None], RATE, "mp3")
    speed = len(mp3) / SOUND_S
    server.routes["/birds"] = Radio(mp3, speed, burst=round(4 * speed))
    with listening(server.url("/birds")) as heart:
        began = time.monotonic()
        heart.wait_for(5.5)
        server.hang_up()
        heart.wait_state("lost")
        heart.wait_state("recovered")
        heart.wait_for(9)
        wall_s = time.monotonic() - began
    assert heart.lost_s == [], "what came with the burst was not lost"
    audio = heart.audio
    assert drift_s(audio, sound) == pytest.approx(0, abs=0.002), "sound is twice there, or missing"
    assert len(audio) / RATE <= wall_s + 4.5, "the account is no longer than the time that has passed, and one burst"


def loss(server: WebServer, folder: Path) -> None:
    sound = song(SOUND_S)
    mp3 = encoded(sound[:, None], RATE, "mp3")
    speed = len(mp3) / SOUND_S
    server.routes["/birds"] = Radio(mp3, speed, burst=round(0.7 * speed))
    with listening(server.url("/birds")) as heart:
        heart.wait_for(3)
        server.down = True
        server.hang_up()
        heart.wait_state("lost")
        time.sleep(1.2)
        server.down = False
        heart.wait_state("recovered")
        heart.wait_for(heart.seconds + 3)
    audio = heart.audio
    lost_s = sum(seconds for seconds, _ in heart.lost_s)
    assert lost_s > 0.5
    assert drift_s(audio, sound) == pytest.approx(0, abs=0.3), "the loss is told too long or short"


def hls(server: WebServer, folder: Path) -> None:
    """Segments of 2 s with a timeout of 1 s: every wait would be a stall. The server is away for a time, too."""
    sound = song(SOUND_S)
    channel = Channel(encoded_segments(sound, 2.0, folder), 2.0, window=4)
    channel.serve(server)
    with listening(server.url("/live/birds.m3u8"), timeout_s=1) as heart:
        heart.wait_for(7.9)
        server.down = True
        time.sleep(1.5)
        server.down = False
        heart.wait_for(11.9)
    assert heart.lost_s == []
    assert heart.states == ["open"], "the server may be away for a moment: HLS is asked again and again"
    audio = heart.audio
    assert drift_s(audio, sound) == pytest.approx(0, abs=0.002)
    asked = [path for path in server.paths() if path.endswith(".ts")]
    assert len(asked) == len(set(asked))


def hls_given_up(server: WebServer, folder: Path) -> None:
    """No segment twice, and those that have gone meanwhile are the gap, not more and not less."""
    sound = song(SOUND_S)
    channel = Channel(encoded_segments(sound, 1.0, folder), 1.0, window=4)
    channel.serve(server)
    with listening(server.url("/live/birds.m3u8"), timeout_s=1) as heart:
        heart.wait_for(4)
        server.down = True
        heart.wait_state("lost")
        time.sleep(1)
        server.down = False
        heart.wait_state("recovered")
        heart.wait_for(heart.seconds + 3)
    audio = heart.audio
    assert drift_s(audio, sound) == pytest.approx(0, abs=0.05), "heard twice, or told too long or short"
    asked = [path for path in server.paths() if path.endswith(".ts")]
    assert len(asked) == len(set(asked))


def hls_breaks(server: WebServer, folder: Path) -> None:
    """As around an advertisement: the sender begins anew, and says so."""
    sound = song(SOUND_S)
    half = 6 * RATE
    parts = [encoded_segments(part, 1.0, folder / name) for name, part in (("a", sound[:half]), ("b", sound[half:]))]
    Channel([*parts[0], *parts[1]], 1.0, window=4, breaks=(len(parts[0]),)).serve(server)
    with listening(server.url("/live/birds.m3u8"), timeout_s=1) as heart:
        heart.wait_for(9)
    assert heart.lost_s == []
    assert heart.states == ["open"]
    assert drift_s(heart.audio, sound) == pytest.approx(0, abs=0.1), "each of the two has the encoder's delay"
    asked = [path for path in server.paths() if path.endswith(".ts")]
    assert len(asked) == len(set(asked))


SCENES = {
    "a burst after a reconnect is heard once": burst,
    "a loss longer than the burst is told as long as it was": loss,
    "HLS is heard without a gap and no segment twice": hls,
    "HLS that was given up goes on where it was": hls_given_up,
    "HLS that begins anew goes on": hls_breaks,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """All of them at the same time."""
    require("av")
    with ExitStack() as stack, ThreadPoolExecutor(len(SCENES)) as pool:
        yield {
            name: pool.submit(scene, stack.enter_context(web_server()), tmp_path_factory.mktemp("scene"))
            for name, scene in SCENES.items()
        }


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_every_second_is_heard_once_or_told_as_lost(scenes: dict[str, Future[None]], name: str) -> None:
    scenes[name].result()
