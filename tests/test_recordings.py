"""Many recordings: each is told when it is through, whatever becomes of the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.card import Card
from edgebird.detection import settings_for
from edgebird.errors import AudioError, ScoreError
from edgebird.parity import check_finite
from edgebird.recordings import Outcome, Work, process
from edgebird.sinks import Recorded, Sink
from edgebird.sources import FileSource, find_audio
from edgebird.types import FloatArray, Summary, Window
from tests.foreign import tone_card

RATE = 8000


class Log:
    """A runtime with windows of a second and groups of four, a sink and a watcher that write down what happens.

    What is louder than 0.8 breaks the engine.
    """

    name, provider, batch_size, concurrency = "log", "a test", 4, 1

    def __init__(self) -> None:
        self.card: Card = replace(tone_card(RATE, "batch"), window_samples=RATE)
        self.told: list[str] = []
        self.advanced: list[float] = []

    def infer(self, windows: FloatArray) -> FloatArray:
        self.told.append(f"{len(windows)} scored")
        scores = np.repeat(np.abs(windows).max(axis=1, keepdims=True), 3, axis=1)
        check_finite(np.where(scores > 0.8, np.nan, scores))
        return scores

    def begin(self, source: FileSource) -> None:
        self.advanced.append(0)

    def advance(self, seconds: float) -> None:
        self.advanced[-1] += seconds

    def done(self, source: FileSource, summary: Summary) -> None:
        self.told.append("done")

    def failed(self, error: AudioError) -> None:
        self.told.append("failed")

    def close(self) -> None: ...

    def hear(self, folder: Path) -> Outcome:
        found, _ = find_audio([folder])
        return process(found, Work(self, settings_for(self.card, 1, threshold=0.9)), [_Counted(self.told)], self)


class _Counted(Sink):
    """Writes down how many windows of a recording are scored, when it is complete."""

    name = "counted"

    def __init__(self, told: list[str]) -> None:
        self._told, self._windows = told, 0

    def begin(self, recording: Recorded) -> None:
        self._windows = 0

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        self._windows += 1

    def end(self, recording: Recorded, complete: bool) -> None:
        self._told += [f"{recording.relative.stem} written: {self._windows}"] * complete


def write(path: Path, seconds: float, loudness: float = 0.1) -> None:
    noise = np.random.default_rng(0).uniform(-loudness, loudness, round(seconds * RATE))
    soundfile.write(path, noise, RATE)


def test_short_recordings_are_scored_together_and_told_in_their_order(tmp_path: Path) -> None:
    """One that cannot be read between them stops none."""
    for name, seconds in (("a", 1), ("b", 2.6), ("d", 0.2), ("e", 3)):
        write(tmp_path / f"{name}.wav", seconds)
    (tmp_path / "c.wav").write_text("no sound")
    log = Log()
    assert log.hear(tmp_path) == Outcome(failed=1)
    assert log.told == [
        "4 scored",  # a second of a, three of b; no window of d
        *("a written: 1", "done", "b written: 3", "done", "failed", "d written: 0", "done"),
        *("3 scored", "e written: 3", "done"),
    ]
    assert log.advanced == pytest.approx([1, 2.6, 0, 3])


def test_what_is_through_is_written_whatever_becomes_of_the_next(tmp_path: Path) -> None:
    """An engine that fails in the third recording has not scored the first two in vain."""
    write(tmp_path / "a.wav", 4)
    write(tmp_path / "b.wav", 4)
    write(tmp_path / "c.wav", 4, loudness=0.9)
    log = Log()
    with pytest.raises(ScoreError, match=r"^log, .*c\.wav, audio at 0-4 s: "):
        log.hear(tmp_path)
    assert log.told == ["4 scored", "a written: 4", "done", "4 scored", "b written: 4", "done", "4 scored"]
