"""The sources of a sound server, as pactl tells them; with a real one: test_microphone."""

from __future__ import annotations

import pytest

from edgebird.capture import pulse


@pytest.mark.parametrize(
    ("name", "virtual"),
    [
        ("card", False),
        ("speaker.monitor", True),
        ("echo-free", False),
        ("loud", True),
        ("null", True),
        ("loop", True),
    ],
)
def test_what_programs_play_is_told_from_sound_cards(name: str, virtual: bool) -> None:
    """A filter passes no flags on; PipeWire gives the monitor of a sound card those of the card."""
    flags = {"card": ["HARDWARE", "LATENCY"], "speaker.monitor": ["HARDWARE"]}
    masters = {"echo-free": "card", "loud": "speaker.monitor", "loop": "loop"}
    listed = {
        source: {
            "name": source,
            "flags": flags.get(source, ["LATENCY"]),
            "properties": {"device.master_device": masters[source]} if source in masters else {},
        }
        for source in ("card", "speaker.monitor", "echo-free", "loud", "null", "loop")
    }
    assert pulse._is_virtual(listed[name], listed) is virtual
