"""The sources of a sound server, as pactl tells them; with a real one: test_microphone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgebird.capture import pulse
from edgebird.capture.devices import Device


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


SOURCES = [
    {
        "name": "speaker.monitor",
        "description": "Monitor of Speaker",
        "sample_specification": "s16le 2ch 44100Hz",
        "flags": ["HARDWARE"],
    },
    {
        "name": "usb",
        "description": "USB Audio",
        "sample_specification": "s24le 1ch 96000Hz",
        "flags": ["HARDWARE", "LATENCY"],
    },
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], Any]:
    """What pactl answers, by its arguments; None to what is not here."""
    answers: dict[tuple[str, ...], Any] = {}
    monkeypatch.setattr(pulse, "_pactl", lambda *arguments: answers.get(arguments))
    return answers


def test_sources_are_told_as_they_are_monitors_last(server: dict[tuple[str, ...], Any]) -> None:
    """Rate and channels are the source's own: PortAudio says 44100 Hz of all of them."""
    server[("info",)] = {"default_source_name": "usb"}
    server[("list", "sources")] = SOURCES
    assert pulse.pulse_sources() == [
        Device(None, "pulse:usb", "USB Audio", 1, 96000, default=True, virtual=False),
        Device(None, "pulse:speaker.monitor", "Monitor of Speaker", 2, 44100, default=False, virtual=True),
    ]


@pytest.mark.parametrize("missing", [("info",), ("list", "sources")])
def test_without_a_sound_server_there_are_no_sources(server: dict[tuple[str, ...], Any], missing: Any) -> None:
    server |= {("info",): {}, ("list", "sources"): SOURCES}
    assert pulse.pulse_sources()
    del server[missing]
    assert pulse.pulse_sources() == []


@pytest.mark.parametrize(
    ("process", "source"), [(7, "pulse:usb"), (8, "pulse:"), (9, None)], ids=["records", "its source has gone", "none"]
)
def test_a_recording_is_told_with_its_source(
    server: dict[tuple[str, ...], Any], process: int, source: str | None
) -> None:
    """The server moves recordings to whatever source is left: the birds would be those of another place."""
    properties = [{"properties": {"application.process.id": str(pid)}} for pid in (7, 8)]
    server[("list", "source-outputs")] = [
        {},
        {**properties[0], "source": 3},
        {**properties[1], "source": 4},
    ]
    server[("list", "short", "sources")] = [{"index": 3, "name": "usb"}]
    assert pulse.recorded_source(process) == source


def test_a_recording_is_unknown_where_no_server_answers(server: dict[tuple[str, ...], Any]) -> None:
    assert server == {}
    assert pulse.recorded_source(7) is None


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "echo 'pactl 14.2: no such option'",
        None,
    ],
    ids=["no server", "too old for JSON", "no pactl"],
)
def test_a_pactl_that_does_not_answer_is_no_error(
    script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most small computers have no sound server: their sound card is heard all the same."""
    if script:
        (tmp_path / "pactl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "pactl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pulse._pactl("info") is None
    assert pulse.pulse_sources() == []


def test_pactl_is_asked_in_a_language_that_writes_decimal_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pactl").write_text('#!/bin/sh\necho "[\\"$LC_ALL\\", \\"$*\\"]"\n')
    (tmp_path / "pactl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert pulse._pactl("list", "sources") == ["C.UTF-8", "-f json list sources"]


@pytest.mark.parametrize(("name", "monitor"), [("pulse:a.monitor", True), ("a.monitor", False), ("pulse:a", False)])
def test_a_monitor_is_known_by_its_name(name: str, monitor: bool) -> None:
    assert pulse.is_monitor(name) is monitor
