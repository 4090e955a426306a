"""Pages beside a station that listens: they show what it hears now, and nothing that they do touches it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require

require("starlette")
require("uvicorn")

from edgebird.demo import BUNDLE, RECORDING  # noqa: E402
from edgebird.sinks.database import DatabaseSink  # noqa: E402
from tests.live_servers import wait_until  # noqa: E402
from tests.sinking import opened  # noqa: E402
from tests.stationsite import Client, serving  # noqa: E402


def messages(client: Client, kinds: set[str], seconds: float = 40) -> dict[str, Any]:
    """The first message of each kind that the page's stream gives."""
    found: dict[str, Any] = {}
    with socket.create_connection(("127.0.0.1", client.port), timeout=seconds) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end, text = time.monotonic() + seconds, ""
        while not kinds <= found.keys() and time.monotonic() < end:
            text += connection.recv(1 << 16).decode("utf-8", "replace")
            *events, text = text.split("\n\n")
            for event in events:
                kind = event.partition("event: ")[2].partition("\n")[0]
                if kind and kind not in found:
                    found[kind] = json.loads(event.partition("data: ")[2].partition("\n")[0])
    return found


@pytest.mark.slow
def test_a_page_shows_what_is_heard_now_and_its_end_is_not_noticed(tmp_path: Path) -> None:
    """The server is killed while it watches; the station loses nothing, and the next server sees it again."""
    database = tmp_path / "birds.db"
    command = [
        sys.executable, "-m", "edgebird", "-q", "listen", "--file", str(RECORDING), "--realtime", "--bundle",
        str(BUNDLE), "--runtime", "null", "--database", str(database), "--stats-every", "1", "--duration", "12",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as station:
        try:
            wait_until(lambda: Path(f"{database}.live").exists(), "live socket", 40)
            with serving(database, clips=None) as client:
                found = messages(client, {"state", "columns"})
                assert {"state", "columns"} <= found.keys(), found.keys()
                assert found["state"]["sources"][0]["name"].endswith("three_birds.flac")
                assert "three_birds" in client.ask("/").text
            serve = [
                sys.executable,
                "-m",
                "edgebird",
                "-q",
                "serve",
                "--database",
                str(database),
                "--listen",
                "127.0.0.1:0",
            ]
            watching = subprocess.Popen([*serve, "--listen", "127.0.0.1:0"], stderr=subprocess.DEVNULL)
            time.sleep(1)
            watching.send_signal(signal.SIGKILL)
            watching.wait()
            out, _ = station.communicate(timeout=90)
        finally:
            station.kill()
    summary = [json.loads(line) for line in out.splitlines()][-1]
    assert (station.returncode, summary["event"]) == (0, "summary")
    assert summary["gap_s"] == 0
    with serving(database, clips=None) as client:
        found = messages(client, {"absent"})
        assert "problem" in found["absent"]
        assert "The station last wrote something" in client.ask("/").text


def test_without_a_live_socket_a_page_says_so(tmp_path: Path) -> None:
    opened(DatabaseSink(tmp_path / "birds.db")).close()
    with serving(tmp_path / "birds.db", clips=None) as client:
        assert "No such file" in messages(client, {"absent"})["absent"]["problem"]
        assert client.site.hub.last == {}
        wait_until(lambda: client.site.hub._thread is None, "end of the hub's thread", 20)


def test_too_many_watchers_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgebird.web.live.WATCHERS", 0)
    opened(DatabaseSink(tmp_path / "birds.db")).close()
    with serving(tmp_path / "birds.db", clips=None) as client:
        assert client.ask("/live").text.startswith("event: full")
