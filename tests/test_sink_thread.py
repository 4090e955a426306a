"""The sinks' thread: a disk that is slow, full or gone costs results at most, never a second of sound."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.detection import Settings
from edgebird.errors import OutputError, UsageError, WrongOutputError
from edgebird.events import Event
from edgebird.live import assembly
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.pulled import PacedSource, PulledSource
from edgebird.live.station import Station, StationOptions
from edgebird.pooling import LONGEST_S
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.clips import ClipSink
from edgebird.sinks.thread import AHEAD_S, CAPACITY, ROOM, Patience, SinkThread
from edgebird.types import Origin
from tests.foreign import RATE as FILE_RATE
from tests.foreign import scene, tone_bundle
from tests.live_servers import bounded, wait_until
from tests.test_station import HOP_S, RATE, Loudness, blocks, bursts

FULL = "the queue of events is full: 7 lost"
SOON_S = 30  # for what takes no time at all on a machine that is not busy


class Kept(Sink):
    """Keeps events, when its gate is open. wrong: what it raises instead."""

    def __init__(self, name: str = "kept", gate: threading.Event | None = None) -> None:
        self.name, self.gate, self.wrong = name, gate, None
        self.events: list[Event] = []
        self.reached, self.closed = threading.Event(), False
        self.threads: set[int] = set()

    wrong: BaseException | None

    def take(self, event: Event, memory: Memory | None) -> None:
        self.threads.add(threading.get_ident())
        self.reached.set()
        if self.gate:
            assert self.gate.wait(SOON_S)
        if self.wrong and event["event"] != "sink":
            raise self.wrong
        self.events.append(event)

    def tick(self) -> list[Event]:
        self.threads.add(threading.get_ident())
        return []

    def close(self) -> list[Event]:
        self.closed = True
        return []

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]


def event(kind: str = "detection", number: int = 0) -> Event:
    return {"event": kind, "source": "garden", "time": None, "start_s": number}


@contextmanager
def thread_of(*sinks: Sink, **options: Any) -> Iterator[SinkThread]:
    thread = SinkThread(sinks, **options)
    thread.open()
    try:
        yield thread
    finally:
        for sink in sinks:
            if isinstance(sink, Kept) and sink.gate:
                sink.gate.set()
        thread.close()


def station_of(telling: SinkThread, feeds: Sequence[Any], runtime: Loudness, stats_every_s: float = 60) -> Station:
    station = Station(runtime, telling, StationOptions(HOP_S, stats_every_s=stats_every_s))
    for feed in feeds:
        settings = Settings(round(HOP_S * RATE), threshold=0.3)
        station.add(Listener(feed, runtime.card, settings, ListenOptions(), Origin(feed.name)))
    return station


def test_all_sinks_work_on_one_thread_that_is_not_that_of_who_tells() -> None:
    sinks = [Kept("a"), Kept("b")]
    with thread_of(*sinks) as thread:
        for number in range(100):
            thread.take(event(number=number), None)
            thread.tick()
    assert [one["start_s"] for one in sinks[0].events] == list(range(100))
    assert len(sinks[0].threads | sinks[1].threads) == 1
    assert threading.get_ident() not in sinks[0].threads
    assert all(sink.closed for sink in sinks)


def test_a_sink_that_hangs_costs_no_sound_and_makes_no_result_late() -> None:
    """The microphone goes on, windows are scored in time, and when the disk is back all that was heard is written."""
    disk, seen = Kept("disk", threading.Event()), list[Event]()

    class Opening(SinkThread):
        """The disk comes back when the station ends."""

        def close(self) -> None:
            assert disk.events == []  # nothing was written while four seconds were heard
            assert disk.gate
            disk.gate.set()
            super().close()

    thread = Opening([disk], at_once=seen.append)
    thread.open()
    feed = PacedSource("mic", lambda: blocks(bursts(4.0)), RATE, buffer_s=5)
    station_of(thread, [feed], Loudness(), stats_every_s=1).run()
    assert disk.events == seen
    assert not disk.of("gap")
    (summary,) = disk.of("summary")
    assert summary["scored_s"] + summary["tail_s"] == summary["audio_s"] == 4.0
    assert summary["latency_s"]["max"] < HOP_S
    assert summary["misses"] == 0


def test_a_sink_that_hangs_is_told_in_the_statistics_and_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgebird.sinks.thread._BUSY_S", 0.01)
    disk = Kept("disk", threading.Event())
    with thread_of(disk) as thread:
        assert thread.delay() is None
        thread.take(event(), None)
        assert disk.reached.wait(SOON_S)
        thread.take(event(), None)
        wait_until(lambda: thread.delay() is not None, "a delay")
        status = station_of(thread, [], Loudness()).status().sinks
        told = station_of(thread, [], Loudness())._stats()["sinks"]
    assert status is not None
    assert (status.sink, status.waiting, status.lost) == ("disk", 1, 0)
    assert "disk has been busy for 0 s, 1 events wait" in str(status)
    assert told.keys() == {"sink", "busy_s", "waiting", "lost"}


def test_a_full_queue_loses_the_least_worthy_first_and_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    disk = Kept("disk", threading.Event())
    with thread_of(disk, capacity=6) as thread:
        thread.take(event("source"), None)
        assert disk.reached.wait(SOON_S)  # it hangs with this one
        for number in range(3):
            for kind in ("stats", "detection", "onset", "rejected"):
                thread.take(event(kind, number), None)
        assert thread._backlog.waiting == 6
        thread.take(event("summary"), None)
        delay = thread.delay()
        assert delay is not None
        assert (delay.waiting, delay.lost) == (6, 7)
    kept = [(one["event"], one.get("start_s")) for one in disk.events if one["event"] != "sink"]
    assert kept == [
        *[("source", 0), ("detection", 0), ("detection", 1), ("onset", 1)],
        *[("detection", 2), ("onset", 2), ("summary", 0)],
    ]
    failed, recovered = disk.of("sink")
    assert (failed["sink"], failed["state"], failed["error"]) == (
        "queue",
        "failed",
        "the queue of events is full: 7 lost",
    )
    assert (recovered["state"], recovered["lost"], recovered["since"]) == ("recovered", 7, failed["time"])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["events are lost"]


def test_memory_stays_flat_however_long_a_sink_hangs() -> None:
    disk = Kept("disk", threading.Event())
    with thread_of(disk) as thread:
        thread.take(event(), None)
        assert disk.reached.wait(SOON_S)
        for number in range(3 * CAPACITY):
            thread.take(event(number=number), None)
            thread.tick()
        assert thread._backlog.waiting == CAPACITY
        assert len(thread._backlog._ticks) <= CAPACITY + 1
    assert len(disk.of("detection")) == CAPACITY + 1


def test_ticks_stay_few_though_no_event_comes_while_a_sink_hangs() -> None:
    disk = Kept("disk", threading.Event())
    with thread_of(disk) as thread:
        thread.take(event(), None)
        assert disk.reached.wait(SOON_S)
        for _ in range(1000):
            thread.tick()
        assert len(thread._backlog._ticks) == 1


def test_files_wait_for_room_and_lose_nothing() -> None:
    """Files in a station are read as fast as can be: hundreds of detections a second for a card that writes fifty."""
    disk = Kept("disk", threading.Event())
    audio = bursts(40 * 60.0)
    with thread_of(disk, capacity=2 * ROOM) as thread:
        station = station_of(thread, [PulledSource("file", lambda: blocks(audio, RATE), RATE)], Loudness())
        listening = threading.Thread(target=station.run)
        listening.start()
        wait_until(lambda: thread._backlog.waiting >= ROOM, "a queue with as many events as may wait of files")
        time.sleep(0.2)  # in which hundreds would come
        assert thread._backlog.waiting <= ROOM
        assert disk.gate
        disk.gate.set()
        listening.join(SOON_S)
        assert not listening.is_alive()
    (summary,) = disk.of("summary")
    assert len(disk.of("detection")) == summary["detections"] > 3 * ROOM
    assert disk.events[-1] is summary
    assert not disk.of("sink")


def test_a_file_is_read_no_further_than_clips_of_it_can_still_be_cut(tmp_path: Path) -> None:
    """At some thousand times real time the disk has to follow: the memory holds two minutes, the file ten."""

    class Slow(ClipSink):
        def tick(self) -> list[Event]:
            time.sleep(0.02)
            return super().tick()

    disk, audio, runtime = Kept("disk"), bursts(600.0), Loudness()
    settings = ClipSettings(tmp_path)
    with thread_of(disk, Slow(settings)) as thread:
        station = Station(runtime, thread, StationOptions(HOP_S))
        remembered = ListenOptions(history_s=LONGEST_S + settings.pre_s + settings.post_s + assembly._AFTER_S)
        feed = PulledSource("file", lambda: blocks(audio, RATE), RATE)
        judged = Settings(round(HOP_S * RATE), threshold=0.3)
        station.add(Listener(feed, runtime.card, judged, remembered, Origin("file")))
        station.run()
    clips = disk.of("clip")
    assert len(clips) == len(disk.of("detection")) > 300
    assert [clip["missing_s"] for clip in clips if clip["missing_s"]] == []
    assert not disk.of("sink")


def test_a_file_waits_for_sinks_that_look_at_nothing(tmp_path: Path) -> None:
    """Silence: no event tells how far the file is."""
    disk, opening = Kept("disk"), threading.Event()
    disk.open = lambda: assert_set(opening)  # type: ignore[method-assign]
    audio = np.zeros(round(600 * RATE), np.float32)
    with thread_of(disk, patience=Patience(opening_s=0.01, closing_s=SOON_S)) as thread:
        runtime = Loudness()
        station = Station(runtime, thread, StationOptions(HOP_S))
        feed = PulledSource("file", lambda: blocks(audio, RATE), RATE)
        listener = Listener(feed, runtime.card, Settings(RATE // 2), ListenOptions(history_s=60), Origin("file"))
        station.add(listener)
        listening = threading.Thread(target=station.run)
        listening.start()
        wait_until(lambda: listener.memory.newest >= AHEAD_S * RATE, "a file that is as far ahead as it may be")
        time.sleep(0.2)
        assert listener.memory.newest <= (AHEAD_S + 2) * RATE
        opening.set()
        listening.join(SOON_S)
        assert not listening.is_alive()
    (summary,) = disk.of("summary")
    assert summary["scored_s"] == 600


def assert_set(event: threading.Event) -> None:
    assert event.wait(SOON_S)


def test_live_sources_go_on_while_files_wait() -> None:
    disk = Kept("disk", threading.Event())
    with thread_of(disk, patience=Patience(closing_s=SOON_S)) as thread:
        file = PulledSource("file", lambda: blocks(bursts(40 * 60.0), RATE), RATE)
        mic = PacedSource("mic", lambda: blocks(bursts(3.0)), RATE, buffer_s=5)
        station = station_of(thread, [file, mic], Loudness())
        listening = threading.Thread(target=station.run)
        listening.start()
        wait_until(lambda: "mic" not in [one.name for one in station.listeners], "the end of the microphone")
        assert disk.gate
        disk.gate.set()
        listening.join(SOON_S)
    live = [one for one in disk.of("summary") if one["source"] == "mic"]
    assert (live[0]["gap_s"], live[0]["misses"]) == (0, 0)
    assert not disk.of("sink")


class Unready(Kept):
    """Cannot be opened so often."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__("card")
        self._error, self.times = error, times

    def open(self) -> None:
        self.times -= 1
        if self.times >= 0:
            raise self._error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OutputError("database disk image is malformed"), KeyError("x")]
)
def test_a_sink_that_cannot_open_joins_as_failed(error: Exception) -> None:
    card, disk = Unready(error, times=1), Kept("disk")
    with thread_of(disk, card) as thread:
        thread.take(event(), None)
    failed, detection, closed = disk.events
    assert (failed["event"], failed["sink"], failed["state"]) == ("sink", "card", "failed")
    assert str(error) in failed["error"]
    assert detection["event"] == "detection"
    assert (closed["state"], closed["lost"]) == ("closed", 1)
    assert not card.events
    assert not card.closed


@pytest.mark.parametrize("error", [UsageError("unknown format 'xls'"), WrongOutputError("it is another table")])
def test_what_time_does_not_heal_ends_the_program_at_once(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        SinkThread([Kept(), Unready(error, times=1)]).open()


def test_a_sink_that_takes_for_ever_to_open_does_not_keep_the_station_from_listening() -> None:
    gate = threading.Event()

    class Mount(Kept):
        def open(self) -> None:
            assert gate.wait(SOON_S)

    mount = Mount()
    with thread_of(mount, patience=Patience(opening_s=0.01)) as thread:
        thread.take(event(), None)
        gate.set()
    assert mount.of("detection")


def test_a_closed_stdout_is_told_to_who_tells_events_and_the_others_go_on() -> None:
    before, ending, behind = Kept("disk"), Kept("stdout"), Kept("program")
    ending.wrong = SystemExit(0)
    with thread_of(before, ending, behind) as thread:
        assert not thread.ended
        thread.take(event(number=1), None)
        wait_until(lambda: thread.ended, "the end")
        thread.take(event(number=2), None)
    assert [one["start_s"] for one in before.events] == [one["start_s"] for one in behind.events] == [1, 2]
    assert before.closed
    assert behind.closed


def test_a_closed_stdout_ends_a_station_in_order() -> None:
    """All that was heard is scored and told, with a summary; then the program ends."""
    disk, ending = Kept("disk"), Kept("stdout")
    ending.wrong = SystemExit(0)
    thread = SinkThread([ending, disk])
    thread.open()
    feed = PacedSource("mic", lambda: blocks(bursts(60.0)), RATE, buffer_s=5)
    with pytest.raises(SystemExit) as ended:
        station_of(thread, [feed], Loudness()).run()
    assert ended.value.code == 0
    (summary,) = disk.of("summary")
    assert summary["audio_s"] < 20
    assert summary["scored_s"] + summary["gap_s"] + summary["tail_s"] == pytest.approx(summary["audio_s"])
    assert disk.closed


def test_what_is_no_exception_of_a_sink_does_not_kill_the_thread_of_all() -> None:
    card, disk = Kept("card"), Kept("disk")
    card.wrong = asyncio.CancelledError()
    with thread_of(card, disk) as thread:
        thread.take(event(number=1), None)
        thread.take(event(number=2), None)
    assert [one["start_s"] for one in disk.of("detection")] == [1, 2]
    assert [one["error"] for one in disk.of("sink") if one["state"] == "failed"] == ["CancelledError:"]
    assert disk.closed
    assert not thread.hangs


def test_a_closed_stdout_of_a_station_that_is_through_ends_it_too() -> None:
    ending = Kept("stdout")
    ending.wrong = SystemExit(0)
    thread = SinkThread([ending])
    thread.open()
    station = station_of(thread, [PulledSource("file", lambda: blocks(bursts(3)), RATE)], Loudness())
    with pytest.raises(SystemExit):
        station.run()
    assert ending.closed


def test_what_hangs_at_the_end_is_left_behind_and_told(caplog: pytest.LogCaptureFixture) -> None:
    disk, gate = Kept("disk", threading.Event()), threading.Event()
    thread = SinkThread([disk], patience=Patience(closing_s=0.05))
    thread.open()
    for number in range(5):
        thread.take(event(number=number), None)
    assert disk.reached.wait(SOON_S)
    thread.close()
    assert thread.hangs
    assert caplog.messages == ["disk hangs: what it was writing and 4 events are lost"]
    assert not gate.is_set()
    assert disk.gate
    disk.gate.set()


def test_a_sink_that_is_slow_but_gets_on_is_waited_for() -> None:
    class Slow(Kept):
        def take(self, event: Event, memory: Memory | None) -> None:
            time.sleep(0.04)
            super().take(event, memory)

    slow = Slow()
    thread = SinkThread([slow], patience=Patience(closing_s=0.3))
    thread.open()
    for number in range(20):
        thread.take(event(number=number), None)
    thread.close()
    assert not thread.hangs
    assert len(slow.events) == 20


# --------------------------------------------------------------------------------------------------- the whole program
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("station")
    tone_bundle(folder / "tones")
    soundfile.write(folder / "dawn.wav", scene(20, [(1, 0.8, 5, 10)]), FILE_RATE, subtype="PCM_16")
    return folder


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def started(command: Sequence[str], folder: Path, **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, **pipes)


def listen(folder: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgebird", "listen", "--bundle", "tones", "--file", "dawn.wav", *arguments]
    return subprocess.run(
        [*map(str, command)], cwd=folder, env=ENVIRONMENT,
        capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


def _damage(path: Path) -> None:
    from edgebird.sinks.database import DatabaseSink

    sink = DatabaseSink(path)
    sink.open()
    sink.close()
    os.truncate(path, 4096)


@pytest.mark.parametrize(
    ("spoil", "option", "sink", "message"),
    [
        (_damage, "--database", "database", "malformed"),
        (lambda path: path.write_bytes(bytes(8192)), "--database", "database", "not a database"),
    ],
)
def test_a_station_with_a_damaged_database_hears(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], object], option: str, sink: str, message: str
) -> None:
    spoil(tmp_path / "place")
    done = listen(folder, option, tmp_path / "place", "--log", tmp_path / "log")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event"] for one in events] == ["sink", "detection", "summary"]
    assert (events[0]["sink"], events[0]["state"]) == (sink, "failed")
    assert message in events[0]["error"]
    assert f"WARNING: {sink}: failed (" in done.stderr
    assert "Traceback" not in done.stderr
    logged = [json.loads(line) for path in (tmp_path / "log").iterdir() for line in path.read_text().splitlines()]
    assert sorted(one["event"] for one in logged) == ["detection", "sink", "sink", "summary"]
    assert [one["lost"] for one in logged if one.get("state") == "closed"] == [2]


def test_a_reader_of_stdout_that_has_gone_ends_the_station_in_order(folder: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "edgebird", "listen", "--bundle", "tones", "--file", "dawn.wav", "--log"]
    with (
        subprocess.Popen(
            [*command, str(tmp_path)], cwd=folder, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE
        ) as run,
        bounded(run),
    ):
        os.close(writing)
        _, told = run.communicate(timeout=60)
    assert (run.returncode, b"Traceback" in told) == (0, False)
    (log,) = tmp_path.iterdir()
    kinds = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert ("detection" in kinds, kinds[-1]) == (True, "summary")
    assert b"detections; 20.0 s scored" in told


@pytest.mark.slow
def test_a_reader_of_stdout_that_hangs_keeps_neither_the_station_from_hearing_nor_from_ending(
    folder: Path, tmp_path: Path
) -> None:
    """A pager, or a program in a debugger: a pipe that is full, here of 4 kB."""
    songs = scene(300, [(1, 0.8, start, start + 5) for start in range(0, 300, 10)], FILE_RATE)
    command = [sys.executable, "-m", "edgebird", "listen", "--bundle", "tones", "--stdin", f"s16le:{FILE_RATE}:1"]
    command += ["--format", "jsonl", "--log", str(tmp_path / "log")]
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with (
        subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE
        ) as run,
        bounded(run),
    ):
        assert run.stdin
        assert run.stderr
        run.stdin.write((songs * 32767).astype("<i2").tobytes())
        run.stdin.close()
        code = run.wait(60)
        told = run.stderr.read().decode()
    os.close(reading)
    os.close(writing)
    assert "Fatal" not in told
    assert re.search("^ERROR: stdout hangs: what it was writing and [0-9]+ events are lost$", told, re.MULTILINE), told
    assert code == 1, told


@pytest.mark.soak
def test_a_disk_that_hangs_for_thirty_seconds() -> None:
    """The real thing: no gate, but time."""

    class Hanging(Kept):
        def take(self, event: Event, memory: Memory | None) -> None:
            if not self.events:
                time.sleep(30)
            super().take(event, memory)

    disk = Hanging("disk")
    thread = SinkThread([disk])
    thread.open()
    feed = PacedSource("mic", lambda: blocks(bursts(35.0)), RATE, buffer_s=5)
    station_of(thread, [feed], Loudness(), stats_every_s=5).run()
    (summary,) = disk.of("summary")
    assert summary["scored_s"] + summary["tail_s"] == summary["audio_s"] == 35.0
    assert summary["latency_s"]["max"] < HOP_S
    assert [one["sinks"]["sink"] for one in disk.of("stats") if "sinks" in one]


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["term", "by itself"])
def test_a_pipe_that_takes_both_streams_and_that_nobody_reads_keeps_no_station_from_ending(
    folder: Path, tmp_path: Path, ends: str
) -> None:
    """`listen 2>&1 | something` that hangs: not even what is said about it may wait."""
    command = [sys.executable, "-m", "edgebird", "listen", "--bundle", "tones", "--format", "jsonl"]
    command += ["--stdin", f"s16le:{FILE_RATE}:1", "--log", str(tmp_path / "log"), "--stats-every", "1"]
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 64)
    os.set_blocking(writing, True)
    with (
        subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=writing, stderr=writing
        ) as run,
        bounded(run),
    ):
        assert run.stdin
        run.stdin.write((scene(20, [(1, 0.8, 5, 10)], FILE_RATE) * 32767).astype("<i2").tobytes())
        run.stdin.flush()
        if ends == "term":
            time.sleep(4)
            run.terminate()
        else:
            run.stdin.close()
        assert run.wait(30) == 1
    os.close(reading)
    os.close(writing)
