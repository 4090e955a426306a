"""The microphones of this machine: which there are, which one is meant by a name, and how loud each is.

PortAudio gives them an index, which changes when something is plugged in, and a name, which does not: `USB Audio` is
better than `2`. Of a sound server (PulseAudio, PipeWire) PortAudio shows the devices `pulse` and `default` alone, and
both record its default source. The name `pulse:SOURCE`, as `pactl list short sources` calls it, stands for one
source of the server: the capture process sets PULSE_SOURCE, which the server's client library obeys. So several
microphones of one sound server can be heard at once. Monitors (`pulse:NAME.monitor`, what the machine itself plays)
can be recorded too, but are not listed.

`python -m edgebird.live.devices` prints the list as JSON: PortAudio may hang or crash, so the command line asks a
process of its own.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from edgebird.errors import AudioError
from edgebird.live import child, wire
from edgebird.live.child import CaptureError
from edgebird.live.process import Capture, CaptureProcess

PULSE = "pulse:"  # before the name of a sound server's source

_NO_SOUNDDEVICE = "microphones need sounddevice: pip install 'edgebird[mic]'"
_NO_PORTAUDIO = "microphones need PortAudio: apt install libportaudio2, then pip install 'edgebird[mic]'"
_LIST_TIMEOUT_S = 30
_PACTL_TIMEOUT_S = 5
_CALM_S, _POLL_S = 0.2, 2.0
_GRACE_S = 5  # a device may take this long to open
_NO_SOUND = f"it gives no sound, also after {_GRACE_S} s"


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


@dataclass(frozen=True, slots=True)
class Level:
    """How loud a microphone is, all channels together; -inf for digital silence, None with the problem otherwise."""

    peak_dbfs: float | None
    rms_dbfs: float | None
    problem: str | None = None

    @property
    def is_silence(self) -> bool:
        """Whether every sample was zero, as no real microphone in a real place gives them."""
        return self.peak_dbfs == -math.inf


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


def pulse_sources() -> list[Device]:
    """The sources of the sound server, monitors last; none where there is no server or no `pactl` to ask it."""
    info, listed = _pactl("info"), _pactl("list", "sources")
    if info is None or listed is None:
        return []
    by_name = {source["name"]: source for source in listed}
    sources = [_source(source, info.get("default_source_name"), by_name) for source in listed]
    return sorted(sources, key=lambda source: is_monitor(source.name))


def is_monitor(name: str) -> bool:
    """Whether a source of the sound server is what the machine itself plays, by its name."""
    return name.startswith(PULSE) and name.endswith(".monitor")


def recorded_source(process: int) -> str | None:
    """The sound server's source that a process records from, with `pulse:`; None if it does not, or nobody knows.

    `pulse:` alone: its source has gone, and it waits for another.
    """
    streams, sources = _pactl("list", "source-outputs"), _pactl("list", "short", "sources")
    for stream in streams or []:
        if stream.get("properties", {}).get("application.process.id") == str(process):
            return PULSE + next((source["name"] for source in sources or [] if source["index"] == stream["source"]), "")
    return None


@contextmanager
def recording_changes() -> Iterator[Callable[[float], None]]:
    """Gives what waits until the sound server says that a recording has changed, at most so many seconds.

    Where nothing tells, it waits two seconds at most.
    """

    def nobody_tells(seconds: float) -> None:
        time.sleep(min(seconds, _POLL_S))

    def wait(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and select.select([told], [], [], left)[0]:
            time.sleep(min(left, _CALM_S))  # changes come together
            if not (changes := os.read(told, 1 << 16)):
                nobody_tells(left)
                return
            if b"source-output" in changes:
                return

    # pactl goes on when nobody reads it. The shell ends it with us, however we end: our end of its input closes.
    command, pipe = "pactl subscribe & exec >&-; read _; kill $!", subprocess.PIPE
    try:
        shell = subprocess.Popen(
            ["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=_pactl_env()
        )
    except OSError:
        yield nobody_tells
        return
    with shell:
        assert shell.stdout is not None
        told = shell.stdout.fileno()
        yield wait


def list_microphones() -> list[Device]:
    """All microphones, found by a process of its own. Raises AudioError if PortAudio is missing, crashes or hangs."""
    command = [sys.executable, "-m", "edgebird.live.devices"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIST_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise AudioError(f"PortAudio did not list its devices within {_LIST_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise AudioError(f"PortAudio could not list its devices: {last}")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise AudioError(answer["error"])
    return [Device(**device) for device in answer["devices"]]


def measure(device: str, seconds: float) -> Level:
    """Listen to a microphone for some seconds in a capture process, which is ended even if it hangs."""
    with CaptureProcess(Capture("edgebird.live.microphone", {"device": device})) as process:
        messages = _until(process, time.monotonic() + seconds + _GRACE_S)
        first = next(messages, None)
        if first is None:
            return Level(None, None, "its capture process crashed" if process.ended else _NO_SOUND)
        content = first.json()
        if first.kind == wire.FAIL:
            return Level(None, None, content["text"])
        return _level(messages, seconds * content["rate"] * content["channels"])


def _until(process: CaptureProcess, deadline: float) -> Iterator[wire.Message]:
    while not process.ended and (left := deadline - time.monotonic()) > 0:
        yield from process.messages(left)


def _level(messages: Iterator[wire.Message], wanted: float) -> Level:
    """Of so many samples, or of those that come."""
    import numpy as np

    peak, energy, samples = 0.0, 0.0, 0
    for message in messages:
        if message.kind == wire.FAIL:
            return Level(None, None, message.json()["text"])
        if message.kind == wire.DATA:
            heard = np.frombuffer(message.payload, np.float32)
            peak, energy = max(peak, float(np.abs(heard).max())), energy + float(heard @ heard)
            samples += len(heard)
        if samples >= wanted:
            break
    return Level(_decibels(peak), _decibels(math.sqrt(energy / samples))) if samples else Level(None, None, _NO_SOUND)


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def _are(devices: Sequence[Device]) -> str:
    names = ", ".join(repr(device.name) for device in devices)
    return f"are: {names}" if names else "is none"


def _source(source: dict[str, Any], default: str | None, by_name: Mapping[str, dict[str, Any]]) -> Device:
    _, channels, rate = source["sample_specification"].split()  # such as `s16le 1ch 48000Hz`
    return Device(
        index=None,
        name=PULSE + source["name"],
        description=source["description"],
        channels=int(channels.removesuffix("ch")),
        rate=int(rate.removesuffix("Hz")),
        default=source["name"] == default,
        virtual=_is_virtual(source, by_name),
    )


def _is_virtual(source: dict[str, Any], by_name: Mapping[str, dict[str, Any]]) -> bool:
    """Whether a source is a monitor or no sound card's; a filter, as against echoes, is what its master is."""
    for _ in by_name:  # a filter's master may be one, too
        source = by_name.get(source.get("properties", {}).get("device.master_device", ""), source)
    return is_monitor(PULSE + source["name"]) or "HARDWARE" not in source.get("flags", ())


def _pactl_env() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}  # else it translates, and writes decimal commas


def _pactl(*arguments: str) -> Any:
    """What the sound server answers; None where there is none, or no `pactl` 16 or newer, which speaks JSON."""
    try:
        done = subprocess.run(
            ["pactl", "-f", "json", *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PACTL_TIMEOUT_S,
            env=_pactl_env(),
            check=True,
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _main() -> None:
    child.hush()
    try:
        devices = inputs(load_sounddevice())
    except CaptureError as error:
        print(json.dumps({"error": str(error)}))
        return
    devices += [source for source in pulse_sources() if not is_monitor(source.name)]
    print(json.dumps({"devices": [asdict(device) for device in devices]}))


if __name__ == "__main__":
    _main()
