"""A station on MQTT, found by Home Assistant; docs/station.md has its topics."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edgebird.events import Event, to_json
from edgebird.settings.telling import MqttSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import now
from edgebird.sinks.remote.broker import Broker
from edgebird.sinks.remote.home_assistant import slug, source_device, source_id, station_device, station_id
from edgebird.sinks.remote.outage import Outage
from edgebird.sinks.remote.today import Today

_LAST = ("common_name", "scientific_name", "code", "score", "probability", "time", "source")
_DEAF = ("lost", "closed")


@dataclass(slots=True)
class _Heard:
    """A source now. last: its last bird, as its detection said."""

    state: str = "starting"
    level_dbfs: float | None = None
    lag_s: float = 0.0
    last: Event | None = None


class MqttSink(Sink):
    """Publishes detections as they come, and the state of each source and of the station when it changes.

    Everything is sent on a thread of its own (`broker`). database: of the station, which knows what was heard earlier
    today; None without one. clock: the wall clock in the station's time zone.
    Raises what `Broker` raises.
    """

    name = "mqtt"

    def __init__(
        self, settings: MqttSettings, database: Path | None = None, clock: Callable[[], datetime] = now
    ) -> None:
        self._station = settings.station or socket.gethostname() or "station"
        self._base = f"{settings.topic}/{slug(self._station)}"
        self._discovery = settings.discovery
        self._database, self._clock = database, clock
        self._outage = Outage(self.name)
        wake = f"{settings.discovery}/status" if settings.discovery else ""
        self._broker = Broker(settings, f"{self._base}/status", wake, self._outage, self._greet)
        self._lock = self._broker.lock  # events come on one thread, connections on another
        self._sources: dict[str, _Heard] = {}
        self._load: float | None = None
        self._engine_fails = False
        self._today = Today(clock)
        self._told: dict[str, str] = {}  # topic -> the state that was told last

    def open(self) -> None:
        """Begin to connect."""
        self._today = Today(self._clock)
        if self._database:
            self._today.recall(self._database)
        self._broker.open()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Publish a detection, and take note of what is part of a state."""
        with self._lock:
            self._note(event)
            if event["event"] == "detection":
                message = {"event_type": "detection", **{key: event[key] for key in event if key != "event"}}
                self._broker.publish(f"{self._base}/{slug(event['source'])}/detection", to_json(message))

    def tick(self) -> list[Event]:
        """Publish the states that have changed; tell what has failed, and what works again."""
        with self._lock:
            self._tell_states()
        return self._outage.events()

    def close(self) -> list[Event]:
        """Say good-bye."""
        self._broker.close()
        self._outage.end("closed")
        return self._outage.events()

    def _note(self, event: Event) -> None:
        kind = event["event"]
        if kind == "engine":
            self._engine_fails = event["state"] == "failed"
        elif kind == "stats":
            self._load = round(100 * event["real_time_factor"], 1)
            for figures in event["sources"]:
                its = self._source(figures["source"])
                its.state, its.level_dbfs, its.lag_s = figures["state"], figures["level_dbfs"], figures["waiting_s"]
        elif kind in ("source", "gap", "detection", "summary"):
            its = self._source(event["source"])
            self._today.take(event)
            if kind == "source":
                its.state = "open" if event["state"] == "recovered" else event["state"]
                its.level_dbfs = None if its.state in _DEAF else its.level_dbfs
            elif kind == "summary":
                its.state, its.level_dbfs, its.lag_s = "closed", None, 0.0
            elif kind == "detection":
                its.last = {key: event[key] for key in _LAST if key in event}

    def _source(self, name: str) -> _Heard:
        if name not in self._sources:
            self._sources[name] = _Heard()
            self._announce(name)
        return self._sources[name]

    # ------------------------------------------------------------------------------------------- what is retained
    def _greet(self) -> None:
        """Tell everything to a broker, or to a Home Assistant, that may know nothing."""
        with self._lock:
            if self._discovery:
                self._tell_device(station_id(self._station), station_device(self._station, self._base))
            for name in self._sources:
                self._announce(name)
            self._told = {}
            self._tell_states()

    def _announce(self, name: str) -> None:
        if self._discovery:
            self._tell_device(source_id(self._station, name), source_device(self._station, name, self._base))

    def _tell_device(self, its: str, message: dict[str, Any]) -> None:
        self._broker.retain(f"{self._discovery}/device/{its}/config", to_json(message), qos=1)

    def _tell_states(self) -> None:
        states = {f"{self._base}/{slug(name)}/state": self._state_of(name) for name in self._sources}
        for topic, state in {**states, f"{self._base}/state": self._state()}.items():
            text = to_json(state)
            if self._told.get(topic) != text:
                self._told[topic] = text
                self._broker.retain(topic, text)

    def _state_of(self, name: str) -> Event:
        its, day = self._sources[name], self._today.days.get(name)
        return {
            "state": its.state,
            "hearing": "OFF" if its.state in (*_DEAF, "starting") else "ON",
            "level_dbfs": its.level_dbfs,
            "lag_s": round(its.lag_s, 1),
            "deaf_today_s": round(self._today.deaf_s(name)),
            "detections_today": day.detections if day else 0,
            "species_today": len(day.species) if day else 0,
            "last_bird": its.last["common_name"] if its.last else None,
            "last": its.last,
        }

    def _state(self) -> Event:
        """Of the station: all sources together, and its engine."""
        days = self._today.days.values()
        lasts = [one.last for one in self._sources.values() if one.last]
        last = max(lasts, key=lambda one: str(one["time"]), default=None)
        return {
            "engine": "ON" if self._engine_fails else "OFF",
            "load": self._load,
            "lag_s": round(max((one.lag_s for one in self._sources.values()), default=0.0), 1),
            "deaf_today_s": round(sum(self._today.deaf_s(name) for name in self._sources)),
            "detections_today": sum(day.detections for day in days),
            "species_today": len(set().union(*(day.species for day in days))),
            "last_bird": last["common_name"] if last else None,
            "last": last,
        }
