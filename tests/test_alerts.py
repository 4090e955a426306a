"""Alerts: the first sighting is never missed, nothing is told twice, and a kill at any moment changes neither."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import soundfile

import edgebird
from edgebird.errors import EdgebirdError, OutputError, UsageError
from edgebird.events import Event
from edgebird.settings.build import station_settings
from edgebird.settings.telling import AlertSettings
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.remote.alert_desk import GIVEN_UP, MOST_WAITING, AlertDesk, Clocks, Parcel
from edgebird.sinks.remote.alerts import AlertSink
from edgebird.sinks.remote.disks import Disk, Disks
from edgebird.sinks.remote.outage import Outage
from edgebird.sinks.remote.troubles import Troubles
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle
from tests.live_servers import wait_until
from tests.sinking import opened, query

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2023, 5, 1, 12, tzinfo=BERLIN)
NAMES = {"comcuc": "Cuculus canorus", "eurbla": "Turdus merula", "comchi1": "Fringilla coelebs"}


def alert(*when: str, **more: Any) -> AlertSettings:
    return AlertSettings(**{"name": "rare", "to": ("json://x",), "when": when, **more})


def bird(moment: datetime, code: str = "comcuc", **more: Any) -> Event:
    name = NAMES.get(code, code)
    return {
        "event": "detection",
        "source": "garden",
        "time": moment.isoformat(timespec="milliseconds"),
        "start_s": moment.timestamp() % 1e6,
        "end_s": moment.timestamp() % 1e6 + 5,
        "code": code,
        "scientific_name": name,
        "common_name": name.title(),
        "score": 0.75,
        "windows": 2,
        **more,
    }


class Station:
    """A database, a desk with its alerts, and a clock that a test moves. sent: (alert, target, parcel).

    set_by: how much of what the clock went on was no time, but somebody who set it.
    """

    def __init__(self, folder: Path, *alerts: AlertSettings, start: datetime = START) -> None:
        self.now, self.path, self.alerts = start, folder / "birds.db", alerts
        self.sent: list[tuple[str, int, Parcel]] = []
        self.fails: set[int] = set()
        self.set_by = timedelta(0)
        self.outage = Outage("alerts", lambda: self.now)
        self.database = opened(DatabaseSink(self.path))
        self.desk = self.new_desk()

    def new_desk(self) -> AlertDesk:
        clocks = Clocks(lambda: self.now, lambda: (self.now - START - self.set_by).total_seconds())
        return AlertDesk(self.alerts, self.path, self._send, self.outage, clocks)

    def _send(self, name: str, target: int, parcel: Parcel) -> None:
        if target in self.fails:
            raise OutputError(f"target {target} does not take it")
        self.sent.append((name, target, parcel))

    def hears(self, *birds: Event) -> None:
        for one in birds:
            self.database.take(one, None)
            self.now = max(self.now, datetime.fromisoformat(one["time"]).astimezone(BERLIN))
        self.desk.work()

    def titles(self) -> list[str]:
        return [parcel.title for _, _, parcel in self.sent]

    def close(self) -> None:
        self.desk.close()
        self.database.close()


@contextmanager
def station(folder: Path, *alerts: AlertSettings, **more: Any) -> Iterator[Station]:
    made = Station(folder, *alerts, **more)
    try:
        yield made
    finally:
        made.close()


# ---------------------------------------------------------------------------------------------------------- occasions
def year_of_birds() -> list[Event]:
    """Two years and a half of birds: some every day, at night too, one in summer alone, one that is away for weeks."""
    found, day = [], datetime(2022, 7, 1, tzinfo=BERLIN)
    while day.date() < date(2024, 1, 10):
        for hour, minute in ((0, 30), (2, 15), (3, 5), (12, 0), (23, 50)):
            found.append(bird(day.replace(hour=hour, minute=minute), "eurbla"))
        if 4 <= day.month <= 7:
            found.append(bird(day.replace(hour=5), "comcuc"))
        if day.day < 4:
            found.append(bird(day.replace(hour=6), "comchi1"))
        day = datetime.combine(day.date() + timedelta(days=1), datetime.min.time(), BERLIN)
    return found


def expected(birds: list[Event], days: int) -> list[tuple[str, str]]:
    """What is to be told, as a person would count it from the list: (local day, title)."""
    told, last = [], dict[str, date]()
    for one in birds:
        day, before = date.fromisoformat(one["time"][:10]), last.get(one["code"])
        last[one["code"]] = day
        if before is None:
            words = "the first ever"
        elif before.year != day.year:
            words = "the first of the year"
        elif (day - before).days > days:
            words = f"back after {(day - before).days - 1} days"
        else:
            words = "the first today" if before != day else ""
        if words and day >= START.date():
            told.append((one["time"][:10], f"{one['common_name']}: {words}"))
    return told


def test_a_year_with_both_changes_of_the_clock_misses_no_first_and_repeats_none(tmp_path: Path) -> None:
    """Local days have 23 and 25 hours then, and an hour comes twice: a day by UTC would begin at one in the morning."""
    everything = year_of_birds()
    before = [one for one in everything if one["time"] < START.date().isoformat()]
    after = everything[len(before) :]
    made = Station(
        tmp_path, alert("first-ever", "first-this-year", "first-today", "back", days=20), start=START.replace(hour=0)
    )
    try:
        with closing(sqlite3.connect(made.path, isolation_level=None)) as fast:
            fast.execute("PRAGMA synchronous = OFF")
            columns = (
                "source",
                "time",
                "start_s",
                "end_s",
                "code",
                "scientific_name",
                "common_name",
                "score",
                "windows",
            )
            insert = f"INSERT INTO detections ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            fast.executemany(insert, [[one[column] for column in columns] for one in before])
            days = []
            for day in sorted({one["time"][:10] for one in after}):
                rows = [[one[column] for column in columns] for one in after if one["time"][:10] == day]
                made.now = datetime.fromisoformat(f"{day}T23:59:00").replace(tzinfo=BERLIN)
                fast.executemany(insert, rows)
                told = len(made.sent)
                made.desk.work()
                days += [day] * (len(made.sent) - told)
    finally:
        made.close()
    assert list(zip(days, made.titles(), strict=True)) == expected(everything, 20)
    assert {"2023-10-29", "2024-01-01"} <= set(days)
    assert len([one for one in made.titles() if "back" in one]) >= 8


def test_a_bird_that_was_heard_before_alerts_were_asked_for_is_no_news(tmp_path: Path) -> None:
    """Else a station that runs for years would tell all of them at once."""
    kept = opened(DatabaseSink(tmp_path / "birds.db"))
    kept.take(bird(START - timedelta(days=1)), None)
    kept.close()
    with station(tmp_path, alert("every", "first-ever")) as made:
        made.desk.work()
        assert made.sent == []
        made.hears(bird(START + timedelta(hours=1)))
        assert made.titles() == ["Cuculus Canorus: heard"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"above": 0.8}, []),
        ({"above": 0.75}, ["Cuculus Canorus: heard", "Turdus Merula: heard"]),
        ({"species": ("Turdus merula",)}, ["Turdus Merula: heard"]),
        ({"species": ("comcuc", "xyz")}, ["Cuculus Canorus: heard"]),
        ({"title": "{code} {score:.1f} {time} {date}", "species": ("comcuc",)}, ["comcuc 0.8 12:00 2023-05-01"]),
    ],
)
def test_an_alert_is_about_the_birds_that_it_names(tmp_path: Path, more: dict[str, Any], told: list[str]) -> None:
    with station(tmp_path, alert("every", **more)) as made:
        made.hears(bird(START), bird(START, "eurbla"))
        assert made.titles() == told


def test_a_species_is_not_told_again_while_it_cools_and_others_are(tmp_path: Path) -> None:
    with station(tmp_path, alert("every", cooldown_h=2)) as made:
        minutes = (0, 30, 119, 121, 200)
        made.hears(
            *(bird(START + timedelta(minutes=m)) for m in minutes), bird(START + timedelta(minutes=201), "eurbla")
        )
        assert [parcel.text[-5:] for _, _, parcel in made.sent] == ["12:00", "14:01", "15:21"]


def test_what_comes_in_quiet_hours_is_sent_when_they_are_over(tmp_path: Path) -> None:
    """The first nightjar of your life sings at night: it must not be dropped."""
    quiet = ((datetime(1, 1, 1, 22).time(), datetime(1, 1, 1, 6).time()),)
    with station(tmp_path, alert("first-ever", quiet_hours=quiet)) as made:
        made.hears(bird(START.replace(hour=23)))
        assert made.sent == []
        made.now = START.replace(hour=5, minute=59) + timedelta(days=1)
        made.desk.work()
        assert made.sent == []
        made.now += timedelta(minutes=1)
        made.desk.work()
        made.desk.work()
        assert made.titles() == ["Cuculus Canorus: the first ever"]


def test_a_clip_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    clip = tmp_path / "x.flac"
    clip.write_bytes(b"fLaC")
    clip.with_suffix(".png").write_bytes(b"PNG")
    with station(tmp_path, alert("every", attach=("clip", "spectrogram"))) as made:
        heard = bird(START)
        made.hears(heard)
        assert made.sent == []
        made.database.take({**heard, "event": "clip", "path": str(clip)}, None)
        made.desk.work()
        assert made.sent[0][2].attachments == (clip, clip.with_suffix(".png"))
        made.hears(bird(START + timedelta(minutes=1), "eurbla"))
        made.now += timedelta(seconds=41)
        made.desk.work()
        assert made.sent[1][2].attachments == ()


def test_a_service_that_refuses_files_is_told_without_them(tmp_path: Path) -> None:
    """A file may be too large, or a server allows none: the alert was tried for three days, and then given up."""
    clip = tmp_path / "x.flac"
    clip.write_bytes(b"fLaC")
    with station(tmp_path, alert("every", attach=("clip",))) as made:
        plain = made._send

        def send(name: str, target: int, parcel: Parcel) -> None:
            if parcel.attachments:
                raise OutputError("no files here")
            plain(name, target, parcel)

        made.desk._send = send
        heard = bird(START)
        made.database.take(heard, None)
        made.database.take({**heard, "event": "clip", "path": str(clip)}, None)
        for _ in range(3):
            made.desk.work()
            made.now += timedelta(hours=1)
        assert [parcel.attachments for _, _, parcel in made.sent] == [()]
        assert made.outage.events() == []


# ---------------------------------------------------------------------------------------------------------- memory
def test_what_could_not_be_sent_is_sent_after_a_restart_and_only_to_whom_it_was_not(tmp_path: Path) -> None:
    with station(tmp_path, alert("first-ever", to=("json://a", "json://b"))) as made:
        made.fails = {1}
        made.hears(bird(START))
        made.desk.work()
        assert [target for _, target, _ in made.sent] == [0]
        (failed,) = made.outage.events()
        assert (failed["state"], failed["error"]) == ("failed", "target 1 does not take it")
        made.desk.close()
        made.fails, made.desk = set(), made.new_desk()
        made.desk.work()
        made.desk.work()
        assert [target for _, target, _ in made.sent] == [0, 1]
        (recovered,) = made.outage.events()
        assert (recovered["state"], recovered["lost"]) == ("recovered", 0)


def test_an_address_that_fails_is_tried_ever_less_often_and_others_get_theirs(tmp_path: Path) -> None:
    tries: list[datetime] = []
    with station(tmp_path, alert("every", name="a"), alert("every", name="b")) as made:
        plain = made._send

        def send(name: str, target: int, parcel: Parcel) -> None:
            if name == "a":
                tries.append(made.now)
                raise OutputError("no")
            plain(name, target, parcel)

        made.desk._send = send
        made.hears(bird(START))
        for _ in range(100):
            made.now += timedelta(seconds=10)
            made.desk.work()
        assert [name for name, _, _ in made.sent] == ["b"]
        assert [round((one - START).total_seconds()) for one in tries] == [0, 30, 150, 750]


def test_what_nobody_takes_is_bounded_and_told(tmp_path: Path) -> None:
    with station(tmp_path, alert("every")) as made:
        made.fails = {0}
        made.hears(*(bird(START + timedelta(seconds=n)) for n in range(MOST_WAITING + 20)))
        assert len(query(made.path, "SELECT 1 FROM alerts WHERE sent IS NULL")) == MOST_WAITING
        assert len(query(made.path, f"SELECT 1 FROM alerts WHERE sent = '{GIVEN_UP}'")) == 20
        made.now += timedelta(days=4)
        made.fails = set()
        made.desk.work()
        assert made.sent == []
        told = made.outage.events()
        assert [one["state"] for one in told] == ["failed"]
        made.hears(bird(START + timedelta(days=4)))
        (recovered,) = made.outage.events()
        assert recovered["lost"] == MOST_WAITING + 20


@pytest.mark.parametrize("days", [9, -9])
def test_a_clock_that_is_set_by_days_gives_no_alert_up_and_delays_none(tmp_path: Path, days: int) -> None:
    """A Raspberry Pi has no battery for its clock: with the network that takes the alerts comes the right time."""
    with station(tmp_path, alert("every", attach=("clip",))) as made:
        made.fails = {0}
        made.hears(bird(START))
        made.now += timedelta(seconds=60)  # without a clip by now
        made.desk.work()
        made.set_by = timedelta(days=days)
        made.now += made.set_by
        made.fails = set()
        made.desk.work()
        assert made.sent == []  # the address has just failed, and rests
        made.now += timedelta(seconds=31)
        made.desk.work()
        assert len(made.sent) == 1
        made.hears(bird(made.now))
        made.now += timedelta(seconds=41)
        made.desk.work()
        assert len(made.sent) == 2
        made.fails = {0}
        made.hears(bird(made.now))
        made.now += timedelta(days=3, seconds=1)
        made.desk.work()
        assert query(made.path, "SELECT sent FROM alerts ORDER BY id DESC LIMIT 1") == [(GIVEN_UP,)]


def test_a_bird_that_was_heard_faintly_is_still_a_first_for_an_alert_of_a_score(tmp_path: Path) -> None:
    """Else who wants no uncertain ones never hears of it: the faint one was the first, and no other is."""
    kinds = [alert(when, name=when, above=0.8) for when in ("first-ever", "first-this-year", "first-today", "back")]
    with station(tmp_path, *kinds) as made:
        made.hears(bird(START, score=0.5), bird(START + timedelta(hours=1), score=0.6))
        assert made.titles() == []
        made.hears(bird(START + timedelta(hours=2), score=0.9), bird(START + timedelta(hours=3), score=0.95))
        assert made.titles() == [f"Cuculus Canorus: the first {what}" for what in ("ever", "of the year", "today")]
        made.sent.clear()
        made.hears(bird(START + timedelta(days=20), score=0.7), bird(START + timedelta(days=40), score=0.8))
        assert made.titles() == ["Cuculus Canorus: the first today", "Cuculus Canorus: back after 39 days"]


def test_what_an_alert_has_told_is_no_first_though_the_database_has_aged(tmp_path: Path) -> None:
    with station(tmp_path, alert("first-ever", "first-this-year", above=0.8)) as made:
        made.hears(bird(START, score=0.9))
        with closing(sqlite3.connect(made.path)) as connection, connection:
            connection.execute("UPDATE detections SET score = 0.5")
        made.hears(bird(START + timedelta(days=90), score=0.9))
        assert made.titles() == ["Cuculus Canorus: the first ever"]


def test_an_alert_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    with station(tmp_path, alert("every")) as made:
        made.fails = {0}
        made.hears(bird(START))
        made.desk.close()
        made.alerts = (alert("first-ever", name="other"),)
        made.fails, made.desk = set(), made.new_desk()
        made.desk.work()
        assert made.sent == []
        assert query(made.path, "SELECT sent FROM alerts") == [(GIVEN_UP,)]


KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from edgebird.settings.telling import AlertSettings
from edgebird.sinks.remote import alert_memory
from edgebird.sinks.remote.alert_desk import AlertDesk, Clocks
from edgebird.sinks.remote.outage import Outage

path, log, when = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
start = datetime.fromisoformat("2023-05-01T12:00:00+02:00")
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def send(name, target, parcel):
    with log.open("a") as file:
        file.write(parcel.title + "\\n")
    if when == "sent" and len(log.read_text().splitlines()) == 2:
        die()

if when == "looked":
    waiting, calls = alert_memory.AlertMemory.waiting, []
    # The first look at what waits is at what an earlier run has left.
    alert_memory.AlertMemory.waiting = lambda self: die() if calls else calls.append(1) or waiting(self)
if when == "decided":
    add = alert_memory.AlertMemory._add
    alert_memory.AlertMemory._add = lambda self, *a: die() if not add(self, *a) else None
rare = AlertSettings(name="rare", to=("json://x",), when=("first-ever",))
desk = AlertDesk([rare], path, send, Outage("alerts"), Clocks(lambda: start))
desk.work()
"""


@pytest.mark.parametrize(("when", "repeats"), [("decided", 0), ("looked", 0), ("sent", 1)])
def test_a_kill_between_store_and_send_loses_nothing_and_repeats_at_most_one(
    tmp_path: Path, when: str, repeats: int
) -> None:
    with station(tmp_path, alert("first-ever")) as made:
        made.desk.work()  # from now on
        for code in NAMES:
            made.database.take(bird(START + timedelta(minutes=1), code), None)
        command = [sys.executable, "-c", KILLED, str(made.path), str(tmp_path / "log")]
        assert subprocess.run([*command, when], check=False).returncode == -signal.SIGKILL
        assert subprocess.run([*command, "never"], check=False).returncode == 0
        assert subprocess.run([*command, "never"], check=False).returncode == 0
        told = (tmp_path / "log").read_text().splitlines()
        assert len(told) == len(NAMES) + repeats
        assert set(told) == {f"{name.title()}: the first ever" for name in NAMES.values()}


def test_trouble_is_told_though_the_database_cannot_be_used(tmp_path: Path) -> None:
    """A full disk is the very thing to tell, and keeps its memory from being written."""
    with station(tmp_path, alert("disk-low")) as made:
        made.database.close()
        made.path.rename(tmp_path / "away.db")
        made.desk.trouble(made.alerts[0], "0.1 GB are left", "of 32 GB")
        made.desk.work()
        made.desk.work()
        assert made.titles() == ["0.1 GB are left"]
        (failed,) = made.outage.events()
        assert "unable to open database file" in failed["error"]
        (tmp_path / "away.db").rename(made.path)
        made.desk.work()
        assert made.titles() == ["0.1 GB are left"]
        assert [one["state"] for one in made.outage.events()] == ["recovered"]


# ---------------------------------------------------------------------------------------------------------- troubles
def said(state: str, source: str = "garden", at: datetime = START) -> Event:
    return {"event": "source", "source": source, "time": at.isoformat(), "state": state, "detail": "cable"}


class Minutes:
    """A steady clock that a test moves. now: minutes."""

    now = 0.0

    def __call__(self) -> float:
        return 60 * self.now


def test_a_source_that_is_deaf_is_told_once_when_it_has_lasted_and_again_the_next_time() -> None:
    clock = Minutes()
    troubles, deaf = Troubles(clock), alert("deaf", minutes=10)

    def due(minutes: float, one: AlertSettings = deaf) -> list[tuple[str, str]]:
        clock.now = minutes
        return list(troubles.due(one, {}))

    troubles.take(said("lost"))
    troubles.take(said("silent", "pond"))
    assert due(9.9) == []
    assert due(10) == [("garden is deaf for 10 minutes", "cable")]
    assert due(30) == []
    assert due(30, alert("silent", "deaf", name="both")) == [
        ("garden is deaf for 30 minutes", "cable"),
        ("pond is silent for 30 minutes", "cable"),
    ]
    troubles.take(said("recovered"))
    assert due(40) == []
    troubles.take(said("lost", at=START + timedelta(days=300)))  # the wall clock was set
    assert due(49) == []
    assert due(55) == [("garden is deaf for 15 minutes", "cable")]


def test_an_engine_that_is_lost_makes_the_station_deaf() -> None:
    clock = Minutes()
    troubles = Troubles(clock)
    troubles.take({"event": "engine", "engine": "x", "state": "failed", "time": START.isoformat(), "error": "gone"})
    clock.now = 12
    assert list(troubles.due(alert("deaf"), {})) == [("the engine has scored nothing for 12 minutes", "gone")]


def test_a_disk_is_low_once_until_it_has_room_again() -> None:
    troubles, low = Troubles(), alert("disk-low", free=2 * 10**9)
    seen = [
        [title for title, _ in troubles.due(low, {Path("/x"): Disk(round(free * 1e9), 32 * 10**9)})]
        for free in (5, 1.9, 1.8, 2.05, 1.9, 3, 1.5)
    ]
    assert seen == [[], ["1.9 GB are left for /x"], [], [], [], [], ["1.5 GB are left for /x"]]


# ------------------------------------------------------------------------------------------------- the real Apprise
class Post(BaseHTTPRequestHandler):
    """Keeps what Apprise's `json://` posts. The server's `answer` is its status."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body))  # type: ignore[attr-defined]
        self.send_response(self.server.answer)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Post)
    made.got, made.answer = [], 200
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_station_sends_a_bird_with_its_clip(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a station.toml to what a service gets, once, though the station is started twice."""
    require("apprise")
    soundfile.write(tmp_path / "song.wav", scene(40, [(0, 0.8, 2, 9), (0, 0.8, 20, 29)]), RATE)
    tone_bundle(tmp_path / "tones")
    monkeypatch.setenv("SECRET", f"json://me:s3cret@127.0.0.1:{server.server_port}/")
    (tmp_path / "station.toml").write_text(
        """
        bundle = "tones"
        threads = 1
        [output]
        database = "birds.db"
        [clips]
        folder = "clips"
        [[alert]]
        name = "rarities"
        to = ["${SECRET}"]
        when = ["every"]
        attach = ["clip"]
        """
    )
    with edgebird.listen({"wood": tmp_path / "song.wav"}, config=tmp_path / "station.toml") as events:
        told = [event for event in events if event["event"] in ("detection", "sink")]
    assert [event["event"] for event in told] == ["detection", "detection"]
    assert [(one["title"], one["message"][:12]) for one in server.got] == [("Low Tone: heard", "Tonus gravis")] * 2
    (clip,) = server.got[0]["attachments"]
    assert clip["filename"].endswith(".flac")
    assert base64.b64decode(clip["base64"])[:4] == b"fLaC"


def test_a_service_that_refuses_is_told_by_its_name_and_not_by_its_address(server: Any, tmp_path: Path) -> None:
    require("apprise")
    server.answer = 500
    address = f"json://me:s3cret@127.0.0.1:{server.server_port}/"
    kept = opened(DatabaseSink(tmp_path / "birds.db"))
    one = alert("every", to=(address,))
    sink = opened(AlertSink([one], tmp_path / "birds.db", Disks([])))
    kept.take(heard := bird(datetime.now(BERLIN) + timedelta(seconds=1)), None)
    sink.take(heard, None)
    told: list[Event] = []
    wait_until(lambda: bool(told.extend(sink.tick()) or told), "failure", 30)
    assert told[0]["error"] == "alert 'rare': JSON does not take it"
    assert "s3cret" not in f"{told}{one}"
    sink.close()
    kept.close()


def test_an_address_that_apprise_does_not_know_is_said_at_the_start_without_it(tmp_path: Path) -> None:
    require("apprise")
    with pytest.raises(UsageError, match="alert 'rare': the address is none that Apprise knows") as raised:
        AlertSink([alert("every", to=("s3cret-without-a-scheme",))], tmp_path / "birds.db", Disks([]))
    assert "s3cret" not in str(raised.value)


def test_a_missing_package_or_database_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs a database, .*: give database = in \[output\]"):
        AlertSink([alert("every")], None, Disks([]))
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(EdgebirdError, match=r"pip install 'edgebird\[alerts\]'"):
        AlertSink([alert("every")], tmp_path / "birds.db", Disks([]))


# ---------------------------------------------------------------------------------------------------------- settings
ALERT = '[[alert]]\nname = "a"\nto = ["json://x"]\nwhen = ["every"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ALERT + "whn = 1", "unknown key 'whn' in an [[alert]]: did you mean when?"),
        (ALERT.replace("every", "evry"), "alert 'a': when = ['evry']: wanted a list of some of first-ever, "),
        (ALERT.replace('"json://x"', "5"), "alert 'a': to: wanted a list such as [\"${NTFY_URL}\"]"),
        (ALERT + 'title = "{bird}"', "wanted a text with fields of {common_name}"),
        (ALERT + 'text = "{code.__class__.x}"', "wanted a text with fields of"),
        (ALERT + ALERT, "two alerts are called 'a'"),
        ('[[alert]]\nname = "a"', "alert 'a': it needs to and when"),
        (ALERT + 'quiet-hours = ["sunset - sunrise"]', "alert 'a': its quiet-hours are by the clock, not by the sun"),
        ("[alert]\nname = 'a'", "alert is written [[alert]]"),
        (ALERT.replace("json://x", "${NO_SUCH}"), "the environment variable NO_SUCH is not set"),
    ],
)
def test_an_alert_that_is_wrong_is_said_in_a_line(tmp_path: Path, text: str, problem: str) -> None:
    os.environ.pop("NO_SUCH", None)
    (tmp_path / "station.toml").write_text(f'bundle = "b"\n{text}\n[[source]]\nmic = ""\n')
    with pytest.raises(UsageError) as raised:
        station_settings(tmp_path / "station.toml", {})
    assert problem in str(raised.value)
    assert "json://" not in str(raised.value)


def test_alerts_change_at_the_next_start_and_a_reload_says_so(tmp_path: Path) -> None:
    from edgebird.settings.build import keep_fixed

    (tmp_path / "station.toml").write_text(f'bundle = "b"\n{ALERT}\n[[source]]\nmic = ""\n')
    old = station_settings(tmp_path / "station.toml", {})
    kept, stay = keep_fixed(old, replace(old, alerts=()))
    assert (kept, stay) == (old, ["alert"])
