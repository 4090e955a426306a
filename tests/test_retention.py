"""Retention: old clips make room without taking what counts."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import OutputError, UsageError
from edgebird.sinks.retention import Limits, Retention
from edgebird.sinks.wallclock import HELD_S, WallClock, is_synchronised

NOW = 1_700_000_000.0
DAY = 86400
YEAR = 365 * DAY


def lay(folder: Path, name: str, written: float = NOW, size: int = 1000) -> Path:
    path = folder / "garden" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (written, written))
    return path


def right(at: float = NOW) -> WallClock:
    """A clock that a time server keeps right."""
    return WallClock(lambda: at, lambda: 0.0, lambda: True)


def retention(folder: Path, free: int = 10**12, clock: WallClock | None = None, **limits: Any) -> Retention:
    """With a disk of 10**12 bytes of which `free` are free before anything is deleted."""
    return Retention(folder, Limits(**limits), clock or right(), lambda path: SimpleNamespace(free=free))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def clip_name(days_old: float, code: str = "comcuc", score: float = 0.5) -> str:
    return f"{datetime.fromtimestamp(NOW - days_old * DAY):%Y%m%d_%H%M%S}_{code}_{score:.2f}.flac"


def test_old_clips_go_with_their_spectrograms(tmp_path: Path) -> None:
    old, new = lay(tmp_path, clip_name(31)), lay(tmp_path, clip_name(29))
    for clip in (old, new):
        lay(tmp_path, clip.with_suffix(".png").name, size=100)
    purge = retention(tmp_path, max_age_days=30).run()
    assert (purge.deleted, purge.freed_bytes, purge.error) == ((old,), 1100, None)
    assert left(tmp_path) == [new.name, new.with_suffix(".png").name]


def test_too_many_bytes_take_the_oldest_first_but_the_best_of_each_species_stay(tmp_path: Path) -> None:
    for days_old, code, score in ((9, "comcuc", 0.9), (8, "comcuc", 0.4), (7, "eurrob1", 0.2), (6, "comcuc", 0.5)):
        lay(tmp_path, clip_name(days_old, code, score))
    lay(tmp_path, clip_name(5, score=0.6))
    purge = retention(tmp_path, max_bytes=3000, best_per_species=1).run()
    assert [path.name for path in purge.deleted] == [clip_name(8, score=0.4), clip_name(6, score=0.5)]
    purge = retention(tmp_path, max_bytes=0, max_age_days=0, best_per_species=1).run()
    assert left(tmp_path) == [clip_name(9, score=0.9), clip_name(7, "eurrob1", 0.2)]


def test_a_full_disk_takes_the_best_last_and_says_so(tmp_path: Path) -> None:
    best = lay(tmp_path, clip_name(9, score=0.9))
    other = lay(tmp_path, clip_name(8, score=0.4))
    purge = retention(tmp_path, free=500, min_free_bytes=1500, best_per_species=1).run()
    assert (purge.deleted, purge.best_deleted) == ((other,), 0)
    sink = retention(tmp_path, free=500, min_free_bytes=1500, best_per_species=1)
    (event,) = sink.tick()
    assert event["event"] == "retention"
    assert (event["deleted"], event["freed_bytes"], event["best_deleted"]) == ([str(best)], 1000, 1)
    assert left(tmp_path) == []


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    lay(tmp_path, clip_name(1000))
    assert retention(tmp_path).run().deleted == ()
    assert retention(tmp_path, max_bytes=1000, min_free_bytes=10, max_age_days=1001).run().deleted == ()


def test_it_looks_soon_after_a_clip_or_a_failure_and_every_few_minutes(tmp_path: Path) -> None:
    """A disk that fills up between two looks must not cost five minutes of clips."""
    at, looked = SimpleNamespace(now=NOW), Counter[str]()

    def usage(path: Path) -> Any:
        looked["times"] += 1
        return shutil.disk_usage(path)

    sink = Retention(tmp_path, Limits(max_bytes=10**12), lambda: at.now, usage)
    for step, kind, expected in [
        (0, "gap", 1),
        (60, "gap", 1),
        (0, "clip", 2),
        (5, "sink", 2),
        (5, "gap", 3),
        (299, "gap", 3),
        (1, "gap", 4),
        (-1000, "gap", 5),  # the clock was set back
    ]:
        at.now += step
        sink.take({"event": kind}, None)
        assert sink.tick() == sink.close() == []
        assert looked["times"] == expected, step


def test_a_clip_that_cannot_be_deleted_does_not_keep_the_others_and_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = lay(tmp_path, clip_name(9)), lay(tmp_path, clip_name(8))
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    sink = retention(tmp_path, max_age_days=1)
    assert [event["deleted"] for event in sink.tick()] == [[str(other)]]
    again = retention(tmp_path, max_age_days=1)
    with pytest.raises(OutputError, match=r"^cannot delete .*20231105_.*: Read-only file system$"):
        again.tick()


def test_a_missing_folder_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^cannot look for old clips in .*missing: No such file"):
        retention(tmp_path / "missing", max_age_days=1).tick()


def test_without_limits_nobody_looks(tmp_path: Path) -> None:
    """Ten thousand clips on a card take seconds to look through."""

    def never(path: Path) -> Any:
        pytest.fail("it looked")

    sink = Retention(tmp_path / "missing", Limits(best_per_species=3), lambda: NOW, never)
    sink.take({"event": "clip"}, None)
    assert sink.tick() == []


def test_the_age_of_a_clip_is_that_of_its_sound_whatever_its_file_says(tmp_path: Path) -> None:
    """A copy of the card has the times of the copying; one that lost its times has those of 1970."""
    old = lay(tmp_path, clip_name(31))
    new = [lay(tmp_path, clip_name(days), written=written) for days, written in ((29, 0), (28, NOW - YEAR))]
    assert retention(tmp_path, max_age_days=30).run().deleted == (old,)
    assert left(tmp_path) == sorted(path.name for path in new)
    assert retention(tmp_path, max_bytes=1000).run().deleted == (new[0],)  # the older one, not that of 1970


@pytest.mark.parametrize(
    "name", ["19700101_000112_comcuc_0.50.wav", "20990101_000000_comcuc_0.50.wav", "T+0000007_comcuc_0.50.wav"]
)
def test_a_clip_of_a_time_that_cannot_be_ages_from_when_it_was_written_or_first_seen(tmp_path: Path, name: str) -> None:
    """It was heard before the clock was set: perhaps an hour ago, and certainly not fifty years."""
    clip = lay(tmp_path, name, written=70.0)
    for days, deleted in ((0, ()), (29, ()), (31, (clip,))):
        assert retention(tmp_path, clock=right(NOW + days * DAY), max_age_days=30).run().deleted == deleted
    assert left(tmp_path) == []


def test_a_clock_that_is_not_synchronised_takes_no_clip_for_its_age_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = lay(tmp_path, clip_name(9)), lay(tmp_path, clip_name(8))
    at, since_boot, right = [NOW + YEAR], [0.0], [False]
    clock = WallClock(lambda: at[0], lambda: since_boot[0], lambda: right[0])
    sink = retention(tmp_path, clock=clock, max_age_days=30)
    (event,) = sink.tick()
    assert (event["deleted"], event["held"]) == ([], "the clock is not synchronised")
    assert "no clip is deleted for its age: the clock is not synchronised" in caplog.text
    _pass(300, at, since_boot)
    assert sink.tick() == []
    assert left(tmp_path) == [old.name, new.name]
    full = retention(tmp_path, clock=clock, max_age_days=30, max_bytes=1000)
    assert [event["deleted"] for event in full.tick()] == [[str(old)]]
    right[0] = True
    _pass(300, at, since_boot)
    assert [event["deleted"] for event in sink.tick()] == [[str(new)]]


def test_an_old_clock_is_told_when_it_lasts(tmp_path: Path) -> None:
    """A Raspberry Pi without a network stays in 1970, and clips are never deleted: its owner is to know why."""
    lay(tmp_path, clip_name(0))
    at, since_boot = [70.0], [0.0]
    clock = WallClock(lambda: at[0], lambda: since_boot[0], lambda: False)
    sink, told = retention(tmp_path, clock=clock, max_age_days=30), []
    for _ in range(4):
        told.append(bool(sink.tick()))
        _pass(300, at, since_boot)
    assert told == [False, True, False, False]


@pytest.mark.parametrize("jump", [YEAR, -YEAR, 3600])
def test_a_clock_that_has_just_jumped_takes_no_clip_for_its_age(tmp_path: Path, jump: float) -> None:
    clip = lay(tmp_path, clip_name(29.99))
    at, since_boot = [NOW], [0.0]
    sink = retention(tmp_path, clock=WallClock(lambda: at[0], lambda: since_boot[0], lambda: True), max_age_days=30)
    assert sink.tick() == []
    at[0] += jump
    _pass(300, at, since_boot)
    sink.tick()
    assert left(tmp_path) == [clip.name]
    at[0] -= jump
    for _ in range(round(HELD_S / 300)):
        assert left(tmp_path) == [clip.name]
        _pass(300, at, since_boot)
        sink.tick()
    _pass(600, at, since_boot)
    assert [event["deleted"] for event in sink.tick()] == [[str(clip)]]


def _pass(seconds: float, *clocks: list[float]) -> None:
    for clock in clocks:
        clock[0] += seconds


@pytest.mark.parametrize(("status", "answer", "told"), [(0x40, 5, False), (0x2001, 0, True), (0x2041, 5, False)])
def test_the_kernel_says_whether_the_clock_is_synchronised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, answer: int, told: bool
) -> None:
    """chrony and ntpd tell it there."""
    _answer(monkeypatch, tmp_path, status, answer)
    assert is_synchronised() is told
    (tmp_path / "synchronized").touch()  # of systemd-timesyncd
    assert is_synchronised() is True


@pytest.mark.parametrize(("printed", "told"), [("yes", True), ("no", False), ("", None), (None, None)])
def test_a_service_that_may_not_ask_the_kernel_asks_timedatectl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str | None, told: bool | None
) -> None:
    """`ProtectClock=yes` refuses the system call, and some containers do. Without an answer nothing is deleted."""
    _answer(monkeypatch, tmp_path, 0, -1)
    if printed is not None:
        (tmp_path / "timedatectl").write_text(f"#!/bin/sh\necho {printed}\n")
        (tmp_path / "timedatectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_synchronised() is told
    assert bool(WallClock(lambda: NOW, lambda: 0.0).doubt()) is not bool(told)


def _answer(monkeypatch: pytest.MonkeyPatch, folder: Path, status: int, answer: int) -> None:
    def adjtimex(timex: Any) -> int:
        assert not any(bytes(timex)), "it would change something"
        ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value = status
        return answer

    monkeypatch.setattr("edgebird.sinks.wallclock._SYNCHRONISED", folder / "synchronized")
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(adjtimex=adjtimex))


@pytest.mark.parametrize("wrong", [{"max_age_days": -1}, {"max_bytes": -1}, {"best_per_species": -1}])
def test_limits_that_cannot_be_are_wrong_usage(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be -1: give 0 or more"):
        Limits(**wrong)


FOREIGN = ["notes.txt", "20230501_050000.wav", "20230501_050000_comcuc_0.93.mp3", "comcuc_0.93.flac", "dawn.png"]


LAID = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 100), st.integers(0, 40), st.integers(1, 3000)), max_size=12
)


LIMITS = st.builds(
    Limits,
    st.none() | st.integers(0, 40),
    st.none() | st.integers(0, 9000),
    st.none() | st.integers(0, 9000),
    st.integers(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(LAID, LIMITS, st.integers(0, 9000))
def test_foreign_files_stay_and_the_best_stay_while_another_clip_could_go(
    laid: list[tuple[str, int, int, int]], limits: Limits, free: int
) -> None:
    """Whatever lies there and whatever the limits: also that they are kept, if they can be, and that no more goes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {}
        for number, (code, score, days, size) in enumerate(laid):
            file = Path(clip_name(days, code, score / 100)).with_suffix("").name + f"_{number + 2}.wav"
            clips[lay(folder, file, size=size)] = (code, score, days, size)
        foreign = [lay(folder, file) for file in FOREIGN] + [folder / "20230501_050000_a_0.10.wav"]
        foreign[-1].write_bytes(b"beside the folders of the sources")
        purge = Retention(folder, limits, right(), lambda path: SimpleNamespace(free=free)).run()
        kept = {path: clip for path, clip in clips.items() if path.exists()}
        assert all(path.exists() for path in foreign)
    assert kept.keys() | set(purge.deleted) == clips.keys()
    assert purge.freed_bytes == sum(clips[path][3] for path in purge.deleted)
    _check_best(clips, kept, limits, purge.best_deleted)
    _check_limits(clips, kept, limits, free)


def _check_best(clips: dict[Path, Any], kept: dict[Path, Any], limits: Limits, best_deleted: int) -> None:
    """Each species has the scores of its best, unless nothing but best clips is left."""
    missing = 0
    spare = len(kept)
    for code in "abc":
        scores = sorted((clip[1] for clip in clips.values() if clip[0] == code), reverse=True)
        best = Counter(scores[: limits.best_per_species])
        there = Counter(clip[1] for clip in kept.values() if clip[0] == code)
        missing += (best - there).total()
        spare -= (best & there).total()
    assert missing == best_deleted
    assert not (missing and spare)


def _check_limits(clips: dict[Path, Any], kept: dict[Path, Any], limits: Limits, free: int) -> None:
    size = sum(clip[3] for clip in kept.values())
    freed = sum(clip[3] for clip in clips.values()) - size
    if limits.min_free_bytes is not None and kept:
        assert free + freed >= limits.min_free_bytes
    if limits.best_per_species == 0:
        assert limits.max_bytes is None or size <= limits.max_bytes
        assert limits.max_age_days is None or all(clip[2] <= limits.max_age_days for clip in kept.values())
    if limits.min_free_bytes is None and limits.max_bytes is None and limits.max_age_days is None:
        assert kept == clips
