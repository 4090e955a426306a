"""Files and folders that take the place of others: the old one or the new one is there, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgebird import bundle, files
from edgebird.bundle import new_bundle
from edgebird.errors import OutputError
from edgebird.files import atomic_path, remove_orphans, temporary_beside
from tests.foreign import tone_bundle


@pytest.fixture(autouse=True)
def _folders_are_looked_at_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    remove_orphans.cache_clear()
    (tmp_path / "machine-id").write_text("0123456789abcdef\n")
    monkeypatch.setattr(files, "_COMPUTER", str(tmp_path / "machine-id"))
    files._here.cache_clear()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was written to the disk, and when names changed, in order."""
    done: list[str] = []
    fsync, rename, swap = os.fsync, Path.replace, files.exchange

    def noted(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append("replace") or rename(path, to))
    monkeypatch.setattr(bundle, "exchange", lambda one, other: done.append("exchange") or swap(one, other))
    return done


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_anyone_goes_on(
    tmp_path: Path, synced: list[str]
) -> None:
    folder = tmp_path / "tables"
    with atomic_path(folder / "x.csv") as temporary:
        temporary.write_text("x")
    assert synced == [temporary.name, "replace", "tables"]
    assert [path.name for path in folder.iterdir()] == ["x.csv"]


def test_a_bundle_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, synced: list[str]) -> None:
    target = tone_bundle(tmp_path / "birds" / "tones").path
    synced.clear()
    with new_bundle(target, force=True) as made:
        (made / "fresh").touch()
    assert synced == ["fresh", made.name, "exchange", "birds"]
    assert [path.name for path in target.parent.iterdir()] == ["tones"]
    assert [path.name for path in target.iterdir()] == ["fresh"]


def test_there_is_no_moment_without_a_bundle(tmp_path: Path) -> None:
    """A station that starts while its bundle is replaced finds the old one or the new one."""
    target, stop, missed = tone_bundle(tmp_path / "tones").path, threading.Event(), []

    def watch() -> None:
        while not stop.is_set():
            if not (target / "card.json").exists():
                missed.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    card = (target / "card.json").read_bytes()
    for _ in range(50):
        with new_bundle(target, force=True) as made:
            (made / "card.json").write_bytes(card)
    stop.set()
    watcher.join()
    assert not missed


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, None])
def test_where_nothing_can_be_exchanged_the_new_bundle_takes_its_place_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    class Library:
        """A C library without the call, or one that a file system refuses."""

        def __init__(self, *_: object, **__: object) -> None:
            if code is not None:
                self.renameat2 = lambda *_: -1

    monkeypatch.setattr(files.ctypes, "CDLL", Library)
    monkeypatch.setattr(files.ctypes, "get_errno", lambda: code)
    target = tone_bundle(tmp_path / "birds" / "tones").path
    with new_bundle(target, force=True) as made:
        (made / "fresh").touch()
    assert [path.name for path in target.parent.iterdir()] == ["tones"]
    assert [path.name for path in target.iterdir()] == ["fresh"]


def test_what_is_refused_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(bundle, "exchange", refuse)
    target = tone_bundle(tmp_path / "birds" / "tones").path
    with pytest.raises(OutputError, match=r"cannot write .*tones: Permission denied"), new_bundle(target, force=True):
        pass
    assert [path.name for path in target.parent.iterdir()] == ["tones"]
    assert (target / "card.json").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from edgebird import files
from edgebird.bundle import new_bundle
files._COMPUTER = sys.argv[2]
target = Path(sys.argv[1])
with files.atomic_path(target / "table.csv") as temporary, new_bundle(target / "birds") as made:
    temporary.write_text("half")
    (made / "card.json").write_text("half")
    print("writing", flush=True)
    if sys.argv[3] == "wait":
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def start(folder: Path, computer: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(folder), str(computer), how]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    return child


def test_what_a_killed_program_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    with start(folder, tmp_path / "machine-id", "die") as dead:
        dead.wait()
    assert dead.returncode == -signal.SIGKILL
    left = set(folder.iterdir())
    assert len(left) == 2
    with start(folder, tmp_path / "machine-id", "wait") as living:  # which removes what the dead one left
        assert not left & set(folder.iterdir())
        writing = set(folder.iterdir())
        with atomic_path(folder / "other.csv") as temporary:
            temporary.touch()
        assert set(folder.iterdir()) == {*writing, folder / "other.csv"}
        living.kill()
    remove_orphans.cache_clear()
    with new_bundle(folder / "more"):
        assert not writing & set(folder.iterdir())


def renamed(name: str, place: int, part: str) -> str:
    parts = name.removeprefix(".edgebird-").split("-")
    return ".edgebird-" + "-".join([*parts[:place], part, *parts[place + 1 :]])


@pytest.mark.parametrize(
    ("change", "old", "goes"),
    [
        (lambda name: name, True, False),  # our own
        (lambda name: renamed(name, 4, "0" * 24 + ".tmp"), False, True),  # an earlier process of this number
        (lambda name: renamed(name, 1, "0" * 8), True, True),  # before the last start of this computer
        (lambda name: renamed(name, 1, "0" * 8), False, False),  # another computer with a copy of our system
        (lambda name: renamed(name, 2, "0" * 8), False, False),  # a container
        (lambda name: renamed(name, 0, "0" * 8), False, False),  # another computer
        (lambda name: renamed(name, 0, "0" * 8), True, True),
        (lambda name: renamed(name, 3, "1"), True, False),  # process 1 always runs
        (lambda name: f".edgebird-{name[-20:]}", False, False),  # of an edgebird that did not say whose it is
        (lambda name: f".edgebird-{name[-20:]}", True, True),
        (lambda _name: ".edgebird-notes.tmp", True, False),
    ],
)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_what_nobody_writes_any_more_goes(
    tmp_path: Path, change: Callable[[str], str], old: bool, goes: bool, kind: str
) -> None:
    path = temporary_beside(tmp_path / "x")
    path = path.with_name(change(path.name))
    path.touch() if kind == "file" else path.mkdir()
    if old:
        os.utime(path, (1e9, 1e9))
    remove_orphans(tmp_path)
    assert path.exists() != goes


def test_what_vanishes_while_a_folder_is_looked_through_keeps_no_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread gives its file its name between the list and the look at it: the loop ended there."""
    ours, orphan = (temporary_beside(tmp_path / "x") for _ in range(2))
    orphan = orphan.with_name(renamed(orphan.name, 4, "0" * 24 + ".tmp"))
    orphan.touch()
    monkeypatch.setattr(Path, "glob", lambda _path, _pattern: iter((ours, orphan)))
    remove_orphans(tmp_path)
    assert not orphan.exists()


def test_a_folder_of_many_clips_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(Path, "glob", lambda path, _pattern: looked.append(path) or iter(()))
    for index in range(3):
        with atomic_path(tmp_path / f"{index}.flac") as temporary:
            temporary.touch()
    assert looked == [tmp_path]
