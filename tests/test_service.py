"""What a process of months needs: systemd hears what it is told, in the words and at the pace of sd_notify(3)."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgebird.live import service


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def heard(systemd: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(systemd.recv(1000).decode())
        except BlockingIOError:
            return found


def test_a_state_is_one_datagram(systemd: socket.socket) -> None:
    service.notify("READY=1")
    service.notify("STATUS=2 sources")
    assert heard(systemd) == ["READY=1", "STATUS=2 sources"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sockets without a file")
def test_a_socket_without_a_file_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd names it with an @, as in containers: the station would be killed because it never says READY."""
    name = f"edgebird-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        service.notify("READY=1")
        assert heard(listening) == ["READY=1"]


def test_without_systemd_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, systemd: socket.socket
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")
    service.notify("READY=1")
    assert heard(systemd) == []
    assert caplog.text == ""


def test_a_systemd_that_does_not_answer_does_not_end_the_station(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    service.notify("STOPPING=1")
    assert "cannot tell systemd STOPPING=1: No such file or directory" in caplog.text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one value is the time."""
    now = [1000.0]
    monkeypatch.setattr(service.time, "monotonic", lambda: now[0])
    return now


def test_the_watchdog_is_fed_at_half_the_time_it_waits(
    systemd: socket.socket, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later, and a station that is well is killed; at every tick, and systemd is woken for nothing."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    watchdog, told = service.Watchdog(), []
    for _ in range(46):
        watchdog.tick()
        told.append(len(heard(systemd)))
        clock[0] += 1.0
    assert [second for second, count in enumerate(told) if count] == [0, 15, 30, 45]


@pytest.mark.parametrize(
    ("microseconds", "pid"), [("30000000", "1"), ("", None), ("soon", None), (None, None)], ids=str
)
def test_a_watchdog_of_another_process_or_none_is_left_alone(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, microseconds: str | None, pid: str | None
) -> None:
    """A child would keep a station alive that hangs."""
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    service.Watchdog().tick()
    assert heard(systemd) == []


def test_what_exists_is_left_out_of_collections_only_while_it_listens() -> None:
    """Each would go through 100,000 objects of imports in the middle of a window; the next program has them back."""
    assert gc.get_freeze_count() == 0
    with service.collecting():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0

    def fail() -> None:
        with service.collecting():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("answer", [1, 0])
def test_glibc_keeps_one_heap_and_gives_back_what_is_large(answer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default memory grows for hours. A glibc that refuses is no reason not to listen."""
    asked: dict[int, int] = {}

    class Libc:
        def mallopt(self, option: int, value: int) -> int:
            asked[option] = value
            return answer

    monkeypatch.setattr(service.ctypes, "CDLL", lambda _name: Libc())
    service.keep_steady()
    assert asked == {-8: 1, -3: 64 * 1024, -1: 128 * 1024}  # M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl has no mallopt, Windows takes no None."""
    monkeypatch.setattr(service.ctypes, "CDLL", lambda _name: object())
    service.keep_steady()

    def fail(_name: object) -> None:
        raise TypeError

    monkeypatch.setattr(service.ctypes, "CDLL", fail)
    service.keep_steady()
