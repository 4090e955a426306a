"""Clips: the sound of a detection is all there, and says what it is."""

from __future__ import annotations

import os
import struct
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.errors import OutputError, UsageError
from edgebird.events import Event
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.clips import CLIP_NAME, ClipSink, Provenance, safe_name
from edgebird.sinks.guano import read_guano
from edgebird.sinks.retention import Limits, Retention
from edgebird.timestamps import recording_start
from edgebird.types import FloatArray
from tests.sinking import RATE, STARTED, Tape, decoded_png, detection, no_file_above


@pytest.fixture
def tape() -> Tape:
    return Tape()


def clips_of(sink: ClipSink, tape: Tape, *events: Event, wound_to: float = 60) -> list[Event]:
    """What the sink tells of these detections once the tape is there."""
    for event in events:
        sink.take(event, tape)
    tape.wind_to(wound_to)
    return sink.tick()


def pcm(path: str | Path) -> list[int]:
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    return list(samples)


def in_memory(tape: Tape, start_s: float, end_s: float) -> list[int]:
    return list((tape.sound[round(start_s * RATE) : round(end_s * RATE)] * 32768).astype(np.int16))


def test_the_sinks_and_the_double_are_what_the_protocols_ask_for(tmp_path: Path, tape: Tape) -> None:
    memory: Memory = tape
    sinks: list[Sink] = [ClipSink(ClipSettings(tmp_path)), Retention(tmp_path, Limits())]
    assert memory.newest == 0
    assert [sink.name for sink in sinks] == ["clips", "retention"]


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_a_clip_is_cut_when_its_last_sound_has_come_and_holds_every_sample(
    tmp_path: Path, tape: Tape, form: Any
) -> None:
    sink = ClipSink(ClipSettings(tmp_path, form))
    tape.wind_to(20.5)
    sink.take(detection(tape), tape)
    tape.wind_to(22.9)
    assert sink.tick() == []
    tape.wind_to(23.0)
    (event,) = sink.tick()
    assert sink.tick() == sink.close() == []

    # Sound from 9.5 s on; the source began at 23:59:50.
    path = tmp_path / "garden" / f"20230501_235959_comcuc_0.93.{form}"
    assert pcm(path) == in_memory(tape, 9.5, 23.0)
    assert os.listdir(path.parent) == [path.name]
    assert event == {
        "event": "clip",
        "source": "garden",
        "time": "2023-05-02T00:00:02.500+02:00",
        "start_s": 12.5,
        "end_s": 20.0,
        "code": "comcuc",
        "scientific_name": "Cuculus canorus",
        "common_name": "Common Cuckoo",
        "score": 0.934567,
        "path": str(path),
        "clip_start_s": 9.5,
        "clip_end_s": 23.0,
        "missing_s": 0.0,
    }


def test_a_clip_ends_with_its_source_and_begins_with_it(tmp_path: Path, tape: Tape) -> None:
    sink = ClipSink(ClipSettings(tmp_path))
    sink.take(detection(tape, 1.0, 6.0), tape)
    tape.wind_to(7)
    assert sink.tick() == []
    tape.ended = True
    (event,) = sink.tick()
    assert (event["clip_start_s"], event["clip_end_s"], event["missing_s"]) == (0.0, 7.0, 0.0)
    assert pcm(event["path"]) == in_memory(tape, 0, 7)


def test_a_source_that_is_lost_does_not_keep_its_clips_waiting_until_they_are_forgotten(
    tmp_path: Path, tape: Tape
) -> None:
    clock = SimpleNamespace(now=1000.0)
    sink = ClipSink(ClipSettings(tmp_path), clock=lambda: clock.now)
    tape.wind_to(20)
    sink.take(detection(tape), tape)
    clock.now += 12
    assert sink.tick() == []
    clock.now += 2
    (event,) = sink.tick()
    assert (event["clip_start_s"], event["clip_end_s"]) == (9.5, 20.0)


def test_what_waits_is_written_when_the_station_stops(tmp_path: Path, tape: Tape) -> None:
    sink = ClipSink(ClipSettings(tmp_path))
    sink.take(detection(tape), tape)
    tape.wind_to(21)
    (event,) = sink.close()
    assert pcm(event["path"]) == in_memory(tape, 9.5, 21.0)


def test_sound_that_is_no_longer_held_is_said_to_be_missing_and_not_filled_with_silence(tmp_path: Path) -> None:
    tape = Tape(seconds=10)
    sink = ClipSink(ClipSettings(tmp_path))
    (event,) = clips_of(sink, tape, detection(tape), wound_to=24)
    assert (event["missing_s"], event["clip_start_s"], event["clip_end_s"]) == (4.5, 14.0, 23.0)
    assert Path(event["path"]).name.startswith("20230502_000004_")  # the time of the sound there is
    assert pcm(event["path"]) == in_memory(tape, 14, 23)
    (event,) = clips_of(sink, tape, detection(tape, 26, 30), wound_to=60)
    assert (event["path"], event["missing_s"]) == (None, 10.0)


def test_sound_forgotten_while_it_is_read_is_missing_too(tmp_path: Path) -> None:
    """The thread that fills the memory does not wait for the clip."""

    class Running(Tape):
        def read(self, start: int, end: int) -> FloatArray:
            self.wind_to(33.5)
            return super().read(start, end)

    tape = Running(seconds=20)
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path)), tape, detection(tape), wound_to=23)
    assert (event["missing_s"], event["clip_start_s"]) == (4.0, 13.5)
    assert pcm(event["path"]) == in_memory(tape, 13.5, 23)


def test_a_source_whose_sound_is_not_kept_has_no_clips_and_that_is_an_error(tmp_path: Path, tape: Tape) -> None:
    with pytest.raises(OutputError, match=r"^no clip of garden: its sound is not kept$"):
        ClipSink(ClipSettings(tmp_path)).take(detection(tape), None)


def test_waiting_clips_hold_no_sound(tmp_path: Path, tape: Tape) -> None:
    """A hundred birds at once must not take a hundred minutes of memory."""
    reads: list[int] = []
    tape.read = lambda start, end: reads.append(end) or np.zeros(end - start, np.float32)  # type: ignore[method-assign, func-returns-value]
    sink = ClipSink(ClipSettings(tmp_path))
    for _ in range(100):
        sink.take(detection(tape), tape)
    tape.wind_to(22)
    sink.tick()
    assert reads == []


def test_names_are_free_safe_and_known_to_retention(tmp_path: Path) -> None:
    """Neither a source called ../.. nor two birds in a second of the hour that the clocks go back may cost a clip."""
    sink = ClipSink(ClipSettings(tmp_path / "clips"))
    url = Tape(name="../rtsp://cam:8554/a b")
    events = clips_of(sink, url, detection(url), detection(url), detection(url, code="x_/\0" + "ü" * 300, score=1.0))
    undated = Tape(name="..", started=None)
    events += clips_of(sink, undated, detection(undated))
    names = [str(Path(event["path"]).relative_to(tmp_path / "clips")) for event in events]
    assert names == [
        "rtsp-cam-8554-a-b/20230501_235959_comcuc_0.93.flac",
        "rtsp-cam-8554-a-b/20230501_235959_comcuc_0.93_2.flac",
        f"rtsp-cam-8554-a-b/20230501_235959_x_-{'ü' * 47}_1.00.flac",
        "unnamed/T+0000009_comcuc_0.93.flac",
    ]
    codes = [match["code"] for name in names if (match := CLIP_NAME.fullmatch(Path(name).name))]
    assert codes == ["comcuc", "comcuc", f"x_-{'ü' * 47}", "comcuc"]
    assert safe_name("\ud800garden") == "garden"


PROVENANCE = Provenance(position=(-1.5, 36.75), model="exp105 fp32")


FIELDS = {
    "GUANO|Version": "1.0",
    "Timestamp": "2023-05-01T23:59:59.500+02:00",
    "Length": "13.500",
    "Samplerate": "8000",
    "Loc Position": "-1.500000 36.750000",
    "Species Auto ID": "Cuculus canorus",
    "edgebird|Code": "comcuc",
    "edgebird|Common Name": "Common Cuckoo",
    "edgebird|Score": "0.934567",
    "edgebird|Start": "3.000",
    "edgebird|End": "10.500",
    "edgebird|Model": "exp105 fp32",
    "edgebird|Source": "garden",
}


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_a_clip_says_what_it_is(tmp_path: Path, tape: Tape, form: Any) -> None:
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path, form), PROVENANCE), tape, detection(tape))
    path = Path(event["path"])
    assert read_guano(path) == {**FIELDS, "Original Filename": path.name}
    assert next(iter(read_guano(path))) == "GUANO|Version"  # as GUANO demands


def test_all_readers_open_a_clip_with_guano(tmp_path: Path, tape: Tape) -> None:
    """Also our own: `edgebird detect clips/` dates it to the millisecond."""
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path, "wav")), tape, detection(tape, source="Türkentaube"))
    path = Path(event["path"])
    with wave.open(str(path)) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (13.5 * RATE, RATE, 1)
    assert soundfile.info(path).frames == 13.5 * RATE
    start = recording_start(path, None)
    assert start is not None
    assert start.moment.isoformat() == "2023-05-01T23:59:59.500000+02:00"
    assert struct.unpack("<4xI", path.read_bytes()[:8])[0] == path.stat().st_size - 8


def test_a_flac_clip_has_a_title_and_is_dated_by_its_name(tmp_path: Path, tape: Tape) -> None:
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path)), tape, detection(tape))
    with soundfile.SoundFile(event["path"]) as file:
        assert file.title == "Common Cuckoo"
    start = recording_start(Path(event["path"]), STARTED.tzinfo)
    assert start is not None
    assert start.moment.isoformat() == "2023-05-01T23:59:59.500000+02:00"


def test_a_clip_of_an_unknown_time_claims_none(tmp_path: Path) -> None:
    tape = Tape(started=None)
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path, "wav")), tape, detection(tape))
    assert "Timestamp" not in read_guano(Path(event["path"]))


def test_a_spectrogram_lies_beside_its_clip(tmp_path: Path, tape: Tape) -> None:
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path, spectrogram=True)), tape, detection(tape))
    assert event["spectrogram"] == event["path"].replace(".flac", ".png")
    assert decoded_png(Path(event["spectrogram"]).read_bytes())[0].shape[1] == 1350


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "mp3"}, "unknown clip format 'mp3': choose flac or wav"),
        ({"pre_s": -1.0}, "clips cannot have -1.0 s before"),
        ({"post_s": float("nan")}, "clips cannot have nan s after"),
    ],
)
def test_settings_that_cannot_be_are_wrong_usage(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ClipSink(ClipSettings(tmp_path, **wrong))
    with pytest.raises(UsageError, match="no such position"):
        Provenance(position=(91.0, 0.0))


def test_a_full_disk_costs_one_clip_and_leaves_no_half_of_it(tmp_path: Path, tape: Tape) -> None:
    sink = ClipSink(ClipSettings(tmp_path))
    tape.wind_to(60)
    sink.take(detection(tape), tape)
    sink.take(detection(tape, 30, 35), tape)
    with (
        no_file_above(10_000),
        pytest.raises(OutputError, match=r"^cannot write .*comcuc_0\.93\.flac: File too large$"),
    ):
        sink.tick()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (event,) = sink.tick()  # the second had not its turn yet
    assert event["start_s"] == 30
    assert sink.close() == []


def test_a_clip_whose_spectrogram_fails_is_told_all_the_same(tmp_path: Path, tape: Tape) -> None:
    sink = ClipSink(ClipSettings(tmp_path, spectrogram=True))
    (tmp_path / "garden" / "20230501_235959_comcuc_0.93.png").mkdir(parents=True)
    with pytest.raises(OutputError, match="not a regular file"):
        clips_of(sink, tape, detection(tape))
    (event,) = sink.tick()
    assert Path(event["path"]).is_file()
    assert "spectrogram" not in event


def test_clips_that_fail_at_the_end_are_told_and_do_not_cost_the_others(tmp_path: Path, tape: Tape) -> None:
    sink = ClipSink(ClipSettings(tmp_path))
    (tmp_path / "shed").write_text("a file where the folder of a source should be")
    shed = Tape(name="shed")
    for one in (shed, tape, shed):
        sink.take(detection(one), one)
        one.wind_to(22)
    clip, problem = sink.close()
    assert (clip["event"], clip["source"]) == ("clip", "garden")
    assert (problem["event"], problem["sink"], problem["state"]) == ("sink", "clips", "failed")


def test_a_folder_that_cannot_be_made_is_one_line_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"^cannot write .*file/clips: Not a directory$"):
        ClipSink(ClipSettings(tmp_path / "file" / "clips")).open()
