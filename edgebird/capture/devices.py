"""Microphones as PortAudio knows them: which there are, and which one is meant by a name.

PortAudio gives them an index, which changes when something is plugged in, and a name, which does not: `USB Audio` is
better than `2`. Of a sound server it shows the devices `pulse`, `pipewire` and `default` alone; see pulse.py for its
sources.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from edgebird.capture.serve import CaptureError

# `Device.late_s`. Of a sound card, also where PulseAudio hands over a quarter of a second at once.
CARD_LATE_S = 0.15
# Of a sound card behind PipeWire, which changes the length of its pieces while it runs, up to 8192 frames.
PIPEWIRE_LATE_S = 0.35
# Of what programs play: a sound server renders up to half a second ahead of the clock until another program plays.
VIRTUAL_LATE_S = 0.75

_NUMBERS = re.compile(r"\s*\(hw:\d+,\d+\)$")

_NO_SOUNDDEVICE = "microphones need sounddevice: pip install 'edgebird[mic]'"
_NO_PORTAUDIO = "microphones need PortAudio: apt install libportaudio2, then pip install 'edgebird[mic]'"


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone. index: of PortAudio, None for a sound server's source. rate: its own, in Hz.

    late_s: by how many seconds its audio may come later from some moment on, though nothing of it was lost.
    """

    index: int | None
    name: str
    description: str
    channels: int
    rate: int
    default: bool
    late_s: float = CARD_LATE_S


def load_sounddevice() -> ModuleType:
    """Import sounddevice, which starts PortAudio. Raises CaptureError where one of the two is missing."""
    try:
        import sounddevice
    except ImportError:
        raise CaptureError("error", _NO_SOUNDDEVICE) from None
    except OSError:  # no shared library
        raise CaptureError("error", _NO_PORTAUDIO) from None
    module: ModuleType = sounddevice
    return module


def inputs(sounddevice: ModuleType) -> list[Device]:
    """What PortAudio can record from."""
    default = sounddevice.default.device[0]
    apis = [api["name"] for api in sounddevice.query_hostapis()]
    return [
        Device(
            index=found["index"],
            name=found["name"],
            description=apis[found["hostapi"]],
            channels=found["max_input_channels"],
            rate=round(found["default_samplerate"]),
            default=found["index"] == default,
            late_s=PIPEWIRE_LATE_S if found["name"] == "pipewire" else CARD_LATE_S,
        )
        for found in sounddevice.query_devices()
        if found["max_input_channels"] > 0
    ]


def choose(devices: Sequence[Device], wanted: str | None) -> Device:
    """Return the device that is meant: by index, by exact name, by a part of its name, or the default.

    ALSA ends names with the numbers of the card and its device, `(hw:1,0)`, which may be others after a reboot: they
    are ignored where no device has them and the rest fits. Raises CaptureError: `not_found` if none fits, `error` if
    several do.
    """
    if wanted is None:
        fitting = [device for device in devices if device.default] or list(devices[:1])
    elif wanted.isdecimal():
        fitting = [device for device in devices if device.index == int(wanted)]
    else:
        fitting = _named(devices, wanted)
    if not fitting:
        missing = "no microphone" if wanted is None else f"no microphone {wanted!r}"
        raise CaptureError("not_found", f"{missing}; there {_are(devices)}")
    if len(fitting) > 1:
        advice = "their numbers have changed" if _NUMBERS.search(wanted or "") else "give the whole name"
        raise CaptureError("error", f"{wanted!r} fits several microphones: {advice}; there {_are(fitting)}")
    return fitting[0]


def without_numbers(name: str) -> str:
    """Return a name without the numbers at its end, which may be others after a reboot."""
    return _NUMBERS.sub("", name)


def _named(devices: Sequence[Device], wanted: str) -> list[Device]:
    if exact := [device for device in devices if device.name == wanted]:
        return exact
    if parts := [device for device in devices if wanted.lower() in device.name.lower()]:
        return parts
    rest = without_numbers(wanted)
    if rest == wanted:
        return []
    return [device for device in devices if without_numbers(device.name).lower() == rest.lower()] or [
        device for device in devices if rest.lower() in device.name.lower()
    ]


def choose_source(sources: Sequence[Device], name: str) -> Device:
    """Return the sound server's source of this name, `pulse:` included. Raises CaptureError: `not_found`."""
    for source in sources:
        if source.name == name:
            return source
    raise CaptureError("not_found", f"no microphone {name!r}; there {_are(sources)}")


def _are(devices: Sequence[Device]) -> str:
    names = ", ".join(repr(device.name) for device in devices)
    return f"are: {names}" if names else "is none"
