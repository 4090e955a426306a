"""Detections where somebody speaks: not reported, counted, and told with the reason, in recordings and live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.cli.archive import ArchiveJob
from edgebird.cli.job import Job, run_job
from edgebird.conditioning import SoundOptions
from edgebird.detection import Analysis, Settings
from edgebird.errors import AudioError, UsageError
from edgebird.events import Event
from edgebird.live.assembly import listen_options
from edgebird.live.hush import ListenOptions
from edgebird.live.listener import Listener
from edgebird.pooling import Onset
from edgebird.recordings import Outcome, Work, process
from edgebird.settings.build import recording_settings, station_settings
from edgebird.settings.sources import make_source
from edgebird.sinks import Memory, Sink
from edgebird.sources import FileSource, find_audio
from edgebird.types import AudioBlock, Detection, FloatArray, Origin, Rejected, Summary
from edgebird.voices import Voices, VoiceWatch
from tests.foreign import tone_card
from tests.test_conditioning import Feed

RATE = 8000
CARD = replace(tone_card(RATE, "batch"), window_samples=RATE)
LABELS = len(CARD.labels)


class Loud:
    """Takes for speech what is much louder than the quietest. broken: fails."""

    broken = False

    def reset(self) -> None: ...

    def process_samples(self, samples: Sequence[float]) -> float:
        if self.broken:
            raise RuntimeError("out of memory")
        return float(max(map(abs, samples)) > 0.025)


class Broken(Loud):
    broken = True


def sound(seconds: float, *spoken: tuple[float, float]) -> FloatArray:
    """Noise with loud parts."""
    made = np.random.default_rng(0).uniform(-0.05, 0.05, round(seconds * RATE)).astype(np.float32)
    for start, end in spoken:
        made[round(start * RATE) : round(end * RATE)] *= 8
    return made


def watch(margin_s: float = 0.0, model: type[Loud] = Loud) -> VoiceWatch:
    return VoiceWatch(Voices(0.4, margin_s, model), RATE)


def heard(voices: VoiceWatch, samples: FloatArray, scores: list[float]) -> tuple[list[Any], Summary]:
    """What becomes of the scores of the first label in windows of a second that touch one another."""
    analysis, results = Analysis(CARD, Settings(RATE, 0.3), voices=voices), []
    for start in range(0, len(samples), 3000):
        block = AudioBlock(samples[start : start + 3000], start)
        voices.push(block)
        for window in analysis.push(block):
            results += analysis.take(window, np.array([scores[window.start // RATE], *[0.0] * (LABELS - 1)], "f4"))
    results += analysis.close()
    return [one for one in results if isinstance(one, Detection | Rejected | Onset)], analysis.summary()


SONGS = {
    "nobody speaks": ([], ["onset", "detection"]),
    "in the song": ([(5.2, 5.8)], ["onset", "voice"]),
    "before the song": ([(1.0, 2.0)], ["onset", "detection"]),
    "long after it": ([(9.0, 9.8)], ["onset", "detection"]),
    "as it begins": ([(4.1, 4.6)], ["voice"]),
    "half a second before it, which counts": ([(3.0, 3.6)], ["voice"]),
    "half a second after it, which counts": ([(7.3, 7.9)], ["onset", "voice"]),
}


@pytest.mark.parametrize(("spoken", "expected"), SONGS.values(), ids=SONGS)
def test_a_song_with_a_voice_in_it_is_not_reported_but_counted(
    spoken: list[tuple[float, float]], expected: list[str]
) -> None:
    """The song is from 4 to 7 s, the margin 0.5 s; a voice that is heard when it begins keeps the onset back too."""
    results, summary = heard(watch(0.5), sound(11, *spoken), [0, 0, 0, 0, 0.9, 0.9, 0.9, 0, 0, 0, 0])
    found = [getattr(one, "reason", type(one).__name__.lower()) for one in results]
    assert found == expected
    assert (summary.detections, summary.voices) == (expected.count("detection"), expected.count("voice"))
    assert (summary.scored, summary.gap, summary.tail) == (11 * RATE, 0, 0)
    for rejected in results:
        if isinstance(rejected, Rejected):
            assert 0 < rejected.detail["voice_s"] <= 3


def test_songs_are_told_apart_by_their_own_seconds() -> None:
    """An hour with a word in it is no hour without birds."""
    results, summary = heard(watch(), sound(30, (15.0, 15.9)), [0.9 * (second % 5 == 0) for second in range(30)])
    assert [one.candidate.start // RATE for one in results if isinstance(one, Rejected)] == [15]
    assert (summary.detections, summary.voices) == (5, 1)


def test_while_the_detector_fails_no_bird_is_reported_which_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    results, summary = heard(watch(model=Broken), sound(9), [0.9, 0, 0, 0.9, 0, 0, 0.9, 0, 0])
    assert [one.reason for one in results] == ["voice_unknown"] * 3
    assert (summary.detections, summary.voices) == (0, 3)
    assert caplog.messages == ["the voice detector failed: out of memory: no bird is reported"]


def test_an_engine_that_is_away_for_hours_fills_no_memory() -> None:
    """Sound is held to look for voices in: of windows that nobody scores too, it was held for ever."""
    voices, held = watch(), []
    analysis = Analysis(CARD, Settings(RATE, 0.3), voices=voices)
    for second in range(60):
        block = AudioBlock(np.zeros(RATE, np.float32), second * RATE)
        voices.push(block)
        for window in analysis.push(block):
            analysis.give_up(window, "engine")
        held.append(len(voices._blocks))
    assert held[-1] == held[30] < 20


def test_seconds_in_which_no_bird_is_heard_cost_nothing() -> None:
    """A garden is silent for most of the night, and a station is a small computer."""

    class Counting(Loud):
        chunks = 0

        def process_samples(self, samples: Sequence[float]) -> float:
            Counting.chunks += 1
            return 0.0

    heard(watch(model=Counting), sound(60), [0.9, *[0.0] * 58, 0.9])
    assert Counting.chunks < 8 * RATE / 512 * 2


class _Told(Sink):
    name = "told"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, event: Event, memory: Memory | None) -> None:
        self.events.append(event)


class _Engine:
    """Hears the first label in all that is not silent."""

    name, provider, batch_size, concurrency, card = "engine", "a test", 4, 1, CARD

    def infer(self, windows: FloatArray) -> FloatArray:
        scores = np.zeros((len(windows), LABELS), np.float32)
        scores[:, 0] = 0.9 * (np.abs(windows).max(axis=1) > 0.001)
        return scores

    def close(self) -> None: ...
    def begin(self, source: FileSource) -> None: ...
    def advance(self, seconds: float) -> None: ...
    def done(self, source: FileSource, summary: Summary) -> None: ...
    def failed(self, error: AudioError) -> None: ...


def test_recordings_are_looked_at_as_they_were_heard_and_their_accounts_close(tmp_path: Path) -> None:
    """A voice that a filter takes away before it is scored is a voice all the same."""
    made = sound(14)
    made[4 * RATE : 6 * RATE] += 0.5 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)
    made[8 * RATE : 10 * RATE] = 0
    soundfile.write(tmp_path / "a.wav", made, RATE)
    found, _ = find_audio([tmp_path])
    settings = Settings(RATE, 0.3)
    for options in (SoundOptions(high_pass_hz=3000.0), None):
        told, engine = _Told(), _Engine()
        work = Work(engine, settings, explain=True, sound=options, voices=Voices(0.4, 0.0, Loud))
        assert process(found, work, [told], engine) == Outcome()
        *songs, summary = told.events
        reasons = [(event["start_s"] >= 8, event.get("reason")) for event in songs]
        assert (False, "voice") in reasons
        assert (True, None) in reasons
        assert summary["voice_detections"] == sum(reason == "voice" for _, reason in reasons)
        assert (summary["scored_s"], summary["gap_s"], summary["tail_s"]) == (14, 0, 0)


def test_a_live_source_tells_neither_onset_nor_detection_and_counts_it() -> None:
    options = ListenOptions(explain=True, voices=Voices(0.4, 0.0, Loud))
    origin = Origin("garden", started=datetime(2026, 5, 1, tzinfo=timezone.utc))
    feed: Any = Feed(sound(4, (1.2, 1.8)))
    listener = Listener(feed, CARD, Settings(RATE, 0.3), options, origin)
    while due := listener.next():
        scores = np.zeros(LABELS, np.float32)
        scores[0] = 0.9 * (due.window.start in (RATE, 3 * RATE))
        listener.take(due, scores, 0.0)
    events = [*listener.events(), *listener.close(), listener.summary()]
    assert [event["event"] for event in events] == ["rejected", "onset", "detection", "summary"]
    assert (events[0]["reason"], events[0]["start_s"]) == ("voice", 1)
    assert (events[-1]["voice_detections"], events[-1]["detections"]) == (1, 1)


def test_settings_reach_both_commands_and_detect_says_that_it_writes_no_clips(tmp_path: Path) -> None:
    given = {"bundle": tmp_path, "privacy.voices": "drop-detection", "privacy.margin": 2.0}
    source = make_source("mic", "", "garden")
    voices = listen_options(source, station_settings(None, given, [source])).voices
    assert voices is not None
    assert voices.margin_s == 2
    assert listen_options(source, station_settings(None, given | {"privacy.voices": "mute"}, [source])).voices is None
    detection, output = recording_settings(given | {"privacy.voices": "mute"})
    with pytest.raises(UsageError, match="--voices mute is for clips, and detect writes none: give drop-detection"):
        run_job(Job((tmp_path,), detection, output))
    detection, output = recording_settings(given | {"output.format": "parquet", "output.out": tmp_path})
    for job in (
        Job((tmp_path,), detection, output, submission=tmp_path / "s.csv"),
        Job((tmp_path,), detection, output, archive=ArchiveJob(scores=0.1)),
    ):
        with pytest.raises(UsageError, match="these tell of all windows, where somebody speaks too"):
            run_job(job)
