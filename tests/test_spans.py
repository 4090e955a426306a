"""Recordings in spans by workers that may die: what comes of it is what one program makes of whole recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.archives.distributing import floor_of, process_on
from edgebird.archives.pool import Pool, WorkerDiedError
from edgebird.archives.spans import ScoredSpan, SpanOptions, WindowSpan, score_span, spans_of
from edgebird.card import Card
from edgebird.detection import settings_for
from edgebird.errors import RuntimeUnavailableError
from edgebird.events import Event
from edgebird.readers import EACH
from edgebird.recordings import Outcome, Work, process
from edgebird.sinks import Memory, Recorded, Sink
from edgebird.sources import find_audio
from edgebird.types import FloatArray
from tests.foreign import tone_card
from tests.test_recordings import Log

RATE = 8000


class Loudness:
    """A runtime with windows of a second: scores are loudness, less the quietest of each group of four if they share a
    floor.
    """

    name, provider, batch_size, concurrency = "loudness", "a test", 8, 1

    def __init__(self, db_floor: str = "window") -> None:
        self.card: Card = replace(tone_card(RATE, "batch"), window_samples=RATE, db_floor=db_floor)

    def infer(self, windows: FloatArray) -> FloatArray:
        loud = np.abs(windows).max(axis=1)
        if self.card.db_floor == "batch":
            loud = np.concatenate([group - group.min() / 2 for group in np.split(loud, range(4, len(loud), 4))])
        return np.repeat(loud[:, np.newaxis], 3, axis=1).astype(np.float32)

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        return {"scores": self.infer(windows)}

    def close(self) -> None: ...


class Workers:
    """A cluster of one program: a promise is kept when it is waited for. deaths: after how many tasks a worker dies.

    poison: the name of a recording that kills who reads it.
    """

    def __init__(self, runtime: Loudness, how: SpanOptions, deaths: Sequence[int] = (), poison: str = "") -> None:
        self._runtime, self._how, self._deaths, self._poison = runtime, how, list(deaths), poison
        self.size, self.started, self.given, self.most = 3, 0, 0, 0
        self._alive: set[int] = set()
        self._promises: dict[int, tuple[int, WindowSpan | None]] = {}

    def room(self) -> int:
        return self.size

    def start(self) -> tuple[Any, Any]:
        self.started += 1
        self._alive.add(self.started)
        return self.started, self._promise(self.started, None)

    def give(self, worker: Any, task: Any) -> Any:
        return self._promise(worker, task)

    def wait(self, promises: Sequence[Any], seconds: float) -> list[Any]:
        self.most = max(self.most, len(promises))
        return [promises[-1]]  # the last first: who puts them in order must do it

    def result(self, promise: Any) -> Any:
        worker, span = self._promises.pop(promise)
        if worker not in self._alive:
            raise WorkerDiedError("it was dead")
        if span is None:
            return None
        self.given += 1
        if self.given in self._deaths or span.path.stem == self._poison:
            self._alive.discard(worker)
            raise WorkerDiedError("killed")
        return score_span(span, self._runtime, self._how)

    def stop(self, worker: Any) -> None:
        self._alive.discard(worker)

    def _promise(self, worker: int, span: WindowSpan | None) -> int:
        number = len(self._promises) + 1000 * self.started + self.given * 100000
        while number in self._promises:
            number += 1
        self._promises[number] = worker, span
        return number


class Told(Sink):
    """Keeps all events, but for the wall clock."""

    name, each_apart = "told", True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, event: Event, memory: Memory | None) -> None:
        self.events.append({name: value for name, value in event.items() if name != "wall_s"})

    def end(self, recording: Recorded, complete: bool) -> None:
        self.events.append({"event": "end", "complete": complete})


@pytest.fixture
def season(tmp_path: Path) -> Path:
    """Recordings of several rates, formats and damages, one of two channels."""
    random = np.random.default_rng(0)
    for number, (rate, suffix) in enumerate(
        [(8000, "wav"), (11025, "flac"), (8000, "ogg"), (16000, "wav"), (8000, "wav")]
    ):
        loud = np.repeat(random.uniform(0, 1, 30), rate)[: int(28.3 * rate)]
        sound = (loud * random.uniform(-1, 1, len(loud)))[:, np.newaxis]
        soundfile.write(tmp_path / f"{number}.{suffix}", np.repeat(sound, 1 + (number == 0), axis=1) * 0.9, rate)
    flac = bytearray((tmp_path / "1.flac").read_bytes())
    flac[len(flac) // 2 : len(flac) // 2 + 20000] = bytes(20000)
    (tmp_path / "1.flac").write_bytes(flac)
    (tmp_path / "4.wav").write_bytes((tmp_path / "4.wav").read_bytes()[:-50000])
    (tmp_path / "5.wav").write_text("no sound")
    soundfile.write(tmp_path / "6.wav", np.full(RATE // 3, 0.5), RATE)
    whole = random.uniform(-1, 1, 30 * 11025) * np.repeat(random.uniform(0, 1, 30), 11025)
    soundfile.write(tmp_path / "7.flac", whole, 11025)
    return tmp_path


def both(season: Path, workers: Workers, runtime: Loudness, channel: int | None = None) -> tuple[Any, Any]:
    """What one program tells of all recordings, and what a pool of workers does."""
    found, _ = find_audio([season])
    work = Work(runtime, settings_for(runtime.card, 0.5, threshold=0.6, min_windows=2), explain=True, channel=channel)
    told = []
    for way in (process, lambda *arguments: process_on(Pool(workers), *arguments)):
        sink = Told()
        told.append((way(found, work, [sink], Log()), sink.events))
    return told[0], told[1]


def assert_same(found: Any, wanted: Any) -> None:
    """All the same but the last digit of scores: a resampler that began elsewhere rounds otherwise."""
    assert found[0] == wanted[0]
    for events in zip(found[1], wanted[1], strict=True):
        one, other = ({name: value for name, value in event.items() if name != "score"} for event in events)
        assert one == other
        assert events[0].get("score") == pytest.approx(events[1].get("score"), abs=1.1e-6)


HOW = SpanOptions(RATE // 2, 0.6)


@pytest.mark.parametrize("db_floor", ["window", "batch"])
@pytest.mark.parametrize("channel", [None, EACH])
def test_spans_are_what_whole_recordings_are(
    season: Path, monkeypatch: pytest.MonkeyPatch, db_floor: str, channel: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Windows that share a floor share it with the same others; gaps and tails are told once."""
    monkeypatch.setattr("edgebird.archives.distributing._SPAN_S", 5.0)
    runtime = Loudness(db_floor)
    workers = Workers(runtime, HOW)
    alone, together = both(season, workers, runtime, channel)
    assert_same(together, alone)
    assert alone[0] == Outcome(failed=1, incomplete=2)
    assert workers.given > 12
    warnings = caplog.messages
    assert warnings[: len(warnings) // 2] == warnings[len(warnings) // 2 :]


@pytest.mark.parametrize("deaths", [[1], [3, 4, 9], [5, 6, 7]])
def test_workers_that_die_cost_nothing(season: Path, monkeypatch: pytest.MonkeyPatch, deaths: list[int]) -> None:
    """A machine is switched off: what it had is given to others, nothing is lost, and nothing there twice."""
    monkeypatch.setattr("edgebird.archives.distributing._SPAN_S", 5.0)
    runtime = Loudness()
    workers = Workers(runtime, HOW, deaths)
    alone, together = both(season, workers, runtime)
    assert_same(together, alone)
    assert workers.started == 3 + len(deaths)


def test_a_recording_that_kills_workers_is_told_and_costs_no_other(season: Path) -> None:
    runtime = Loudness()
    alone, together = both(season, Workers(runtime, HOW, poison="3"), runtime)
    assert together[0] == Outcome(failed=2, incomplete=2)
    kept = [event for event in alone[1] if "3.wav" not in event.get("source", "")]
    kept.pop(next(i for i, event in enumerate(kept) if i > 3 and kept[i - 1]["event"] == event["event"] == "end"))
    assert [event for event in together[1] if event["event"] != "end"] == [
        event for event in kept if event["event"] != "end"
    ]


def test_without_a_worker_it_says_so(season: Path) -> None:
    runtime = Loudness()
    workers = Workers(runtime, HOW)
    workers.size = 0
    with pytest.raises(RuntimeUnavailableError, match="no worker is left: no room"):
        both(season, workers, runtime)


def test_not_more_is_given_than_results_can_be_taken(tmp_path: Path) -> None:
    """A season is not all in memory: a worker has two recordings at a time."""

    class Late(Workers):
        def result(self, promise: Any) -> Any:
            super().result(promise)
            return ScoredSpan()

    runtime = Loudness()
    workers = Late(runtime, HOW)
    taken = 0
    tasks = (WindowSpan(Path(f"{number}.wav")) for number in range(200))

    def counted() -> Any:
        nonlocal taken
        for task in tasks:
            taken += 1
            yield task

    done = 0
    for task, _ in Pool(workers).run(counted()):
        assert task.path.stem == str(done)
        done += 1
        assert taken - done <= 8 * 3
    assert done == 200
    assert workers.most <= 2 * 3


def test_spans_have_each_window_once_and_become_short_at_the_end() -> None:
    """Long ones at the end would let a hundred workers wait for a few."""
    spans = spans_of(Path("a.wav"), 1, 1001, lambda left: max(4, min(100, left // 16 * 4)))
    assert [span.first for span in spans[1:]] == [span.first + (span.count or 0) for span in spans[:-1]]
    assert (spans[0].count, spans[-2].count, spans[-1].count) == (100, 4, None)
    assert 0 < 1001 - spans[-1].first <= 4
    assert spans_of(Path("a.mp3"), 1, 0, lambda left: 100) == [WindowSpan(Path("a.mp3"), 1)]


def test_the_floor_is_below_all_that_matters() -> None:
    runtime = Loudness()
    assert floor_of(settings_for(runtime.card, 1, threshold=0.3), None) == pytest.approx(0.3)
    assert floor_of(settings_for(runtime.card, 1, threshold=0.3), 0.05) == 0.05
