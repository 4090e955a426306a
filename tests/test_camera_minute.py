"""A minute of `edgebird listen` on cameras that do everything at once: scored + gaps + tail is what they have sent.

By hand for longer: `EDGEBIRD_CAMERA_S=1800 python -m pytest -s tests/test_camera_minute.py`; from 5 minutes on the
drift of their clocks must be told too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.camera import Camera, Habits, camera
from tests.conftest import require
from tests.foreign import tone_bundle
from tests.listening import Listening, listening
from tests.live_servers import wait_until

GIVEN_UP = "given-up"
RUN_S = float(os.environ.get("EDGEBIRD_CAMERA_S", "60"))
DRIFT_S = 300.0


def stalls(first: float, *lengths: float) -> dict[float, float]:
    """Some stalls every minute."""
    at, found = first, {}
    while at < RUN_S:
        for length in lengths:
            found[at] = length
            at += length + 6
        at += 10
    return found


def steps() -> dict[float, float]:
    """A second ahead, and one back, every 20 s."""
    return {at: 1.0 if i % 2 == 0 else -1.0 for i, at in enumerate(range(7, round(RUN_S), 10))}


CAMERAS = {
    "udp": Habits(jitter=320, ppm=400, steps=steps(), lost=50),
    "late": Habits(jitter=320, ppm=-400, steps=steps(), stalls=stalls(6, 3, 7, 20), caught_up=True),
    "gone": Habits(jitter=320, ppm=400, steps=steps(), stalls=stalls(6, 3, 7)),
    GIVEN_UP: Habits(jitter=320, stalls={30.0: 20.0}),
}


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Listening, dict[str, Camera]]]:
    """All cameras, heard until they have told everything; UDP is for the one that loses packets."""
    require("av")
    folder: Path = tmp_path_factory.mktemp("cameras")
    with ExitStack() as stack:
        cameras = {name: stack.enter_context(camera(habits)) for name, habits in CAMERAS.items()}
        lines = [f'bundle = "{tone_bundle(folder / "bundle").path}"', 'runtime = "null"', "hop = 0.5"]
        for name, ours in cameras.items():
            lines += ["[[source]]", f'name = "{name}"', f'url = "{ours.url()}"']
            lines += ['transport = "udp"'] if name == "udp" else []
            lines += ["timeout = 30"] if name == "late" else []
        (folder / "station.toml").write_text("\n".join(lines) + "\n")
        run = stack.enter_context(listening("--config", folder / "station.toml"))
        run.wait("source", *cameras, state="open")
        time.sleep(RUN_S)
        assert run.end() == 0
        yield run, cameras


@pytest.mark.slow
def test_what_cameras_sent_is_scored_and_what_they_did_not_is_told(
    minute: tuple[Listening, dict[str, Camera]],
) -> None:
    run, cameras = minute
    for name in cameras.keys() - {GIVEN_UP}:
        ours, summary = cameras[name], run.summary(name)
        heard_s, gap_s = summary["scored_s"] + summary["tail_s"], summary["gap_s"]
        print(name, f"heard {heard_s} of {ours.sent_s} s, gaps {gap_s} of {ours.missing_s} s", summary["drift_ppm"])
        assert heard_s == pytest.approx(ours.sent_s, abs=0.3), name  # what is on its way at the end is not waited for
        assert gap_s == pytest.approx(ours.missing_s, abs=0.1), name
        assert run.states(name) == ["open", "closed"], name
        wait_until(lambda ours=ours: ours.requests.count("TEARDOWN") == 1, f"good-bye of {name}")
        if RUN_S > DRIFT_S:
            assert summary["drift_ppm"] == pytest.approx(CAMERAS[name].ppm, abs=60)


@pytest.mark.slow
def test_a_stall_longer_than_the_timeout_costs_what_was_not_heard(
    minute: tuple[Listening, dict[str, Camera]],
) -> None:
    run, cameras = minute
    summary, ours = run.summary(GIVEN_UP), cameras[GIVEN_UP]
    assert run.states(GIVEN_UP)[:3] == ["open", "lost", "recovered"]
    assert run.of("source", GIVEN_UP, state="lost")[0]["detail"].endswith(": nothing came for 15 s")
    assert {gap["reason"] for gap in run.of("gap", GIVEN_UP)} == {"stalled"}
    assert summary["scored_s"] + summary["tail_s"] == pytest.approx(ours.sent_s, abs=0.5)
    assert summary["audio_s"] == pytest.approx(run.summary("gone")["audio_s"], abs=1.0), "not as long as the clock says"
    assert ours.requests.count("PLAY") >= 2
    wait_until(lambda: ours.requests.count("TEARDOWN") == ours.requests.count("PLAY"), "good-bye")


@pytest.mark.slow
def test_losses_are_told_as_what_they_are(minute: tuple[Listening, dict[str, Camera]]) -> None:
    """A gap event for each lost packet would be three thousand an hour."""
    run, cameras = minute
    bridged = run.of("gap", "udp")
    assert all(gap["bridged"] and gap["reason"] == "dropped" for gap in bridged)
    assert len(bridged) <= RUN_S / 60 + 1
    assert sum(gap["losses"] for gap in bridged) == pytest.approx(cameras["udp"].missing, abs=2)
    assert run.of("gap", "late") == []
    lengths = [round(gap["end_s"] - gap["start_s"], 1) for gap in run.of("gap", "gone")]
    assert lengths[:2] == [3.0, 7.0]
    assert {gap["reason"] for gap in run.of("gap", "gone")} == {"stalled"}
