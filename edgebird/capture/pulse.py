"""The sources of a sound server (PulseAudio, PipeWire), asked through `pactl`.

PortAudio shows the devices `pulse`, `pipewire` and `default` alone, and all record the server's default source. The
name `pulse:SOURCE`, as `pactl list short sources` calls it, stands for one source of the server: the capture process
sets environment variables that the server's client libraries obey (`recording_env`). So several microphones of one
sound server can be heard at once. Monitors (`pulse:NAME.monitor`, what the machine itself plays) can be recorded too,
but are not listed.

What was seen of PipeWire 0.3.65 and 1.4.2, where it differs from PulseAudio:
* Only the clients of native streams tell their process, not the streams.
* A filter does not name its master; its own recording of the master is in the same link group.
* From 1.0 on null sinks and their monitors have the flag HARDWARE too.
* A stream for a source that is also the default follows the default, unless it must not be connected again.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from edgebird.capture.devices import CARD_LATE_S, PIPEWIRE_LATE_S, VIRTUAL_LATE_S, Device

PULSE = "pulse:"  # before the name of a sound server's source
SERVED = ("pulse", "pipewire", "default")  # what PortAudio calls the devices of a sound server

_PACTL_TIMEOUT_S = 5
_CALM_S, _POLL_S = 0.2, 2.0


def pulse_sources() -> list[Device]:
    """The sources of the sound server, monitors last; none where there is no server or no `pactl` to ask it."""
    info, listed = _pactl("info"), _pactl("list", "sources")
    if info is None or listed is None:
        return []
    masters = _masters(listed)
    sources = [_source(source, info.get("default_source_name"), masters) for source in listed]
    return sorted(sources, key=lambda source: is_monitor(source.name))


def is_monitor(name: str) -> bool:
    """Whether a source of the sound server is what the machine itself plays, by its name."""
    return name.startswith(PULSE) and name.endswith(".monitor")


def recording_env(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a process so that it records from this source, `pulse:` included, and no other.

    The first two are for PulseAudio's client library, also on PipeWire; the others for PipeWire's own. A pinned stream
    ends with its source: it is neither moved to the default nor, where it is the default, follows that.
    """
    source = name.removeprefix(PULSE)
    pinned = f"{env.get('PULSE_PROP', '')} node.dont-reconnect=true".strip()
    native = "{ node.dont-reconnect = true }"
    if is_monitor(name):
        native = "{ node.dont-reconnect = true stream.capture.sink = true }"
    node = source.removesuffix(".monitor")
    return {"PULSE_SOURCE": source, "PULSE_PROP": pinned, "PIPEWIRE_NODE": node, "PIPEWIRE_PROPS": native}


def recorded_source(process: int) -> str | None:
    """The sound server's source that a process records from, with `pulse:`; None if it does not, or nobody knows.

    `pulse:` alone: its source has gone, and it waits for another.
    """
    streams, sources = _pactl("list", "source-outputs") or [], _pactl("list", "short", "sources")
    pid = str(process)
    own = next((stream for stream in streams if _pid(stream) == pid), None)
    if own is None and any(_pid(stream) is None and stream.get("client") for stream in streams):
        clients = {str(client["index"]) for client in _pactl("list", "clients") or [] if _pid(client) == pid}
        own = next((stream for stream in streams if stream.get("client") in clients), None)
    if own is None:
        return None
    return PULSE + next((source["name"] for source in sources or [] if source["index"] == own["source"]), "")


def _pid(thing: Mapping[str, Any]) -> str | None:
    pid: str | None = thing.get("properties", {}).get("application.process.id")
    return pid


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


def _source(source: dict[str, Any], default: str | None, masters: Mapping[str, dict[str, Any]]) -> Device:
    _, channels, rate = source["sample_specification"].split()  # such as `s16le 1ch 48000Hz`
    return Device(
        index=None,
        name=PULSE + source["name"],
        description=source["description"],
        channels=int(channels.removesuffix("ch")),
        rate=int(rate.removesuffix("Hz")),
        default=source["name"] == default,
        late_s=_late_s(source, masters),
    )


def _masters(sources: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What filters, as against echoes, make their sources of: the name of a filter -> its master."""
    by_name = {source["name"]: source for source in sources}
    by_index = {source["index"]: source for source in sources}
    groups: dict[str, dict[str, Any]] = {}
    if any(_group(source) for source in sources):
        for stream in _pactl("list", "source-outputs") or []:
            if (group := _group(stream)) and stream["source"] in by_index:
                groups[group] = by_index[stream["source"]]
    found = {
        name: by_name.get(source.get("properties", {}).get("device.master_device", ""), groups.get(_group(source)))
        for name, source in by_name.items()
    }
    return {name: master for name, master in found.items() if master}


def _group(thing: Mapping[str, Any]) -> str:
    """PipeWire's name for what one filter is made of."""
    group: str = thing.get("properties", {}).get("node.link-group", "")
    return group


def _late_s(source: dict[str, Any], masters: Mapping[str, dict[str, Any]]) -> float:
    """See `Device`. A filter is what its master is, which may be one too."""
    for _ in masters:
        if is_monitor(PULSE + source["name"]):
            break
        source = masters.get(source["name"], source)
    if is_monitor(PULSE + source["name"]) or not _is_card(source):
        return VIRTUAL_LATE_S
    return PIPEWIRE_LATE_S if source.get("driver") == "PipeWire" else CARD_LATE_S


def _is_card(source: Mapping[str, Any]) -> bool:
    properties = source.get("properties", {})
    known = "device.api" in properties or properties.get("factory.name", "").startswith("api.")
    return known and "HARDWARE" in source.get("flags", ())


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
