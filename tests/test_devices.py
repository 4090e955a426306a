"""Microphones by name: the one that is meant is taken, or nothing."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from edgebird.capture.devices import Device, choose, choose_source, inputs, load_sounddevice
from edgebird.capture.serve import CaptureError


def test_a_name_means_the_device_of_that_name_before_those_that_contain_it() -> None:
    found = [Device(i, name, "ALSA", 1, 48000, i == 2) for i, name in enumerate(["Mic 2", "Mic", "USB Mic 7"])]
    assert [choose(found, wanted).index for wanted in (None, "Mic", "usb", "0")] == [2, 1, 2, 0]
    with pytest.raises(CaptureError, match=r"^no microphone; there is none$"):
        choose([], None)


@pytest.mark.parametrize(
    ("wanted", "reason", "text"),
    [
        ("USB", "error", "'USB' fits several microphones: give the whole name; there are: 'USB A', 'USB B'"),
        ("hdmi", "not_found", "no microphone 'hdmi'; there are: 'USB A', 'USB B'"),
        ("7", "not_found", "no microphone '7'; there are: 'USB A', 'USB B'"),
    ],
)
def test_a_name_that_means_none_or_several_is_told_with_those_there_are(wanted: str, reason: str, text: str) -> None:
    """A guess would record the wrong garden."""
    found = [Device(i, name, "ALSA", 1, 48000, False) for i, name in enumerate(["USB A", "USB B"])]
    with pytest.raises(CaptureError) as caught:
        choose(found, wanted)
    assert (caught.value.reason, str(caught.value)) == (reason, text)


@pytest.mark.parametrize("wanted", ["USB Audio: - (hw:1,0)", "usb audio: - (hw:7,0)", "USB Audio (hw:7,0)"])
def test_a_microphone_is_found_when_its_card_has_another_number_after_a_reboot(wanted: str) -> None:
    names = ["Loopback: PCM (hw:1,0)", "Loopback: PCM (hw:2,0)", "USB Audio: - (hw:3,0)", "default"]
    found = [Device(i, name, "ALSA", 1, 48000, False) for i, name in enumerate(names)]
    assert choose(found, wanted).index == 2
    assert choose(found, names[1]).index == 1
    with pytest.raises(
        CaptureError, match=r"^'Loopback: PCM \(hw:0,0\)' fits several microphones: their numbers have c"
    ):
        choose(found, "Loopback: PCM (hw:0,0)")
    with pytest.raises(CaptureError, match=r"^no microphone 'Meadow \(hw:3,0\)'; there are: 'Loop"):
        choose(found, "Meadow (hw:3,0)")


def test_without_a_default_the_first_is_taken() -> None:
    found = [Device(i, name, "ALSA", 1, 48000, False) for i, name in enumerate(["A", "B"])]
    assert choose(found, None).name == "A"


def test_a_source_of_a_sound_server_is_meant_by_its_whole_name() -> None:
    """`pulse:usb` must not be taken for `pulse:usb-2`, nor for its monitor."""
    found = [Device(None, name, "", 1, 48000, False) for name in ("pulse:usb-2", "pulse:usb")]
    assert choose_source(found, "pulse:usb") is found[1]
    with pytest.raises(CaptureError, match=r"^no microphone 'pulse:us'; there are: 'pulse:usb-2', 'pulse:usb'$"):
        choose_source(found, "pulse:us")


class PortAudio:
    """As much of sounddevice as lists devices: one that plays, two that record."""

    default = SimpleNamespace(device=(2, 0))

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA"}, {"name": "JACK"}]

    def query_devices(self) -> list[dict[str, Any]]:
        names = [("Speaker", 0, 48000.0, 0), ("USB", 1, 44099.99, 0), ("Line", 2, 96000.0, 1)]
        return [
            {"index": i, "name": n, "max_input_channels": c, "default_samplerate": rate, "hostapi": api}
            for i, (n, c, rate, api) in enumerate(names)
        ]


def test_only_what_records_is_listed() -> None:
    sounddevice: Any = PortAudio()
    assert inputs(sounddevice) == [
        Device(1, "USB", "ALSA", 1, 44100, default=False),
        Device(2, "Line", "JACK", 2, 96000, default=True),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ImportError("no module"), r"pip install 'edgebird\[mic\]'"),
        (OSError("no library"), "apt install libportaudio2"),
    ],
    ids=["no sounddevice", "no PortAudio"],
)
def test_what_is_missing_is_told_with_what_brings_it(
    error: Exception, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip brings no PortAudio on Linux: who has sounddevice must not be told to install it again."""

    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise error

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(CaptureError, match=text):
        load_sounddevice()
