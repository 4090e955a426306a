"""Many recordings: each is told when it is through, whatever becomes of the next."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.card import Card
from edgebird.conditioning import SoundOptions
from edgebird.detection import settings_for
from edgebird.errors import AudioError, OutputError, RuntimeUnavailableError, UsageError
from edgebird.events import Event
from edgebird.parity import check_finite
from edgebird.readers import EACH
from edgebird.recordings import Outcome, Work, process
from edgebird.settings.sources import recording_source
from edgebird.sinks import Memory, Recorded, Sink, opened
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

    def hear(self, folder: Path, readers: int | None = None, channel: int | None = None) -> Outcome:
        found, _ = find_audio([folder])
        work = Work(self, settings_for(self.card, 1, threshold=0.9), channel=channel, readers=readers)
        return process(found, work, [_Counted(self.told)], self)


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


@pytest.mark.parametrize("at", [0, 1, 2], ids=["the first window", "one in the middle", "the last"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_window_that_cannot_be_scored_costs_its_recording_that_window_and_the_others_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, at: int
) -> None:
    """All of them share groups."""
    for other in "abc":
        write(tmp_path / f"{other}.wav", 3)
    loud = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * RATE)
    loud[at * RATE : (at + 1) * RATE] *= 9
    soundfile.write(tmp_path / f"{name}.wav", loud, RATE)
    log = Log()
    assert log.hear(tmp_path) == Outcome(incomplete=1)
    assert [line for line in log.told if "written" in line] == [
        f"{other} written: {2 if other == name else 3}" for other in "abc"
    ]
    (warning,) = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
    assert re.match(rf"log, .*{name}\.wav, audio at {at}-{at + 1} s: 3 of 3 scores are not finite", warning)


def test_what_is_through_is_written_whatever_becomes_of_the_engine(tmp_path: Path) -> None:
    """An engine that fails in the third recording has not scored the first two in vain."""
    for name in "abc":
        write(tmp_path / f"{name}.wav", 4)

    class Fails(Log):
        def infer(self, windows: FloatArray) -> FloatArray:
            if "b written: 4" in self.told:
                raise RuntimeUnavailableError("log: CUDA failure 700")
            return super().infer(windows)

    log = Fails()
    with pytest.raises(RuntimeUnavailableError, match=r"^log scores nothing any more: CUDA failure 700"):
        log.hear(tmp_path)
    assert log.told == ["4 scored", "a written: 4", "done", "4 scored", "b written: 4", "done"]


class _Heard(Sink):
    """Keeps what is told of recordings."""

    name = "heard"

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.told: list[Event] = []

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        self.scores.append(float(scores[0]))

    def take(self, event: Event, memory: Memory | None) -> None:
        self.told.append(event)


def test_the_sound_of_recordings_is_made_louder_and_filtered_before_it_is_scored_and_no_second_is_lost(
    tmp_path: Path,
) -> None:
    """A sine wave of 3 kHz with hum, and a hole in the file behind which the filter begins anew."""
    time = np.arange(6 * RATE) / RATE
    sound = 0.1 * np.sin(2 * np.pi * 3000 * time) + 0.3 * np.sin(2 * np.pi * 50 * time)
    sound[3 * RATE : 4 * RATE] = np.nan
    soundfile.write(tmp_path / "a.wav", sound, RATE, "FLOAT")
    sink, log = _Heard(), Log()
    found, _ = find_audio([tmp_path])
    work = Work(log, settings_for(log.card, 1, threshold=0.9), sound=SoundOptions(gain_db=6.0, high_pass_hz=400.0))
    assert process(found, work, [sink], log) == Outcome(incomplete=1)
    assert sink.scores == pytest.approx([0.2] * 5, abs=0.02)
    gap, summary = sink.told
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (3, 4, "not_finite")
    assert (summary["scored_s"], summary["gap_s"], summary["tail_s"]) == (5, 1, 0)


def test_what_is_done_with_the_sound_of_recordings_is_checked_as_that_of_sources_is() -> None:
    assert recording_source({"source.gain": 6.0, "source.low-pass": 9000.0}).low_pass_hz == 9000
    with pytest.raises(UsageError, match=r"gain 99.0: wanted a number of decibels, -60 to 60"):
        recording_source({"source.gain": 99.0})


def test_several_readers_tell_what_one_tells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Results, errors and warnings come in the same order: who reads them does not see the threads."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (25 * RATE, 2))
    for number in range(12):
        path = tmp_path / f"{number:02}.flac"
        soundfile.write(path, noise[: (number % 4 * 8 + 1) * RATE], RATE // (1 + number % 2))  # half of them warn
        if number % 5 == 2:
            path.write_bytes(path.read_bytes()[:-500])  # the end is missing
        if number % 5 == 4:
            path.write_text("no sound")
    told = []
    for readers in (1, 4):
        log = Log()
        outcome = log.hear(tmp_path, readers, EACH)
        told.append((outcome, log.told, log.advanced, caplog.messages))
        caplog.clear()
    assert told[0] == told[1]
    assert told[0][0] == Outcome(failed=2, incomplete=2)
    assert len([line for line in told[0][3] if "nothing above 2 kHz" in line]) == 6 - 1  # one of them is no sound


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 2), (64, 16)])
def test_readers_are_as_many_as_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    """`docker run --cpus 1`: a second reader would take from the engine what there is but once."""
    for number in range(20):
        write(tmp_path / f"{number:02}.wav", 1)
    monkeypatch.setattr("edgebird.readers.usable_cores", lambda: cores)
    seen: set[str] = set()
    log = Log()
    monkeypatch.setattr(log, "infer", lambda windows: seen.update(_threads()) or np.zeros((len(windows), 3), "f4"))
    log.hear(tmp_path)
    readers = {name for name in seen if name.startswith("edgebird-reading")}
    assert len(readers) <= expected
    assert bool(readers) == bool(expected)
    assert cores > 1 or len(seen) == 1  # that which makes windows
    assert not _threads()


def _threads() -> list[str]:
    """Those of reading and scoring: what fills a GPU's buffers stays for the life of the process."""
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("edgebird-")]
    return [name for name in names if not name.startswith("edgebird-fill")]


class _Breaks(Sink):
    """Fails at one recording."""

    name = "breaks"

    def __init__(self, at: str, error: BaseException, each_apart: bool) -> None:
        self._at, self._error, self.each_apart = at, error, each_apart
        self.ended: list[tuple[str, bool]] = []

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        if recording.relative.stem == self._at:
            raise self._error

    def end(self, recording: Recorded, complete: bool) -> None:
        self.ended.append((recording.relative.stem, complete))


@pytest.mark.parametrize(
    ("error", "each_apart", "unwritten", "ended"),
    [
        (OutputError("disk full"), True, 1, [("a", True), ("b", False), ("c", True)]),
        (OutputError("disk full"), False, 2, [("a", True), ("b", False)]),
        (SystemExit(0), False, 0, [("a", True), ("b", False)]),
    ],
)
def test_a_sink_that_fails_costs_no_other_sink_a_recording(
    tmp_path: Path, error: BaseException, each_apart: bool, unwritten: int, ended: list[tuple[str, bool]]
) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.wav", 4)
    found, _ = find_audio([tmp_path])
    for first in (True, False):
        log, breaks = Log(), _Breaks("b", error, each_apart)
        sinks = [breaks, _Counted(log.told)] if first else [_Counted(log.told), breaks]
        work = Work(log, settings_for(log.card, 1, threshold=0.9))
        assert process(found, work, sinks, log) == Outcome(unwritten=unwritten)
        assert [told for told in log.told if "written" in told] == [f"{name} written: 4" for name in "abc"]
        assert breaks.ended == ended


def test_the_failure_of_the_last_sink_ends_the_work(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.wav", 4)
    found, _ = find_audio([tmp_path])
    log, breaks = Log(), _Breaks("b", SystemExit(0), each_apart=False)
    with pytest.raises(SystemExit):
        process(found, Work(log, settings_for(log.card, 1, threshold=0.9)), [breaks], log)
    assert breaks.ended == [("a", True), ("b", False)]


def test_each_sink_is_closed_whatever_becomes_of_the_others() -> None:
    told: list[str] = []

    class Ends(Sink):
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> list[Event]:
            told.append(f"{self.name} closed")
            raise OutputError(self.name)

    with pytest.raises(OutputError, match="second"), opened([Ends("first"), Ends("second")]):
        pass
    with pytest.raises(ValueError, match="broken"), opened([Ends("first"), Ends("second")]):
        raise ValueError("broken")
    assert told == ["second closed", "first closed"] * 2
