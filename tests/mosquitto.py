"""A broker of MQTT for tests, Debian's Mosquitto, and a client that keeps what it hears."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho

from tests.live_servers import require_server, wait_until

_PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class Mosquitto:
    """A broker on this machine alone, which forgets what is retained when it ends. more: lines of its settings."""

    def __init__(self, folder: Path, port: int, *more: str) -> None:
        program = shutil.which("mosquitto", path=_PATHS)
        require_server("mosquitto", program is not None, "mosquitto")
        self.port, self._folder = port, folder
        self._command = [str(program), "-c", str(folder / "mosquitto.conf")]
        lines = ["user root", "persistence false", f"listener {port} 127.0.0.1", *more]
        if not any(line.startswith("allow_anonymous") for line in more):
            lines.append("allow_anonymous true")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again after `stop`; returns when it takes connections."""
        log = (self._folder / "mosquitto.log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(lambda: b"running" in (self._folder / "mosquitto.log").read_bytes(), "broker", 30)

    def stop(self) -> None:
        """End it without a word to anybody."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
        (self._folder / "mosquitto.log").unlink(missing_ok=True)


@contextmanager
def mosquitto(folder: Path, port: int, *more: str) -> Iterator[Mosquitto]:
    """A broker that runs."""
    broker = Mosquitto(folder, port, *more)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Ear:
    """Hears everything. messages: (topic, what the JSON or the text says, whether it was retained) in order."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, Any, bool]] = []
        self._ready = False
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)  # type: ignore[attr-defined]
        self._client.on_message = self._heard
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = self._subscribed
        self._client.max_inflight_messages_set(2000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(lambda: self._ready, "subscription", 30)

    def say(self, topic: str, text: str) -> None:
        """Publish."""
        self._client.publish(topic, text, qos=1).wait_for_publish(10)

    def of(self, topic: str) -> list[Any]:
        """What came on a topic."""
        return [said for name, said, _ in list(self.messages) if name == topic]

    def last(self, topic: str) -> Any:
        """What came last on a topic, None if nothing did."""
        return (self.of(topic) or [None])[-1]

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribed(self, *_: Any) -> None:
        self._ready = True

    def _heard(self, _client: Any, _data: Any, message: Any) -> None:
        text = message.payload.decode()
        self.messages.append((message.topic, json.loads(text) if text[:1] == "{" else text, message.retain))


@contextmanager
def ear(port: int) -> Iterator[Ear]:
    """A client that hears everything."""
    made = Ear(port)
    try:
        yield made
    finally:
        made.close()
