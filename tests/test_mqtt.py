"""A station on MQTT: a real broker hears what Home Assistant needs, whatever becomes of either."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile

import edgebird
from edgebird.errors import EdgebirdError, UsageError
from edgebird.events import Event
from edgebird.settings.build import station_settings
from edgebird.settings.telling import MqttSettings
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.remote.home_assistant import slug, source_device, station_device
from edgebird.sinks.remote.mqtt import MqttSink
from edgebird.sinks.remote.today import Today
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle
from tests.live_servers import wait_until
from tests.sinking import GAP, Tape, detection, opened
from tests.test_metrics import free_port, stats, summary, told

require("paho.mqtt.client")

from tests.mosquitto import Ear, Mosquitto, ear, mosquitto  # noqa: E402  it needs paho

SOON_S = 30
ZONE = timezone(timedelta(hours=2))
BASE = "edgebird/orchard"


def settings(port: int, **more: Any) -> MqttSettings:
    return MqttSettings("127.0.0.1", port, station="orchard", **more)


def running(sink: MqttSink) -> list[Event]:
    """Let it do its work until something is told; what that is."""
    found: list[Event] = []
    wait_until(lambda: bool(found.extend(sink.tick()) or found), "event of the sink", SOON_S)
    return found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path, free_port()) as made:
        yield made


@pytest.fixture
def hears(broker: Mosquitto) -> Iterator[Ear]:
    with ear(broker.port) as made:
        yield made


@pytest.fixture
def sink(broker: Mosquitto, hears: Ear) -> Iterator[MqttSink]:
    made = opened(MqttSink(settings(broker.port)))
    wait_until(lambda: hears.last(f"{BASE}/status") == "online", "station", SOON_S)
    yield made
    made.close()


BIRD = detection(Tape())


def of_garden(**more: Any) -> Event:
    return {**BIRD, **more}


# ---------------------------------------------------------------------------------------------------- the real broker
def test_a_detection_is_heard_at_once_and_is_not_retained(sink: MqttSink, hears: Ear, broker: Mosquitto) -> None:
    """Home Assistant ignores a retained event; after its restart an old bird must not sing again."""
    sink.take(of_garden(), None)
    wait_until(lambda: bool(hears.of(f"{BASE}/garden/detection")), "detection", SOON_S)
    (heard,) = hears.of(f"{BASE}/garden/detection")
    assert heard == {"event_type": "detection", **{k: v for k, v in of_garden().items() if k != "event"}}
    sink.tick()
    wait_until(lambda: (hears.last(f"{BASE}/garden/state") or {}).get("detections_today") is not None, "state", SOON_S)
    with ear(broker.port) as late:
        wait_until(lambda: late.last(f"{BASE}/garden/state") is not None, "retained state", SOON_S)
        assert late.last(f"{BASE}/status") == "online"
        assert late.of(f"{BASE}/garden/detection") == []


def test_each_source_has_a_state_of_its_own(sink: MqttSink, hears: Ear) -> None:
    """Peers let all sources share one topic: a bird in the garden made the sensors of the pond unknown."""
    sink.take(of_garden(), None)
    sink.take(told("lost", "pond"), None)
    sink.take(stats("garden"), None)
    sink.tick()
    wait_until(lambda: (hears.last(f"{BASE}/state") or {}).get("last_bird") is not None, "all states", SOON_S)
    pond, garden = hears.last(f"{BASE}/pond/state"), hears.last(f"{BASE}/garden/state")
    assert (pond["hearing"], pond["last_bird"], pond["level_dbfs"]) == ("OFF", None, None)
    assert (garden["hearing"], garden["last_bird"], garden["level_dbfs"]) == ("ON", "Common Cuckoo", -51.5)
    assert (garden["lag_s"], garden["last"]["score"]) == (1.2, 0.934567)
    station = hears.last(f"{BASE}/state")
    assert (station["last_bird"], station["load"], station["engine"]) == ("Common Cuckoo", 12.5, "OFF")


def test_home_assistant_is_told_again_when_it_starts(sink: MqttSink, hears: Ear) -> None:
    sink.take(told("open"), None)
    configs = [f"homeassistant/device/edgebird__orchard{part}/config" for part in ("", "__garden")]
    wait_until(lambda: all(len(hears.of(topic)) == 1 for topic in configs), "discovery", SOON_S)
    hears.say("homeassistant/status", "online")
    wait_until(lambda: all(len(hears.of(topic)) == 2 for topic in configs), "discovery again", SOON_S)
    assert hears.last(configs[1]) == source_device("orchard", "garden", BASE)
    assert hears.last(configs[0]) == station_device("orchard", BASE)


def test_a_broker_that_is_gone_for_an_hour_costs_the_oldest_of_many_and_nothing_else(
    sink: MqttSink, broker: Mosquitto
) -> None:
    """It is told once, and once more when it is over; what is retained is told anew, as the broker forgot it."""
    sink.take(told("open"), None)
    broker.stop()
    (failed,) = running(sink)
    assert (failed["event"], failed["sink"], failed["state"]) == ("sink", "mqtt", "failed")
    assert f"the broker 127.0.0.1:{broker.port} is gone" in failed["error"]
    for number in range(1500):
        sink.take(of_garden(windows=number), None)
    assert sink.tick() == []
    broker.start()
    with ear(broker.port) as late:
        (recovered,) = running(sink)
        assert (recovered["state"], recovered["lost"], recovered["since"]) == ("recovered", 500, failed["time"])
        topic = f"{BASE}/garden/detection"
        wait_until(lambda: len(late.of(topic)) >= 1000, "what waited", SOON_S)
        assert [one["windows"] for one in late.of(topic)] == list(range(500, 1500))
        assert late.last(f"{BASE}/status") == "online"
        assert late.last("homeassistant/device/edgebird__orchard__garden/config")
        wait_until(lambda: late.last(f"{BASE}/garden/state") is not None, "state", SOON_S)


def test_a_station_that_ends_says_so_and_leaves_no_thread(sink: MqttSink, hears: Ear) -> None:
    before = threading.active_count()
    sink.close()
    wait_until(lambda: hears.last(f"{BASE}/status") == "offline", "good-bye", SOON_S)
    wait_until(lambda: threading.active_count() < before, "end of the thread", SOON_S)


KILLED = """
import sys, time
from edgebird.settings.telling import MqttSettings
from edgebird.sinks.remote.mqtt import MqttSink
sink = MqttSink(MqttSettings("127.0.0.1", int(sys.argv[1]), station="orchard"))
sink.open()
time.sleep(600)
"""


def test_a_station_that_is_killed_is_said_to_be_offline(broker: Mosquitto, hears: Ear) -> None:
    """By the broker, its last will: else all sensors would show the last values for ever."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(broker.port)])
    try:
        wait_until(lambda: hears.last(f"{BASE}/status") == "online", "station", SOON_S)
    finally:
        process.kill()
        process.wait(10)
    wait_until(lambda: hears.last(f"{BASE}/status") == "offline", "last will", SOON_S)


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    words = [shutil.which("mosquitto_passwd") or "mosquitto_passwd", "-b", str(tmp_path / "users"), "me", "right"]
    lines = ("allow_anonymous false", f"password_file {tmp_path / 'users'}")
    broker = Mosquitto(tmp_path, free_port(), *lines)  # skips without one
    subprocess.run(words, check=True, capture_output=True)
    broker.start()
    try:
        wrong = opened(MqttSink(settings(broker.port, user="me", password="wr0ng")))
        (failed,) = running(wrong)
        assert "refuses: not authorized" in failed["error"]
        assert "wr0ng" not in str(failed) + repr(settings(broker.port, password="wr0ng"))
        (closed,) = wrong.close()
        assert (closed["state"], closed["lost"]) == ("closed", 0)
        right = opened(MqttSink(settings(broker.port, user="me", password="right")))
        wait_until(lambda: right._broker._is_there, "connection", SOON_S)
        assert right.close() == []
    finally:
        broker.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves the refused socket open
def test_an_encrypted_broker_is_taken_by_its_certificate_alone(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port = free_port()
    with mosquitto(tmp_path, free_port(), f"listener {port} 127.0.0.1", f"keyfile {key}", f"certfile {certificate}"):
        untrusted = opened(MqttSink(settings(port, tls=True)))
        (failed,) = running(untrusted)
        assert failed["error"] == f"the broker 127.0.0.1:{port} cannot be reached"
        untrusted.close()
        trusted = opened(MqttSink(settings(port, tls=True, ca_file=certificate)))
        wait_until(lambda: trusted._broker._is_there, "connection", SOON_S)
        trusted.close()


def test_a_broker_that_never_answers_keeps_nobody_waiting() -> None:
    """It takes the connection and says nothing, as behind a firewall, or hung: events go on, and so does the end."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        sink = opened(MqttSink(settings(hung.getsockname()[1])))
        for number in range(1200):
            sink.take(of_garden(windows=number), None)
            sink.tick()
        sink.close()


def test_a_bird_that_is_told_while_home_assistant_starts_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events come on one thread and connections on another, and both publish: they must not wait for each other."""
    sink, telling, greeting = MqttSink(settings(1)), threading.Event(), threading.Event()
    note, greet = sink._note, sink._broker._greet

    def slow_note(event: Event) -> None:
        telling.set()
        greeting.wait(0.5)
        note(event)

    def told_greet() -> None:
        greeting.set()
        greet()

    monkeypatch.setattr(sink, "_note", slow_note)
    monkeypatch.setattr(sink._broker, "_greet", told_greet)
    events = threading.Thread(target=sink.take, args=(of_garden(), None), daemon=True)
    events.start()
    assert telling.wait(SOON_S)
    message = SimpleNamespace(payload=b"online")
    connections = threading.Thread(target=sink._broker._woken, args=(None, None, message), daemon=True)
    connections.start()
    for thread in (events, connections):
        thread.join(5)
        assert not thread.is_alive()


def test_a_station_is_heard_from_beginning_to_end(broker: Mosquitto, hears: Ear, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", scene(40, [(0, 0.8, 2, 9), (1, 0.7, 14, 22)]), RATE)
    bundle = tone_bundle(tmp_path / "tones").path
    file = {"wood": tmp_path / "song.wav"}
    more = {"mqtt_host": "127.0.0.1", "mqtt_port": broker.port, "mqtt_station": "orchard", "threads": 1}
    with edgebird.listen(bundle=bundle, file=file, **more) as events:
        found = [event["code"] for event in events if event["event"] == "detection"]
    assert [one["code"] for one in hears.of(f"{BASE}/wood/detection")] == found == ["tonlow", "tonmid"]
    wait_until(lambda: hears.last(f"{BASE}/status") == "offline", "good-bye", SOON_S)
    assert hears.last("homeassistant/device/edgebird__orchard__wood/config")


# ------------------------------------------------------------------------------------------------------- discovery
def test_discovery_has_what_home_assistant_insists_on() -> None:
    """One component without a unique_id rejects the whole message."""
    messages = [station_device("orchard", BASE), *(source_device("orchard", one, BASE) for one in ("garden", "pond"))]
    ids = [part["unique_id"] for message in messages for part in message["components"].values()]
    assert len(set(ids)) == len(ids) == 7 + 2 * 8
    for message in messages:
        assert message["device"]["identifiers"]
        assert message["origin"]["name"] == "edgebird"
        assert message["availability"] == [{"topic": f"{BASE}/status"}]
        for part in message["components"].values():
            assert {"platform", "unique_id", "state_topic", "name"} <= set(part)
    garden, pond = ({part["state_topic"] for part in one["components"].values()} for one in messages[1:])
    assert not garden & pond
    assert messages[1]["components"]["bird"]["event_types"] == ["detection"]


@pytest.mark.parametrize(
    ("first", "second"), [("a b", "a_b"), ("a.b", "a b"), ("a__b", "a_b"), ("", "_"), ("Ö", "Ä"), ("a/b", "a+b")]
)
def test_two_names_never_share_a_topic(first: str, second: str) -> None:
    """Nor does a name break out of its own: `/`, `+` and `#` mean something there."""
    assert slug(first) != slug(second)
    for made in (slug(first), slug(second)):
        assert made
        assert made.replace("-", "").replace("_", "").isalnum()
        assert made.isascii()
        assert "__" not in made


# ------------------------------------------------------------------------------------------------------------- today
class Clock:
    def __init__(self, text: str) -> None:
        self.now = datetime.fromisoformat(text)

    def __call__(self) -> datetime:
        return self.now


def gap(time: str, seconds: float) -> Event:
    return {**GAP, "time": time, "start_s": 0.0, "end_s": seconds}


def test_seconds_deaf_go_on_while_a_source_is_lost_and_are_not_counted_twice() -> None:
    """A loss is told when it is over, or every ten minutes: until then the clock knows."""
    clock = Clock("2023-05-01T12:00:00+02:00")
    today = Today(clock)
    today.take(gap("2023-05-01T08:00:00+02:00", 30))
    today.take(told("lost") | {"time": "2023-05-01T11:50:00+02:00"})
    assert today.deaf_s("garden") == 30 + 600
    today.take(gap("2023-05-01T11:49:58+02:00", 600))
    assert today.deaf_s("garden") == 30 + 600 + 2
    clock.now += timedelta(seconds=10)
    assert today.deaf_s("garden") == 30 + 600 + 12
    today.take(told("recovered"))
    assert today.deaf_s("garden") == 630


def test_the_day_begins_anew_at_midnight_of_the_station() -> None:
    clock = Clock("2023-05-01T23:59:59+02:00")
    today = Today(clock)
    today.take(of_garden() | {"time": "2023-05-01T23:59:00.000+02:00"})
    today.take(told("lost") | {"time": "2023-05-01T23:59:30.000+02:00"})
    assert (today.days["garden"].detections, today.deaf_s("garden")) == (1, 29)
    clock.now += timedelta(seconds=11)
    today.take(of_garden() | {"time": "2023-05-01T23:59:50.000+02:00"})  # told late: it was yesterday
    assert (today.days["garden"].detections, today.deaf_s("garden")) == (0, 10)


def test_what_was_heard_before_a_restart_is_recalled_from_the_database(tmp_path: Path) -> None:
    """Else every restart would begin the day anew: `birds today` would be a riddle."""
    kept = opened(DatabaseSink(tmp_path / "birds.db"))
    for day in ("2023-04-30", "2023-05-01"):
        kept.take(of_garden() | {"time": f"{day}T05:00:00.000+02:00"}, None)
        kept.take(gap(f"{day}T06:00:00.000+02:00", 12.5), None)
    today = Today(Clock("2023-05-01T12:00:00+02:00"))
    today.recall(tmp_path / "birds.db")
    kept.close()
    assert (today.days["garden"].detections, today.days["garden"].species) == (1, {"comcuc"})
    assert today.deaf_s("garden") == 12.5
    Today(Clock("2023-05-01T12:00:00+02:00")).recall(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


# ---------------------------------------------------------------------------------------------------------- settings
def test_a_password_comes_from_the_environment_and_is_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "station.toml"
    path.write_text('bundle = "b"\n[mqtt]\nhost = "h"\npassword = "${SECRET}"\n[[source]]\nmic = ""\n')
    monkeypatch.setenv("SECRET", "s3cret")
    found = station_settings(path, {})
    assert found.mqtt
    assert found.mqtt.password == "s3cret"
    assert "s3cret" not in repr(found)
    monkeypatch.delenv("SECRET")
    with pytest.raises(UsageError, match="the environment variable SECRET is not set"):
        station_settings(path, {})


@pytest.mark.parametrize("wrong", ["topic = 'a/#'", "topic = '/a'", "port = 70000", "tls = 1", "password = 5"])
def test_settings_that_no_broker_takes_are_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(f'bundle = "b"\n[mqtt]\nhost = "h"\n{wrong}\n[[source]]\nmic = ""\n')
    with pytest.raises(UsageError, match=f"mqtt.{wrong.split()[0]} = .*: wanted"):
        station_settings(path, {})


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(EdgebirdError, match=r"pip install 'edgebird\[mqtt\]'"):
        MqttSink(settings(1883))


def test_certificates_that_are_not_there_are_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mqtt.ca-file .*none.pem: No such file"):
        MqttSink(settings(8883, tls=True, ca_file=tmp_path / "none.pem"))


def test_a_source_that_ends_is_heard_no_more(sink: MqttSink, hears: Ear) -> None:
    sink.take(stats("garden"), None)
    sink.take(summary("garden"), None)
    sink.tick()
    wait_until(lambda: (hears.last(f"{BASE}/garden/state") or {}).get("state") == "closed", "state", SOON_S)
    assert hears.last(f"{BASE}/garden/state")["hearing"] == "OFF"
