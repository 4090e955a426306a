"""Home Assistant's own code reads what a station says: it shows the entities, and their states.

Not in CI, as it takes an environment with hundreds of packages: EDGEBIRD_HOME_ASSISTANT_PYTHON names its Python, such
as one of 3.13 with `pip install homeassistant==2025.4.4 paho-mqtt==2.1.0`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgebird.sinks.remote.mqtt import MqttSink
from tests.conftest import require
from tests.live_servers import require_server
from tests.sinking import opened
from tests.test_metrics import free_port, stats, told

require("paho.mqtt.client")

from tests.mosquitto import mosquitto  # noqa: E402  it needs paho
from tests.test_mqtt import of_garden, settings  # noqa: E402

PYTHON = os.environ.get("EDGEBIRD_HOME_ASSISTANT_PYTHON", "")
PATIENCE_S = 120


class Home:
    """A Home Assistant that runs."""

    def __init__(self, port: int, folder: Path) -> None:
        require_server("home-assistant", bool(PYTHON), "EDGEBIRD_HOME_ASSISTANT_PYTHON")
        command = [PYTHON, str(Path(__file__).with_name("home_assistant_reader.py")), str(port), str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout
        self.version = json.loads(self._process.stdout.readline())["ready"]

    def look(self) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def wait(self, entity: str, state: str) -> Any:
        """Wait until an entity has a state; all that there is then."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.look())["states"].get(entity) != state:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with mosquitto(tmp_path, free_port()) as broker:
        yield broker.port


@pytest.fixture
def home(port: int, tmp_path: Path) -> Iterator[Home]:
    made = Home(port, tmp_path / "home")
    yield made
    made.close()


@pytest.mark.slow
def test_home_assistant_shows_a_station_with_its_sources(home: Home, port: int) -> None:
    sink = opened(MqttSink(settings(port)))
    for event in (told("open"), told("lost", "pond"), stats()):
        sink.take(event, None)
    sink.tick()
    home.wait("binary_sensor.garden_hearing", "on")
    sink.take(of_garden(), None)
    sink.tick()
    found = home.wait("sensor.garden_last_bird", "Common Cuckoo")
    assert found["devices"] == ["garden", "orchard", "pond"]
    states = found["states"]
    kinds = [name.partition(".")[0] for name in states]
    assert {kind: kinds.count(kind) for kind in kinds} == {"event": 2, "sensor": 3 * 6, "binary_sensor": 3}
    assert states["sensor.garden_level"] == "-51.5"
    assert states["sensor.pond_level"] == states["sensor.pond_last_bird"] == "unknown"
    assert states["binary_sensor.pond_hearing"] == "off"
    assert states["binary_sensor.orchard_engine"] == "off"
    assert states["sensor.orchard_load"] == "12.5"
    assert ["event.garden_bird", "Common Cuckoo"] in found["events"]
    sink.close()
    gone = home.wait("sensor.garden_last_bird", "unavailable")
    assert set(gone["states"].values()) == {"unavailable"}
