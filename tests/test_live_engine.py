"""An engine that fails while a station runs costs what it could not score, and never the station in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.detection import Settings
from edgebird.errors import RuntimeUnavailableError, ScoreError
from edgebird.live import engine as engine_module
from edgebird.live.engine import Engine
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.pulled import PacedSource, PulledSource
from edgebird.live.station import Station, StationOptions
from edgebird.types import FloatArray, Origin, Window
from tests.foreign import RATE as FILE_RATE
from tests.foreign import scene, tone_bundle
from tests.live_servers import wait_until
from tests.test_station import HOP_S, RATE, Loudness, Notes, blocks, bursts, check_accounts

POISON = 0.99  # the largest sample of a window that an engine fails at


class Fails(Loudness):
    """Fails at windows with poison in them, and from some call on for good, if it is told to."""

    def __init__(self, calls: float = float("inf"), nan: bool = False) -> None:
        super().__init__()
        self.calls, self.nan, self.closed = calls, nan, False

    def infer(self, windows: FloatArray) -> FloatArray:
        if len(self.batches) >= self.calls:
            raise RuntimeUnavailableError("loudness: CUDA failure 700")
        scores = super().infer(windows)
        bad = windows.max(axis=1) > POISON
        if bad.any() and not self.nan:
            raise RuntimeError("INVALID_ARGUMENT")
        scores[bad] = np.nan
        return scores

    def close(self) -> None:
        self.closed = True


def station(engine: Any, feeds: Sequence[Any], notes: Notes, tick: Callable[[], None] = lambda: None) -> Station:
    made = Station(engine, notes, StationOptions(HOP_S, buffer_s=5), tick)
    for feed in feeds:
        settings = Settings(round(HOP_S * RATE), threshold=0.3)
        made.add(Listener(feed, Loudness().card, settings, ListenOptions(), Origin(feed.name)))
    return made


def paced(name: str, audio: FloatArray) -> PacedSource:
    return PacedSource(name, lambda: blocks(audio, RATE // 4), RATE, buffer_s=5)


def told(notes: Notes) -> list[tuple[str, str]]:
    return [(e["state"], e.get("error", "")) for e in notes.events if e["event"] == "engine"]


def gaps(notes: Notes, source: str) -> list[tuple[float, float, str]]:
    return [(gap["start_s"], gap["end_s"], gap["reason"]) for gap in notes.of("gap", source)]


@pytest.mark.parametrize("nan", [True, False])
def test_a_window_that_cannot_be_scored_is_a_gap_and_the_station_goes_on(
    nan: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the engine does with it; of the sources that are scored with it nothing is lost."""
    notes, audio = Notes(), bursts(20)
    audio[9 * RATE : 9 * RATE + 400] = 1.0  # in the windows at 8.5 and 9 s; those of `b` are scored with them
    feeds = [PulledSource("a", lambda: blocks(audio), RATE), PulledSource("b", lambda: blocks(bursts(20)), RATE)]
    station(Fails(nan=nan), feeds, notes).run()
    check_accounts_of_files(notes, "a", "b")
    assert gaps(notes, "a") == [(9.0, 10.0, "engine")]
    assert gaps(notes, "b") == told(notes) == []
    found = {name: {(e["start_s"], e["end_s"]) for e in notes.of("detection", name)} for name in "ab"}
    assert found["a"] ^ found["b"] == {(7.5, 9.0), (7.5, 9.5)}  # the song that ends there
    assert len(found["a"]) == 5
    assert len([record for record in caplog.records if "cannot be scored" in record.getMessage()]) == 1


def check_accounts_of_files(notes: Notes, *sources: str) -> None:
    for source in sources:
        (summary,) = notes.of("summary", source)
        assert summary["scored_s"] + summary["gap_s"] + summary["tail_s"] == pytest.approx(20)
        assert sum(end - start for start, end, _ in gaps(notes, source)) == pytest.approx(summary["gap_s"])


def test_an_engine_that_is_lost_is_opened_again_and_its_sound_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 0.1)
    notes, first, tries = Notes(), Fails(calls=6), iter([RuntimeUnavailableError("no device"), None])

    def reopen() -> Fails:
        if error := next(tries):
            raise error
        return Fails()

    engine = Engine(first, reopen)
    station(engine, [paced("mic", bursts(6))], notes).run()
    engine.close()
    check_accounts(notes, ["mic"])
    assert told(notes) == [("failed", "loudness scores nothing any more: CUDA failure 700"), ("recovered", "")]
    assert gaps(notes, "mic") == []
    assert notes.of("summary", "mic")[0]["windows"] == 11
    assert first.closed


def test_an_engine_that_is_lost_twice_costs_the_windows_that_it_had_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six sources, whose windows are two batches."""
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 0.1)
    notes, engines = Notes(), iter([Fails(calls=0), Fails()])
    engine = Engine(Fails(calls=4), lambda: next(engines))
    names = [f"file-{number}" for number in range(6)]
    station(engine, [PulledSource(name, lambda: blocks(bursts(20)), RATE) for name in names], notes).run()
    engine.close()
    check_accounts_of_files(notes, *names)
    assert [state for state, _ in told(notes)] == ["failed", "recovered", "failed", "recovered"]
    lost = 6 * 39 - sum(notes.of("summary", name)[0]["windows"] for name in names)
    assert 1 <= lost <= 4, "more or less than the batch that lost it; how many were due depends on the machine"


def test_an_engine_that_stays_away_for_longer_than_the_buffer_costs_sound_and_that_is_told_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 6.0)
    notes, at = Notes(), time.monotonic()
    engine = Engine(Fails(calls=3), Fails)
    station(engine, [paced("mic", bursts(9))], notes).run()
    engine.close()
    check_accounts(notes, ["mic"])
    assert [state for state, _ in told(notes)] == ["failed", "recovered"]
    assert {reason for *_, reason in gaps(notes, "mic")} == {"engine"}
    (summary,) = notes.of("summary", "mic")
    assert 1 < summary["gap_s"] < 5
    assert time.monotonic() - at < 30


def test_an_engine_that_never_comes_back_ends_the_station_with_all_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "AWAY_S", 2.0)
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 0.1)
    notes, tries = Notes(), []

    def reopen() -> Fails:
        tries.append(1)
        raise OSError(19, "No such device")

    engine = Engine(Fails(calls=3), reopen)
    with pytest.raises(RuntimeUnavailableError, match=r"^loudness is lost for 2 s: OSError: .*No such device$"):
        station(engine, [paced("mic", bursts(60))], notes).run()
    engine.close()
    check_accounts(notes, ["mic"])
    assert (notes.closed, engine.hangs) == (True, False)
    assert {reason for *_, reason in gaps(notes, "mic")} == {"engine"}
    assert 2 <= len(tries) <= 5


def test_windows_that_lose_the_engine_twice_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the same window would keep the station deaf for ever."""
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 0.05)
    notes, audio = Notes(), bursts(20)
    audio[9 * RATE : 9 * RATE + 400] = 1.0

    class Dies(Loudness):
        dead = False

        def infer(self, windows: FloatArray) -> FloatArray:
            self.dead |= bool((windows.max(axis=1) > POISON).any())
            if self.dead:
                raise RuntimeError("illegal memory access")
            return super().infer(windows)

    engine = Engine(Dies(), Dies)
    station(engine, [PulledSource("a", lambda: blocks(audio), RATE)], notes).run()
    engine.close()
    check_accounts_of_files(notes, "a")
    assert gaps(notes, "a") == [(9.0, 10.0, "engine")]
    assert {state for state, _ in told(notes)} == {"failed", "recovered"}


class Hangs(Loudness):
    """Does not come back from its fourth call, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.touched = False

    def infer(self, windows: FloatArray) -> FloatArray:
        if len(self.batches) >= 3:
            self.let_go.wait(60)
        return super().infer(windows)

    def close(self) -> None:
        self.touched = True


def test_a_call_that_does_not_come_back_is_told_and_ends_the_station(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the station lives: systemd is told so, and statistics come."""
    monkeypatch.setattr(engine_module, "ANSWER_S", 2.0)
    notes, hanging, ticks = Notes(), Hangs(), []
    engine = Engine(hanging, Loudness)
    with pytest.raises(RuntimeUnavailableError, match=r"^loudness hangs \(no answer in 2 s\)$"):
        station(engine, [paced("mic", bursts(60))], notes, lambda: ticks.append(time.monotonic())).run()
    engine.close()
    hanging.let_go.set()
    assert (engine.hangs, hanging.touched, notes.closed) == (True, False, True)
    check_accounts(notes, ["mic"])
    assert told(notes) == [("failed", "no answer in 2 s")]
    assert {reason for *_, reason in gaps(notes, "mic")} == {"engine"}
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 1.9


def test_a_station_that_was_stopped_for_long_does_not_take_its_engine_for_hanging() -> None:
    """Ctrl-Z, a debugger, a virtual machine that was paused: the clock goes on, and nothing else did."""
    at, hanging = [0.0], Hangs()
    engine = Engine(hanging, None, lambda: at[0])

    def continued() -> None:
        at[0] += 1000.0
        hanging.let_go.set()

    windows = [Window(np.zeros(RATE, np.float32), 0, RATE)]
    for _ in range(4):
        rows = engine.score(windows, ["mic"], continued)
        assert rows is not None
        assert not isinstance(rows[0], ScoreError)
    engine.close()
    assert (at[0] >= 1000, engine.hangs) == (True, False)


def test_the_thread_of_the_engine_ends_with_the_station() -> None:
    station(Loudness(), [PulledSource("a", lambda: blocks(bursts(2)), RATE)], Notes()).run()
    wait_until(lambda: "engine" not in {thread.name for thread in threading.enumerate()}, "the thread has ended")


def test_a_station_whose_engine_hangs_ends_with_exit_code_1(tmp_path: Path) -> None:
    """A service manager starts it again; what hangs keeps neither the accounts from being told nor the process."""
    tone_bundle(tmp_path / "tones")
    soundfile.write(tmp_path / "dawn.wav", scene(20, [(1, 0.8, 5, 10)]), FILE_RATE, subtype="PCM_16")
    code = (
        "import sys, time\n"
        "from edgebird.live import engine\n"
        "from edgebird.runtimes import null\n"
        "engine.ANSWER_S = 1.0\n"
        "null.NullRuntime.infer = lambda self, windows: time.sleep(1000)\n"
        "from edgebird.cli import main\n"
        "sys.argv = ['edgebird', 'listen', '--file', 'dawn.wav', '--bundle', 'tones', '--runtime', 'null']\n"
        "main()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "error: null hangs (no answer in 1 s)" in ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = list(dict.fromkeys((e["event"], e.get("reason", "")) for e in events))
    assert kinds == [("engine", ""), ("gap", "engine"), ("summary", "")]
    assert events[-1]["gap_s"] > 0
