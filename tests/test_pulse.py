"""The sources of a sound server, as pactl tells them; with a real one: test_microphone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgebird.capture import pulse
from edgebird.capture.devices import CARD_LATE_S, PIPEWIRE_LATE_S, VIRTUAL_LATE_S, Device

RECORDED = json.loads((Path(__file__).parent / "data" / "pipewire.json").read_text())  # see README.md there


@pytest.mark.parametrize(
    ("name", "late_s"),
    [
        ("card", CARD_LATE_S),
        ("speaker.monitor", VIRTUAL_LATE_S),
        ("echo-free", CARD_LATE_S),
        ("loud", VIRTUAL_LATE_S),
        ("null", VIRTUAL_LATE_S),
        ("loop", VIRTUAL_LATE_S),
    ],
)
def test_what_programs_play_is_told_from_sound_cards(name: str, late_s: float) -> None:
    """A filter passes no flags on; PipeWire gives the monitor of a sound card those of the card."""
    flags = {"card": ["HARDWARE", "LATENCY"], "speaker.monitor": ["HARDWARE"]}
    masters = {"echo-free": "card", "loud": "speaker.monitor", "loop": "loop"}
    listed = [
        {
            "index": index,
            "name": source,
            "flags": flags.get(source, ["LATENCY"]),
            "properties": {
                "device.api": "alsa",
                **({"device.master_device": masters[source]} if source in masters else {}),
            },
        }
        for index, source in enumerate(("card", "speaker.monitor", "echo-free", "loud", "null", "loop"))
    ]
    found = next(source for source in listed if source["name"] == name)
    assert pulse._late_s(found, pulse._masters(listed)) == late_s


@pytest.mark.parametrize("version", RECORDED)
def test_filters_of_pipewire_are_what_they_are_made_of(server: dict[tuple[str, ...], Any], version: str) -> None:
    """They do not name their master, and PipeWire 1.4 calls null sinks HARDWARE: losses would be told wrongly."""
    tell(server, RECORDED[version])
    assert {source.name: source.late_s for source in pulse.pulse_sources()} == {
        "pulse:card": PIPEWIRE_LATE_S,
        "pulse:card-remapped": PIPEWIRE_LATE_S,
        "pulse:card-echofree": PIPEWIRE_LATE_S,
        "pulse:speaker-remapped": VIRTUAL_LATE_S,
        "pulse:speaker.monitor": VIRTUAL_LATE_S,
        "pulse:echo-sink.monitor": VIRTUAL_LATE_S,
    }
    del server[("list", "source-outputs")]
    late = {source.name: source.late_s for source in pulse.pulse_sources()}
    assert late["pulse:card-remapped"] == VIRTUAL_LATE_S, "a filter of which nothing is known"


@pytest.mark.parametrize("version", RECORDED)
@pytest.mark.parametrize("device", ["pulse", "pipewire"])
def test_recordings_on_pipewire_are_found_by_their_process(
    server: dict[tuple[str, ...], Any], version: str, device: str
) -> None:
    """Of PipeWire's own ALSA device, which is the default there, only the client tells the process."""
    tell(server, RECORDED[version])
    assert pulse.recorded_source(RECORDED[version]["recorders"][device]) == "pulse:card"
    assert pulse.recorded_source(1) is None


def tell(server: dict[tuple[str, ...], Any], recorded: dict[str, Any]) -> None:
    server |= {("info",): recorded["info"], ("list", "short", "sources"): recorded["short sources"]}
    server |= {("list", what): recorded[what] for what in ("sources", "source-outputs", "clients")}


def test_a_source_is_recorded_and_no_other() -> None:
    """Where it is the default too, it would follow the default; what else the user asks of the server stays."""
    assert pulse.recording_env("pulse:usb", {}) == {
        "PULSE_SOURCE": "usb",
        "PULSE_PROP": "node.dont-reconnect=true",
        "PIPEWIRE_NODE": "usb",
        "PIPEWIRE_PROPS": "{ node.dont-reconnect = true }",
    }
    monitor = pulse.recording_env("pulse:speaker.monitor", {"PULSE_PROP": "media.role=music"})
    assert monitor["PULSE_PROP"] == "media.role=music node.dont-reconnect=true"
    assert (monitor["PULSE_SOURCE"], monitor["PIPEWIRE_NODE"]) == ("speaker.monitor", "speaker")
    assert "stream.capture.sink = true" in monitor["PIPEWIRE_PROPS"]


SOURCES = [
    {
        "index": 2,
        "name": "speaker.monitor",
        "description": "Monitor of Speaker",
        "sample_specification": "s16le 2ch 44100Hz",
        "flags": ["HARDWARE"],
    },
    {
        "index": 3,
        "name": "usb",
        "description": "USB Audio",
        "sample_specification": "s24le 1ch 96000Hz",
        "flags": ["HARDWARE", "LATENCY"],
        "properties": {"device.api": "alsa"},
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
        Device(None, "pulse:usb", "USB Audio", 1, 96000, default=True),
        Device(None, "pulse:speaker.monitor", "Monitor of Speaker", 2, 44100, default=False, late_s=VIRTUAL_LATE_S),
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
