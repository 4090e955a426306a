"""Sources: every sample of a file arrives once and in place, and a file that is not whole is never taken for one."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable
from datetime import timedelta, timezone
from itertools import pairwise
from pathlib import Path, PurePath

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import AudioError, IncompleteAudioError
from edgebird.resampling import Resampler
from edgebird.sources import FileSource, find_audio
from edgebird.types import AudioBlock, FloatArray

RATE = 32000  # of the model
LOW = 8000  # a rate that keeps test files small


def sound(seconds: float, rate: int = LOW, channels: int = 1) -> FloatArray:
    """Noise that grows louder, so that no two moments and no two channels are alike: float32 [n, channels]."""
    n = round(seconds * rate)
    noise = np.random.default_rng(7).uniform(-0.5, 0.5, (n, channels))
    return (noise * np.linspace(0.01, 1, n)[:, None]).astype(np.float32)


def write(path: Path, samples: FloatArray, rate: int = LOW, **options: str) -> bytearray:
    """Write a sound file; return its bytes, to be damaged."""
    soundfile.write(path, samples, rate, **options)
    return bytearray(path.read_bytes())


def read(path: Path, rate: int = RATE) -> FloatArray:
    """All of a source, after checking that its blocks are float32, follow each other and are not long."""
    blocks = list(FileSource(path, rate).blocks())
    assert blocks[0].start == 0
    assert all(before.end == after.start for before, after in pairwise(blocks))
    assert all(block.samples.dtype == np.float32 and 0 < len(block.samples) <= 11 * rate for block in blocks)
    return np.concatenate([block.samples for block in blocks])


def problem(path: Path) -> str:
    """What is said about a file that cannot be read, which is one line and names it."""
    with pytest.raises(AudioError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.sampled_from([8000, 16000, 22050, 32000, 44100, 48000, 250000]),
    st.lists(st.integers(0, 3000), max_size=6),
)
def test_resampling_does_not_depend_on_how_the_stream_is_cut(rate: int, sizes: list[int]) -> None:
    """Else a microphone and a file of the same audio would give different scores."""
    samples = sound(sum(sizes), rate=1)[:, 0]
    resampler = Resampler(rate, RATE)
    pieces = [resampler.push(piece) for piece in np.split(samples, np.cumsum(sizes))]
    output = np.concatenate([*pieces, resampler.finish()])
    np.testing.assert_allclose(output, soxr.resample(samples, rate, RATE, quality="HQ"), rtol=0, atol=1e-7)
    assert abs(len(output) - len(samples) * RATE / rate) <= 0.5


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_a_file_is_the_mean_of_its_channels_at_the_models_rate(tmp_path: Path, rate: int) -> None:
    samples = sound(21, rate, channels=2)
    write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")
    np.testing.assert_allclose(read(tmp_path / "x.wav"), expected, rtol=0, atol=1e-6)
    assert FileSource(tmp_path / "x.wav", RATE).duration_s == 21


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "W64", "RF64", "CAF", "AU"])
def test_every_format_in_blocks_is_the_same_as_in_one_piece(tmp_path: Path, format: str) -> None:
    """MP3 in particular: seeking between blocks, as soundfile does by itself, garbles it."""
    write(tmp_path / "x", sound(25), format=format)
    whole, _ = soundfile.read(tmp_path / "x", dtype="float32")
    np.testing.assert_allclose(read(tmp_path / "x", LOW), whole, rtol=0, atol=1e-6)


def test_a_source_knows_its_name_its_path_and_when_it_began(tmp_path: Path) -> None:
    path = tmp_path / "SM4_20230524_153000.wav"
    write(path, sound(1))
    zone = timezone(timedelta(hours=2))
    origin = FileSource(path, RATE, "garden", zone).origin
    assert (origin.name, origin.path) == ("garden", path)
    assert origin.started is not None
    assert origin.started.isoformat() == "2023-05-24T15:30:00+02:00"
    assert FileSource(str(path), RATE).origin.name == str(path)


def test_what_is_no_sound_file_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("The early bird\n" * 100)
    os.mkfifo(tmp_path / "pipe.wav")
    write(tmp_path / "none.wav", sound(0))
    assert problem(tmp_path / "missing.wav").endswith("no such file")
    assert problem(tmp_path / "folder.wav").endswith("it is a folder")
    assert problem(tmp_path / "empty.wav").endswith("it is empty (0 bytes)")
    assert "not sound" in problem(tmp_path / "text.wav")
    assert problem(tmp_path / "pipe.wav").endswith("it is not a regular file")
    assert problem(tmp_path / "none.wav").endswith("it holds no samples")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_said_to_be_so(tmp_path: Path) -> None:
    write(tmp_path / "x.wav", sound(1))
    (tmp_path / "x.wav").chmod(0)
    assert problem(tmp_path / "x.wav").endswith("permission denied")


def told(path: Path, rate: int = LOW) -> tuple[FloatArray, list[tuple[float, float, str]], str]:
    """What is read of a file that is not whole: all its samples in their places, what is missing (s), and the words."""
    blocks: list[AudioBlock] = []
    with pytest.raises(IncompleteAudioError) as caught:
        blocks.extend(FileSource(path, rate).blocks())
    gaps = []
    for before, after in pairwise([AudioBlock(np.empty(0, np.float32), 0), *blocks]):
        if after.start > before.end:
            gaps.append((before.end / rate, after.start / rate, after.lost))
    samples = np.zeros(blocks[-1].end, np.float32)
    for block in blocks:
        samples[block.start : block.end] = block.samples
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return samples, gaps, message


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
@pytest.mark.parametrize("format", ["FLAC", "MP3"])
def test_a_compressed_file_that_was_cut_off_is_read_as_far_as_it_goes(
    tmp_path: Path, format: str, share: float
) -> None:
    """The last block of a night must not take the hours before with it."""
    content = write(tmp_path / "x", sound(25), format=format)
    whole = read(tmp_path / "x", LOW)
    (tmp_path / "x").write_bytes(content[: int(len(content) * share)])
    samples, ((start, end, reason),), message = told(tmp_path / "x")
    assert (end, reason) == (25, "cut_off")
    np.testing.assert_allclose(samples[: round(start * LOW)], whole[: round(start * LOW)], rtol=0, atol=1e-6)
    assert f"decoding ended at {start:.1f} s: the last " in message
    assert message.endswith(" s of 25.0 s are missing")
    assert start == pytest.approx(25 * share, abs=2.5)  # louder parts take more bytes


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3"])
def test_a_compressed_file_with_a_hole_is_read_on_both_sides_of_it(tmp_path: Path, format: str) -> None:
    """A bad block of a memory card: decoders skip it in silence or stop, and all later times would be wrong."""
    content = write(tmp_path / "x", sound(25), format=format)
    whole = read(tmp_path / "x", LOW)
    middle = len(content) // 2
    content[middle : middle + 20000] = bytes(20000)
    (tmp_path / "x").write_bytes(content)
    samples, ((start, end, reason), *more), message = told(tmp_path / "x")
    assert reason == "damaged"
    assert f"damaged at {start:.3f} s: {end - start:.1f} s are missing" in message
    last = slice(len(samples) - 2 * LOW, len(samples) - LOW)
    delay = 576 if format == "MP3" else 0  # the encoder's, which nothing trims where the header is of no use
    expected = whole[last.start - delay : last.stop - delay]
    np.testing.assert_allclose(samples[last], expected, rtol=0, atol=1e-6)
    assert not more or format == "MP3"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -3e38, 1e10])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_sound_are_left_out_and_placed(tmp_path: Path, value: float, channels: int) -> None:
    """One sample of 1e30 spoils every score around it, and the engine would be blamed."""
    samples = sound(15, channels=channels)
    samples[12 * LOW + 3, -1] = value
    write(tmp_path / "x.wav", samples, subtype="FLOAT")
    found, gaps, message = told(tmp_path / "x.wav")
    assert gaps == [(12.0, 12.1, "not_finite")]
    samples[12 * LOW : round(12.1 * LOW)] = 0
    np.testing.assert_allclose(found, samples.mean(axis=1), rtol=0, atol=1e-6)
    assert "samples that are no sound" in message
    assert "at 12.000 s" in message
    if channels == 2:
        blocks = list(FileSource(tmp_path / "x.wav", LOW, channel=1).blocks())
        assert sum(len(block.samples) for block in blocks) == 15 * LOW


def test_a_wav_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """A battery that ran out must not cost the whole night."""
    content = write(tmp_path / "x.wav", sound(12))
    (tmp_path / "x.wav").write_bytes(content[: 44 + 5 * LOW * 2])
    samples, gaps, message = told(tmp_path / "x.wav")
    assert gaps == [(5, 12, "cut_off")]
    assert len(samples) == 12 * LOW
    assert "x.wav: damaged or cut off, decoding ended at 5.0 s: the last 7.0 s of 12.0 s are missing" in message


def without_sizes(content: bytearray) -> None:
    content[4:8] = bytes(4)
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)


def with_a_pipes_sizes(content: bytearray) -> None:
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4


def without_rf64_sizes(content: bytearray) -> None:
    at = content.index(b"ds64") + 8
    content[at : at + 24] = bytes(24)


@pytest.mark.parametrize(
    ("format", "forget"),
    [("WAV", without_sizes), ("WAV", with_a_pipes_sizes), ("RF64", without_rf64_sizes)],
)
def test_a_wav_file_that_was_never_finished_is_read_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, format: str, forget: Callable[[bytearray], None]
) -> None:
    """libsndfile takes a size of 0 at its word, and a night of recording would be an empty file."""
    content = write(tmp_path / "x.wav", sound(12), format=format)
    whole = read(tmp_path / "x.wav", LOW)
    forget(content)
    (tmp_path / "x.wav").write_bytes(content)
    caplog.clear()
    np.testing.assert_array_equal(read(tmp_path / "x.wav", LOW), whole)
    assert ["length unknown, decoding ended at 12.0 s" in message for message in caplog.messages] == [True]


def test_metadata_after_an_empty_recording_is_not_taken_for_sound(tmp_path: Path) -> None:
    content = write(tmp_path / "x.wav", sound(0))
    (tmp_path / "x.wav").write_bytes(content + b"LIST" + struct.pack("<I", 4000) + b"INFO" + bytes(3996))
    assert problem(tmp_path / "x.wav").endswith("it holds no samples")


def test_a_flac_file_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    """What `arecord | flac -` leaves."""
    content = write(tmp_path / "x.flac", sound(25))
    (fields,) = struct.unpack(">Q", content[18:26])
    content[18:26] = struct.pack(">Q", fields >> 36 << 36)  # the low 36 bits count the samples
    (tmp_path / "x.flac").write_bytes(content)
    assert FileSource(tmp_path / "x.flac", RATE).duration_s == 25  # as its last frame says
    assert len(read(tmp_path / "x.flac", LOW)) == 25 * LOW


def without_mp3_length(content: bytearray) -> bytearray:
    """Leave out the first frame, which holds nothing else."""
    return content[content.index(content[:2], 2) :]


def test_an_mp3_file_whose_length_would_be_guessed_too_short_is_read_to_its_end(tmp_path: Path) -> None:
    """libsndfile guesses from the first, here loud frames, and would leave out the rest without a word."""
    samples = sound(60, RATE)
    samples[20 * RATE :] = 0
    content = write(tmp_path / "x.mp3", samples, RATE, format="MP3", bitrate_mode="VARIABLE")
    (tmp_path / "x.mp3").write_bytes(without_mp3_length(content))
    assert len(read(tmp_path / "x.mp3")) == pytest.approx(60 * RATE, abs=0.1 * RATE)


def test_an_mp3_file_whose_length_is_guessed_too_long_is_read_to_its_end(tmp_path: Path) -> None:
    samples = sound(60, RATE)
    samples[: 20 * RATE] = 0
    content = write(tmp_path / "x.mp3", samples, RATE, format="MP3", bitrate_mode="VARIABLE")
    (tmp_path / "x.mp3").write_bytes(without_mp3_length(content))
    assert len(read(tmp_path / "x.mp3")) == pytest.approx(60 * RATE, abs=0.1 * RATE)


@pytest.mark.parametrize("name", [b"new\nline.wav", b"caf\xe9.wav"])
def test_odd_file_names_are_read_and_told_on_one_line(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    write(tmp_path / "x.wav", sound(1))
    (tmp_path / "x.wav").rename(path)
    assert len(read(path)) == RATE
    ((found,), _) = find_audio([tmp_path])
    assert found.path == path
    assert FileSource(path, RATE).origin.name.isprintable()
    path.write_bytes(b"")
    with pytest.raises(AudioError) as caught:
        FileSource(path, RATE)
    assert str(caught.value).isprintable()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_for_sound_and_keep_their_structure(tmp_path: Path) -> None:
    touch(tmp_path, "b.WAV", "a.flac", "notes.txt", "site 1/night/c.mp3", ".hidden.wav", "._a.flac", ".trash/d.wav")
    found, _ = find_audio([tmp_path])
    assert [str(file.relative) for file in found] == ["a.flac", "b.WAV", "site 1/night/c.mp3"]
    assert [file.path for file in found] == [tmp_path / file.relative for file in found]


def test_sound_that_cannot_be_read_is_not_left_out_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.wav", "b.m4a", "site/c.M4A", "d.wac", "e.txt")
    for has_it, taken, left_out in (
        (False, ["a.wav"], "3 sound files left out (.m4a .wac): pip install 'edgebird[stream]' reads .m4a"),
        (True, ["a.wav", "b.m4a", "site/c.M4A"], "1 sound file left out (.wac): convert to WAV or FLAC"),
    ):
        caplog.clear()
        monkeypatch.setattr("edgebird.sources.has_ffmpeg", lambda has_it=has_it: has_it)
        found, errors = find_audio([tmp_path])
        assert [str(file.relative) for file in found] == taken
        assert errors == []
        (message,) = caplog.messages
        assert message.startswith(left_out)


def test_a_file_that_is_given_is_taken_whatever_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "site/.recording.dat")
    ((found,), _) = find_audio([tmp_path / "site/.recording.dat"])
    assert found.relative == PurePath(".recording.dat")


def test_a_file_reached_twice_is_read_once(tmp_path: Path) -> None:
    """Else every detection in it would be reported twice."""
    touch(tmp_path, "site/a.wav")
    (tmp_path / "site/z.wav").symlink_to(tmp_path / "site/a.wav")
    found, _ = find_audio([tmp_path / "site/a.wav", tmp_path / "site", tmp_path / "site/../site/a.wav"])
    assert [str(file.relative) for file in found] == ["a.wav"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "disk/far.wav", "recordings/near.wav")
    (tmp_path / "recordings/2023").symlink_to(tmp_path / "disk")
    (tmp_path / "recordings/up").symlink_to(tmp_path / "recordings")
    (tmp_path / "recordings/dangling.wav").symlink_to(tmp_path / "nowhere")
    found, _ = find_audio([tmp_path / "recordings"])
    assert [str(file.relative) for file in found] == ["2023/far.wav", "near.wav"]


def test_nothing_to_read_is_an_error_not_an_empty_result_and_stops_no_others(tmp_path: Path) -> None:
    touch(tmp_path, "site/a.wav", "empty/notes.txt")
    found, errors = find_audio([tmp_path / "gone.wav", tmp_path / "empty", tmp_path / "site"])
    assert [str(file.relative) for file in found] == ["a.wav"]
    assert [str(error).partition(": ")[2].partition(" (")[0] for error in errors] == [
        "no such file",
        "no sound files in this folder",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_entered_is_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An ext4 memory card has such a folder, lost+found."""
    touch(tmp_path, "a.wav")
    (tmp_path / "lost+found").mkdir(mode=0)
    with caplog.at_level(logging.WARNING):
        assert len(find_audio([tmp_path])[0]) == 1
    assert "lost+found: left out, permission denied" in caplog.text
