"""Microphones on a PipeWire of our own, which decides for itself where recordings come from."""

from __future__ import annotations

import time

import pytest

from edgebird.capture import wire
from tests.conftest import require
from tests.live_servers import captured
from tests.pipewire_server import pipewire


@pytest.mark.slow
def test_a_named_microphone_stays_though_it_is_the_default_and_an_unnamed_one_tells_that_it_moved() -> None:
    """It follows the default: the birds would be those of another place."""
    require("sounddevice")
    with (
        pipewire() as server,
        captured("microphone", {"device": "pulse:garden"}, server.env) as named,
        captured("microphone", {"device": "pulse"}, server.env) as unnamed,
    ):
        assert named.wait(wire.OPEN)["device"] == unnamed.wait(wire.OPEN)["device"] == "pulse:garden"
        server.make_default("pond")
        moved = "the sound server moved the recording from pulse:garden to pulse:pond"
        assert unnamed.wait(wire.FAIL) == {"reason": "disconnected", "text": moved}
        heard = len(named.samples())
        time.sleep(1)
        assert not named.all(wire.NOTE) + named.all(wire.FAIL)
        assert len(named.samples()) > heard
        server.unplug_garden()
        assert named.wait(wire.FAIL)["reason"] == "disconnected"
