"""A private PipeWire with WirePlumber and two microphones, reached from this machine alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.live_servers import require_server, wait_until

# The package pipewire-pulse has the same, and units that would start it for everyone.
_PULSE = """
context.spa-libs = { audio.convert.* = audioconvert/libspa-audioconvert support.* = support/libspa-support }
context.modules = [
    { name = libpipewire-module-protocol-native } { name = libpipewire-module-client-node }
    { name = libpipewire-module-adapter } { name = libpipewire-module-metadata }
    { name = libpipewire-module-protocol-pulse args = { server.address = [ "unix:%s" ] } }
]
"""


class PipeWire:
    """A running server; its microphones `garden`, which is the default, and `pond` are silent. env: to use it."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        socket = folder / "native"
        homes = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"), str(folder))
        self.env = {**os.environ, **homes, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/bus"}
        self.env |= {"PULSE_SERVER": f"unix:{socket}", "PULSE_COOKIE": str(folder / "cookie")}
        for name in ("PULSE_SOURCE", "PULSE_PROP", "PIPEWIRE_NODE", "PIPEWIRE_PROPS", "PIPEWIRE_REMOTE"):
            self.env.pop(name, None)
        (folder / "pulse.conf").write_text(_PULSE % socket)
        bus = f"dbus-daemon --session --nofork --nopidfile --address=unix:path={folder}/bus"
        for command, is_up in (
            (bus, (folder / "bus").exists),
            ("pipewire", (folder / "pipewire-0").exists),
            ("wireplumber", lambda: True),
            (f"pipewire -c {folder}/pulse.conf", lambda: self._pactl("info") is not None),
        ):
            running.enter_context(_ended(command, self.env))
            wait_until(is_up, command)
        kind = "media.class=Audio/Source/Virtual channel_map=mono rate=48000"
        self._garden, _ = (
            self._pactl("load-module", "module-null-sink", f"sink_name={name}", *kind.split())
            for name in ("garden", "pond")
        )
        self.make_default("garden")

    def make_default(self, name: str) -> None:
        """Let unnamed recordings come from this microphone."""
        wait_until(lambda: self._pactl("set-default-source", name) is not None, "WirePlumber")
        wait_until(lambda: self._pactl("get-default-source") == name, f"default {name}")

    def unplug_garden(self) -> None:
        """Take the first microphone away."""
        assert self._garden
        self._pactl("unload-module", self._garden)

    def _pactl(self, *arguments: str) -> str | None:
        """What the server answers; None where it does not, or refuses."""
        done = subprocess.run(["pactl", *arguments], env=self.env, capture_output=True, text=True, check=False)
        return None if done.returncode else done.stdout.strip()


@contextmanager
def _ended(command: str, env: dict[str, str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command.split(), env=env, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def pipewire() -> Iterator[PipeWire]:
    """Run a private PipeWire; needs it, WirePlumber, D-Bus, PulseAudio's plugin for ALSA, and PortAudio."""
    if Path("/dev/snd").exists():
        pytest.skip("WirePlumber would take the sound cards of this computer")
    plugin = any(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so"))
    programs = ("pipewire", "wireplumber", "dbus-daemon", "pactl")
    present = plugin and find_library("portaudio") and all(shutil.which(program) for program in programs)
    require_server("pipewire", bool(present), "pipewire wireplumber dbus-daemon pulseaudio-utils libasound2-plugins")
    with tempfile.TemporaryDirectory(prefix="edgebird-", ignore_cleanup_errors=True) as folder, ExitStack() as running:
        yield PipeWire(Path(folder), running)
