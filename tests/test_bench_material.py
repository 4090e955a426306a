"""What a benchmark scores: recordings, and no more of them than it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.benchmarks.material import read_material
from edgebird.bundle import Bundle
from edgebird.errors import AudioError
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


def test_recordings_are_scored_never_silence(tones: Bundle, tmp_path: Path) -> None:
    usual = read_material((), tones.card, 2.5)
    assert usual.names == ("three_birds.flac",)
    assert usual.audio.std() > 1e-3
    first, second = next(usual.groups(2))
    assert second.start - first.start == 2.5 * RATE
    soundfile.write(tmp_path / "short.wav", scene(3, []), RATE)
    with pytest.raises(AudioError, match=r"short\.wav: 3\.0 s, a window takes 5 s of audio"):
        read_material([tmp_path / "short.wav"], tones.card, 2.5)


def test_files_after_ten_minutes_are_not_said_to_be_scored(tones: Bundle, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first.wav", "second.wav", "third.wav")]
    for file in files[:2]:
        soundfile.write(file, np.tile(scene(10, [(1, 0.8, 0, 5)]), 31), RATE)  # 310 s
    material = read_material(files, tones.card, 2.5)  # the third is not even there
    assert material.names == ("first.wav", "second.wav")
    assert len(material.audio) == 600 * RATE
