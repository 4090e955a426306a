"""A station that hears eight sources to which everything happens, for an hour: no second is unaccounted for, nothing
grows.

Never in CI; by hand: `EDGEBIRD_SOAK_S=3600 python -m pytest -m soak -s tests/test_soak.py`. The same seed
(EDGEBIRD_SOAK_SEED) gives the same faults. The station is `python -m tests.test_soak`, because captures that play a
script are no sources of the command line.
"""

from __future__ import annotations

import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.bundle import Bundle, open_bundle
from edgebird.detection import detection_settings
from edgebird.live.assembly import listen_options, open_listener
from edgebird.live.captured import LiveSource
from edgebird.live.engine import Engine
from edgebird.live.intake import LiveOptions
from edgebird.live.listener import Listener
from edgebird.live.process import Capture
from edgebird.live.service import collecting, keep_steady
from edgebird.live.station import Station, StationOptions
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.settings.model import ClipSettings, DetectionSettings, OutputSettings, SourceSettings, StationSettings
from edgebird.sinks import clips, lines
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.retention import Limits, Retention
from edgebird.sinks.thread import SinkThread
from edgebird.types import Origin
from tests.camera import Habits, camera
from tests.conftest import require
from tests.faults import ENGINE_FAULTS, Struck
from tests.foreign import RATE, scene, tone_bundle
from tests.listening import Listening
from tests.live_servers import RtspServer, VirtualMicrophone, children, rtsp_server, virtual_microphone, wait_until
from tests.web_server import Radio, WebServer, web_server

SOAK_S = float(os.environ.get("EDGEBIRD_SOAK_S", "3600"))
SEED = int(os.environ.get("EDGEBIRD_SOAK_SEED", "4"))
WARM_S = min(1800.0, SOAK_S / 2)  # until every cache is full and everything has failed at once: the most it ever holds
MOST_GROWTH = 1.0  # MB in an hour; in a shorter soak MB in all
SAMPLE_S = 1.0
MICROPHONES, STREAMS, CAMERAS, RADIOS = ("garden", "meadow"), ("pond",), ("brook",), ("tower",)
SCRIPTS = ("one", "two", "three")
SOURCES = (*MICROPHONES, *STREAMS, *CAMERAS, *RADIOS, *SCRIPTS)


# ------------------------------------------------------------------------------------ the station, a process of its own
def run_station(bundle_path: Path, folder: Path, urls: Sequence[str], seed: int) -> None:
    """Hear the microphones, the streams and captures that play a script, until SIGTERM; keep all that can be kept."""
    microphones = [SourceSettings(name, "mic", f"pulse:{name}.monitor") for name in MICROPHONES]
    names = (*STREAMS, *CAMERAS, *RADIOS)
    streams = [
        SourceSettings(name, "url", url, transport="udp" if name in CAMERAS else "tcp")
        for name, url in zip(names, urls, strict=True)
    ]
    output = OutputSettings(clips=ClipSettings(folder / "clips"))
    settings = StationSettings((*microphones, *streams), DetectionSettings(bundle_path, hop_s=1.0), output)
    keep_steady()
    bundle = open_bundle(bundle_path)
    engine = moody_engine(bundle, random.Random(seed))
    kept = [lines.LineFileSink(folder / "log"), DatabaseSink(folder / "birds.sqlite"), lines.LineSink(sys.stdout)]
    made = [
        Retention(folder / "clips", Limits(None, 20_000_000, None, 1)),
        clips.ClipSink(ClipSettings(folder / "clips")),
    ]
    telling = SinkThread([*kept, *made])
    telling.open()
    with collecting() as collect:
        station = Station(engine, telling, StationOptions(1.0, stats_every_s=10.0), collect)
        signal.signal(signal.SIGTERM, lambda *_: station.stop())
        for source in settings.sources:
            station.add(open_listener(source, settings, bundle.card))
        judge = detection_settings(settings.detection, bundle.card)
        for number, name in enumerate(SCRIPTS):
            capture = Capture("tests.fake_capture", {"rate": RATE, "script": script(random.Random(seed + number))})
            feed = LiveSource(name, capture, LiveOptions(RATE))
            station.add(Listener(feed, bundle.card, judge, listen_options(settings.sources[0], settings), Origin(name)))
        station.run()
    engine.close()


def moody_engine(bundle: Bundle, dice: random.Random) -> Engine:
    """An engine that something happens to in one of a thousand calls; what is lost for good is opened again."""
    faults = [fault for fault in ENGINE_FAULTS if fault.fault != "none"]

    def opened() -> Runtime:
        runtime = open_runtime(bundle, "ort-cpu", RuntimeOptions(threads=1))
        return Struck(runtime, dice.choice(faults), lambda _call: dice.random() < 0.001)

    return Engine(opened(), opened)


def script(dice: random.Random) -> list[list[Any]]:
    """What a sound card does, until it goes; then it begins anew."""
    steps: list[list[Any]] = []
    for _ in range(6):
        seconds = round(dice.uniform(0.5, 4.0), 2)
        late = [["wait", seconds], ["burst", seconds, 0.3]]
        fault = dice.choice([[["drop", seconds]], [["skip", seconds]], late, [["audio", 0.1, 1e30]]])
        steps += [["audio", dice.uniform(5, 30), 0.3], *fault]
    return [*steps, ["audio", 3, 0.3], dice.choice([["exit"], ["hang"], ["fail", "busy"]])]


# ------------------------------------------------------------------------------------------------------------- faults
@dataclass
class Fault:
    """Something that happens to a target, and how it ends after some seconds."""

    name: str
    target: str
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    seconds: tuple[float, float] = (0.0, 0.0)


@dataclass
class Misfortune:
    """Lets faults happen, several at once but one to a target at a time."""

    faults: Sequence[Fault]
    dice: random.Random
    begun: Counter[str] = field(default_factory=Counter)
    _running: list[tuple[float, Fault]] = field(default_factory=list)
    _next: float = 0.0

    def pass_on(self, now: float) -> None:
        """End what is due, begin what is."""
        for due, fault in [one for one in self._running if one[0] <= now]:
            self._running.remove((due, fault))
            fault.end()
        if now >= self._next:
            self._next = now + self.dice.uniform(1, 8)
            struck = {fault.target for _, fault in self._running}
            free = [fault for fault in self.faults if fault.target not in struck]
            if free and "sound server" not in struck:
                self._begin(self.dice.choice(free), now)

    def _begin(self, fault: Fault, now: float) -> None:
        if fault.target == "sound server":  # it takes its microphones with it
            self.end(lambda other: other.target in MICROPHONES)
        self.begun[fault.name] += 1
        fault.begin()
        self._running.append((now + self.dice.uniform(*fault.seconds), fault))

    def end(self, which: Callable[[Fault], bool] = lambda fault: True) -> None:
        """End faults at once."""
        for due, fault in [one for one in self._running if which(one[1])]:
            self._running.remove((due, fault))
            fault.end()


class Garden:
    """The sound server with its microphones, at which a record is played again and again."""

    def __init__(self, server: VirtualMicrophone, record: Path) -> None:
        self.server, self._record = server, record
        self._sinks: dict[str, str] = {}
        self._players: dict[str, subprocess.Popen[bytes]] = {}
        for name in MICROPHONES:
            self.plug_in(name)

    def plug_in(self, name: str) -> None:
        form = "format=s16le rate=48000 channels=1"
        self._sinks[name] = self.server.pactl("load-module", "module-null-sink", f"sink_name={name}", *form.split())

    def unplug(self, name: str) -> None:
        self.server.pactl("unload-module", self._sinks[name])

    def restart(self) -> None:
        self.server.restart()
        for name in MICROPHONES:
            self.plug_in(name)

    def play(self) -> None:
        """Put the needle back where it has come to the end."""
        for name in MICROPHONES:
            player = self._players.get(name)
            if player is None or player.poll() is not None:
                command = ["paplay", f"--device={name}", str(self._record)]
                self._players[name] = subprocess.Popen(command, env=self.server.env, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        for player in self._players.values():
            player.kill()
            player.wait()


def all_faults(
    garden: Garden, streams: Sequence[RtspServer], radio: WebServer, run: Listening, folder: Path, dice: random.Random
) -> list[Fault]:
    faults = [Fault("sound server dies", "sound server", garden.server.kill, garden.restart, (1, 10))]
    for name in MICROPHONES:
        pactl = garden.server.pactl
        faults += [
            Fault("unplugged", name, _do(garden.unplug, name), _do(garden.plug_in, name), (1, 15)),
            Fault("suspended", name, _do(pactl, "suspend-sink", name, "1"),
                  _do(pactl, "suspend-sink", name, "0"), (1, 12)),
            Fault("muted", name, _do(pactl, "set-source-mute", f"{name}.monitor", "1"),
                  _do(pactl, "set-source-mute", f"{name}.monitor", "0"), (1, 12)),
        ]  # fmt: skip
    for name, server in zip(STREAMS, streams, strict=True):
        faults += [
            Fault("server dies", name, server.kill, server.restart, (1, 15)),
            Fault("server stalls", name, server.stop, server.cont, (1, 12)),
        ]
    faults += [
        Fault("connection breaks", "tower", radio.hang_up),
        Fault("radio is away", "tower", lambda: switch(radio, False), lambda: switch(radio, True), (1, 20)),
    ]
    station, lock = run.process.pid, Lock(folder / "birds.sqlite")
    faults += [
        Fault("database is locked", "database", lock.take, lock.give, (1, 10)),
        Fault("log is taken away", "log", lambda: take_away(folder / "log")),
        Fault("capture dies", "captures", lambda: kill_one(sorted(children(station)), dice)),
        Fault("station is stopped", "station", _do(os.kill, station, signal.SIGSTOP),
              _do(os.kill, station, signal.SIGCONT), (0.5, 4)),
    ]  # fmt: skip
    return faults


def _do(what: Callable[..., object], *arguments: Any) -> Callable[[], object]:
    return lambda: what(*arguments)


def switch(radio: WebServer, on: bool) -> None:
    """Switch a radio on or off."""
    radio.down = not on
    if not on:
        radio.hang_up()


def take_away(folder: Path) -> None:
    """Move a folder elsewhere, as a person does who makes room."""
    with suppress(FileNotFoundError):
        folder.rename(folder.with_name(f"{folder.name}.{time.monotonic():.0f}"))


class Lock:
    """Holds a database, as a backup does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def take(self) -> None:
        with suppress(sqlite3.OperationalError):
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._connection.execute("BEGIN EXCLUSIVE")

    def give(self) -> None:
        if self._connection:
            self._connection.close()


def kill_one(pids: Sequence[int], dice: random.Random) -> None:
    if pids:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(pids), signal.SIGKILL)


# ------------------------------------------------------------------------------------------------------------ measured
@dataclass(frozen=True)
class Sample:
    """What the station holds. at: seconds since it began; rss_mb: resident memory."""

    at: float
    rss_mb: float
    files: int
    threads: int
    captures: int

    @classmethod
    def of(cls, run: Listening, at: float) -> Sample:
        process = Path(f"/proc/{run.process.pid}")
        pages = int((process / "statm").read_text().split()[1])
        return cls(
            at,
            pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
            len(os.listdir(process / "fd")),
            len(os.listdir(process / "task")),
            len(run.captures()),
        )


def calm(run: Listening, began: float) -> list[Sample]:
    """Some seconds without faults, when all sources that can be are heard."""
    samples = []
    for _ in range(10):
        samples.append(Sample.of(run, time.monotonic() - began))
        time.sleep(0.5)
    return samples


def slope_mb(samples: Sequence[Sample]) -> float:
    """Growth of the resident memory in an hour, by least squares."""
    return float(np.polyfit([s.at / 3600 for s in samples], [s.rss_mb for s in samples], 1)[0])


def heard_now(run: Listening) -> set[str]:
    """The sources that the last statistics call open, or silent, clipping, quiet: these are heard too."""
    stats = [event for event in run.events if event["event"] == "stats"]
    return {s["source"] for s in stats[-1]["sources"] if s["state"] not in ("starting", "lost")} if stats else set()


@dataclass
class Soaked:
    """A station, what befell it, and what it held: calm at first, in the storm, calm at the end."""

    run: Listening
    faults: Counter[str]
    before: list[Sample]
    storm: list[Sample]
    after: list[Sample]

    def report(self) -> str:
        measured = [s for s in self.storm if s.at > WARM_S]
        lines_ = [f"{sum(self.faults.values())} faults: " + ", ".join(f"{n} {f}" for f, n in self.faults.most_common())]
        lines_.append(
            f"memory {measured[0].rss_mb:.1f} -> {measured[-1].rss_mb:.1f} MB, {slope_mb(measured):+.2f} MB/h"
        )
        series = self.storm[:: max(1, len(self.storm) // 15)]
        lines_.append("memory at " + ", ".join(f"{s.at:.0f} s {s.rss_mb:.1f}" for s in series))
        for name, side in (("before", self.before), ("after", self.after)):
            lines_.append(f"{name}: {max(s.files for s in side)} files, {max(s.threads for s in side)} threads")
        lines_.append(f"at most {max(s.captures for s in self.storm)} captures")
        for source in SOURCES:
            s = self.run.summary(source)
            lines_.append(
                f"{source:7} {s['audio_s']:9.3f} s = {s['scored_s']:9.3f} scored + {s['gap_s']:9.3f} gaps + "
                f"{s['tail_s']:7.3f} tails; {s['detections']} detections; drift {s['drift_ppm']} ppm; "
                f"lost {self.run.states(source).count('lost')} times"
            )
        return "\n".join(lines_)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soaked]:
    require("onnxruntime"), require("av")
    folder, dice = tmp_path_factory.mktemp("soak"), random.Random(SEED)
    record = folder / "record.wav"
    soundfile.write(record, scene(40, [(0, 0.5, 5, 12), (1, 0.6, 15, 30), (2, 0.7, 20, 36)], 48000), 48000)
    tones = tone_bundle(folder / "tones").path
    with ExitStack() as stack:
        garden = Garden(stack.enter_context(virtual_microphone()), record)
        stack.callback(garden.end)
        streams = [stack.enter_context(rtsp_server(record)) for _ in STREAMS]
        cameras = [stack.enter_context(camera(moods(dice))) for _ in CAMERAS]
        radio = stack.enter_context(web_server())
        radio.routes["/birds.mp3"] = radio_of(record, 2 * SOAK_S + 600)
        urls = [server.url("/l16") for server in streams] + [one.url() for one in cameras] + [radio.url("/birds.mp3")]
        command = [sys.executable, "-m", "tests.test_soak", str(tones), str(folder), str(SEED), *urls]
        run = Listening(command, garden.server.env)
        stack.callback(run.close)
        faults = all_faults(garden, streams, radio, run, folder, dice)
        yield weather(run, garden, Misfortune(faults, dice))


def moods(dice: random.Random) -> Habits:
    """A cheap camera, whose stamps jitter and step and whose packets are lost, for as long as the soak lasts."""
    steps = {at: dice.uniform(-2, 2) for at in np.arange(20, 2 * SOAK_S, 37).tolist()}
    stalls = {at: dice.choice([3.0, 7.0, 20.0]) for at in np.arange(30, 2 * SOAK_S, 111).tolist()}
    return Habits(jitter=320, ppm=200, steps=steps, lost=50, stalls=stalls)


def radio_of(record: Path, seconds: float) -> Radio:
    """A radio that plays a record again and again, as MP3 of constant rate."""
    sound, rate = soundfile.read(record)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=0.9)
    once = file.getvalue()
    return Radio(once * round(seconds * rate / len(sound) + 1), len(once) * rate / len(sound))


def weather(run: Listening, garden: Garden, misfortune: Misfortune) -> Soaked:
    """Calm, storm, calm."""
    wait_until(lambda: heard_now(run) == set(SOURCES), "hearing of all sources", 60)
    began = time.monotonic()
    before, storm = calm(run, began), []
    next_sample = 0.0
    while (now := time.monotonic() - began) < SOAK_S:
        assert run.process.poll() is None, f"the station has ended: {run.err[-2000:]}"
        misfortune.pass_on(now)
        garden.play()
        if now >= next_sample:
            next_sample = now + SAMPLE_S
            storm.append(Sample.of(run, now))
        time.sleep(0.1)
    misfortune.end()
    wait_until(lambda: heard_now(run) == set(SOURCES), "hearing of all sources", 120)
    after = calm(run, began)
    run.end()
    return Soaked(run, misfortune.begun, before, storm, after)


@pytest.mark.soak
def test_every_second_of_every_source_is_accounted_for(soaked: Soaked) -> None:
    """`Listening.end` has compared what was scored, told as gaps and left over with the time of each source."""
    print("\n" + soaked.report())
    assert soaked.run.process.returncode == 0
    for source in SOURCES:
        summary = soaked.run.summary(source)
        assert summary["audio_s"] == pytest.approx(summary["wall_s"], abs=20), f"{source}: time went elsewhere"
        assert summary["scored_s"] > 0
        assert soaked.run.of("gap", source) or source in RADIOS, "a radio's burst may bring back all that was missed"


@pytest.mark.soak
def test_memory_does_not_grow(soaked: Soaked) -> None:
    measured = [sample for sample in soaked.storm if sample.at > WARM_S]
    hours = min(1.0, (measured[-1].at - measured[0].at) / (3600 - WARM_S))
    assert slope_mb(measured) * hours < MOST_GROWTH


@pytest.mark.soak
def test_no_thread_no_file_and_no_capture_is_left_behind(soaked: Soaked) -> None:
    before, after = soaked.before, soaked.after
    assert max(s.threads for s in after) <= max(s.threads for s in before)
    assert max(s.files for s in after) <= max(s.files for s in before) + len(SOURCES)  # captures that begin just then
    helpers = 3 * len(MICROPHONES)  # a shell and two `pactl` tell each that it was moved
    assert max(s.captures for s in soaked.storm) <= len(SOURCES) + helpers + 4  # and what is just ending


if __name__ == "__main__":
    run_station(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:], int(sys.argv[3]))
