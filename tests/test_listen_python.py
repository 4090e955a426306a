"""`edgebird.listen`: a program has the events of a station, whatever it does with them, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgebird
from edgebird.bundle import Bundle
from edgebird.errors import AudioError, BundleError, OutputError, RuntimeUnavailableError, ScoreError, UsageError
from edgebird.events import Event
from edgebird.live import assembly
from edgebird.live.event_queue import EventQueue
from edgebird.live.listening import Listening
from edgebird.live.process import Capture
from edgebird.runtimes import Runtime
from edgebird.settings.keywords import keyword_settings
from edgebird.sinks import Memory, Sink
from edgebird.types import FloatArray
from tests.foreign import RATE, scene, tone_bundle
from tests.live_servers import children, wait_until

THREAD = "edgebird listen"
SONGS = [(0, 0.8, 2, 9), (1, 0.7, 14, 22), (2, 0.9, 30, 38)]
ALWAYS: dict[str, Any] = {"hop": 1.0, "threads": 1}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tone_bundle(tmp_path_factory.mktemp("python") / "tones")


@pytest.fixture(scope="module")
def song(tones: Bundle) -> Path:
    path = tones.path.parent / "song.wav"
    soundfile.write(path, scene(40, SONGS), RATE)
    return path


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """After each test: no station, no source, no capture process."""
    before = children()
    yield
    gc.collect()
    wait_until(lambda: not stations() and children() <= before, "end of all threads and processes", 15)


def stations() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == THREAD or one.name.startswith("source ")]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have every microphone play a script; see `fake_capture`."""

    def play(*script: list[Any]) -> None:
        fake = Capture("tests.fake_capture", {"rate": RATE, "script": script})
        monkeypatch.setattr(assembly, "Capture", lambda _module, _options: fake)
        monkeypatch.setattr(assembly, "_require", lambda _module, _extra: None)

    return play


class Notes(Sink):
    """A sink of somebody else."""

    name = "notes"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def take(self, event: Event, memory: Memory | None) -> None:
        self.events.append(event)

    def tick(self) -> list[Event]:
        return []

    def close(self) -> list[Event]:
        self.closed = True
        return []


class Failing:
    """An open runtime that fails at a window."""

    def __init__(self, runtime: Runtime, at: int) -> None:
        self.name, self.card, self.provider = runtime.name, runtime.card, runtime.provider
        self.batch_size, self.concurrency = 1, 1
        self._runtime, self._left = runtime, at

    def infer(self, windows: FloatArray) -> FloatArray:
        self._left -= 1
        if self._left < 0:
            raise ScoreError("1 of 3 scores are not finite")
        return self._runtime.infer(windows)

    def close(self) -> None:
        self._runtime.close()


def of(kind: str, events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def spans(events: list[Event]) -> list[tuple[str, float, float]]:
    return sorted((e["code"], e["start_s"], e["end_s"]) for e in of("detection", events))


# -------------------------------------------------------------------------------------------------------------- events
def test_a_file_gives_what_detect_gives_and_its_account(
    tones: Bundle, song: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = edgebird.open_runtime(tones)
    expected = spans(list(edgebird.detect(song, runtime, hop_s=1.0)))
    events = list(edgebird.listen(song, bundle=tones, **ALWAYS))
    assert len(expected) == 3
    assert spans(events) == expected
    (summary,) = of("summary", events)
    assert (events[-1], summary["scored_s"]) == (summary, 40)
    runtime.close()
    assert capsys.readouterr().out == ""


def test_settings_sources_and_their_names_are_those_of_the_command_line(
    tones: Bundle, song: Path, tmp_path: Path
) -> None:
    keywords = {"file": song, "clips": tmp_path / "clips", "clip_format": "wav", "database": tmp_path / "birds.db"}
    events = list(edgebird.listen({"one": song, "two": str(song)}, bundle=tones.path, **keywords, **ALWAYS))
    assert {event["source"] for event in of("summary", events)} == {"one", "two", str(song)}
    clips = of("clip", events)
    assert len(clips) == 9
    assert all(Path(clip["path"]).suffix == ".wav" and Path(clip["path"]).is_file() for clip in clips)
    assert (tmp_path / "birds.db").stat().st_size > 0


def test_a_settings_file_and_whole_settings_give_the_same(tones: Bundle, song: Path, tmp_path: Path) -> None:
    config = tmp_path / "station.toml"
    config.write_text(f'bundle = "{tones.path}"\nhop = 1.0\nthreshold = 0.75\n[[source]]\nfile = "{song}"\n')
    from_file = spans(list(edgebird.listen(config=config)))
    assert [code for code, *_ in from_file] == ["tonhig", "tonlow"]
    assert len(spans(list(edgebird.listen(config=config, threshold=0.3)))) == 3
    assert spans(list(edgebird.listen(keyword_settings(None, config, {})))) == from_file


def test_a_microphone_is_heard_until_it_is_stopped_and_all_is_told(
    tones: Bundle, play: Callable[..., None], tmp_path: Path
) -> None:
    play(["audio", 99, 0.5])
    taken = []
    with edgebird.listen(mic={"garden": True}, bundle=tones, threshold=0.0, log=tmp_path, **ALWAYS) as events:
        for event in events:
            taken.append(event)
            if event["event"] == "onset":
                events.stop()
    assert [event["state"] for event in of("source", taken)] == ["open", "closed"]
    assert of("detection", taken), "an onset was told, so its detection must be"
    (summary,) = of("summary", taken)
    assert summary["scored_s"] + summary["gap_s"] + summary["tail_s"] == pytest.approx(summary["audio_s"], abs=1e-6)
    assert summary["audio_s"] >= 5
    assert next(events, None) is None
    logged = [json.loads(line) for file in sorted(tmp_path.iterdir()) for line in file.read_text().splitlines()]
    assert logged == taken


def test_standard_input_is_a_source(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        events = edgebird.listen(stdin=f"f32le:{RATE}:1", bundle=tones, **ALWAYS)
        with os.fdopen(writing, "wb") as recorder:
            recorder.write(scene(12, [(0, 0.8, 1, 8)]).tobytes())
        taken = list(events)
    assert [event["code"] for event in of("detection", taken)] == ["tonlow"]
    assert of("summary", taken)[0]["scored_s"] == 12


def test_two_listen_at_once_each_to_its_own(tones: Bundle, song: Path, play: Callable[..., None]) -> None:
    play(["audio", 99, 0.5])
    with edgebird.listen(mic="garden", bundle=tones, threshold=0.0, **ALWAYS) as live:
        assert next(live)["source"] == "garden"
        one, two = (edgebird.listen({name: song}, bundle=tones, **ALWAYS) for name in ("one", "two"))
        pairs = list(zip(one, two, strict=True))
        assert {(a["source"], b["source"]) for a, b in pairs} == {("one", "two")}
        assert len(of("detection", [a for a, _ in pairs])) == 3
        assert next(event for event in live if event["event"] == "onset")["source"] == "garden"


def test_an_open_runtime_is_used_and_stays_open(tones: Bundle, song: Path, tmp_path: Path) -> None:
    runtime = edgebird.open_runtime(tones)
    for _ in range(2):
        assert len(of("detection", list(edgebird.listen(song, bundle=tones, runtime=runtime, hop=1.0)))) == 3
    other = tone_bundle(tmp_path / "other", rate=16000)
    with pytest.raises(UsageError, match="another model"):
        edgebird.listen(song, bundle=other, runtime=runtime)
    runtime.close()


def test_a_sink_of_ones_own_has_all_events_and_is_closed(tones: Bundle, song: Path) -> None:
    notes = Notes()
    events = []
    for event in edgebird.listen(song, bundle=tones, sinks=[notes], **ALWAYS):
        events.append(dict(event))
        event.clear()  # which nobody else sees
    assert notes.events == events
    assert notes.closed


# --------------------------------------------------------------------------------------------------------- how it ends
def test_break_ends_the_station_in_order(tones: Bundle, play: Callable[..., None], tmp_path: Path) -> None:
    play(["audio", 99, 0.5])
    for _ in edgebird.listen(mic=True, bundle=tones, log=tmp_path, **ALWAYS):
        break
    wait_until(lambda: not stations(), "the end of the station", 15)
    (file,) = tmp_path.iterdir()
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()][-1] == "summary"


def test_an_iterator_that_a_name_holds_goes_on_after_a_break(tones: Bundle, song: Path) -> None:
    events = edgebird.listen(song, bundle=tones, **ALWAYS)
    first = [event for event, _ in zip(events, range(1), strict=False)]
    rest = list(events)
    assert len(of("detection", first + rest)) >= 2
    assert rest[-1]["event"] == "summary"


def test_close_ends_it_and_twice_is_harmless(tones: Bundle, song: Path) -> None:
    events = edgebird.listen(song, realtime=True, bundle=tones, **ALWAYS)
    next(events)
    events.close()
    assert not stations()
    events.close()
    assert list(events) == []


def test_an_iterator_in_a_circle_of_garbage_ends_too(tones: Bundle, song: Path) -> None:
    """As in a notebook, where what was shown once refers to a lot."""
    circle: list[Any] = [edgebird.listen(song, realtime=True, bundle=tones, **ALWAYS)]
    circle.append(circle)
    del circle
    gc.collect()
    wait_until(lambda: not stations(), "the end of the station", 15)


def test_garbage_is_collected_without_waiting_for_the_end(tones: Bundle, song: Path) -> None:
    """It may be collected on the thread of the sinks, which the station waits for at its end."""

    class Collects(Sink):
        name = "collects"
        took_s = 0.0

        def take(self, event: Event, memory: Memory | None) -> None:
            if circles:
                circles.pop()
                began = time.monotonic()
                gc.collect()
                self.took_s = time.monotonic() - began

    sink, circles = Collects(), []
    circle: list[Any] = [edgebird.listen(song, realtime=True, bundle=tones, sinks=[sink], **ALWAYS)]
    circle.append(circle)
    circles.append(circle)
    del circle
    wait_until(lambda: sink.took_s > 0, "an event", 15)
    assert sink.took_s < 10  # the end of a station would be waited for much longer
    wait_until(lambda: not stations(), "the end of the station", 15)


def test_a_program_that_ends_meanwhile_leaves_files_whole(tones: Bundle, song: Path, tmp_path: Path) -> None:
    code = (
        "import sys, edgebird\n"
        "events = edgebird.listen(sys.argv[1], realtime=True, bundle=sys.argv[2], log=sys.argv[3], threads=1)\n"
        "assert next(events)['state'] == 'open'\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(song), str(tones.path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text().splitlines()[-1])["event"] == "summary"


def test_ctrl_c_ends_the_station_though_a_traceback_holds_the_iterator(tones: Bundle, song: Path) -> None:
    class Interrupted(EventQueue):
        def get(self) -> Event | None:
            raise KeyboardInterrupt

    events = edgebird.listen(song, realtime=True, bundle=tones, **ALWAYS)
    events._run.events.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        next(events)
    wait_until(lambda: not stations(), "end of the station", 15)
    assert isinstance(events, Listening)


def test_it_needs_not_be_the_main_thread(tones: Bundle, song: Path) -> None:
    found: list[Event] = []
    thread = threading.Thread(target=lambda: found.extend(edgebird.listen(song, bundle=tones, **ALWAYS)))
    thread.start()
    thread.join(60)
    assert len(of("detection", found)) == 3


@pytest.mark.parametrize(("channel", "heard"), [(1, 0), (2, 1)])
def test_one_channel_of_a_file_is_listened_to(tones: Bundle, tmp_path: Path, channel: int, heard: int) -> None:
    bird = scene(10, [(1, 0.8, 2, 8)])
    soundfile.write(tmp_path / "dawn.wav", np.stack([0 * bird, bird], axis=1), RATE)
    events = list(edgebird.listen(tmp_path / "dawn.wav", bundle=tones, channel=channel))
    assert len(of("detection", events)) == heard


# -------------------------------------------------------------------------------------------------------------- errors
def test_an_engine_that_fails_in_the_middle_is_an_error_after_all_events(tones: Bundle, song: Path) -> None:
    runtime = Failing(edgebird.open_runtime(tones), at=20)
    taken: list[Event] = []
    events = edgebird.listen(song, bundle=tones, runtime=runtime, hop=1.0)
    with pytest.raises(RuntimeUnavailableError, match=r"scores nothing any more: .* not finite"):
        taken.extend(events)
    assert [event["code"] for event in of("detection", taken)] == ["tonlow", "tonmid"]
    assert {gap["reason"] for gap in of("gap", taken)} == {"engine"}
    assert taken[-1]["event"] == "summary"
    assert next(events, None) is None, "an error is told once"
    runtime.close()


def test_a_file_that_breaks_off_is_an_error_when_all_has_ended(tones: Bundle, song: Path, tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).normal(size=20 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "whole.flac", noise, RATE)
    broken = tmp_path / "broken.flac"
    broken.write_bytes((tmp_path / "whole.flac").read_bytes()[:200_000])
    taken: list[Event] = []
    with pytest.raises(AudioError, match="broken"):
        taken.extend(edgebird.listen([broken, song], bundle=tones, **ALWAYS))
    assert len(of("summary", taken)) == 2
    assert len(of("detection", taken)) == 3


def test_an_error_that_nobody_takes_is_logged(
    tones: Bundle, song: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = edgebird.open_runtime(tones)
    monkeypatch.setattr(logging.getLogger("edgebird"), "handlers", [])
    with edgebird.listen(song, bundle=tones, runtime=Failing(runtime, at=3), hop=1.0):
        wait_until(lambda: not stations(), "end of the station", 15)
    assert "the station ended early: " in caplog.text
    assert "1 of 3 scores are not finite" in caplog.text
    runtime.close()


def test_what_is_wrong_with_settings_is_said_at_once(tones: Bundle, song: Path, tmp_path: Path) -> None:
    for words, keywords in {
        "unknown keyword 'treshold': did you mean threshold\\? known: mic, url,": {"treshold": 0.5},
        "unknown keyword 'clips_format': did you mean clip_format\\?": {"clips_format": "wav"},
        "hop=99: wanted a number of seconds, 0.01 to 60": {"hop": 99},
        "queue_size 0: wanted 1 or more": {"queue_size": 0},
        "thresholds=3: wanted a table": {"thresholds": 3},
        "mic is float: wanted the name or number of a device": {"mic": 1.5},
        "two sources are called 'a'": {"file": {"a": song}, "url": {"a": "http://b/c"}},
    }.items():
        with pytest.raises(UsageError, match=words):
            edgebird.listen(song, bundle=tones, **keywords)
    with pytest.raises(UsageError, match=r"^bundle= is missing, and no config gives it$"):
        edgebird.listen(song)
    with pytest.raises(UsageError, match="nothing to listen to: give a URL or a file, mic=True, or config=FILE"):
        edgebird.listen(bundle=tones)
    with pytest.raises(UsageError, match="give no other settings beside them"):
        edgebird.listen(keyword_settings(song, None, {"bundle": tones.path}), hop=2)
    with pytest.raises(BundleError, match="no such bundle"):
        edgebird.listen(song, bundle=tmp_path / "none")
    with pytest.raises(OutputError, match="cannot write"):
        edgebird.listen(song, bundle=tones, database=tmp_path, **ALWAYS)


def test_no_message_shows_an_address(tones: Bundle) -> None:
    """It may be one with a password whose `://` was forgotten."""
    for address in ("me:secret@pond/live", {"pond": "me:secret@pond/live"}, ["secret"]):
        with pytest.raises(
            UsageError, match="neither a URL nor a file that exists: a microphone is given as"
        ) as caught:
            edgebird.listen(address, bundle=tones)
        assert "secret" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------ slow consumers
def test_a_slow_program_gets_all_events_of_files(tones: Bundle, song: Path) -> None:
    expected = list(edgebird.listen(song, bundle=tones, explain=True, **ALWAYS))
    taken = []
    for event in edgebird.listen(song, bundle=tones, explain=True, queue_size=1, **ALWAYS):
        time.sleep(0.05)
        taken.append(event)
    assert len(taken) > 3
    assert [replaced(event) for event in taken] == [replaced(event) for event in expected]


def replaced(event: Event) -> Event:
    return {**event, "wall_s": 0.0} if "wall_s" in event else event


def test_a_program_that_is_too_slow_for_a_microphone_is_told_what_it_missed(
    tones: Bundle, song: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither audio nor the events of other sinks are lost meanwhile."""
    monkeypatch.setattr(logging.getLogger("edgebird"), "handlers", [])
    notes = Notes()
    keywords: dict[str, Any] = {"realtime": True, "threshold": 0.0, "stats_every": 1, "duration": 9.0}
    with edgebird.listen(song, bundle=tones, queue_size=3, sinks=[notes], **keywords, **ALWAYS) as events:
        wait_until(lambda: notes.closed, "end of the station", 30)
        taken = list(events)
    (account,) = of("sink", taken)
    assert (account["sink"], account["state"]) == ("python", "closed")
    told = [event for event in notes.events if event["event"] != "sink"]
    assert taken[:-1] == told[:3]
    assert account["lost"] == len(told) - 3 > 3
    assert of("sink", notes.events)[0]["state"] == "failed"
    assert of("summary", notes.events)[0]["gap_s"] == 0
    assert "3 events wait to be taken and there is no room for more" in caplog.text


def test_what_a_queue_lost_is_told_in_its_place_when_half_of_it_is_free() -> None:
    queue = EventQueue(4, waits=False)

    def gives(number: int) -> bool:
        try:
            queue.take({"event": "gap", "number": number}, None)
        except OutputError:
            return False
        return True

    assert [gives(number) for number in range(7)] == [True] * 4 + [False] * 3
    assert queue.get() == {"event": "gap", "number": 0}
    assert not gives(7), "else it would be full again at once"
    assert queue.get() == {"event": "gap", "number": 1}
    assert gives(8)
    queue.take({"event": "sink", "sink": "python", "state": "recovered", "lost": 4}, None)  # as the chain tells others
    queue.close()
    queue.finish()
    rest = [queue.get() for _ in range(5)]
    account = rest[2]
    assert account is not None
    assert {key: account[key] for key in ("event", "sink", "state", "lost")} == {
        "event": "sink", "sink": "python", "state": "recovered", "lost": 4
    }  # fmt: skip
    assert account["since"] <= account["time"]
    assert [event and event.get("number") for event in rest] == [2, 3, None, 8, None]


def test_statistics_do_not_fill_the_memory_of_a_program_that_takes_nothing() -> None:
    queue = EventQueue(2, waits=True)
    for number in range(5):
        queue.take({"event": "stats", "source": None, "number": number}, None)
    queue.take({"event": "summary", "source": "a"}, None)
    queue.finish()
    assert [event["event"] for event in iter(queue.get, None)] == ["stats", "stats", "summary"]


def test_settings_that_wait_for_their_reader_are_told_from_those_that_do_not(tones: Bundle, song: Path) -> None:
    settings = keyword_settings(song, None, {"bundle": tones.path})
    with edgebird.listen(settings) as files:
        assert files._run.events._waits
    paced = replace(settings, sources=(*settings.sources, replace(settings.sources[0], name="x", realtime=True)))
    with edgebird.listen(paced) as mixed:
        assert not mixed._run.events._waits
