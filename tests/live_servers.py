"""Real inputs without hardware: a sound server of our own with a microphone, an RTSP server, and capture processes.

All are reached from this machine alone and end with their `with` block.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from edgebird.capture import wire
from edgebird.types import FloatArray

_SYSTEM_PYTHON = "/usr/bin/python3"  # the one for which Debian's python3-gi is made


def require_server(name: str, present: bool, packages: str) -> None:
    """Skip where a server cannot run; fail where EDGEBIRD_REQUIRE (names, or `all`) promises it."""
    if present:
        return
    promised = os.environ.get("EDGEBIRD_REQUIRE", "").split(",")
    if name in promised or "all" in promised:
        pytest.fail(f"{name} was promised by EDGEBIRD_REQUIRE: apt install {packages}")
    pytest.skip(f"{name} is not installed (apt install {packages})")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait for a condition; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds} s there is still no {what}")
        time.sleep(0.02)


@contextmanager
def bounded(process: subprocess.Popen[Any], seconds: float = 120) -> Iterator[None]:
    """Kill a process at the end of the block, or after so many seconds: nothing may wait for it for ever."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()


def children(process: int | str = "self") -> set[int]:
    """What a process has started, without what that has started; of this one if none is given."""
    found = set[int]()
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):  # a thread that has just ended
                found.update(map(int, (task / "children").read_text().split()))
    return found


def holders(pipe: IO[Any]) -> list[str]:
    """The processes that have a pipe open, with their commands."""
    found, link = [], os.readlink(f"/proc/self/fd/{pipe.fileno()}")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.readlink(one) == link for one in (folder / "fd").iterdir()):
                found.append(f"{folder.name}: {(folder / 'cmdline').read_bytes().decode(errors='replace')}")
    return found


class VirtualMicrophone:
    """A private PulseAudio with the sink `vmic`, and a source `virtmic` that records what is played there.

    env: for the processes that shall use it. rate, channels: of the microphone; its samples have 16 bits, and arrive
    unchanged.
    """

    def __init__(self, folder: Path, rate: int = 48000, channels: int = 1) -> None:
        self._folder, self._socket = folder, folder / "native"
        self._rate, self._channels = rate, channels
        self._server: subprocess.Popen[bytes] | None = None
        self._sink = self._source = ""
        self.env = {**os.environ, "PULSE_SERVER": f"unix:{self._socket}", "PULSE_COOKIE": str(folder / "cookie")}
        self.env.pop("PULSE_SOURCE", None)
        self.env.pop("PULSE_SINK", None)
        self.restart()

    def restart(self) -> None:
        """Start the server, again if it was killed, and plug the microphone in."""
        self._socket.unlink(missing_ok=True)
        home = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH"), str(self._folder))
        command = "pulseaudio -n --daemonize=no --use-pid-file=no --exit-idle-time=-1 --disable-shm=yes --realtime=no"
        command += f" --high-priority=no --log-target=file:{self._folder}/log"
        module = f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"
        self._server = subprocess.Popen(
            [*command.split(), "-L", module], env={**self.env, **home}, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "sound server")
        self.replug()

    def replug(self) -> None:
        """Plug the microphone in; it becomes the default."""
        form = f"format=s16le rate={self._rate} channels={self._channels}"
        self._sink = self.pactl("load-module", "module-null-sink", "sink_name=vmic", *form.split())
        self._source = self.pactl("load-module", "module-remap-source", "source_name=virtmic", "master=vmic.monitor")
        self.pactl("set-default-sink", "vmic")
        self.pactl("set-default-source", "virtmic")

    def unplug(self) -> None:
        """Unplug it; no source is left."""
        self.pactl("unload-module", self._sink)

    def take_away(self) -> None:
        """Unplug it, but leave another source, to which PulseAudio then moves the recording without a word."""
        self.pactl("unload-module", self._source)

    def add(self, name: str) -> None:
        """Plug in one more microphone; it is silent."""
        self.pactl("load-module", "module-null-source", f"source_name={name}", f"rate={self._rate}", "channels=1")

    def suspend(self, suspended: bool) -> None:
        """Let it stall, or go on."""
        self.pactl("suspend-source", "virtmic", str(int(suspended)))

    def mute(self, muted: bool) -> None:
        """Let it record digital silence, or sound."""
        self.pactl("set-source-mute", "virtmic", str(int(muted)))

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Play a sound file to it."""
        return subprocess.Popen(["paplay", "--device=vmic", str(path)], env=self.env)

    def kill(self) -> None:
        """Kill the server."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def pactl(self, *arguments: str) -> str:
        """Tell the server something; what it answers."""
        done = subprocess.run(["pactl", *arguments], env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _answers(self) -> bool:
        return subprocess.run(["pactl", "info"], env=self.env, capture_output=True, check=False).returncode == 0


@contextmanager
def virtual_microphone(rate: int = 48000, channels: int = 1) -> Iterator[VirtualMicrophone]:
    """Run a sound server with a microphone; needs PulseAudio, its plugin for ALSA, and PortAudio."""
    plugin = any(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so"))
    present = (
        plugin
        and find_library("portaudio")
        and all(shutil.which(program) for program in ("pulseaudio", "pactl", "paplay"))
    )
    require_server("pulseaudio", bool(present), "pulseaudio pulseaudio-utils libasound2-plugins libportaudio2")
    with tempfile.TemporaryDirectory(prefix="edgebird-") as folder:  # pytest's own is too deep for a socket's name
        microphone = VirtualMicrophone(Path(folder), rate, channels)
        try:
            yield microphone
        finally:
            microphone.kill()


_SERVE = """
import json
import sys
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
path, port, more = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
decoded = f'filesrc location="{path}" ! decodebin ! audioconvert ! audioresample !'
launches = {"l16": f"{decoded} rtpL16pay name=pay0 pt=96", "opus": f"{decoded} opusenc ! rtpopuspay name=pay0 pt=97"}
for name, launch in (launches | json.loads(more)).items():
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    server.get_mount_points().add_factory("/" + name, factory)
if not server.attach(None):
    sys.exit(f"cannot listen on port {port}")
print("ready", flush=True)
GLib.MainLoop().run()
"""


class RtspServer:
    """Plays a sound file to everyone from its start, at /l16 (bit by bit) and /opus; the stream ends with the file.

    more: GStreamer's words for what is at other paths.
    """

    def __init__(self, path: Path, more: dict[str, str] | None = None) -> None:
        self._path, self._port, self._more = path, free_port(), more or {}
        self._server: subprocess.Popen[str] | None = None
        self.restart()

    def restart(self) -> None:
        """Start it, again if it was killed, on the same port."""
        command = [_SYSTEM_PYTHON, "-c", _SERVE, str(self._path), str(self._port), json.dumps(self._more)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        output: IO[str] | None = self._server.stdout
        assert output is not None
        if output.readline() != "ready\n":
            pytest.fail("the RTSP server does not start")

    def url(self, path: str, credentials: str = "") -> str:
        """The address of /l16, /opus, or one that is not there; credentials such as `user:password@`."""
        return f"rtsp://{credentials}127.0.0.1:{self._port}{path}"

    def kill(self) -> None:
        """Kill it."""
        assert self._server is not None
        self._server.kill()
        self._server.communicate(timeout=20)

    def stop(self) -> None:
        """Let it stall: it holds its connections and says nothing."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)


@contextmanager
def rtsp_server(path: Path, more: dict[str, str] | None = None) -> Iterator[RtspServer]:
    """Run an RTSP server that plays a sound file; see `RtspServer`; needs GStreamer and the system's Python."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    present = (
        Path(_SYSTEM_PYTHON).exists()
        and subprocess.run([_SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
    )
    packages = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
    require_server("rtsp", present, packages)
    server = RtspServer(path, more)
    try:
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Captured:
    """What a capture process has said so far; a thread reads it while `reading` is set."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.messages: list[wire.Message] = []
        self.reading = threading.Event()
        self.reading.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for message in wire.read(self.process.stdout):
            self.messages.append(message)
            self.reading.wait()

    def all(self, kind: bytes) -> list[wire.Message]:
        """The messages of a kind."""
        return [message for message in self.messages if message.kind == kind]

    def wait(self, kind: bytes, seconds: float = 10) -> dict[str, Any]:
        """Wait for a message that is not DATA; what the first one says."""
        wait_until(lambda: bool(self.all(kind)), f"message {kind!r} among {self.messages[:3]}", seconds)
        return self.all(kind)[0].json()

    def samples(self) -> FloatArray:
        """The sound so far, float32 [frames * channels]."""
        return np.frombuffer(b"".join(message.payload for message in self.all(wire.DATA)), np.float32)

    def stop(self) -> int:
        """Tell it to stop as a parent does; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(5)

    def end(self) -> None:
        """Kill it, and read the rest of what it said."""
        self.process.kill()
        self.reading.set()
        self._reader.join(20)
        if self._reader.is_alive():
            pipe, self.process.stdout = self.process.stdout, None  # which cannot be closed while it is read
            assert pipe is not None
            pytest.fail(f"a capture that was killed is still heard of: {holders(pipe)}")


@contextmanager
def captured(module: str, options: dict[str, Any], env: dict[str, str] | None = None) -> Iterator[Captured]:
    """Run a capture process, `microphone` or `stream`; it is killed at the end."""
    command = [sys.executable, "-m", f"edgebird.capture.{module}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(options).encode() + b"\n")
        process.stdin.flush()
        heard = Captured(process)
        try:
            yield heard
        finally:
            heard.end()
