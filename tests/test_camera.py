"""What cheap cameras do over RTSP, from a camera of our own: nothing that came is thrown away, what is lost is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from edgebird.capture import wire
from tests.camera import G722, L16, L16_STEREO, L24, OPUS, PCMU, Camera, Habits, camera
from tests.conftest import require
from tests.live_servers import Captured, captured, wait_until

MD5 = 'Digest realm="camera", nonce="1f"'
CASES: dict[str, tuple[Habits, dict[str, Any]]] = {
    "jitter": (Habits(jitter=240), {}),
    "jitter over UDP": (Habits(jitter=320), {"transport": "udp"}),
    "steps of its clock": (Habits(steps={1.0: 1.0, 2.0: -1.0, 3.0: 0.65}), {}),
    "lost packets": (Habits(jitter=240, lost=10), {"transport": "udp"}),
    "timestamps that wrap": (Habits(first=2**32 - 12000), {}),
    "timestamps that begin anew": (Habits(first=2**31, steps={2.0: -(2**31) / 8000}), {}),
    "another source": (Habits(new_source=2.0), {}),
    "a clock that is set": (Habits(steps={2.0: -5.0, 4.0: 3605.0}), {"transport": "udp"}),
    "L16 stereo": (Habits((L16_STEREO,)), {}),
    "L24": (Habits((L24,)), {}),
    "G.722": (Habits((G722,)), {}),
    "Opus stereo": (Habits((OPUS,)), {}),
    "a loss of 1.5 s": (Habits((L16,), stalls={1.0: 1.5}), {}),
    "a late network": (Habits(stalls={1.0: 1.5}, caught_up=True), {}),
    "no audio without video": (Habits(needs_video=True), {}),
    "the same, known": (Habits(needs_video=True), {"all_tracks": True}),
    "deaf": (Habits(deaf=True), {}),
    "deaf and given up": (Habits(deaf=True), {"timeout_s": 1}),
    "two tracks": (Habits((PCMU, OPUS)), {}),
    "two tracks, the first": (Habits((PCMU, OPUS)), {"track": 1}),
    "two tracks, the third": (Habits((PCMU, OPUS)), {"track": 3}),
    "Basic": (Habits(auth='Basic realm="camera"'), {"credentials": "user:hunter2@"}),
    "MD5": (Habits(auth=MD5), {"credentials": "user:hunter2@"}),
    "a wrong password": (Habits(auth=MD5), {"credentials": "user:swordfish@"}),
    "SHA-256": (Habits(auth=f"{MD5}, algorithm=SHA-256"), {"credentials": "user:hunter2@"}),
}
SILENT = ("deaf", "deaf and given up", "two tracks, the third", "a wrong password", "SHA-256")


@dataclass
class Case:
    """A camera, and what its capture has said."""

    camera: Camera
    heard: Captured

    @property
    def rate(self) -> int:
        return int(self.heard.wait(wire.OPEN)["rate"])

    @property
    def heard_s(self) -> float:
        channels = self.heard.wait(wire.OPEN)["channels"]
        return len(self.heard.samples()) / channels / self.rate

    @property
    def gaps_s(self) -> list[float]:
        """What was left out between the blocks."""
        channels, end, gaps = self.heard.wait(wire.OPEN)["channels"], 0, []
        for block in self.heard.all(wire.DATA):
            gaps += [(block.position - end) / self.rate] if block.position > end else []
            end = block.position + len(block.payload) // 4 // channels
        return gaps

    def notes(self) -> list[dict[str, Any]]:
        return [note.json() for note in self.heard.all(wire.NOTE)]


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, Case]]:
    """All cameras at once, for as long as the slowest of them takes; then their captures are stopped."""
    require("av")
    with ExitStack() as stack:
        running: dict[str, Case] = {}
        for name, (habits, options) in CASES.items():
            ours = stack.enter_context(camera(habits))
            more = {key: value for key, value in options.items() if key != "credentials"}
            options = {"url": ours.url(options.get("credentials", "")), "block_s": 0.1, **more}
            running[name] = Case(ours, stack.enter_context(captured("stream", options)))
        deaf = running["deaf"]
        wait_until(lambda: "PLAY" in deaf.camera.requests, "request", 90)
        assert deaf.heard.stop() == 0
        for name, case in running.items():
            if name not in SILENT:
                wait_until(lambda case=case: bool(case.heard.all(wire.OPEN)), f"sound of {name}", 90)
        time.sleep(6)
        for name in running.keys() - {"deaf"}:
            assert running[name].heard.stop() == 0, name
        yield running


HEARD_WHOLE = [
    name for name, (habits, _) in CASES.items() if not habits.lost and not habits.auth and name not in SILENT
]
HEARD_WHOLE = [
    name for name in HEARD_WHOLE if name != "a loss of 1.5 s" and "video" not in name and "known" not in name
]


@pytest.mark.parametrize("name", HEARD_WHOLE)
def test_what_comes_is_heard_whatever_its_timestamps_say(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    assert case.gaps_s == []
    assert case.heard_s == pytest.approx(case.camera.sent_s, abs=1.0), "some of it was thrown away"


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("L16 stereo", 16000, 2), ("L24", 48000, 1), ("G.722", 16000, 1), ("Opus stereo", 48000, 2)],
)
def test_codecs_of_cameras_are_decoded(cases: dict[str, Case], name: str, rate: int, channels: int) -> None:
    opened = cases[name].heard.wait(wire.OPEN)
    assert (opened["rate"], opened["channels"]) == (rate, channels)
    if name.startswith("L"):
        assert abs(cases[name].heard.samples()).max() == pytest.approx(0.25, abs=0.001)


def test_a_loss_is_told_as_exactly_that(cases: dict[str, Case]) -> None:
    assert cases["a loss of 1.5 s"].gaps_s == [1.5]
    assert cases["a loss of 1.5 s"].heard.all(wire.LOST) == []


def test_packets_that_are_lost_over_udp_are_told_by_their_numbers(cases: dict[str, Case]) -> None:
    """With timestamps that say nothing so small."""
    case = cases["lost packets"]
    assert set(case.gaps_s) == {0.02}
    assert sum(case.gaps_s) == pytest.approx(case.camera.missing_s, abs=0.3)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"a wrong password", "SHA-256"}))
def test_a_camera_is_told_good_bye(cases: dict[str, Case], name: str) -> None:
    """Else it keeps a session for a minute, and a small one refuses the next client."""
    requests = cases[name].camera.requests
    assert requests.count("PLAY") == requests.count("TEARDOWN") > 0


def test_a_camera_that_sends_audio_with_video_alone_is_heard_and_remembered(cases: dict[str, Case]) -> None:
    unknown, known = cases["no audio without video"], cases["the same, known"]
    assert [note["remember"] for note in unknown.notes()] == [{"all_tracks": True}]
    assert unknown.heard_s > 1
    assert known.notes() == []
    assert known.camera.requests.count("PLAY") == 1, "it is tried without video again and again"


def test_a_camera_that_sends_nothing_has_stalled(cases: dict[str, Case]) -> None:
    failure = cases["deaf and given up"].heard.wait(wire.FAIL)
    assert failure["reason"] == "stalled"
    assert failure["text"].endswith(": nothing came for 1 s")


def test_of_two_tracks_the_one_with_the_highest_tones_is_heard(cases: dict[str, Case]) -> None:
    assert cases["two tracks"].rate == 48000
    (note,) = cases["two tracks"].notes()
    assert note["text"] == "of its audio tracks (1 pcm_mulaw 8000 Hz, 2 opus 48000 Hz) number 2 is heard"
    assert cases["two tracks, the first"].rate == 8000
    assert cases["two tracks, the first"].notes() == []
    failure = cases["two tracks, the third"].heard.wait(wire.FAIL)
    assert failure["text"].endswith(": there is no audio track 3, it has 2")


def test_passwords_are_said_as_cameras_want_them_and_nowhere_else(cases: dict[str, Case]) -> None:
    assert cases["Basic"].heard_s > 1
    assert cases["MD5"].heard_s > 1
    for name in ("a wrong password", "SHA-256"):
        failure = cases[name].heard.wait(wire.FAIL)
        assert failure["reason"] == "unauthorized"
        assert ("this camera wants SHA-256" in failure["text"]) == (name == "SHA-256")
    for case in cases.values():
        said = b"".join(message.payload for message in case.heard.messages if message.kind != wire.DATA)
        assert b"hunter2" not in said
        assert b"swordfish" not in said
