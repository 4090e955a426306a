"""`edgebird listen` from the microphone to the file, for real: the same birds by every way, whatever breaks meanwhile.

The sound server and the RTSP servers are our own, and the model hears three tones (see `tone_bundle`).
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from edgebird.events import Event, to_json
from edgebird.live.clock import FrameClock
from edgebird.sinks.guano import read_guano
from edgebird.types import FloatArray
from tests.conftest import require
from tests.foreign import HERTZ, RATE, scene, tone_bundle
from tests.listening import Listening, listening
from tests.live_servers import RtspServer, VirtualMicrophone, bounded, rtsp_server, virtual_microphone, wait_until

MIC_RATE = 48000
HOP_S = 1.0
# Every score depends on where the windows lie, but for that of the low tone, which is longer than a window and a hop.
TONES = [(0, 0.4, 3.0, 9.5), (2, 0.35, 4.0, 7.6)]
SCENE_S = 12.5
BIRDS = Path(__file__).parents[1] / "edgebird" / "demo" / "data" / "three_birds.flac"
DETECTION = ("--hop", HOP_S, "--threshold", 0.2)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("onnxruntime")
    return tone_bundle(tmp_path_factory.mktemp("listen") / "tones").path


@pytest.fixture(scope="module")
def meadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones among real birds, at the rate of a microphone."""
    birds, rate = soundfile.read(BIRDS, dtype="float32")
    sound = 0.3 * soxr.resample(birds[: int(SCENE_S * rate)], rate, MIC_RATE)
    path = tmp_path_factory.mktemp("meadow") / "meadow.wav"
    soundfile.write(path, sound + scene(SCENE_S, TONES, MIC_RATE), MIC_RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def in_meadow(meadow: Path, tones: Path) -> list[Event]:
    """What `detect` finds there."""
    return detect(meadow, tones)


@pytest.fixture(scope="module")
def low_meadow(meadow: Path) -> Path:
    """The same at the rate of the model, so that nothing is resampled."""
    path = meadow.with_name("low.wav")
    soundfile.write(path, soxr.resample(soundfile.read(meadow)[0], MIC_RATE, RATE), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def mic() -> Iterator[VirtualMicrophone]:
    """With a second microphone, pulse:lowmic, at the rate of the model."""
    with virtual_microphone(MIC_RATE) as mic:
        require("sounddevice")
        plug_in(mic, "low", RATE)
        mic.pactl("load-module", "module-remap-source", "source_name=lowmic", "master=low.monitor")
        yield mic


@pytest.fixture(scope="module")
def rtsp(meadow: Path) -> Iterator[RtspServer]:
    require("av")
    with rtsp_server(meadow) as server:
        yield server


def plug_in(mic: VirtualMicrophone, name: str, rate: int = MIC_RATE) -> str:
    """One more microphone, `pulse:NAME.monitor`: it hears what is played to NAME."""
    form = f"format=s16le rate={rate} channels=1"
    return mic.pactl("load-module", "module-null-sink", f"sink_name={name}", *form.split())


@contextmanager
def playing(mic: VirtualMicrophone, name: str, sound: Path) -> Iterator[None]:
    """Play a sound to a sink."""
    with subprocess.Popen(["paplay", f"--device={name}", str(sound)], env=mic.env) as player, bounded(player):
        yield


def detect(path: Path, bundle: Path) -> list[Event]:
    command = [sys.executable, "-m", "edgebird", "detect", path, "--bundle", bundle, *DETECTION, "--format", "jsonl"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return [event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "detection"]


def found(events: list[Event]) -> list[tuple[Any, ...]]:
    """What was heard and when; scores to 1e-4."""
    return [
        (e["code"], e["start_s"], e["end_s"], pytest.approx(e["score"], abs=1e-4), e["windows"])
        for e in sorted(events, key=lambda e: (e["start_s"], e["code"]))
    ]


# ------------------------------------------------------------------------------------------------ heard by all ways
@dataclass(frozen=True)
class Heard:
    """The same meadow, by two microphones and a stream at once, and what was kept of it in `folder`.

    file: a station that plays the file itself. played: to each microphone. began: the wall clock when it did at the
    first, as the sound server says.
    """

    run: Listening
    file: Listening
    folder: Path
    played: dict[str, Path]
    began: float


@pytest.fixture(scope="module")
def heard(
    tones: Path,
    mic: VirtualMicrophone,
    rtsp: RtspServer,
    meadow: Path,
    low_meadow: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Heard:
    folder = tmp_path_factory.mktemp("station")
    devices = ("--device", "garden=pulse:virtmic", "--device", "low=pulse:lowmic")
    kept = ("--log", folder / "log", "--csv", folder / "birds.csv", "--database", folder / "birds.sqlite")
    clips = ("--clips", folder / "clips", "--clip-format", "wav", "--clip-post", 1)
    place = ("--latitude", 48.1, "--longitude", 11.5)
    url = ("--url", f"pond={rtsp.url('/l16')}")
    model = ("--bundle", tones, *DETECTION)
    with (
        listening(*devices, *url, *model, *kept, *clips, *place, "--timezone", "+02:00", env=mic.env) as run,
        listening("--file", meadow, "--realtime", *model) as file,
    ):
        run.wait_states(("garden", "open"), ("low", "open"))
        with subprocess.Popen(["paplay", "--device=low", low_meadow], env=mic.env):
            began = play(mic, meadow)
        for source in ("garden", "low", "pond"):
            run.wait("clip", source, count=len(TONES))
        assert run.end() == 0
        assert file.end(None) == 0
    return Heard(run, file, folder, {"garden": meadow, "low": low_meadow}, began)


def play(mic: VirtualMicrophone, path: Path) -> float:
    """Play a file to the first microphone; when it began, by what the sound server says of its progress."""
    command = ["paplay", "-v", "--device=vmic", str(path)]
    began = []
    with subprocess.Popen(command, env=mic.env, stderr=subprocess.PIPE) as player:
        assert player.stderr is not None
        line = b""
        while byte := player.stderr.read(1):
            line += byte
            if byte in b"\r\n":
                if time_s := re.search(rb"Time: ([\d.]+) sec", line):
                    began.append(time.time() - float(time_s[1]))
                line = b""
    return float(np.median(began))


def first_lag(sound: FloatArray, start: FloatArray) -> int:
    """Where a sound starts in another, in samples: the least squares."""
    energy = np.concatenate([[0.0], np.cumsum(sound.astype(np.float64) ** 2)])
    return int(np.argmin(energy[len(start) :] - energy[: -len(start)] - 2 * np.correlate(sound, start, "valid")))


def clip_of(heard: Heard, source: str, code: str) -> tuple[Event, FloatArray]:
    """A clip: its event and its samples."""
    (event,) = heard.run.of("clip", source, code=code)
    samples, rate = soundfile.read(event["path"], dtype="float32")
    assert rate == RATE
    return event, samples


def began_at(heard: Heard, source: str) -> int:
    """The position of a source at which the meadow begins, in samples, found in a clip."""
    event, samples = clip_of(heard, source, "tonlow")
    start, rate = soundfile.read(heard.played[source], dtype="float32")
    start = soxr.resample(start, rate, RATE) if rate != RATE else start
    assert event["missing_s"] == 0
    return round(event["clip_start_s"] * RATE) + first_lag(samples, start[:RATE])


def after_silence(sound: Path, silence: int, path: Path) -> Path:
    """A file as a microphone hears it: the sound after so many samples of the model's rate, and silence after it."""
    samples, rate = soundfile.read(sound, dtype="int16")
    before = np.zeros(silence * rate // RATE, np.int16)
    soundfile.write(path, np.concatenate([before, samples, np.zeros(8 * rate, np.int16)]), rate, subtype="PCM_16")
    return path


@pytest.mark.parametrize("source", ["low", "garden"])
def test_a_microphone_hears_what_detect_finds_in_the_file(
    heard: Heard, tones: Path, in_meadow: list[Event], tmp_path: Path, source: str
) -> None:
    sound = heard.played[source]
    silence = began_at(heard, source)
    expected = detect(after_silence(sound, silence, tmp_path / "silence.wav"), tones)
    assert found(heard.run.of("detection", source)) == found(expected) != []
    # Without the silence windows lie elsewhere: the low tone has the same score, and times differ by less than a hop.
    before = next(e for e in in_meadow if e["code"] == "tonlow")
    (live,) = heard.run.of("detection", source, code="tonlow")
    assert live["score"] == pytest.approx(before["score"], abs=2e-3)  # of which the birds around it have a part
    for edge in ("start_s", "end_s"):
        assert abs(live[edge] - silence / RATE - before[edge]) <= HOP_S


def test_a_lossless_stream_is_heard_as_detect_finds_it_in_the_file(heard: Heard, in_meadow: list[Event]) -> None:
    first = [e for e in heard.run.of("detection", "pond") if e["end_s"] <= SCENE_S]
    assert found(first) == found(in_meadow)
    assert heard.run.of("gap", "pond")[0]["start_s"] == SCENE_S, "the stream has ended"


def test_a_microphone_that_is_well_loses_nothing(heard: Heard) -> None:
    for source in ("garden", "low"):
        assert [state for state in heard.run.states(source) if state != "silent"] == ["open", "closed"]
        summary = heard.run.summary(source)
        assert summary["gap_s"] == 0
        assert summary["tail_s"] < 0.5


def test_a_bird_is_told_when_it_is_heard(heard: Heard) -> None:
    """`latency_s` runs from the last sample heard to the score; the event is out soon after that."""
    arrived = dict(zip(map(id, heard.run.events), heard.run.arrived, strict=True))
    onsets = [e for source in ("garden", "low") for e in heard.run.of("onset", source)]
    assert len(onsets) == 4
    for onset in onsets:
        window_ended = datetime.fromisoformat(onset["time"]).timestamp() + onset["end_s"] - onset["start_s"]
        late = arrived[id(onset)] - window_ended
        assert -0.05 < late - onset["latency_s"] < 0.25
        assert 0 <= onset["latency_s"] < 0.6  # a sound server hands over a block, then the engine has its turn
    (onset,) = heard.run.of("onset", "garden", code="tonlow")
    # At 0.4 of full scale it needs half a window; the hop is what the next window may be away.
    played = heard.began + TONES[0][2]
    assert played + 2.5 - 0.3 < arrived[id(onset)] < played + 2.5 + HOP_S + 1.0


def test_a_clip_holds_the_tone_where_and_when_it_was_played(heard: Heard) -> None:
    event, samples = clip_of(heard, "garden", "tonlow")
    block = RATE // 10
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    wave = np.exp(-2j * np.pi * HERTZ[0] * np.arange(block) / RATE)
    heard_s = 0.1 * np.flatnonzero(2 / block * np.abs(blocks @ wave) > 0.2)
    began_s = began_at(heard, "garden") / RATE - event["clip_start_s"]
    assert heard_s[0] == pytest.approx(began_s + TONES[0][2], abs=0.11)
    assert heard_s[-1] + 0.1 == pytest.approx(began_s + TONES[0][3], abs=0.11)
    guano = read_guano(Path(event["path"]))
    clip_began = datetime.fromisoformat(guano["Timestamp"])
    assert clip_began.timestamp() + began_s == pytest.approx(heard.began, abs=0.3)
    assert guano["Timestamp"].endswith("+02:00")
    assert guano["Loc Position"] == "48.100000 11.500000"
    assert float(guano["edgebird|Start"]) + event["clip_start_s"] == pytest.approx(event["start_s"], abs=1e-3)


def logged(folder: Path) -> list[str]:
    """The lines of all days, sorted: at midnight there are two."""
    return sorted(line for day in folder.iterdir() for line in day.read_text(encoding="utf-8").splitlines())


def test_all_that_is_kept_says_the_same(heard: Heard) -> None:
    assert logged(heard.folder / "log") == sorted(map(to_json, heard.run.events))
    detections = [e for e in heard.run.events if e["event"] == "detection"]
    with (heard.folder / "birds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Common name"], float(row["Start (s)"])) for row in rows] == [
        (e["common_name"], e["start_s"]) for e in detections
    ]
    with closing(sqlite3.connect(heard.folder / "birds.sqlite")) as database:
        database.row_factory = sqlite3.Row
        kept = [dict(row) for row in database.execute("SELECT * FROM detections ORDER BY id")]
    clips = {(e["source"], e["start_s"], e["code"]): e["path"] for e in heard.run.events if e["event"] == "clip"}
    for row, event in zip(kept, detections, strict=True):
        assert row.pop("clip") == clips[event["source"], event["start_s"], event["code"]]
        assert {key: row[key] for key in row if key != "id"} == {key: event.get(key) for key in row if key != "id"}


def test_a_file_at_its_own_pace_is_heard_as_detect_finds_it(heard: Heard, meadow: Path, in_meadow: list[Event]) -> None:
    file, name = heard.file, str(meadow)
    assert found(file.of("detection", name)) == found(in_meadow)
    assert [e["code"] for e in file.of("onset", name)] == ["tonlow", "tonhig"]
    assert file.summary(name)["audio_s"] == SCENE_S < file.summary(name)["wall_s"]


def test_stdin_and_a_file_are_heard_as_detect_finds_them(tones: Path, meadow: Path, in_meadow: list[Event]) -> None:
    pcm = soundfile.read(meadow, dtype="int16")[0].astype("<i2").tobytes()
    sources = ("--stdin", f"s16le:{MIC_RATE}:1", "--file", meadow)
    with listening(*sources, "--bundle", tones, *DETECTION, stdin=subprocess.PIPE) as run:
        assert run.process.stdin is not None
        for start in range(0, len(pcm), 70001):  # half frames too
            run.process.stdin.write(pcm[start : start + 70001])
            run.process.stdin.flush()
        run.process.stdin.close()
        assert run.end(None) == 0
    assert found(run.of("detection", "stdin")) == found(run.of("detection", str(meadow))) == found(in_meadow)


# ------------------------------------------------------------------------------------------------------------ signals
def test_ctrl_c_ends_with_every_account(tones: Path, meadow: Path, tmp_path: Path) -> None:
    """Also while nothing comes on stdin."""
    sources = ("--file", meadow, "--realtime", "--stdin", "s16le:8000:1")
    with listening(*sources, "--bundle", tones, "--log", tmp_path, stdin=subprocess.PIPE) as run:
        run.wait_states((str(meadow), "open"))
        assert run.end(signal.SIGINT) == 130
    assert run.summary(str(meadow))["audio_s"] < SCENE_S
    assert run.summary("stdin")["scored_s"] == 0
    assert "s scored" in run.err
    assert logged(tmp_path) == sorted(map(to_json, run.events))


def write_config(path: Path, bundle: Path, threshold: object, **files: Path) -> None:
    sources = "".join(
        f'[[source]]\nname = "{name}"\nfile = "{file}"\nrealtime = true\n' for name, file in files.items()
    )
    path.write_text(f'bundle = "{bundle}"\nhop = {HOP_S}\nthreshold = {threshold}\n{sources}')


def test_sighup_changes_sources_and_thresholds_or_nothing(tones: Path, tmp_path: Path) -> None:
    """And SIGTERM ends it in order: a song that goes on is told."""
    song, config = tmp_path / "song.wav", tmp_path / "station.toml"
    soundfile.write(song, scene(60, [(0, 0.5, 0, 60)]), RATE)
    write_config(config, tones, 0.6, stays=song, goes=song)
    with listening("--config", config) as run:
        run.wait_states(("stays", "open"), ("goes", "open"))
        write_config(config, tones, '"high"', stays=song, new=song)
        run.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the new settings are wrong, the old ones stay" in run.err, "complaint", 20)
        write_config(config, tones, 0.3, stays=song, new=song)
        run.process.send_signal(signal.SIGHUP)
        run.wait("summary", "goes")
        run.wait_states(("new", "open"))
        run.wait("onset", "stays")
        assert run.end() == 0
    assert not run.of("detection", "goes"), "below the threshold of its time"
    assert run.of("detection", "stays")
    assert run.states("stays") == ["open", "closed"]
    assert run.summary("stays")["gap_s"] == 0


@pytest.mark.slow
def test_captures_end_with_a_station_that_is_killed(tones: Path, mic: VirtualMicrophone, rtsp: RtspServer) -> None:
    sources = ("--mic", "--url", f"pond={rtsp.url('/l16')}")
    with listening(*sources, "--bundle", tones, env=mic.env) as run:
        run.wait_states(("mic", "open"), ("pond", "open"))
        assert len(run.captures()) >= 2
        run.process.kill()
        wait_until(lambda: not run.captures(), "end of the captures")


@pytest.mark.slow
def test_a_station_that_is_stopped_for_three_seconds_loses_nothing(
    tones: Path, mic: VirtualMicrophone, rtsp: RtspServer
) -> None:
    """A debugger, a container that is frozen, a machine that swaps: its captures hold what comes meanwhile."""
    sources = ("--mic", "--url", f"pond={rtsp.url('/l16')}")
    with listening(*sources, "--bundle", tones, "--hop", HOP_S, env=mic.env) as run:
        run.wait_states(("mic", "open"), ("pond", "open"))
        run.process.send_signal(signal.SIGSTOP)
        time.sleep(3)  # not to wait for something: this is what is tried
        run.process.send_signal(signal.SIGCONT)
        run.wait_states(("mic", "silent"))
        assert run.end() == 0
    for source in ("mic", "pond"):
        assert not run.of("gap", source), source
        assert run.summary(source)["audio_s"] > 5


@pytest.mark.slow
def test_systemd_ends_captures_too_and_nothing_is_told_as_lost(
    tones: Path, mic: VirtualMicrophone, rtsp: RtspServer
) -> None:
    """It sends SIGTERM to all processes of a service at once."""
    sources = ("--mic", "--url", f"pond={rtsp.url('/l16')}")
    with listening(*sources, "--bundle", tones, env=mic.env) as run:
        run.wait_states(("mic", "open"), ("pond", "open"))
        for pid in run.captures():
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)  # until it is the turn of the station itself
        assert run.end() == 0
    assert run.states("mic") == run.states("pond") == ["open", "closed"]


# ------------------------------------------------------------------------------------------------------------- faults
class Doorkeeper(socketserver.StreamRequestHandler):
    """An RTSP server that lets nobody in."""

    def handle(self) -> None:
        while request := self.rfile.readline():
            number = b"0"
            while (line := self.rfile.readline()).strip():
                number = line.split(b":")[1].strip() if line.lower().startswith(b"cseq:") else number
            refusal = b'RTSP/1.0 401 Unauthorized\r\nCSeq: %s\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
            self.wfile.write(refusal % number if request else b"")


@pytest.fixture(scope="module")
def doorkeeper() -> Iterator[int]:
    """Its port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Doorkeeper) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three minutes."""
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    soundfile.write(path, np.random.default_rng(5).normal(0, 0.1, 180 * RATE), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def servers(tones: Path, noise: Path, doorkeeper: int) -> Iterator[Listening]:
    """A station whose only microphone is unplugged and whose sound server dies, and that hears streams of all kinds.

    The last stream is well.
    """
    require("av")
    with ExitStack() as stack:
        only = stack.enter_context(virtual_microphone(MIC_RATE))
        killed, stalls, late, well = (stack.enter_context(rtsp_server(noise)) for _ in range(4))
        late.kill()
        urls = {
            "killed": killed.url("/l16"),
            "stalls": stalls.url("/l16"),
            "late": late.url("/l16"),
            "path": well.url("/attic"),
            "secret": f"rtsp://user:${{POND_PASSWORD}}@127.0.0.1:{doorkeeper}/pond",
            "nowhere": "rtsp://no.such.name.invalid/pond",
            "well": well.url("/l16"),
        }
        arguments = [argument for name, url in urls.items() for argument in ("--url", f"{name}={url}")]
        env = {**only.env, "POND_PASSWORD": "hunter2"}
        run = stack.enter_context(listening("-v", "--mic", *arguments, "--bundle", tones, env=env))
        run.wait_states(*((name, "open") for name in ("mic", "killed", "stalls", "well")))
        run.wait_states(*((name, "lost") for name in ("late", "path", "secret", "nowhere")))
        only.unplug()
        killed.kill()
        stalls.stop()
        late.restart()
        run.wait_states(("mic", "lost"), ("killed", "lost"))
        only.replug()
        killed.restart()
        run.wait_states(("mic", "recovered"), ("killed", "recovered"), ("late", "open"), ("stalls", "lost"))
        run.measure_cores(2)  # while four are lost
        only.kill()
        stalls.cont()
        run.wait("source", "mic", state="lost", count=2)
        only.restart()
        run.wait("source", "mic", state="recovered", count=2)
        run.wait_states(("stalls", "recovered"))
        assert all(b"hunter2" not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in run.captures())
        assert run.end() == 0
        yield run


def reasons(run: Listening, source: str) -> set[str]:
    """Why it was lost, as its states and its gaps say."""
    return {event["detail"].partition(":")[0] for event in run.of("source", source, state="lost")} | {
        gap["reason"] for gap in run.of("gap", source)
    }


def told(run: Listening, source: str) -> list[str]:
    """Its states, without repetitions: a source that is lost may be told to be so again for another reason."""
    states = run.states(source)
    return [state for i, state in enumerate(states) if not i or state != states[i - 1]]


@pytest.mark.slow
def test_a_microphone_comes_back_when_it_is_plugged_in_and_when_the_sound_server_does(servers: Listening) -> None:
    states = [state for state in told(servers, "mic") if state != "silent"]
    assert states == ["open", "lost", "recovered", "lost", "recovered", "closed"]
    assert "disconnected" in reasons(servers, "mic")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "states", "why"),
    [
        ("killed", ["open", "lost", "recovered", "closed"], "ended"),
        ("stalls", ["open", "lost", "recovered", "closed"], "stalled"),
        ("late", ["lost", "open", "closed"], "refused"),
        ("path", ["lost", "closed"], "not_found"),
        ("secret", ["lost", "closed"], "unauthorized"),
        ("nowhere", ["lost", "closed"], "unresolved"),
    ],
)
def test_a_stream_is_told_as_lost_and_comes_back(servers: Listening, source: str, states: list[str], why: str) -> None:
    assert told(servers, source) == states
    assert why in reasons(servers, source)
    assert bool(servers.of("gap", source)) == ("lost" in states)


@pytest.mark.slow
def test_a_stream_that_is_well_loses_nothing_by_the_others(servers: Listening) -> None:
    assert servers.states("well") == ["open", "closed"]
    summary = servers.summary("well")
    assert summary["gap_s"] == 0
    assert summary["audio_s"] == pytest.approx(summary["wall_s"], abs=8)


@pytest.mark.slow
def test_a_station_does_not_spin(servers: Listening, microphones: Listening) -> None:
    """Neither while sources are lost, nor while they are heard."""
    assert 0 < servers.cores < 0.25
    assert 0 < microphones.cores < 0.25


@pytest.mark.slow
def test_a_password_is_shown_nowhere(servers: Listening) -> None:
    assert "hunter2" not in servers.err + json.dumps(servers.events)
    assert "***@127.0.0.1" in servers.err


@pytest.fixture(scope="module")
def microphones(tones: Path, mic: VirtualMicrophone, noise: Path) -> Iterator[Listening]:
    """A station with microphones of one sound server, to each of which something happens. The last one is well.

    It is a monitor, ahead of the clock until something is played there.
    """
    with ExitStack() as stack:
        plug_in(mic, "well")
        for name in ("slow", "hush"):
            plug_in(mic, name)
            stack.enter_context(playing(mic, name, noise))
        devices = {"moved": "virtmic", "late": "late.monitor", "gone": "gone.monitor"}
        devices |= {name: f"{name}.monitor" for name in ("slow", "hush", "well")}
        gone = plug_in(mic, "gone")
        arguments = [argument for name, at in devices.items() for argument in ("--device", f"{name}=pulse:{at}")]
        run = stack.enter_context(listening(*arguments, "--bundle", tones, env=mic.env))
        run.wait_states(*((name, "open") for name in ("moved", "gone", "slow", "hush", "well")), ("late", "lost"))
        stack.enter_context(playing(mic, "well", noise))
        mic.take_away()
        mic.pactl("unload-module", gone)
        mic.pactl("suspend-sink", "slow", "1")
        mic.pactl("set-source-mute", "hush.monitor", "1")
        plug_in(mic, "late")
        run.wait_states(("moved", "lost"), ("gone", "lost"), ("hush", "silent"), ("late", "open"), ("slow", "lost"))
        mic.unplug()
        mic.replug()
        plug_in(mic, "gone")
        mic.pactl("suspend-sink", "slow", "0")
        mic.pactl("set-source-mute", "hush.monitor", "0")
        run.wait_states(*((name, "recovered") for name in ("moved", "gone", "slow", "hush")))
        run.measure_cores(3)
        assert run.end() == 0
        yield run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "states", "why"),
    [
        ("moved", ["open", "lost", "recovered", "closed"], "disconnected"),
        ("gone", ["open", "lost", "recovered", "closed"], "disconnected"),
        ("late", ["lost", "open", "closed"], "not_found"),
        ("slow", ["open", "lost", "recovered", "closed"], "stalled"),
        ("hush", ["open", "silent", "recovered", "closed"], ""),
        ("well", ["open", "closed"], ""),
    ],
)
def test_what_happens_to_a_microphone_is_told(microphones: Listening, source: str, states: list[str], why: str) -> None:
    assert [s for s in told(microphones, source) if s != "silent" or source == "hush"] == states
    assert why in reasons(microphones, source) | {""}
    assert bool(microphones.of("gap", source)) == ("lost" in states)


def test_a_sound_server_that_hands_over_quarters_of_a_second_loses_nothing() -> None:
    """As measured: at first it is earlier than ever after, and now and then late for two seconds."""
    clock = FrameClock(MIC_RATE)

    def lost(blocks: range, more_s: float) -> list[float]:
        verdicts = []
        for block in blocks:
            at = 0.25 * np.ceil(block / 5)
            late_s = 0.0 if at < 1.5 else 0.16 if at % 20 < 2 else 0.06
            verdicts.append(clock.observe(round(block * 0.05 * MIC_RATE), at + late_s + more_s))
        return [verdict for verdict in verdicts if verdict]

    assert not lost(range(1, 1300), 0.0)
    assert lost(range(1300, 1400), 0.4) == [pytest.approx(0.4)]
