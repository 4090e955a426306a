"""A station survives what happens to its sources, and accounts for every second, while it does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from datetime import time as clock
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edgebird.capture.devices import CARD_LATE_S, VIRTUAL_LATE_S
from edgebird.card import Card
from edgebird.detection import Settings, analyse
from edgebird.errors import RuntimeUnavailableError, ScoreError, UsageError
from edgebird.events import Event, timestamp
from edgebird.live import captured
from edgebird.live import station as station_module
from edgebird.live.captured import LiveSource
from edgebird.live.intake import LiveOptions
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.process import Capture
from edgebird.live.pulled import PacedSource, PcmFormat, PulledSource, pcm_blocks
from edgebird.live.ring import Heard, Lost
from edgebird.live.station import Station, StationOptions
from edgebird.live.telling import Telling
from edgebird.sinks import Memory
from edgebird.types import AudioBlock, Detection, FloatArray, Origin
from tests.foreign import tone_card
from tests.scripted import Scripted

RATE = 8000
HOP_S = 0.5


class Loudness:
    """A runtime whose three scores are the mean magnitude of a window of one second; slow if it is told to be."""

    name, provider, concurrency = "loudness", "a test", 1

    def __init__(self, seconds: float = 0.0) -> None:
        self.card: Card = replace(tone_card(RATE, "batch"), window_samples=RATE)
        self.batch_size = 4
        self.batches: list[int] = []
        self._seconds = seconds

    def infer(self, windows: FloatArray) -> FloatArray:
        self.batches.append(len(windows))
        time.sleep(self._seconds * len(windows))
        return np.repeat(np.abs(windows).mean(axis=1, keepdims=True), 3, axis=1).astype(np.float32)

    def close(self) -> None: ...


class Notes(Telling):
    """Takes events, with what the source remembered when the event was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self.failures: list[str] = []  # of the station

    def take(self, event: Event, memory: Memory | None) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True

    def of(self, kind: str, source: str) -> list[Event]:
        return [e for e in self.events if e["event"] == kind and e["source"] == source]

    def states(self, source: str) -> list[str]:
        return [e["state"] for e in self.of("source", source)]


def fake(name: str, script: Sequence[Sequence[Any]], **options: Any) -> LiveSource:
    late_s = VIRTUAL_LATE_S if name == "monitor" else CARD_LATE_S
    capture = Capture("tests.fake_capture", {"rate": RATE, "script": script, "late_s": late_s})
    return LiveSource(name, capture, LiveOptions(rate=RATE, **options))


def run(feeds: Sequence[Any], seconds: float | None, runtime: Loudness | None = None) -> Notes:
    runtime = runtime or Loudness()
    settings = Settings(round(HOP_S * RATE), threshold=0.3)
    notes = Notes()
    station = Station(runtime, notes, StationOptions(HOP_S, seconds))
    for feed in feeds:
        station.add(Listener(feed, runtime.card, settings, ListenOptions(), Origin(feed.name)))
    station.run()
    notes.failures = station.failures
    assert notes.closed
    check_accounts(notes, [e["source"] for e in notes.events if e["event"] == "summary" and "audio_s" in e])
    return notes


def blocks(audio: FloatArray, size: int = 1234) -> list[AudioBlock]:
    return [AudioBlock(audio[i : i + size], i) for i in range(0, len(audio), size)]


def bursts(seconds: float) -> FloatArray:
    """Loud for 1.3 s in every 4."""
    clock = np.arange(round(seconds * RATE)) / RATE
    return np.where(clock % 4 < 1.3, 0.8, 0.01).astype(np.float32) * np.where(np.arange(len(clock)) % 2, 1, -1)


def test_a_file_through_the_station_gives_what_detect_gives() -> None:
    runtime, audio = Loudness(), bursts(21.7)
    settings = Settings(round(HOP_S * RATE), threshold=0.3)
    expected = [r for r in analyse(blocks(audio), runtime, settings) if isinstance(r, Detection)]
    notes = run([PulledSource("file", lambda: blocks(audio, 999), RATE)], None)
    found = [(e["start_s"], e["end_s"], e["code"], e["windows"]) for e in notes.of("detection", "file")]
    assert found == [(d.start / RATE, d.end / RATE, runtime.card.labels[d.label].code, d.windows) for d in expected]
    assert not notes.of("onset", "file")


def test_a_paced_file_is_heard_like_a_microphone() -> None:
    audio = bursts(3.0)
    notes = run([PacedSource("file", lambda: blocks(audio), RATE, buffer_s=5)], None)
    (onset, *_) = notes.of("onset", "file")
    assert onset["latency_s"] < 0.25
    assert [e["start_s"] for e in notes.of("detection", "file")] == [0.0] * 3
    (summary,) = notes.of("summary", "file")
    assert summary["audio_s"] == 3.0
    assert summary["latency_s"]["max"] < 1


def test_a_window_that_is_due_and_the_end_of_a_source_wait_for_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_module, "_TICK_S", 30.0)
    began = time.monotonic()
    notes = run([PacedSource("file", lambda: blocks(bursts(3.0)), RATE, buffer_s=5)], None)
    assert time.monotonic() - began < 25
    assert notes.of("summary", "file")[0]["latency_s"]["max"] < 2


# What happens to sound cards and streams, all in one station at once: none may disturb another.
FAULTS: dict[str, list[list[Any]]] = {
    "well": [["audio", 99, 0.5]],
    "dropping": [["audio", 2, 0.5], ["drop", 0.5], ["audio", 99, 0.5]],
    "monitor": [["audio", 2, 0.5], ["drop", 0.5], ["audio", 99, 0.5]],
    "late": [["audio", 2, 0.5], ["wait", 1.0], ["burst", 1.0, 0.5], ["audio", 99, 0.5]],
    "skipping": [["audio", 2, 0.5], ["skip", 0.7], ["audio", 99, 0.5]],
    "spoiled": [["audio", 2, 0.5], ["audio", 0.05, 1e30], ["audio", 0.05, float("nan")], ["audio", 99, 0.5]],
    "dying": [["audio", 1.5, 0.5], ["exit"]],
    "stalling": [["audio", 1.0, 0.5], ["hang"]],
    "refused": [["fail", "unauthorized"]],
    "deaf": [["hang"]],
    "crumbling": [["audio", 2, 0.5], ["skip", 0.05], ["audio", 1, 0.5], ["skip", 0.1], ["audio", 99, 0.5]],
    "muted": [["audio", 99, 0.0]],
    "loud": [["audio", 99, 1.0]],
}


@pytest.fixture(scope="module")
def faults() -> Notes:
    """The events of eight seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captured, "STALL_S", 1.5)
        return run([fake(name, script) for name, script in FAULTS.items()], 8.0)


def test_a_source_without_faults_has_no_gap(faults: Notes) -> None:
    assert faults.states("well") == ["open", "closed"]
    assert not faults.of("gap", "well")
    (summary,) = faults.of("summary", "well")
    assert 6 < summary["audio_s"] < 12  # seconds that the test takes on a busy machine
    assert summary["windows"] in (int(summary["audio_s"] * 2) - 1, int(summary["audio_s"] * 2))


def test_short_losses_are_silence_in_windows_that_go_on_and_one_gap_for_all(faults: Notes) -> None:
    """At 2 % of lost packets a window between two losses would be rare."""
    (gap,) = faults.of("gap", "crumbling")
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (2.0, 2.15, "dropped")
    assert (gap["bridged"], gap["losses"]) == (True, 2)
    windows = faults.of("summary", "crumbling")[0]["windows"]
    assert windows >= faults.of("summary", "well")[0]["windows"] - 2


def test_what_a_sound_card_drops_without_a_word_is_a_gap(faults: Notes) -> None:
    (gap,) = faults.of("gap", "dropping")
    assert gap["reason"] == "overrun"
    assert gap["start_s"] == pytest.approx(2.0, abs=0.06)
    assert gap["end_s"] - gap["start_s"] == pytest.approx(0.5, abs=0.1)
    spans = [(e["start_s"], e["end_s"]) for e in faults.of("detection", "dropping")]
    assert spans
    assert all(end <= gap["start_s"] or start >= gap["end_s"] for start, end in spans), "a window spans the gap"


@pytest.mark.parametrize("source", ["late", "monitor"])
def test_audio_that_is_only_late_is_no_gap(faults: Notes, source: str) -> None:
    """For a moment, or as of a sound server that stops to be ahead with what programs play."""
    assert faults.states(source) == ["open", "closed"]
    assert not faults.of("gap", source)


def test_frames_that_the_capture_knows_to_be_lost_are_a_gap(faults: Notes) -> None:
    (gap,) = faults.of("gap", "skipping")
    assert (gap["reason"], round(gap["end_s"] - gap["start_s"], 6)) == ("dropped", 0.7)


def test_samples_that_are_no_sound_are_a_gap_and_no_part_of_a_level(faults: Notes) -> None:
    """A float that overflowed in a driver or a mixer: it once ended the station, for the engine cannot score it."""
    (gap,) = faults.of("gap", "spoiled")
    assert (gap["reason"], gap["start_s"], gap["end_s"]) == ("not_finite", 2.0, 2.1)
    assert faults.states("spoiled") == ["open", "closed"]
    spans = [(e["start_s"], e["end_s"] > 3) for e in faults.of("detection", "spoiled")]
    assert spans == [(0.0, False)] * 3 + [(2.1, True)] * 3


def test_a_source_that_dies_comes_back_and_the_time_between_is_told(faults: Notes) -> None:
    assert faults.states("dying")[:3] == ["open", "lost", "recovered"]
    assert faults.states("dying")[-1] == "closed"
    assert {gap["reason"] for gap in faults.of("gap", "dying")} == {"disconnected"}


def test_a_device_that_stalls_without_a_word_is_noticed(faults: Notes) -> None:
    assert faults.states("stalling")[:3] == ["open", "lost", "recovered"]
    assert faults.of("source", "stalling")[1]["detail"].startswith("stalled: ")
    assert {gap["reason"] for gap in faults.of("gap", "stalling")} == {"stalled"}


def test_a_song_is_told_when_its_source_is_lost_not_when_it_comes_back(faults: Notes) -> None:
    kinds = [e["event"] for e in faults.events if e["source"] == "stalling"]
    assert kinds.index("detection") < kinds.index("gap")


def test_the_reason_a_capture_gives_is_told_once_however_often_it_is_tried(faults: Notes) -> None:
    assert faults.states("refused") == ["lost", "closed"]
    assert faults.of("source", "refused")[0]["detail"] == "unauthorized: as the script says"


def test_a_source_that_was_never_heard_was_deaf_from_the_first_second_and_is_a_failure(faults: Notes) -> None:
    """Else it is in no account, and the exit code says that all was heard."""
    (summary,) = faults.of("summary", "refused")
    assert summary["gap_s"] == summary["audio_s"] > 5
    assert {gap["reason"] for gap in faults.of("gap", "refused")} == {"unauthorized"}
    (summary,) = faults.of("summary", "deaf")
    assert summary["gap_s"] == summary["audio_s"] > 5
    assert {gap["reason"] for gap in faults.of("gap", "deaf")} == {"stalled"}
    assert sorted(faults.failures) == [
        "deaf was never heard: stalled: nothing came",
        "refused was never heard: unauthorized: as the script says",
    ]


def test_a_muted_microphone_is_said_to_be_silent_and_a_loud_one_to_clip(faults: Notes) -> None:
    assert faults.states("muted") == ["open", "silent", "closed"]
    assert faults.states("loud") == ["open", "clipping", "closed"]


def test_an_engine_that_is_too_slow_loses_counted_audio_and_not_memory() -> None:
    notes = run([fake("mic", [["audio", 99, 0.5]], buffer_s=2.0)], 6.0, Loudness(seconds=1.2))
    assert {gap["reason"] for gap in notes.of("gap", "mic")} == {"overrun"}
    (summary,) = notes.of("summary", "mic")
    assert summary["misses"] > 0
    assert summary["latency_s"]["max"] < 2.0 + 2 * 1.2 + 1, "more than the ring and a window late"


def test_windows_that_are_due_together_are_scored_together() -> None:
    runtime = Loudness()
    run([PulledSource(f"file-{i}", lambda: blocks(bursts(30)), RATE) for i in range(5)], None, runtime)
    assert max(runtime.batches) == 4


class Broken(Loudness):
    """Fails at its fifth window."""

    def infer(self, windows: FloatArray) -> FloatArray:
        if len(self.batches) == 4:
            raise ScoreError("2 of 3 scores are not finite")
        return super().infer(windows)


def check_accounts(notes: Notes, sources: Sequence[str]) -> None:
    for source in sources:
        (summary,) = notes.of("summary", source)
        gaps = sum(e["end_s"] - e["start_s"] for e in notes.of("gap", source))
        assert gaps == pytest.approx(summary["gap_s"], abs=1e-9)
        whole = summary["scored_s"] + summary["gap_s"] + summary["tail_s"]
        assert whole == pytest.approx(summary["audio_s"], abs=1e-9)


def test_an_engine_that_fails_ends_with_the_account_of_all_sources() -> None:
    settings, notes, runtime = Settings(round(HOP_S * RATE), threshold=0.3), Notes(), Broken()
    station = Station(runtime, notes, StationOptions(HOP_S))
    for name in ("a", "b"):
        feed = PacedSource(name, lambda: blocks(bursts(30)), RATE, buffer_s=5)
        station.add(Listener(feed, runtime.card, settings, ListenOptions(), Origin(name)))
    with pytest.raises(RuntimeUnavailableError, match="scores nothing any more"):
        station.run()
    assert notes.closed
    check_accounts(notes, ["a", "b"])
    assert {gap["reason"] for gap in notes.of("gap", "a") + notes.of("gap", "b")} == {"engine"}
    assert notes.of("detection", "a"), "an onset was told, so its detection must be"


def test_what_cannot_be_scored_before_the_end_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_module, "_END_S", 0.3)
    notes = run([fake("mic", [["audio", 99, 0.5]])], 3.0, Loudness(seconds=1.2))
    assert notes.of("gap", "mic")[-1]["reason"] == "shutdown"


class Waiting(PacedSource):
    """Has a second of sound, and nothing more until it is stopped. `then` is done when it is told to stop."""

    def __init__(self, name: str, then: Callable[[], None] = lambda: None) -> None:
        super().__init__(name, lambda: blocks(bursts(1)), RATE, buffer_s=5)
        self.started, self.stopped, self._then = False, threading.Event(), then

    @property
    def finished(self) -> bool:
        return self.stopped.is_set() and super().finished

    def start(self, wake: Callable[[], None]) -> None:
        self.started = True
        super().start(wake)

    def stop(self) -> None:
        if not self.stopped.is_set():
            self.stopped.set()
            self._then()
        super().stop()


@pytest.mark.parametrize("name", ["b", "a"], ids=["another", "in place of one that ends"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["stopped", "engine lost"])
def test_a_station_that_ends_begins_with_no_source(name: str, is_lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that were read again may be there when it ends already, and sources may wait for others."""
    monkeypatch.setattr(station_module, "_END_S", 0.3)
    settings, notes, runtime = Settings(round(HOP_S * RATE), threshold=0.3), Notes(), Loudness()
    if is_lost:
        monkeypatch.setattr(runtime, "infer", Mock(side_effect=RuntimeError("gone")))
    station = Station(runtime, notes, StationOptions(HOP_S, 0.2 if not is_lost else None))

    def listening(feed: Waiting) -> Listener:
        return Listener(feed, runtime.card, settings, ListenOptions(), Origin(feed.name))

    late, waits = Waiting(name), Waiting("a")
    first = Waiting("a", then=lambda: station.request(lambda: station.add(listening(late))))
    station.add(listening(first))
    station.add(listening(waits))
    with pytest.raises(RuntimeUnavailableError) if is_lost else nullcontext():
        station.run()
    assert (first.started, waits.started, late.started) == (True, False, False)
    assert first.stopped.is_set()
    assert station.listeners == ()


def test_a_card_that_is_slow_or_fast_for_weeks_does_not_change_the_length_of_an_outage() -> None:
    for rate in (1.001, 0.999):  # seconds of the clock for a second of the card
        card = Scripted()
        card.open()
        for second in range(2000):
            card.block(1000 + (second + 1) * rate, second * RATE)
            if second % 10 == 0:
                card.pieces()
        card.intake.end_capture(wait=True)
        card.pieces()
        card.open()
        card.block(1000 + 2000 * rate + 6, 0)
        lost, _ = card.pieces()
        assert isinstance(lost, Lost)
        assert (lost.end - lost.start) / RATE == pytest.approx(5.0, abs=0.05)


def test_audio_that_waits_for_the_clock_survives_a_loss_that_the_capture_tells() -> None:
    card = Scripted()
    card.open()
    for second in range(3):
        card.block(1001.0 + second, second * RATE)
    card.block(1004.5, 3 * RATE)  # late: held back until it is clear whether something was lost
    card.block(1006.0, 4 * RATE + 4000)  # and now frames are missing
    card.intake.end_capture(wait=True)
    heard = sum(len(piece.block.samples) for piece in card.pieces() if isinstance(piece, Heard))
    assert heard == card.sent


def heard_spans(pieces: Sequence[Heard | Lost]) -> list[tuple[float, float, float]]:
    """Of what was heard: from and to, s, and the time that its last sample was given, less where it ends."""
    heard = [piece for piece in pieces if isinstance(piece, Heard)]
    return [(p.block.start / RATE, p.end / RATE, round(p.at - p.end / RATE, 6)) for p in heard]


@pytest.mark.parametrize("rate", [RATE, 2 * RATE], ids=["as it is", "resampled"])
def test_what_was_heard_before_a_loss_keeps_its_time_though_the_loss_is_told_later(rate: int) -> None:
    """The clock is sure of a loss after three seconds, and what a resampler holds is then no newer."""
    card = Scripted(rate)
    card.open()
    for second in range(10):
        card.block(1001.0 + second, second * rate, rate)
    for second in range(10, 15):
        card.block(1003.0 + second, second * rate, rate)
    pieces = card.pieces()
    (lost,) = [piece for piece in pieces if isinstance(piece, Lost)]
    assert (lost.start / RATE, lost.end / RATE, lost.reason) == (10.0, 12.0, "overrun")
    spans = heard_spans(pieces)
    assert spans[-1][1] == pytest.approx(17.0, abs=0.1)
    assert {late for *_, late in spans} == {1000.0}


def test_samples_that_are_no_sound_are_lost_also_while_the_clock_is_in_doubt() -> None:
    card = Scripted()
    card.open()
    card.block(1001.0, 0)
    card.block(1002.0, RATE, spoiled=[900])
    card.block(1005.0, 2 * RATE, spoiled=[0])  # late, so held back until the capture has gone
    card.intake.end_capture(wait=True)
    pieces = card.pieces()
    assert all(np.isfinite(piece.block.samples).all() for piece in pieces if isinstance(piece, Heard))
    lost = [(p.start / RATE, p.end / RATE, p.reason) for p in pieces if isinstance(p, Lost)]
    assert lost == [(1.1, 1.2, "not_finite"), (2.0, 4.0, "overrun"), (4.0, 4.1, "not_finite")]
    assert {late for *_, late in heard_spans(pieces)} == {1000.0}


@pytest.mark.parametrize("rate", [RATE, 2 * RATE], ids=["as it is", "resampled"])
def test_samples_on_standard_input_that_are_no_sound_are_a_gap(rate: int) -> None:
    samples = np.full(4 * rate, 0.5, "<f4")
    samples[[2 * rate, 2 * rate + 7, len(samples) - 1]] = 1e30, -np.inf, np.nan
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as recorder:
        threading.Thread(target=lambda: (recorder.write(samples.tobytes()), recorder.close())).start()
        form = PcmFormat.parse(f"f32le:{rate}:1")
        notes = run([PulledSource("stdin", lambda: pcm_blocks(stream, form, None, RATE), RATE, live=True)], None)
    gaps = [(gap["start_s"], gap["end_s"], gap["reason"]) for gap in notes.of("gap", "stdin")]
    assert {reason for _, _, reason in gaps} == {"not_finite"}
    assert gaps[0][0] == 2.0
    assert gaps[-1][1] == 4.0
    assert sum(end - start for start, end, _ in gaps) <= 0.2 + 1e-9, "at most the block that a sample came in"
    assert notes.of("summary", "stdin")[0]["audio_s"] == 4.0


def test_audio_that_never_came_is_a_gap_though_the_capture_ends_before_that_is_clear() -> None:
    card = Scripted()
    card.open()
    for second in range(3):
        card.block(1001.0 + second, second * RATE)
    card.block(1006.0, 3 * RATE)  # two seconds late, and then the capture dies
    card.intake.end_capture(wait=True)
    card.open()
    card.block(1010.0, 0)
    pieces = card.pieces()
    assert [(piece.end - piece.start) / RATE for piece in pieces if isinstance(piece, Lost)] == [2.0, 3.0]
    assert pieces[-1].end == 10 * RATE, "ten seconds by the clock"


def test_what_a_recorder_has_piped_is_heard_though_it_pauses_in_the_middle_of_a_block() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as recorder:
        recorder.write(np.ones(3000, "<f4").tobytes() + b"\0\0")
        come = pcm_blocks(stream, PcmFormat.parse(f"f32le:{RATE}:1"), None, RATE, block_s=0.5)
        heard = [len(next(come).samples) for _ in range(2)]
        recorder.write(b"\x80?" + np.ones(1000, "<f4").tobytes())
        heard += [len(next(come).samples) for _ in range(2)]
    assert heard == [3000, 0, 1001, 0]


def test_standard_input_is_closed_for_good_when_it_is_stopped() -> None:
    """Its thread still waits for the recorder, and what that sends then is not heard."""
    goes_on, reads = threading.Event(), threading.Event()

    def audio() -> Iterator[AudioBlock]:
        yield AudioBlock(np.ones(RATE, np.float32), 0)
        reads.set()
        goes_on.wait(10)
        yield AudioBlock(np.ones(RATE, np.float32), RATE)

    feed = PulledSource("stdin", audio, RATE, live=True)
    feed.start(lambda: None)
    assert reads.wait(10)
    feed.stop()
    feed.stop()
    assert feed.read() is not None
    assert feed.finished
    assert [(one.state, one.position) for one in feed.changes()] == [("open", 0), ("closed", RATE)]
    goes_on.set()
    feed._thread.join(10)
    assert (feed.read(), feed.changes(), feed.finished) == (None, [], True)


def test_event_times_are_right_when_summer_time_has_ended_meanwhile() -> None:
    feed = PacedSource("mic", list, RATE, buffer_s=5)
    for zone in ("Europe/Berlin", "Australia/Sydney"):
        options = ListenOptions(timezone=ZoneInfo(zone))
        listener = Listener(feed, Loudness().card, Settings(round(HOP_S * RATE)), options, Origin("mic"))
        start = 200 * 86400 * RATE  # the station has been on for 200 days
        listener._accept(Lost(0, start, "stalled"))
        listener._accept(Heard(AudioBlock(np.zeros(RATE, np.float32), start), time.monotonic()))
        told = timestamp(listener.memory.origin, start + RATE, RATE)
        assert told is not None
        assert abs(datetime.fromisoformat(told) - datetime.now(timezone.utc)) < timedelta(seconds=5)
        assert told[-6:] == datetime.now(ZoneInfo(zone)).isoformat()[-6:]


def test_quiet_hours_report_nothing_and_account_for_everything() -> None:
    audio, notes = bursts(6.0), Notes()
    runtime = Loudness()
    station = Station(runtime, notes, StationOptions(HOP_S))
    options = ListenOptions(quiet_hours=((clock(0, 0), clock(23, 59, 59)),), explain=True)
    feed = PulledSource("mic", lambda: blocks(audio), RATE, live=True)
    station.add(Listener(feed, runtime.card, Settings(round(HOP_S * RATE), threshold=0.3), options, Origin("mic")))
    station.run()
    assert not notes.of("detection", "mic") + notes.of("onset", "mic")
    assert {e["reason"] for e in notes.of("rejected", "mic")} == {"quiet_hours"}
    (summary,) = notes.of("summary", "mic")
    assert (summary["detections"], summary["scored_s"]) == (0, 6.0)


@pytest.mark.parametrize("text", ["s16le", "s16le:0:1", "s8:48000:1", "s16le:48000:x", "s16le:48000:65", "", ":::"])
def test_a_pcm_format_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="PCM format"):
        PcmFormat.parse(text)


def test_pcm_of_every_format_is_the_same_sound() -> None:
    values = np.array([0.0, 0.5, -0.25, -1.0], np.float32)
    wide = (values.astype(np.float64) * 2**31).clip(-(2**31), 2**31 - 1).astype("<i4")
    encoded = {
        "f32le": values.tobytes(),
        "s16le": (wide >> 16).astype("<i2").tobytes(),
        "s24le": wide.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes(),
        "s32le": wide.tobytes(),
    }
    for name, data in encoded.items():
        decoded = PcmFormat.parse(f"{name}:48000:2").decode(data, None)
        assert decoded.tolist() == [0.25, -0.625], name
        assert PcmFormat.parse(f"{name}:48000:2").decode(data, 2).tolist() == [0.5, -1.0], name
