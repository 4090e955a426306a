"""Clips: the sound of a detection is all there, says what it is, and old clips make room without taking what counts."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import struct
import tempfile
import wave
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import AudioError, OutputError, UsageError
from edgebird.events import Event
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.clips import CLIP_NAME, ClipSink, Provenance, safe_name
from edgebird.sinks.guano import guano_text, parse_guano, read_guano, with_guano
from edgebird.sinks.retention import Limits, Retention
from edgebird.sinks.spectrogram import spectrogram_png
from edgebird.timestamps import recording_start
from edgebird.types import FloatArray, Origin

RATE = 8000
STARTED = datetime(2023, 5, 1, 23, 59, 50, tzinfo=timezone(timedelta(hours=2)))


class Tape:
    """A source's memory that a test winds on; it holds the last `seconds`, of a 16-bit microphone."""

    def __init__(self, seconds: float = 1000, name: str = "garden", started: datetime | None = STARTED) -> None:
        self.origin, self.rate, self.ended = Origin(name, started=started), RATE, False
        self.sound = np.random.default_rng(0).integers(-32768, 32768, 100 * RATE).astype(np.float32) / 32768
        self.newest, self._held = 0, round(seconds * RATE)

    @property
    def oldest(self) -> int:
        return max(0, self.newest - self._held)

    def wind_to(self, seconds: float) -> None:
        self.newest = round(seconds * RATE)

    def read(self, start: int, end: int) -> FloatArray:
        assert 0 <= start <= end <= self.newest
        samples = self.sound[start:end].copy()
        samples[: max(0, self.oldest - start)] = 0
        return samples


def detection(tape: Tape, start_s: float = 12.5, end_s: float = 20.0, **more: Any) -> Event:
    started = tape.origin.started
    moment = started + timedelta(seconds=start_s) if started else None
    return {
        "event": "detection",
        "source": tape.origin.name,
        "time": moment.isoformat(timespec="milliseconds") if moment else None,
        "start_s": start_s,
        "end_s": end_s,
        "code": "comcuc",
        "scientific_name": "Cuculus canorus",
        "common_name": "Common Cuckoo",
        "score": 0.934567,
        "windows": 3,
        **more,
    }


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
    assert start.isoformat() == "2023-05-01T23:59:59.500000+02:00"
    assert struct.unpack("<4xI", path.read_bytes()[:8])[0] == path.stat().st_size - 8


def test_a_flac_clip_has_a_title_and_is_dated_by_its_name(tmp_path: Path, tape: Tape) -> None:
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path)), tape, detection(tape))
    with soundfile.SoundFile(event["path"]) as file:
        assert file.title == "Common Cuckoo"
    start = recording_start(Path(event["path"]), STARTED.tzinfo)
    assert start == STARTED.replace(second=59)


def test_a_clip_of_an_unknown_time_claims_none(tmp_path: Path) -> None:
    tape = Tape(started=None)
    (event,) = clips_of(ClipSink(ClipSettings(tmp_path, "wav")), tape, detection(tape))
    assert "Timestamp" not in read_guano(Path(event["path"]))


NAMES = st.text("abc|XY", min_size=1)
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40).map(str.strip)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_guano_gives_back_what_it_was_given(fields: dict[str, str]) -> None:
    wav = with_guano(b"RIFF\4\0\0\0WAVE", guano_text(fields))
    assert len(wav) % 2 == 0
    assert parse_guano(wav[20:].decode()) == {"GUANO|Version": "1.0", **fields}


def test_a_line_break_in_a_name_does_not_make_a_field() -> None:
    text = guano_text({"edgebird|Source": "garden\r\nLoc Position: 0 0\u2028x"})
    assert parse_guano(text) == {"GUANO|Version": "1.0", "edgebird|Source": "garden Loc Position: 0 0 x"}


def test_reading_guano_of_what_has_none_or_is_no_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "plain.wav", np.zeros(10), RATE)
    soundfile.write(tmp_path / "plain.flac", np.zeros(10), RATE)
    (tmp_path / "text.wav").write_text("no sound")
    assert read_guano(tmp_path / "plain.wav") == read_guano(tmp_path / "plain.flac") == {}
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(AudioError, match=f"^cannot read .*{name}: "):
            read_guano(tmp_path / name)


def decoded_png(content: bytes) -> tuple[np.ndarray[Any, Any], dict[str, str]]:
    """Pixels uint8 [height, width] and texts of a palette PNG; every check sum is checked."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", content, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + size
    by_kind = dict(chunks)
    assert (chunks[0][0], chunks[-1][0], len(by_kind[b"PLTE"])) == (b"IHDR", b"IEND", 768)
    width, height, *_ = struct.unpack(">IIBBBBB", by_kind[b"IHDR"])
    rows = np.frombuffer(zlib.decompress(by_kind[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    texts = [body.decode("latin-1").split("\0") for kind, body in chunks if kind == b"tEXt"]
    return rows[:, 1:], dict(texts)


def test_a_tone_is_where_it_sounds_in_the_spectrogram() -> None:
    rate, hertz = 32000, 3000
    times = np.arange(10 * rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * hertz * times) * (times >= 5)).astype(np.float32)
    pixels, texts = decoded_png(spectrogram_png(tone, rate))
    height, width = pixels.shape
    assert (height, width) == (385, 1000)  # 0 to 12 kHz in steps of 31.25 Hz, 10 ms a column
    assert height - 1 - int(pixels[:, 750].argmax()) == hertz / 31.25
    assert pixels[:, :490].max() == 0
    assert np.flatnonzero(pixels.max(axis=0) > 200)[0] == pytest.approx(500, abs=2)
    assert texts["Time range (s)"] == "0 10.000"
    assert texts["Frequency range (Hz)"] == "0 12000"
    assert texts["Level range (dBFS)"] == "-76.0 -6.0"


@pytest.mark.parametrize("samples", [1, 100, RATE, 70 * RATE])
def test_a_spectrogram_of_any_length_and_of_silence(samples: int) -> None:
    pixels, texts = decoded_png(spectrogram_png(np.zeros(samples, np.float32), RATE))
    assert pixels.max() == 0
    assert pixels.shape[1] <= 2000
    assert texts["Frequency range (Hz)"] == "0 4000"


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


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing fails after that many bytes, as on a disk that is full in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


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


# Retention

NOW = 1_700_000_000.0
DAY = 86400


def lay(folder: Path, name: str, days_old: float, size: int = 1000) -> Path:
    path = folder / "garden" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - days_old * DAY,) * 2)
    return path


def retention(folder: Path, free: int = 10**12, **limits: Any) -> Retention:
    """With a disk of 10**12 bytes of which `free` are free before anything is deleted."""
    return Retention(folder, Limits(**limits), lambda: NOW, lambda path: SimpleNamespace(free=free))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def clip_name(number: int, code: str = "comcuc", score: float = 0.5) -> str:
    return f"2023050{number}_050000_{code}_{score:.2f}.flac"


def test_old_clips_go_with_their_spectrograms(tmp_path: Path) -> None:
    old, new = lay(tmp_path, clip_name(1), 31), lay(tmp_path, clip_name(2), 29)
    for clip in (old, new):
        lay(tmp_path, clip.with_suffix(".png").name, 50, size=100)
    purge = retention(tmp_path, max_age_days=30).run()
    assert (purge.deleted, purge.freed_bytes, purge.error) == ((old,), 1100, None)
    assert left(tmp_path) == [new.name, new.with_suffix(".png").name]


def test_too_many_bytes_take_the_oldest_first_but_the_best_of_each_species_stay(tmp_path: Path) -> None:
    lay(tmp_path, clip_name(1, score=0.9), 9)
    lay(tmp_path, clip_name(2, score=0.4), 8)
    lay(tmp_path, clip_name(3, "eurrob1", score=0.2), 7)
    lay(tmp_path, clip_name(4, score=0.5), 6)
    lay(tmp_path, clip_name(5, score=0.6), 5)
    purge = retention(tmp_path, max_bytes=3000, best_per_species=1).run()
    assert [path.name for path in purge.deleted] == [clip_name(2, score=0.4), clip_name(4, score=0.5)]
    purge = retention(tmp_path, max_bytes=0, max_age_days=0, best_per_species=1).run()
    assert left(tmp_path) == [clip_name(1, score=0.9), clip_name(3, "eurrob1", score=0.2)]


def test_a_full_disk_takes_the_best_last_and_says_so(tmp_path: Path) -> None:
    best = lay(tmp_path, clip_name(1, score=0.9), 9)
    other = lay(tmp_path, clip_name(2, score=0.4), 8)
    purge = retention(tmp_path, free=500, min_free_bytes=1500, best_per_species=1).run()
    assert (purge.deleted, purge.best_deleted) == ((other,), 0)
    sink = retention(tmp_path, free=500, min_free_bytes=1500, best_per_species=1)
    (event,) = sink.tick()
    assert event["event"] == "retention"
    assert (event["deleted"], event["freed_bytes"], event["best_deleted"]) == ([str(best)], 1000, 1)
    assert left(tmp_path) == []


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    lay(tmp_path, clip_name(1), 1000)
    assert retention(tmp_path).run().deleted == ()
    assert retention(tmp_path, max_bytes=1000, min_free_bytes=10, max_age_days=1000).run().deleted == ()


def test_it_looks_soon_after_a_clip_or_a_failure_and_every_few_minutes(tmp_path: Path) -> None:
    """A disk that fills up between two looks must not cost five minutes of clips."""
    at, looked = SimpleNamespace(now=NOW), Counter[str]()

    def usage(path: Path) -> Any:
        looked["times"] += 1
        return shutil.disk_usage(path)

    sink = Retention(tmp_path, Limits(max_bytes=10**12), lambda: at.now, usage)
    for step, kind, expected in [
        (0, "gap", 1),
        (60, "gap", 1),
        (0, "clip", 2),
        (5, "sink", 2),
        (5, "gap", 3),
        (299, "gap", 3),
        (1, "gap", 4),
        (-1000, "gap", 5),  # the clock was set back
    ]:
        at.now += step
        sink.take({"event": kind}, None)
        assert sink.tick() == sink.close() == []
        assert looked["times"] == expected, step


def test_a_clip_that_cannot_be_deleted_does_not_keep_the_others_and_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = lay(tmp_path, clip_name(1), 9), lay(tmp_path, clip_name(2), 8)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    sink = retention(tmp_path, max_age_days=1)
    assert [event["deleted"] for event in sink.tick()] == [[str(other)]]
    again = retention(tmp_path, max_age_days=1)
    with pytest.raises(OutputError, match=r"^cannot delete .*20230501_.*: Read-only file system$"):
        again.tick()


def test_a_missing_folder_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^cannot look for old clips in .*missing: No such file"):
        retention(tmp_path / "missing", max_age_days=1).tick()


@pytest.mark.parametrize("wrong", [{"max_age_days": -1}, {"max_bytes": -1}, {"best_per_species": -1}])
def test_limits_that_cannot_be_are_wrong_usage(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be -1: give 0 or more"):
        Limits(**wrong)


FOREIGN = ["notes.txt", "20230501_050000.wav", "20230501_050000_comcuc_0.93.mp3", "comcuc_0.93.flac", "dawn.png"]
LAID = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 100), st.integers(0, 40), st.integers(1, 3000)), max_size=12
)
LIMITS = st.builds(
    Limits,
    st.none() | st.integers(0, 40),
    st.none() | st.integers(0, 9000),
    st.none() | st.integers(0, 9000),
    st.integers(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(LAID, LIMITS, st.integers(0, 9000))
def test_foreign_files_stay_and_the_best_stay_while_another_clip_could_go(
    laid: list[tuple[str, int, int, int]], limits: Limits, free: int
) -> None:
    """Whatever lies there and whatever the limits: also that they are kept, if they can be, and that no more goes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {}
        for number, (code, score, days, size) in enumerate(laid):
            file = f"20230501_0500{number:02}_{code}_{score / 100:.2f}.wav"
            clips[lay(folder, file, days, size)] = (code, score, days, size)
        foreign = [lay(folder, file, 1000) for file in FOREIGN] + [folder / "20230501_050000_a_0.10.wav"]
        foreign[-1].write_bytes(b"beside the folders of the sources")
        purge = Retention(folder, limits, lambda: NOW, lambda path: SimpleNamespace(free=free)).run()
        kept = {path: clip for path, clip in clips.items() if path.exists()}
        assert all(path.exists() for path in foreign)
    assert kept.keys() | set(purge.deleted) == clips.keys()
    assert purge.freed_bytes == sum(clips[path][3] for path in purge.deleted)
    _check_best(clips, kept, limits, purge.best_deleted)
    _check_limits(clips, kept, limits, free)


def _check_best(clips: dict[Path, Any], kept: dict[Path, Any], limits: Limits, best_deleted: int) -> None:
    """Each species has the scores of its best, unless nothing but best clips is left."""
    missing = 0
    spare = len(kept)
    for code in "abc":
        scores = sorted((clip[1] for clip in clips.values() if clip[0] == code), reverse=True)
        best = Counter(scores[: limits.best_per_species])
        there = Counter(clip[1] for clip in kept.values() if clip[0] == code)
        missing += (best - there).total()
        spare -= (best & there).total()
    assert missing == best_deleted
    assert not (missing and spare)


def _check_limits(clips: dict[Path, Any], kept: dict[Path, Any], limits: Limits, free: int) -> None:
    size = sum(clip[3] for clip in kept.values())
    freed = sum(clip[3] for clip in clips.values()) - size
    if limits.min_free_bytes is not None and kept:
        assert free + freed >= limits.min_free_bytes
    if limits.best_per_species == 0:
        assert limits.max_bytes is None or size <= limits.max_bytes
        assert limits.max_age_days is None or all(clip[2] <= limits.max_age_days for clip in kept.values())
    if limits.min_free_bytes is None and limits.max_bytes is None and limits.max_age_days is None:
        assert kept == clips
