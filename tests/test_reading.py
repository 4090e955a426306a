"""Reading: whatever a header claims and wherever a file ends, all sound that is there is read, or told as missing."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebird.errors import AudioError, IncompleteAudioError
from edgebird.sources import FileSource
from edgebird.types import AudioBlock, FloatArray
from tests.conftest import require

RATE = 8000
SECONDS = 6
SAMPLES = SECONDS * RATE
QUICK = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Container, codec, and how many samples may be lost with the codec's frame in which a file ends.
PLAIN = {
    "wav": ("WAV", "PCM_16", 1),
    "wav 24 bit": ("WAV", "PCM_24", 1),
    "wav float": ("WAV", "FLOAT", 1),
    "wav extensible": ("WAVEX", "PCM_16", 1),
    "wav a-law": ("WAV", "ALAW", 1),
    "rf64": ("RF64", "PCM_16", 1),
    "wave64": ("W64", "PCM_16", 1),
    "aiff": ("AIFF", "PCM_16", 1),
    "aiff float": ("AIFF", "FLOAT", 1),
    "caf": ("CAF", "PCM_16", 1),
    "au": ("AU", "PCM_16", 1),
}
CODED = {
    "flac": ("FLAC", "PCM_16", 4096),
    "ogg": ("OGG", "VORBIS", 3 * 2048),
    "opus": ("OGG", "OPUS", 3 * 960),
    "mp3": ("MP3", "MPEG_LAYER_III", 4 * 576),
    "adpcm": ("WAV", "MS_ADPCM", 1024),
    "gsm": ("WAV", "GSM610", 640),
}


def noise(samples: int = SAMPLES, channels: int = 1) -> FloatArray:
    return np.random.default_rng(3).uniform(-0.4, 0.4, (samples, channels)).astype(np.float32)


def encoded(form: str, sound: FloatArray | None = None) -> bytearray:
    container, codec, _ = (PLAIN | CODED)[form]
    file = io.BytesIO()
    soundfile.write(file, noise() if sound is None else sound, RATE, format=container, subtype=codec)
    return bytearray(file.getvalue())


def decoded(content: bytes) -> FloatArray:
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return samples[:, 0]


@contextmanager
def heard(said: list[str]) -> Iterator[None]:
    """Add what is logged to a list."""
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("edgebird").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("edgebird").removeHandler(handler)


class Reading:
    """What becomes of a file. problem: what is said to be missing; warnings: what else is said."""

    def __init__(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self.blocks: list[AudioBlock] = []
        self.problem = ""
        self.opened = True
        self.warnings: list[str] = []
        with heard(self.warnings):
            try:
                self.blocks.extend(FileSource(path, RATE).blocks())
            except IncompleteAudioError as error:
                self.problem = str(error)
            except AudioError as error:
                self.problem, self.opened = str(error), False
        assert "\n" not in self.problem
        ends = [AudioBlock(np.empty(0, np.float32), 0), *self.blocks]
        assert all(before.end <= after.start for before, after in pairwise(ends))
        self.gaps = [
            (before.end, after.start, after.lost) for before, after in pairwise(ends) if after.start > before.end
        ]

    @property
    def end(self) -> int:
        return self.blocks[-1].end if self.blocks else 0

    @property
    def read(self) -> int:
        return sum(len(block.samples) for block in self.blocks)

    @property
    def samples(self) -> FloatArray:
        return np.concatenate([block.samples for block in self.blocks])


# ------------------------------------------------------------------------------------------------- cut at any byte
@pytest.mark.parametrize("form", [*PLAIN, *CODED])
@QUICK
@given(share=st.floats(0, 1))
def test_of_a_file_that_was_cut_all_before_the_cut_is_read(tmp_path: Path, form: str, share: float) -> None:
    """Wherever a battery ran out: what is read and what is told as missing are what the header says."""
    content = encoded(form)
    whole = decoded(content)
    cut = int(share * len(content))
    reading = Reading(tmp_path / "x", content[:cut])
    if not reading.opened:
        assert reading.problem
        assert cut < 9000  # within the header, or the first frame, of all of them
        return
    _, codec, frame = (PLAIN | CODED)[form]
    lossless = form in PLAIN or form == "flac"
    if lossless:
        np.testing.assert_allclose(reading.samples, whole[: reading.read], rtol=0, atol=1e-6)
    if form in PLAIN:
        present = cut - (len(content) - SAMPLES * bytes_of(codec))
        assert reading.read >= min(present // bytes_of(codec), SAMPLES) - 64  # a chunk may stand behind
    else:
        assert reading.read >= share * SAMPLES * 0.8 - frame - 4200
    states = form not in ("ogg", "opus")
    if reading.read < len(whole) - 3 * frame:
        assert reading.problem or any("length unknown" in said for said in reading.warnings)
    if states and reading.problem:
        assert reading.end == pytest.approx(len(whole), abs=frame if form in ("adpcm", "gsm") else 0)
        assert reading.gaps[-1][2] == "cut_off"
    if reading.problem:
        assert f"decoding ended at {reading.read / RATE:.1f} s" in reading.problem


def bytes_of(codec: str) -> int:
    return {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4, "ALAW": 1}[codec]


@QUICK
@given(at=st.integers(0, 1 << 16), size=st.integers(1, 9000), form=st.sampled_from(["flac", "ogg", "opus", "mp3"]))
def test_a_hole_anywhere_is_told_and_costs_only_what_is_in_it(tmp_path: Path, at: int, size: int, form: str) -> None:
    content = encoded(form)
    begin = 4200 + at % (len(content) - 4200)
    clean = bytes(content)
    content[begin : begin + size] = bytes(len(content[begin : begin + size]))
    reading = Reading(tmp_path / "x", content)
    assert reading.opened
    if bytes(content) != clean:
        assert reading.problem or form == "mp3"  # a frame whose sound alone is damaged decodes to something
    if form == "flac":
        whole = decoded(clean)
        for block in reading.blocks:
            np.testing.assert_array_equal(block.samples, whole[block.start : block.end])
        assert reading.end == SAMPLES
        assert SAMPLES - reading.read <= (size // 4000 + 3) * 4096


@pytest.mark.parametrize("form", ["flac", "ogg", "opus", "mp3"])
@QUICK
@given(junk=st.binary(min_size=1, max_size=300))
def test_junk_behind_the_sound_costs_none_of_it(tmp_path: Path, form: str, junk: bytes) -> None:
    content = bytes(encoded(form))
    reading = Reading(tmp_path / "x", content + junk)
    assert reading.read == pytest.approx(Reading(tmp_path / "y", content).read, abs=2 * 576)


@pytest.mark.parametrize("form", ["flac", "ogg", "opus", "mp3", "wav"])
def test_a_tag_behind_the_sound_is_nothing_to_speak_of(tmp_path: Path, form: str) -> None:
    """ID3v1, which other readers pass over."""
    reading = Reading(tmp_path / "x", bytes(encoded(form)) + b"TAG" + bytes(125))
    assert reading.read >= SAMPLES
    assert reading.problem == "" or form in ("ogg", "opus")


# ------------------------------------------------------------------------------------------------ lengths that lie
def patch(content: bytearray, at: int, value: int, size: int, order: Any = "little") -> None:
    content[at : at + size] = value.to_bytes(size, order)


def size_field(form: str, content: bytearray) -> tuple[int, int, Any]:
    """Where the size of the samples stands, how many bytes it has, and their order."""
    if form == "rf64":
        return content.index(b"ds64") + 16, 8, "little"
    if form == "wave64":
        return content.index(b"data\xf3\xac") + 16, 8, "little"
    if form.startswith("aiff"):
        return content.index(b"SSND") + 4, 4, "big"
    if form == "caf":
        return content.index(b"data") + 4, 8, "big"
    if form == "au":
        return 8, 4, "big"
    return content.index(b"data") + 4, 4, "little"


LIES: dict[str, Callable[[int, int], int]] = {
    "zero": lambda size, width: 0,
    "all ones": lambda size, width: 256**width - 1,
    "too small": lambda size, width: size // 3 // 2 * 2,
    "that of a header": lambda size, width: 44,
    "a little less": lambda size, width: size - 240,
    "too large": lambda size, width: size * 2,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("form", PLAIN)
def test_whatever_a_size_field_says_all_sound_is_read(tmp_path: Path, form: str, lie: str) -> None:
    """Frontier Labs' recorders wrote 44 bytes, others 0, and each time the night was lost without a word."""
    content = encoded(form)
    whole = decoded(content)
    at, width, order = size_field(form, content)
    value = LIES[lie](int.from_bytes(content[at : at + width], order), width)
    patch(content, at, value, width, order)
    reading = Reading(tmp_path / "x", content)
    np.testing.assert_allclose(reading.samples[: len(whole)], whole, rtol=0, atol=1e-6)
    assert reading.read <= len(whole) + 64  # a chunk behind it is taken for sound only where nothing tells
    if lie == "too large":
        assert "are missing" in reading.problem
    else:
        assert reading.problem == ""
        told = "length unknown, decoding ended at 6.0 s" if lie in ("zero", "all ones") else "its header tells of"
        says_twice = form.startswith("aiff") and lie in ("zero", "all ones")
        assert [told in said for said in reading.warnings] == [True] * (not says_twice)


@pytest.mark.parametrize("value", [0, 1, 2**32 - 1, 400, 10**9])
def test_the_size_of_riff_itself_is_nothing_to_go_by(tmp_path: Path, value: int) -> None:
    content = encoded("wav")
    patch(content, 4, value, 4)
    reading = Reading(tmp_path / "x", content)
    assert (reading.read, reading.problem, reading.warnings) == (SAMPLES, "", [])


@pytest.mark.parametrize("total", [0, 1, SAMPLES // 2, SAMPLES - 1, SAMPLES + 9000, 2**36 - 1])
def test_whatever_streaminfo_says_all_sound_is_read(tmp_path: Path, total: int) -> None:
    content = encoded("flac")
    whole = decoded(content)
    (fields,) = struct.unpack(">Q", content[18:26])
    content[18:26] = struct.pack(">Q", fields >> 36 << 36 | total)
    reading = Reading(tmp_path / "x", content)
    np.testing.assert_array_equal(reading.samples, whole)
    if total > SAMPLES and total != 2**36 - 1:
        assert "are missing" in reading.problem
        assert reading.end == total
    elif 0 < total < SAMPLES:
        assert ["its header tells of" in said for said in reading.warnings] == [True]
    else:
        assert ["length unknown, decoding ended at 6.0 s" in said for said in reading.warnings] == [True]


def test_a_header_that_counts_itself_is_no_loss(tmp_path: Path) -> None:
    """Frontier Labs' firmware before 3.00 wrote the size of the file."""
    content = encoded("wav")
    patch(content, content.index(b"data") + 4, len(content), 4)
    reading = Reading(tmp_path / "x", content)
    assert (reading.read, reading.problem) == (SAMPLES, "")
    assert ["counts itself as sound: 44 bytes" in said for said in reading.warnings] == [True]


def test_twice_the_length_in_streaminfo_is_no_loss(tmp_path: Path) -> None:
    """Frontier Labs' firmware 3.17 to 3.24 wrote it."""
    content = encoded("flac")
    (fields,) = struct.unpack(">Q", content[18:26])
    content[18:26] = struct.pack(">Q", fields >> 36 << 36 | 2 * SAMPLES)
    reading = Reading(tmp_path / "x", content)
    assert (reading.read, reading.problem) == (SAMPLES, "")
    assert ["twice the sound" in said for said in reading.warnings] == [True]


def test_what_a_recorder_never_wrote_is_no_silence(tmp_path: Path) -> None:
    """Frontier Labs made files in advance: after a battery was empty, zeros follow what was recorded."""
    content = encoded("wav")
    patch(content, content.index(b"data") + 4, 44, 4)
    reading = Reading(tmp_path / "x", bytes(content) + bytes(200_000))
    assert reading.read == pytest.approx(SAMPLES, abs=840)
    assert reading.problem == ""
    assert ["bytes of zeros at its end were never written" in said for said in reading.warnings] == [True]


def test_chunks_behind_samples_of_unknown_length_are_no_sound(tmp_path: Path) -> None:
    """AudioMoth writes GUANO there."""
    content = encoded("wav")
    patch(content, content.index(b"data") + 4, 44, 4)
    text = b"GUANO|Version: 1.0\nTimestamp: 2023-05-24T15:30:00+02:00\n\n"
    reading = Reading(tmp_path / "x.wav", content + b"guan" + struct.pack("<I", len(text)) + text)
    assert (reading.read, reading.problem) == (SAMPLES, "")
    started = FileSource(tmp_path / "x.wav", RATE).origin.started
    assert started is not None
    assert started.isoformat() == "2023-05-24T15:30:00+02:00"


def test_zeros_that_fill_a_sector_are_left_out_and_told(tmp_path: Path) -> None:
    reading = Reading(tmp_path / "x", bytes(encoded("wav")) + bytes(400))
    assert (reading.read, reading.problem) == (SAMPLES, "")
    assert ["400 bytes behind its sound are zeros" in said for said in reading.warnings] == [True]


def test_a_size_of_more_than_4_gib_that_wrapped_is_seen_through(tmp_path: Path) -> None:
    """Recorders without RF64 write the lower 32 bits; the file here is sparse, and at a rate that makes it short."""
    content = encoded("wav", noise(1000))
    size = 2**32 + 2_000_000
    patch(content, 24, 9_600_000, 4)
    patch(content, content.index(b"data") + 4, size % 2**32, 4)
    path = tmp_path / "x.wav"
    path.write_bytes(content[:2044])
    with path.open("r+b") as file:
        file.truncate(44 + size)
        file.seek(-4, 2)
        file.write(b"loud")
    source = FileSource(path, 9_600_000)
    assert source.duration_s == size // 2 / 9_600_000


# ----------------------------------------------------------------------------------- files within files, one by one
@pytest.mark.parametrize("form", ["ogg", "opus", "mp3"])
def test_joined_recordings_are_read_one_after_the_other(tmp_path: Path, form: str) -> None:
    """`cat a.ogg b.ogg`: libsndfile reads the first alone."""
    content = bytes(encoded(form))
    whole = decoded(content)
    reading = Reading(tmp_path / "x", content + content)
    assert reading.problem == ""
    assert reading.read == pytest.approx(2 * len(whole), abs=4 * 576)
    if form != "mp3":
        np.testing.assert_allclose(reading.samples, np.concatenate([whole, whole]), rtol=0, atol=1e-6)


def test_a_joined_recording_of_another_rate_is_not_left_out_in_silence(tmp_path: Path) -> None:
    other = io.BytesIO()
    soundfile.write(other, noise(), 16000, format="OGG")
    reading = Reading(tmp_path / "x", bytes(encoded("ogg")) + other.getvalue())
    assert reading.read == SAMPLES
    assert "bytes stay unread" in reading.problem


def test_mp3_in_wav_lacks_nothing(tmp_path: Path) -> None:
    mp3 = bytes(encoded("mp3"))
    form = struct.pack("<HHIIHH", 0x55, 1, RATE, 8000, 1, 0) + struct.pack("<HHIHHH", 12, 1, 2, 144, 1, 1393)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"fact" + struct.pack("<II", 4, SAMPLES + 1000)
    chunks += b"data" + struct.pack("<I", len(mp3)) + mp3
    reading = Reading(tmp_path / "x.wav", b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    assert (reading.read, reading.problem, reading.warnings) == (len(decoded(mp3)), "", [])


@pytest.mark.parametrize(
    ("name", "codec", "loss"), [("x.m4a", "aac", 4096), ("x.wma", "wmav2", 8192), ("x.webm", "libopus", 4096)]
)
def test_what_libsndfile_does_not_know_is_read_by_ffmpeg(tmp_path: Path, name: str, codec: str, loss: int) -> None:
    """Phones record .m4a."""
    av = require("av")
    rate, path = 48000, tmp_path / name
    tone = (0.4 * np.sin(2 * np.pi * 1000 * np.arange(6 * rate) / rate)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64000
        fifo = av.AudioFifo()
        convert = av.AudioResampler(format=stream.format or "fltp", layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for converted in convert.resample(frame):
            fifo.write(converted)
        size = stream.frame_size or 1024
        while (piece := fifo.read(size, partial=True)) is not None:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    source = FileSource(path, rate)
    samples = np.concatenate([block.samples for block in source.blocks()])
    assert len(samples) == pytest.approx(6 * rate, abs=loss)
    middle = samples[rate : 5 * rate]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)
    if name != "x.webm":
        assert source.duration_s == pytest.approx(6, abs=0.2)


# -------------------------------------------------------------------------------------------- AudioMoth's triggered
def coded(count: int) -> Any:
    bits = [1 if count >> bit & 1 else -1 for bit in range(32)]
    return np.array(bits + [0] * 224, np.int16)


def test_silence_that_an_audiomoth_left_out_is_a_gap(tmp_path: Path) -> None:
    """Else every later time would be too early."""
    sound = (noise(256 * 200)[:, 0] * 20000).astype(np.int16)
    pieces = [
        sound[: 256 * 50],
        coded(625),
        sound[256 * 50 : 256 * 60],
        coded(3),
        coded(5),
        sound[256 * 60 :],
        coded(9),
    ]
    path = tmp_path / "20240501_051500T.WAV"
    soundfile.write(path, np.concatenate(pieces), RATE, subtype="PCM_16")
    blocks = list(FileSource(path, RATE).blocks())
    spans = [(block.start, block.end, block.lost) for block in blocks]
    starts = [0, 256 * (50 + 625), 256 * (60 + 625 + 8)]
    ends = [256 * 50, 256 * (60 + 625), 256 * (200 + 625 + 8)]
    found = [(start, end) for start, end, _ in spans]
    assert [found[0][0], *(start for (_, end), (start, _) in pairwise(found) if start > end)][:3] == starts
    assert spans[-1][1] == ends[2] + 9 * 256
    assert len(blocks[-1].samples) == 0
    assert {lost for _, _, lost in spans} <= {"", "not_triggered"}
    heard = np.concatenate([block.samples for block in blocks])
    np.testing.assert_allclose(heard, sound / 32768, rtol=0, atol=1e-6)


def test_a_name_that_does_not_end_in_t_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "20240501_051500.WAV"
    soundfile.write(path, np.concatenate([np.zeros(256, np.int16), coded(9)]), RATE, subtype="PCM_16")
    assert sum(len(block.samples) for block in FileSource(path, RATE).blocks()) == 512


# --------------------------------------------------------------------------------------------------------- channels
def warnings_of(path: Path, sound: FloatArray, rate: int = 48000, **options: int) -> list[str]:
    soundfile.write(path, sound, rate, subtype="PCM_16")
    said: list[str] = []
    with heard(said):
        list(FileSource(path, 32000, **options).blocks())  # type: ignore[arg-type]
    return said


def test_channels_that_cancel_or_are_dead_are_told_and_others_are_not(tmp_path: Path) -> None:
    """Averaged, a stereo pair in opposite phase is silence, and one microphone that is off costs 6 dB."""
    one, other = noise(48000 * 4), noise(48000 * 4 + 9, 2)[:-9, 1:]
    both = np.concatenate([one, other], axis=1)
    path = tmp_path / "x.wav"
    assert warnings_of(path, both) == []
    assert warnings_of(path, np.concatenate([one, one * 0.5], axis=1)) == []
    (said,) = warnings_of(path, np.concatenate([one, -one], axis=1))
    assert "cancel each other at all frequencies" in said
    (said,) = warnings_of(path, np.concatenate([one, np.roll(one, 8)], axis=1))
    assert "cancel each other around 3" in said or "cancel each other around 2.8" in said or "around 9" in said
    (said,) = warnings_of(path, np.concatenate([np.zeros_like(one), one], axis=1))
    assert "channel 1 is silent" in said
    assert "--channel 2" in said
    assert warnings_of(path, np.concatenate([one, -one], axis=1), channel=2) == []


def test_a_source_of_a_low_rate_is_told_once(tmp_path: Path) -> None:
    (said,) = warnings_of(tmp_path / "x.wav", noise(), 8000)
    assert "nothing above 4 kHz can be heard" in said
