"""The live socket: who shows a station sees what happens, and whatever becomes of readers costs the station nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgebird
from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.live import broadcast as broadcast_module
from edgebird.live import socket_file, watch
from edgebird.live.broadcast import Broadcast
from edgebird.live.figures import Performance, SourceStatus, Status
from edgebird.live.history import History, Remembered
from edgebird.live.watch import LiveReader, Message, levels_of
from edgebird.sinks.thread import SinkThread
from edgebird.types import AudioBlock, Origin
from tests.conftest import require
from tests.foreign import scene, tone_bundle
from tests.listening import listening
from tests.live_servers import wait_until
from tests.sinking import GAP, STARTED, Tape, detection

RATE = 8000


class Stage:
    """A station as the socket sees it. looks: how often its whole status was asked for."""

    def __init__(self, live: bool = True) -> None:
        self.memory = History(Origin("garden", started=STARTED), RATE, 5 * RATE)
        self.listeners = [SimpleNamespace(name="garden", memory=self.memory, feed=SimpleNamespace(live=live))]
        self.looks = 0

    def play(self, seconds: float) -> None:
        sound = np.random.default_rng(1).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
        self.memory.push(AudioBlock(sound, self.memory.newest))

    def sources(self) -> tuple[SourceStatus, ...]:
        return (SourceStatus("garden", "open", "", -50.0, -20.5, 12.0, 10.0, 0.0, 2.0, None),)

    def status(self) -> Status:
        self.looks += 1
        return Status(12.0, "null", self.sources(), Performance(4, None, None, 0, 0.1, 5.0, 80.0))

    def delay(self) -> None:
        return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "birds.db.live"


@pytest.fixture
def broadcast(path: Path) -> Iterator[Broadcast]:
    made = Broadcast(path)
    made.open()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast_module, "_LOOK_S", 0.0)
    monkeypatch.setattr(watch, "_AGAIN_S", 0.05)


def wanted(reader: LiveReader, fits: Callable[[Message], Any], seconds: float = 20) -> list[Message]:
    """What comes up to the first message that fits."""
    messages: list[Message] = []
    end = time.monotonic() + seconds
    while not any(map(fits, messages)):
        assert time.monotonic() < end, (reader.problem, messages)
        messages += reader.read(0.2)
    return messages


def kind(*kinds: str) -> Callable[[Message], bool]:
    return lambda message: message["type"] in kinds


def test_a_reader_is_told_what_the_station_is_hears_and_finds(broadcast: Broadcast, path: Path) -> None:
    stage, tape = Stage(), Tape()
    stage.play(4.0)
    with LiveReader(path) as reader:
        assert [message["type"] for message in wanted(reader, kind("hello"))] == ["hello"]
        assert reader.listen() == []
        broadcast.show(stage)  # type: ignore[arg-type]
        broadcast.take(detection(tape), tape)
        broadcast.take(GAP, None)
        messages = wanted(reader, lambda m: m.get("event") == GAP)
        by_type = {message["type"]: message for message in messages}
        assert [m["event"] for m in messages if m["type"] == "event"] == [detection(tape), GAP]
        assert by_type["state"]["sources"][0]["peak_dbfs"] == -20.5
        assert datetime.fromisoformat(by_type["state"]["time"]).tzinfo
        assert by_type["station"]["performance"]["memory_mb"] == 80.0


def test_a_reader_computes_levels_and_spectrogram_from_the_memory_itself(broadcast: Broadcast, path: Path) -> None:
    """The station does nothing for what is heard later: it told that there is a memory, and that was all."""
    stage = Stage()
    stage.play(4.0)
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
        broadcast.show(stage)  # type: ignore[arg-type]
        wanted(reader, kind("state"))
        state, columns = reader.listen()
        assert -22 < state["sources"][0]["level_dbfs"] < -18 < state["sources"][0]["peak_dbfs"]
        assert (columns["source"], columns["start_s"]) == ("garden", 2.0)
        levels = levels_of(columns)
        assert -60 < np.median(levels) * columns["step_db"] + columns["least_db"] < -20
        assert reader.listen() == []  # once a second
        stage.sources = None  # type: ignore[assignment, method-assign]  # a call would raise
        stage.play(1.0)
        reader._listen_at = 0.0
        _, later = reader.listen()
        assert later["start_s"] == pytest.approx(2.0 + len(levels) * 0.08)
        broadcast.close()
        assert "".join(m["type"] for m in reader.read(1.0)) == ""
        assert (reader.sounds, reader.listen()) == ({}, [])


def test_a_memory_can_be_read_by_others_and_not_written(broadcast: Broadcast, path: Path) -> None:
    memory = History(Origin("garden"), RATE, RATE)
    assert memory.descriptor is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(memory.descriptor, b"x")
    theirs = Remembered.shared(memory.descriptor, RATE)
    memory.push(AudioBlock(np.full(10, 0.5, np.float32), 0))
    assert (theirs.newest, theirs.read(8, 12).tolist()) == (10, [0.5, 0.5, 0.0, 0.0])
    with pytest.raises(ValueError, match="read-only"):
        theirs._samples[0] = 1


def test_where_no_memory_can_be_shared_all_else_is_told(
    broadcast: Broadcast, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as under a filter of system calls: clips need the memory, and a page shows the levels that it is told."""

    def refuse(*_: Any) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("edgebird.live.history.os.memfd_create", refuse)
    stage = Stage()
    stage.play(4.0)
    assert stage.memory.read(0, 100).any()
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
        broadcast.show(stage)  # type: ignore[arg-type]
        wanted(reader, kind("state"))
        (state,) = reader.listen()
        assert (reader.sounds, state["sources"][0]["level_dbfs"]) == ({}, -50.0)


def test_descriptors_are_given_back_however_readers_come_and_go(broadcast: Broadcast, path: Path) -> None:
    """A station runs for months, and a process has a thousand of them."""

    def visit() -> None:
        stage = Stage()
        with LiveReader(path) as reader:
            wanted(reader, kind("hello"))
            broadcast.show(stage)  # type: ignore[arg-type]
            wanted(reader, kind("state"))
            assert list(reader.sounds) == ["garden"]

    for _ in range(3):
        visit()
    wait_until(lambda: not broadcast._server.readers, "readers are gone")  # type: ignore[union-attr]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        visit()
    wait_until(lambda: not broadcast._server.readers, "readers are gone")  # type: ignore[union-attr]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_a_memory_that_cannot_be_shared_keeps_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as where no more may be mapped; each source that comes and goes would take one."""

    def refuse(*_: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("edgebird.live.history.mmap.mmap", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [History(Origin("garden"), RATE, RATE).descriptor for _ in range(9)] == [None] * 9
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_what_changes_is_told_at_once_and_else_every_ten_seconds(
    broadcast: Broadcast, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at all costs most of what a page costs: a source that is lost is not to wait for the next look."""
    monkeypatch.setattr(broadcast_module, "_LOOK_S", 1000.0)
    stage = Stage()
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
        for _ in range(5):
            broadcast.show(stage)  # type: ignore[arg-type]
        broadcast.take(GAP, None)
        assert sum(m["type"] == "state" for m in wanted(reader, kind("event"))) == 1
        broadcast.take({"event": "source", "source": "garden", "state": "lost"}, None)
        broadcast.show(stage)  # type: ignore[arg-type]
        wanted(reader, kind("state"))


def test_nothing_is_computed_while_nobody_reads_and_all_is_there_for_the_next(broadcast: Broadcast, path: Path) -> None:
    stage = Stage()
    stage.sources = stage.status = None  # type: ignore[assignment, method-assign]  # a call would raise
    broadcast.show(stage)  # type: ignore[arg-type]
    broadcast.take(GAP, None)
    stage = Stage()
    for _ in range(2):
        stage.looks = 0
        with LiveReader(path) as reader:
            wanted(reader, kind("hello"))
            for _ in range(3):
                broadcast.show(stage)  # type: ignore[arg-type]
            messages = wanted(reader, kind("station"))
            assert stage.looks == 1  # it costs more than the rest, and comes every ten seconds
            assert not [message for message in messages if message["type"] == "event"]
        wait_until(lambda: not broadcast._server.readers, "the reader is gone")  # type: ignore[union-attr]


def test_a_reader_that_never_reads_costs_no_memory_and_no_other_reader_anything(
    broadcast: Broadcast, path: Path
) -> None:
    """It is closed when 256 KiB wait for it; the station did not wait a moment."""
    deaf = socket_file.connect(path, 1.0)
    with closing(deaf), LiveReader(path) as reader:
        wanted(reader, kind("hello"))
        server = broadcast._server
        assert server is not None
        wait_until(lambda: len(server.readers) == 2, "both are connected")
        seen, most = 0, 0
        for number in range(3000):
            broadcast.take({**GAP, "reason": f"{number:06}" + "x" * 300}, None)
            if number % 100 == 99:
                most = max([most, *(len(one.waiting) for one in list(server.readers))])
                for message in wanted(reader, lambda m, n=number: m.get("event", GAP)["reason"].startswith(f"{n:06}")):
                    assert message["event"]["reason"].startswith(f"{seen:06}")
                    seen += 1
        assert seen == 3000
        wait_until(lambda: len(server.readers) == 1, "the deaf one is closed")
        assert most < broadcast_module.WAITING + 100_000


def test_who_tells_never_waits_though_the_thread_of_the_socket_hangs(
    broadcast: Broadcast, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sinks share a thread: else no detection would reach the disk."""
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
        server = broadcast._server
        assert server is not None
        hung = SimpleNamespace(is_over=False)

        def hang(look: Any) -> list[bytes]:
            wait_until(lambda: hung.is_over, "", 30)
            return []

        monkeypatch.setattr(server, "_lines_of", hang)
        broadcast.show(Stage())  # type: ignore[arg-type]
        for number in range(200_000):
            broadcast.take({"event": "gap", "number": number}, None)
        assert len(server.events) <= broadcast_module._EVENTS
        hung.is_over = True


def test_more_readers_than_are_sensible_are_turned_away(broadcast: Broadcast, path: Path) -> None:
    connected = [socket_file.connect(path, 1.0) for _ in range(broadcast_module.READERS)]
    for one in connected:
        assert one.recv(10) == b'{"type":"h'
    with closing(socket_file.connect(path, 5.0)) as late:
        assert late.recv(10) == b""
    connected.pop().close()
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
    for one in connected:
        one.close()


def test_what_readers_send_is_not_even_kept(broadcast: Broadcast, path: Path) -> None:
    with closing(socket_file.connect(path, 5.0)) as rude:
        rude.sendall(b"x" * 100_000)
        received = rude.recv(4096)
        broadcast.take(GAP, None)
        while received.count(b"\n") < 2:
            more = rude.recv(4096)
            assert more, "turned away"
            received += more
        assert json.loads(received.splitlines()[1])["event"] == GAP


def test_a_file_that_is_read_as_fast_as_can_be_has_no_sound(broadcast: Broadcast, path: Path) -> None:
    stage = Stage(live=False)
    stage.play(4.0)
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
        broadcast.show(stage)  # type: ignore[arg-type]
        broadcast.take(GAP, None)
        assert not [m for m in wanted(reader, kind("event")) if m["type"] == "sound"]


# --------------------------------------------------------------------------------------------------------- the file
def test_nobody_else_may_connect_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(socket_file.bind(path)):
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_what_a_killed_station_left_is_replaced_and_a_station_that_lives_is_not(path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from edgebird.live.socket_file import bind\n"
    code += "server = bind(Path(sys.argv[1])); print('bound', flush=True); time.sleep(60)"
    killed = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    with killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"bound\n"
        with pytest.raises(OutputError, match="another program does, perhaps a station with the same settings"):
            Broadcast(path).open()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert path.is_socket()
    sink = Broadcast(path)
    sink.open()
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
    sink.close()
    assert not path.exists()


def test_what_is_another_users_or_no_socket_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("a diary")
    with pytest.raises(OutputError, match="is no socket, and stays"):
        Broadcast(path).open()
    assert path.read_text() == "a diary"
    path.unlink()
    socket_file.bind(path).close()  # nobody listens there any more
    monkeypatch.setattr(socket_file.os, "geteuid", lambda: path.lstat().st_uid + 1)
    with pytest.raises(OutputError, match="another user's, and stays"):
        Broadcast(path).open()
    assert path.is_socket()


def test_a_station_removes_no_socket_that_has_taken_the_place_of_its_own(broadcast: Broadcast, path: Path) -> None:
    path.unlink()
    with closing(socket_file.bind(path)):
        broadcast.close()
        assert path.is_socket()


def test_a_socket_whose_file_is_gone_is_made_anew(broadcast: Broadcast, path: Path) -> None:
    """Such as with a drive that was away."""
    path.unlink()
    assert broadcast.tick() == []
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))


def test_a_path_that_is_longer_than_addresses_of_sockets_works(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 30) / "birds.db.live"
    sink = Broadcast(path)
    sink.open()
    with LiveReader(path) as reader:
        wanted(reader, kind("hello"))
    sink.close()
    assert not path.exists()


def test_a_socket_that_cannot_be_made_is_told_and_stops_no_other_sink(path: Path) -> None:
    path.write_text("a diary")
    told: list[Event] = []
    other = SimpleNamespace(take=lambda event, memory: told.append(event), name="other", open=lambda: None)
    other.tick, other.close = list, list
    telling = SinkThread([other, Broadcast(path)])  # type: ignore[list-item]
    telling.open()
    telling.take(GAP, None)
    telling.close()
    assert GAP in told
    assert [(one["sink"], one["state"]) for one in told if one["event"] == "sink"] == [
        ("live", "failed"),
        ("live", "closed"),
    ]


# -------------------------------------------------------------------------------------------------------- the reader
def test_a_reader_waits_for_a_station_and_finds_the_next_one(path: Path) -> None:
    with LiveReader(path) as reader:
        assert reader.read(0.05) == []
        assert reader.problem == "No such file or directory"
        for _ in range(2):
            sink = Broadcast(path)
            sink.open()
            wanted(reader, kind("hello"))
            assert (reader.hello is not None, reader.problem) == (True, "")
            sink.close()
            wait_until(lambda: not reader.read(0.05) and reader.hello is None, "it has seen the end")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"[]\n", "a line without a type"),
        (b"nonsense\n", "Expecting value"),
        (b'{"type":"hello","protocol":1}\n', "protocol 1, this edgebird knows 2"),
        (b'{"type":"sound","source":"garden","rate":8000}\n', "a sound without its memory"),
        (b'{"type":"state"}\n', "a state without sources"),
        (b"x" * (watch._LONGEST + 1), "a line that is too long"),
    ],
)
def test_what_no_station_says_is_a_problem_and_no_traceback(path: Path, line: bytes, problem: str) -> None:
    with closing(socket_file.bind(path)) as server, LiveReader(path) as reader:
        server.setblocking(True)
        reader.read(0.01)
        connection, _ = server.accept()
        with closing(connection):
            connection.settimeout(10)
            sent = 0
            while problem not in reader.problem:
                sent += connection.send(line[sent : sent + 50_000]) if sent < len(line) else 0
                assert reader.read(0.01) == []


# ------------------------------------------------------------------------------------------------------- the station
def test_listening_has_a_live_socket_beside_its_database_while_it_runs(tmp_path: Path) -> None:
    """The whole way: a detection is in the database when its event comes, and the summary comes too."""
    require("onnxruntime")
    import sqlite3

    import soundfile

    bundle = tone_bundle(tmp_path / "tones")
    soundfile.write(tmp_path / "x.wav", scene(8, [(0, 0.9, 0, 5)]), 8000)
    database = tmp_path / "birds.db"
    kept = ["--bundle", bundle.path, "--database", database, "--hop", "1"]
    with (
        listening("--file", tmp_path / "x.wav", "--realtime", *kept) as station,
        LiveReader(tmp_path / "birds.db.live") as reader,
    ):
        messages: list[Message] = []
        while not messages and not station._must_run():
            messages = reader.read(0.2)
        messages += wanted(reader, lambda m: m["type"] == "event" and m["event"]["event"] == "detection", 60)
        (found,) = [m["event"] for m in messages if m["type"] == "event" and m["event"]["event"] == "detection"]
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            assert connection.execute("SELECT code FROM detections").fetchall() == [(found["code"],)]
        if not any(m["type"] == "event" and m["event"]["event"] == "summary" for m in messages):
            messages += wanted(reader, lambda m: m["type"] == "event" and m["event"]["event"] == "summary", 60)
        assert {"hello", "state", "station", "sound", "event"} == {message["type"] for message in messages}
        assert station.end(None) == 0
    assert not (tmp_path / "birds.db.live").exists()


def test_a_program_that_listens_has_it_too_and_false_is_none(tmp_path: Path) -> None:
    require("onnxruntime")
    import soundfile

    bundle = tone_bundle(tmp_path / "tones")
    soundfile.write(tmp_path / "x.wav", scene(4, []), 8000)
    settings: dict[str, Any] = {"file": tmp_path / "x.wav", "bundle": bundle, "database": tmp_path / "b.db"}
    for live, there in ((tmp_path / "here", {"here"}), (False, set()), (True, {"b.db.live"})):
        with edgebird.listen(**settings, realtime=True, live_socket=live) as events:
            assert {one.name for one in tmp_path.iterdir() if one.is_socket()} == there
            events.stop()
