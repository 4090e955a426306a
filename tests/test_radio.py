"""`edgebird listen` on a radio whose connection breaks: all is heard once, and the account agrees with the clock."""

from __future__ import annotations

import io
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
import soundfile

from tests.conftest import require
from tests.foreign import RATE as MODEL_RATE
from tests.foreign import scene, tone_bundle
from tests.listening import listening
from tests.live_servers import wait_until
from tests.web_server import RATE, Radio, Request, song, web_server

# Second 9 of the sound is on the air when the first listener comes, who hears it from second 1 on.
AHEAD_S, BURST_S, BREAK_S, SOUND_S = 9.0, 8.0, 12.5, 40.0
# One is in what is sent again, one sounds while nobody listens, one is heard later.
TONES = {"tonlow": (10.0, 12.0), "tonmid": (12.4, 14.4), "tonhig": (15.5, 17.5)}


@pytest.mark.slow
def test_a_radio_whose_connection_breaks_is_heard_once_and_by_the_clock(tmp_path: Path) -> None:
    require("av")
    require("onnxruntime")
    tones = [(number, 0.4, *span) for number, span in enumerate(TONES.values())]
    file = io.BytesIO()
    soundfile.write(
        file, scene(SOUND_S, tones, RATE) + 0.1 * song(SOUND_S), RATE, format="MP3", bitrate_mode="CONSTANT"
    )
    speed = len(file.getvalue()) / SOUND_S
    radio = Radio(file.getvalue(), speed, round(BURST_S * speed), AHEAD_S)

    def route(request: Request) -> None:
        if len(server.requests) == 1:  # it begins when somebody listens
            radio.since = time.monotonic()
        radio(request)

    bundle = tone_bundle(tmp_path / "tones", window_samples=MODEL_RATE, golden=None)
    arguments = ("--bundle", bundle.path, "--hop", 0.5, "--threshold", 0.2)
    with ExitStack() as stack:
        server = stack.enter_context(web_server())
        server.routes["/birds"] = route
        run = stack.enter_context(listening("--url", f"pond={server.url('/birds')}", *arguments))
        run.wait_states(("pond", "open"))
        wait_until(lambda: radio.at > BREAK_S * speed, "sound", 30)
        server.hang_up()
        run.wait("detection", "pond", code="tonhig")
        stopped_s = time.monotonic() - radio.since
        assert run.end() == 0
        closed_s = time.monotonic() - radio.since
    on_air = time.time() - time.monotonic() + radio.since - AHEAD_S  # when second 0 was
    summary, first_s = run.summary("pond"), AHEAD_S - BURST_S
    assert run.states("pond") == ["open", "lost", "recovered", "closed"]
    assert run.of("gap", "pond") == [], "the server brought all that was missed"
    # What the server remembered when it was first asked is older than that; what it sent again does not count twice.
    assert stopped_s - 1.5 <= summary["audio_s"] - BURST_S <= closed_s + 0.5
    for code, (start_s, _) in TONES.items():
        (found,) = run.of("detection", "pond", code=code)
        assert found["start_s"] == pytest.approx(start_s - first_s, abs=0.8)
        assert datetime.fromisoformat(found["time"]).timestamp() - on_air == pytest.approx(start_s, abs=2), (
            "the time of day is that at which it sounded"
        )
