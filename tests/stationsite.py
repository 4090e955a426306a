"""A station's files as its pages find them, and a server of them in this process.

`python -m tests.stationsite FOLDER [PORT]` makes them and serves them, to look at.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import soundfile

from edgebird.demo import BUNDLE, RECORDING
from edgebird.events import to_json
from edgebird.sinks.guano import guano_text
from tests.live_servers import wait_until
from tests.year import Year, write_year

SMALL = Year(first=date(2025, 3, 1), days=40, detections=6000, species=40, outage_h=30)
EVIL = "<img src=x onerror=alert(1)>\"'&"
_CLIP_S = 9.0


def make_station(folder: Path, year: Year = SMALL, clips: int = 60) -> Path:
    """A database with clips of its best and last detections, a rejected candidate, and a name that is markup."""
    database = write_year(folder / "birds.db", year)
    sound, rate = soundfile.read(RECORDING, dtype="int16")
    with closing(sqlite3.connect(database)) as connection, connection:
        best = "SELECT id, max(score) FROM detections GROUP BY code"
        rows = connection.execute(
            "SELECT id, clip, code, time, source, end_s - start_s FROM detections"
            f" WHERE id IN (SELECT id FROM ({best}))"
            " OR id > (SELECT max(id) FROM detections) - ? ORDER BY id DESC LIMIT ?",
            [clips // 2, clips],
        ).fetchall()
        for number, (_, clip, _, _, _, length) in enumerate(rows):
            start = (number * 17 * rate) % (len(sound) - round(_CLIP_S * rate))
            fields = {"edgebird|Start": "3.000", "edgebird|End": f"{min(3 + length, 8.5):.3f}"}
            path = folder / clip
            path.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
                file.comment = guano_text(fields)
                file.write(sound[start : start + round(_CLIP_S * rate)])
        newest, _, _, moment, source, _ = rows[0]
        connection.execute("UPDATE detections SET common_name = ? WHERE id = ?", [EVIL, newest])
        near = (datetime.fromisoformat(moment) + timedelta(seconds=12)).isoformat(timespec="milliseconds")
        event = {"event": "rejected", "source": source, "time": near, "start_s": 0.0, "end_s": 5.0, "code": "x",
                 "scientific_name": "X y", "common_name": EVIL, "score": 0.61, "windows": 1,
                 "reason": "below_min_windows"}  # fmt: skip
        connection.execute(
            "INSERT INTO events (time, source, event, json) VALUES (?, ?, ?, ?)",
            [near, source, "rejected", to_json(event)],
        )
    return database


@dataclass(frozen=True)
class Answer:
    """What a server answered. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Asks a server, and keeps its cookie as a browser does. site: what it serves."""

    port: int
    site: Any
    cookie: str = ""

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Answer:
        """Headers as keywords, with `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Accept": "text/html", **({"Cookie": self.cookie} if self.cookie else {}), **sent}
        try:
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            if "set-cookie" in found:
                self.cookie = found["set-cookie"].partition(";")[0]
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def token(self, page: str = "/review") -> str:
        """Of a form on a page."""
        return self.ask(page).text.partition('name="csrf" value="')[2].partition('"')[0]

    def post(self, path: str, fields: Mapping[str, object], page: str = "/review") -> Answer:
        """Send a form of a page."""
        body = urlencode({"csrf": self.token(page), **fields})
        return self.ask(path, "POST", body, Content_Type="application/x-www-form-urlencoded")


@contextmanager
def serving(database: Path, **more: Any) -> Iterator[Client]:
    """A server of these files at a port of its own. more: of `ServeOptions`."""
    from edgebird.web.options import ServeOptions
    from edgebird.web.serving import bind, make_server
    from edgebird.web.site import make_site

    given = {
        "reviews": Path(f"{database}.reviews"),
        "live": Path(f"{database}.live"),
        "clips": database.parent / "clips",
    }
    options = ServeOptions(database, **{**given, "port": 0, **more})
    listening = bind(options)
    site = make_site(options)
    server = make_server(site)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "server", 30)
        yield Client(listening.getsockname()[1], site)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    made = make_station(folder) if not (folder / "birds.db").exists() else folder / "birds.db"
    with serving(made, port=int(sys.argv[2]) if len(sys.argv) > 2 else 0, bundle=BUNDLE) as client:
        print(f"http://127.0.0.1:{client.port}/", flush=True)
        threading.Event().wait()
