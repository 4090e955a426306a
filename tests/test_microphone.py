"""Microphones for real, on a sound server of our own: what is played arrives bit by bit, and every fault is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from edgebird.capture import microphone, wire
from edgebird.capture.blocks import lead
from edgebird.capture.devices import CARD_LATE_S, PIPEWIRE_LATE_S, VIRTUAL_LATE_S, Device
from edgebird.cli import microphones
from edgebird.errors import AudioError
from edgebird.live import microphones as live_microphones
from tests.conftest import require
from tests.live_servers import VirtualMicrophone, captured, virtual_microphone, wait_until

RATE = 48000


@pytest.fixture(scope="module")
def mic() -> Iterator[VirtualMicrophone]:
    with virtual_microphone(RATE) as mic:
        require("sounddevice")
        yield mic


def noise_file(path: Path, seconds: int) -> Path:
    """White noise of 16 bit."""
    samples = np.random.default_rng(5).integers(-20000, 20000, seconds * RATE, dtype=np.int16)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise_file(tmp_path_factory.mktemp("noise") / "noise.wav", seconds=1)


def test_what_is_played_is_recorded_bit_by_bit(mic: VirtualMicrophone, noise: Path) -> None:
    """At the microphone's own rate, though PortAudio says that all of a sound server has 44100 Hz."""
    with captured("microphone", {}, mic.env) as heard:
        assert heard.wait(wire.OPEN) == {
            "rate": RATE,
            "channels": 1,
            "device": "pulse:virtmic",
            "late_s": VIRTUAL_LATE_S,
            "period": 4800,
        }
        mic.play(noise).wait(60)
        played = soundfile.read(noise, dtype="float32")[0].tobytes()
        wait_until(lambda: played in heard.samples().tobytes(), "recording of what was played")
    frames = [len(message.payload) // 4 for message in heard.all(wire.DATA)]
    assert [message.position for message in heard.all(wire.DATA)] == [sum(frames[:i]) for i in range(len(frames))]


def test_several_microphones_of_one_sound_server_are_heard_apart(mic: VirtualMicrophone, noise: Path) -> None:
    mic.add("pond")
    with (
        captured("microphone", {"device": "pulse:pond"}, mic.env) as pond,
        captured("microphone", {"device": "pulse:virtmic"}, mic.env) as garden,
    ):
        assert pond.wait(wire.OPEN)["device"] == "pulse:pond"
        garden.wait(wire.OPEN)
        mic.play(noise).wait(60)
        wait_until(lambda: bool(garden.samples().any()), "sound")
        assert not pond.samples().any()


@pytest.mark.parametrize(
    ("options", "reason", "text"),
    [
        ({"device": "USB"}, "not_found", "no microphone 'USB'; there are: 'pulse', 'default'"),
        ({"device": "99"}, "not_found", "no microphone '99'; there are: "),
        ({"device": "pulse:attic"}, "not_found", "no microphone 'pulse:attic'; there are: 'pulse:virtmic'"),
        (
            {"device": "UL"},
            "error",
            "'UL' fits several microphones: give the whole name; there are: 'pulse', 'default'",
        ),
        ({"channel": 2}, "error", "there is no channel 2 in 'pulse:virtmic', which has 1"),
    ],
)
def test_a_microphone_that_cannot_be_meant_is_told_with_those_there_are(
    mic: VirtualMicrophone, options: dict[str, object], reason: str, text: str
) -> None:
    with captured("microphone", options, mic.env) as heard:
        failure = heard.wait(wire.FAIL)
        assert heard.process.wait(20) == 0
    assert failure["reason"] == reason
    assert failure["text"].startswith(text)


@pytest.mark.parametrize(
    ("devices", "wanted", "opened"),
    [
        (["pulse", "default"], "pulse:micA", ("pulse", "pulse:micA", CARD_LATE_S)),
        (["pipewire", "default"], "pulse:micA", ("pipewire", "pulse:micA", PIPEWIRE_LATE_S)),
        (["pulse"], "pulse:loud.monitor", ("pulse", "pulse:loud.monitor", VIRTUAL_LATE_S)),
        (["default", "pipewire"], "default", ("default", "default", PIPEWIRE_LATE_S)),
        (["default"], "default", ("default", "default", CARD_LATE_S)),
    ],
)
def test_a_microphone_keeps_its_name_when_its_sound_server_tells_nothing(
    devices: list[str], wanted: str, opened: tuple[str, str, float]
) -> None:
    """As without `pactl`: two sources would have the same name, and nobody knew which one was heard."""
    found = [
        Device(i, name, "", 1, RATE, False, PIPEWIRE_LATE_S if name == "pipewire" else CARD_LATE_S)
        for i, name in enumerate(devices)
    ]
    choice = microphone._choose(found, [], wanted)
    assert (choice.device.name, choice.name, choice.late_s) == opened
    assert choice.as_recorded([]) is None


@pytest.mark.parametrize("name", ["pipewire", "default"])
def test_behind_devices_of_pipewire_stands_its_default_source(name: str) -> None:
    """What PortAudio says of their rate means nothing: it would be resampled twice, and losses told too soon."""
    found = [Device(0, "pipewire", "", 64, 44100, False), Device(1, "default", "", 64, 44100, True)]
    source = Device(None, "pulse:usb", "", 1, 96000, True, PIPEWIRE_LATE_S)
    choice = microphone._choose(found, [source], name)
    assert (choice.device.name, choice.name, choice.late_s) == (name, "pulse:usb", PIPEWIRE_LATE_S)
    assert microphone._formats(choice, {})[0] == (96000, 1)


def test_unplugging_is_noticed(mic: VirtualMicrophone) -> None:
    with captured("microphone", {"device": "pulse:virtmic"}, mic.env) as heard:
        heard.wait(wire.OPEN)
        mic.unplug()
        try:
            assert heard.wait(wire.FAIL)["reason"] == "disconnected"
        finally:
            mic.replug()


@pytest.mark.slow
def test_a_recording_that_was_moved_to_another_source_ends(mic: VirtualMicrophone) -> None:
    """The sound server goes on with whatever source is left: the birds would be those of another place."""
    with captured("microphone", {}, mic.env) as heard:
        heard.wait(wire.OPEN)
        time.sleep(0.5)
        mic.take_away()
        try:
            failure = heard.wait(wire.FAIL)
        finally:
            mic.unplug()
            mic.replug()
    (note,) = heard.all(wire.NOTE)
    assert note.json()["kind"] == "moved"
    assert failure["reason"] == "disconnected"
    assert failure["text"].startswith("the sound server moved the recording from pulse:virtmic to pulse:")


def test_it_ends_with_its_parent(mic: VirtualMicrophone) -> None:
    """Also before it has opened anything, and while it records."""
    with captured("microphone", {}, mic.env) as heard:
        assert heard.stop() == 0
    with captured("microphone", {}, mic.env) as heard:
        heard.wait(wire.OPEN)
        assert heard.stop() == 0


@pytest.mark.slow
def test_a_parent_that_does_not_read_loses_nothing_for_some_seconds(mic: VirtualMicrophone) -> None:
    with captured("microphone", {}, mic.env) as heard:
        heard.wait(wire.OPEN)
        heard.reading.clear()
        time.sleep(3)  # a pipe holds a third of a second
        before = heard.messages[-1].time
        heard.reading.set()
        wait_until(lambda: heard.messages[-1].time > before + 3, "later sound")
    blocks = heard.all(wire.DATA)
    sizes = [after.position - block.position for block, after in pairwise(blocks)]
    assert sizes == [lead(RATE)] + [RATE // 10] * (len(sizes) - 1)
    assert blocks[-1].position / RATE == pytest.approx(blocks[-1].time - blocks[0].time, abs=0.5)


def call(recorded: microphone._Recorded, frames: int, channels: int = 1, overflow: bool = False) -> bytes:
    """Be PortAudio; the sound."""
    sound = np.random.default_rng(recorded._end).bytes(4 * channels * frames)
    recorded.take(sound, frames, None, SimpleNamespace(input_overflow=overflow))
    return sound


def read(recorded: microphone._Recorded) -> list[wire.Message]:
    return [recorded.next() for _ in range(recorded._messages.qsize())]


def test_a_window_ends_shortly_before_a_block_does(mic: VirtualMicrophone) -> None:
    """Blocks are long because waking costs, so a window whose end begins a block would be half a second late."""
    with captured("microphone", {"block_s": 0.5}, mic.env) as heard:
        wait_until(lambda: len(heard.all(wire.DATA)) > 2, "three blocks")
    assert [len(block.payload) // 4 for block in heard.all(wire.DATA)[:3]] == [lead(RATE), 24000, 24000]


def test_blocks_are_counted_from_where_the_station_says(mic: VirtualMicrophone) -> None:
    """After a loss that it told by the clock, windows begin elsewhere."""
    with captured("microphone", {"block_s": 0.5}, mic.env) as heard:
        wait_until(lambda: len(heard.all(wire.DATA)) > 1, "two blocks")
        assert heard.process.stdin is not None
        heard.process.stdin.write(b'{"begin": 7000}\n')
        heard.process.stdin.flush()
        before = len(heard.all(wire.DATA))
        wait_until(lambda: len(heard.all(wire.DATA)) > before + 2, "later blocks")
        assert heard.stop() == 0
    block = heard.all(wire.DATA)[-1]
    assert (block.position - lead(RATE) - 7000) % 24000 < RATE // 4, "at the next hand-over"


def test_of_the_first_block_the_last_frames_are_heard() -> None:
    recorded, least = microphone._Recorded(RATE, 2, block_s=0.5), lead(RATE)
    sounds = [call(recorded, RATE // 4, channels=2) for _ in range(3)]
    first, second = read(recorded)
    assert (first.payload, first.position) == (sounds[0][-8 * least :], 0)
    assert (second.payload, second.position) == (sounds[1] + sounds[2], least)


def test_what_came_before_a_loss_is_not_joined_to_what_came_after() -> None:
    recorded = microphone._Recorded(RATE, 1, block_s=0.5)
    sounds = [call(recorded, RATE // 4, overflow=number == 2) for number in range(5)]
    first, before, note, *after = read(recorded)
    assert (first.payload, before.payload) == (sounds[0][-4 * lead(RATE) :], sounds[1])
    assert (note.kind, note.position) == (wire.NOTE, after[0].position)
    assert [block.payload for block in after] == [sounds[2], sounds[3] + sounds[4]]
    assert after[0].position == lead(RATE) + RATE // 4


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000])
@pytest.mark.parametrize(("hop_s", "block_s"), [(2.5, 0.5), (1.25, 0.3125), (0.3, 0.1)])
def test_calls_of_the_sound_card_end_where_windows_do(rate: int, hop_s: float, block_s: float) -> None:
    period = microphone._period(rate, block_s)
    assert 0.02 < period / rate <= 0.25
    assert round(4 * hop_s * rate) % period == 0


def test_what_waited_for_its_block_is_heard_when_the_microphone_has_gone() -> None:
    recorded = microphone._Recorded(RATE, 1, block_s=0.5)
    sounds = [call(recorded, RATE // 4) for _ in range(2)]
    assert [message.payload for message in recorded.rest()] == [sounds[0][-4 * lead(RATE) :], sounds[1]]


def test_later_the_position_tells_what_was_dropped() -> None:
    """Memory does not grow while the parent hangs, and the parent sees the hole."""
    recorded = microphone._Recorded(RATE, 1, block_s=0.1)
    call(recorded, lead(RATE))
    for _ in range(200):
        call(recorded, RATE // 10, overflow=True)
    assert read(recorded)[-1].position / RATE == pytest.approx(10, abs=0.1)
    call(recorded, RATE // 10, overflow=True)
    note, block = read(recorded)
    assert (note.kind, note.json()["kind"], block.position / RATE) == (wire.NOTE, "overflow", 20 + lead(RATE) / RATE)


@pytest.mark.slow
def test_the_command_tells_how_loud_each_microphone_is(
    mic: VirtualMicrophone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PULSE_SERVER", "PULSE_COOKIE"):
        monkeypatch.setenv(name, mic.env[name])
    found = [Device(None, "pulse:virtmic", "", 1, RATE, True), Device(7, "gone", "", 1, RATE, False)]
    monkeypatch.setattr(live_microphones, "list_microphones", lambda: found)
    microphones.run(seconds=0.2, as_json=False)
    heading, silent, gone = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "channels", "rate", "level"]
    assert silent == "-  pulse:virtmic (default)  1         48000 Hz  digital silence (muted?)"
    assert gone.startswith("7  gone                     1         48000 Hz  no microphone '7'; there are: ")
    playing = mic.play(noise_file(tmp_path / "noise.wav", seconds=20))
    microphones.run(seconds=0.5, as_json=True)
    playing.terminate()
    playing.wait(20)
    loud, _ = json.loads(capsys.readouterr().out)
    assert loud["peak_dbfs"] == pytest.approx(20 * np.log10(20000 / 32768), abs=0.1)
    assert loud["digital_silence"] is False


def test_the_command_lists_what_portaudio_and_the_sound_server_have(
    mic: VirtualMicrophone, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PULSE_SERVER", "PULSE_COOKIE"):
        monkeypatch.setenv(name, mic.env[name])
    found = {device.name: device for device in live_microphones.list_microphones()}
    assert {"default", "pulse", "pulse:virtmic"} <= found.keys()
    assert found["pulse:virtmic"].default
    assert not [name for name in found if name.endswith(".monitor")]


def test_no_microphone_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_microphones, "list_microphones", list)
    with pytest.raises(AudioError, match="there is no microphone: plug one in"):
        microphones.run()


@pytest.mark.parametrize(
    ("code", "text"),
    [("raise ImportError", r"pip install 'edgebird\[mic\]'"), ("raise OSError('no library')", "libportaudio2")],
)
def test_what_is_missing_is_told(code: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(AudioError, match=text):
        live_microphones.list_microphones()
