"""The sources of a sound server (PulseAudio, PipeWire), asked through `pactl`.

PortAudio shows the devices `pulse` and `default` alone, and both record the server's default source. The name
`pulse:SOURCE`, as `pactl list short sources` calls it, stands for one source of the server: the capture process sets
PULSE_SOURCE, which the server's client library obeys. So several microphones of one sound server can be heard at once.
Monitors (`pulse:NAME.monitor`, what the machine itself plays) can be recorded too, but are not listed.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgebird.capture.devices import Device

PULSE = "pulse:"  # before the name of a sound server's source

_PACTL_TIMEOUT_S = 5
_CALM_S, _POLL_S = 0.2, 2.0


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
