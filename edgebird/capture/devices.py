"""Microphones as PortAudio knows them: which there are, and which one is meant by a name.

PortAudio gives them an index, which changes when something is plugged in, and a name, which does not: `USB Audio` is
better than `2`. Of a sound server it shows the devices `pulse` and `default` alone; see pulse.py for its sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from edgebird.capture.serve import CaptureError

_NO_SOUNDDEVICE = "microphones need sounddevice: pip install 'edgebird[mic]'"
_NO_PORTAUDIO = "microphones need PortAudio: apt install libportaudio2, then pip install 'edgebird[mic]'"


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone. index: of PortAudio, None for a sound server's source. rate: its own, in Hz.

    virtual: a sound server's source of what programs play, as a monitor, and not of a sound card.
    """

    index: int | None
    name: str
    description: str
    channels: int
    rate: int
    default: bool
    virtual: bool = False


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
        )
        for found in sounddevice.query_devices()
        if found["max_input_channels"] > 0
    ]


def choose(devices: Sequence[Device], wanted: str | None) -> Device:
    """Return the device that is meant: by index, by exact name, by a part of its name, or the default.

    Raises CaptureError: `not_found` if none fits, `error` if several do.
    """
    if wanted is None:
        fitting = [device for device in devices if device.default] or list(devices[:1])
    elif wanted.isdecimal():
        fitting = [device for device in devices if device.index == int(wanted)]
    else:
        fitting = [device for device in devices if device.name == wanted] or [
            device for device in devices if wanted.lower() in device.name.lower()
        ]
    if not fitting:
        missing = "no microphone" if wanted is None else f"no microphone {wanted!r}"
        raise CaptureError("not_found", f"{missing}; there {_are(devices)}")
    if len(fitting) > 1:
        raise CaptureError("error", f"{wanted!r} fits several microphones: give the whole name; there {_are(fitting)}")
    return fitting[0]


def choose_source(sources: Sequence[Device], name: str) -> Device:
    """Return the sound server's source of this name, `pulse:` included. Raises CaptureError: `not_found`."""
    for source in sources:
        if source.name == name:
            return source
    raise CaptureError("not_found", f"no microphone {name!r}; there {_are(sources)}")


def _are(devices: Sequence[Device]) -> str:
    names = ", ".join(repr(device.name) for device in devices)
    return f"are: {names}" if names else "is none"
