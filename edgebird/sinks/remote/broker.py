"""A connection to a broker of MQTT that comes back by itself, with paho-mqtt's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgebird.errors import EdgebirdError, OutputError, UsageError
from edgebird.settings.telling import MqttSettings
from edgebird.sinks.remote.outage import Outage

if TYPE_CHECKING:
    from paho.mqtt.client import Client

MOST_WAITING = 1000  # messages, while the broker is away
ONLINE, OFFLINE = "online", "offline"
_KEEPALIVE_S, _LONGEST_PAUSE_S = 30, 60
_END_S = 3.0


class Broker:
    """Publishes. While the broker is away messages wait, MOST_WAITING of them; then the oldest go, and are counted.

    status: the topic that says whether the station is there: `online`, and `offline` when it ends or is gone without a
    word (last will). outage: is told what fails. greet: is called at each connection, on paho's thread, to publish
    what is retained. wake: a topic at whose message `online` that is done again; empty for none.
    lock: is held while `greet` runs; who publishes under a lock of its own takes this one, or both threads may wait.

    Raises EdgebirdError without the extra `mqtt`, UsageError for certificates that cannot be read.
    """

    def __init__(
        self, settings: MqttSettings, status: str, wake: str, outage: Outage, greet: Callable[[], None]
    ) -> None:
        try:
            from paho.mqtt import client
        except ImportError:
            raise EdgebirdError("[mqtt] needs paho-mqtt: pip install 'edgebird[mqtt]'") from None
        self._package = client
        self._settings, self._status, self._wake = settings, status, wake
        self._outage, self._greet = outage, greet
        self._port = settings.port or (8883 if settings.tls else 1883)
        self._waiting: deque[tuple[str, str]] = deque()
        self.lock = threading.RLock()
        self._is_there = False
        self._client: Client | None = None
        self._make()

    @property
    def address(self) -> str:
        """For messages."""
        return f"{self._settings.host}:{self._port}"

    def open(self) -> None:
        """Begin to connect, and go on with that until `close`. Raises OutputError for an address that is none."""
        self.close()
        made = self._make()
        made.on_connect, made.on_disconnect = self._connected, self._disconnected
        made.on_connect_fail, made.on_message = self._not_reached, self._woken
        made.will_set(self._status, OFFLINE, qos=1, retain=True)
        made.max_queued_messages_set(2 * MOST_WAITING)  # what waited, and what else is told then
        made.reconnect_delay_set(1, _LONGEST_PAUSE_S)
        try:
            made.connect_async(self._settings.host, self._port, _KEEPALIVE_S)
        except ValueError as error:
            raise OutputError(f"mqtt: {self.address}: {error}") from error
        self._client = made
        made.loop_start()

    def publish(self, topic: str, message: str) -> None:
        """Publish once, at least, now or when the broker is there again. Nothing is retained."""
        with self.lock:
            if self._is_there and self._client:
                if self._client.publish(topic, message, qos=1).rc == self._package.MQTT_ERR_QUEUE_SIZE:
                    self._outage.lose()
                return
            self._waiting.append((topic, message))
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._outage.lose()

    def retain(self, topic: str, message: str, qos: int = 0) -> None:
        """Publish what a newcomer shall get too. Nothing is done while the broker is away: `greet` does it anew."""
        with self.lock:
            if self._is_there and self._client:
                self._client.publish(topic, message, qos=qos, retain=True)

    def close(self) -> None:
        """Say that the station is gone, and end. A connection that hangs is left behind."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._is_there:
            told = client.publish(self._status, OFFLINE, qos=1, retain=True)
            if told.rc == self._package.MQTT_ERR_SUCCESS:
                told.wait_for_publish(_END_S)
        self._is_there = False
        client.disconnect()
        ending = threading.Thread(target=client.loop_stop, name="mqtt end", daemon=True)
        ending.start()
        ending.join(_END_S)
        self._outage.lose(len(self._waiting))
        self._waiting.clear()

    def _make(self) -> Client:
        settings = self._settings
        made = self._package.Client(self._package.CallbackAPIVersion.VERSION2)  # type: ignore[attr-defined]
        if settings.user is not None or settings.password is not None:
            made.username_pw_set(settings.user or "", settings.password)
        if settings.tls:
            try:
                made.tls_set(str(settings.ca_file) if settings.ca_file else None)
            except OSError as error:
                raise UsageError(f"mqtt.ca-file {settings.ca_file}: {error.strerror or error}") from error
        return made

    # ------------------------------------------------------------------------------------------------ paho's thread
    def _connected(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._outage.fail(f"the broker {self.address} refuses: {str(reason).lower()}")
            return
        with self.lock:
            self._is_there = True
            if self._wake:
                client.subscribe(self._wake, qos=1)
            client.publish(self._status, ONLINE, qos=1, retain=True)
            self._greet()
            waiting, self._waiting = self._waiting, deque()
            for topic, message in waiting:
                self.publish(topic, message)
        self._outage.end()

    def _disconnected(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._is_there:
            self._is_there = False
            self._outage.fail(f"the broker {self.address} is gone: {str(reason).lower()}")

    def _not_reached(self, _client: Client, _data: Any) -> None:
        self._outage.fail(f"the broker {self.address} cannot be reached")

    def _woken(self, _client: Client, _data: Any, message: Any) -> None:
        if message.payload == ONLINE.encode():
            with self.lock:
                self._greet()
