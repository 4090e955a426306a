"""What Home Assistant is told so that it finds a station: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery

Device discovery, which Home Assistant has from 2024.12 on: a message for each device, with all its entities. Each
device has topics of its own: entities that shared one would lose their state with a message about another source.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from edgebird import __version__

_DIAGNOSTIC = {"entity_category": "diagnostic"}
_SECONDS = {"device_class": "duration", "unit_of_measurement": "s"}
_MEASURED, _COUNTED = {"state_class": "measurement"}, {"state_class": "total_increasing"}


def slug(name: str) -> str:
    """A name as a part of a topic and of an id: letters, digits, - and single _; two names never become one."""
    clean = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]", "_", name)).strip("_")
    return (
        name
        if name and clean == name
        else f"{clean}_{sha256(name.encode(errors='replace')).hexdigest()[:6]}".strip("_")
    )


def _sensor(name: str, key: str, icon: str, *parts: dict[str, str]) -> dict[str, Any]:
    described = {"platform": "sensor", "name": name, "value_template": f"{{{{ value_json.{key} }}}}", "icon": icon}
    return described | {key: value for part in parts for key, value in part.items()}


_LAST_BIRD = _sensor("Last bird", "last_bird", "mdi:bird") | {
    "json_attributes_template": "{{ (value_json.last or {}) | tojson }}"
}
_BIRDS = {
    "last_bird": _LAST_BIRD,
    "species_today": _sensor("Species today", "species_today", "mdi:feather", _COUNTED),
    "detections_today": _sensor("Detections today", "detections_today", "mdi:counter", _COUNTED),
    "deaf_today": _sensor("Deaf today", "deaf_today_s", "mdi:ear-hearing-off", _SECONDS, _COUNTED, _DIAGNOSTIC),
    "lag": _sensor("Lag", "lag_s", "mdi:timer-sand", _SECONDS, _MEASURED, _DIAGNOSTIC),
}
_OF_SOURCE = _BIRDS | {
    "level": _sensor("Level", "level_dbfs", "mdi:waveform", {"unit_of_measurement": "dBFS"}, _MEASURED, _DIAGNOSTIC),
    "hearing": {
        "platform": "binary_sensor",
        "name": "Hearing",
        "device_class": "connectivity",
        "value_template": "{{ value_json.hearing }}",
        **_DIAGNOSTIC,
    },
}
_OF_STATION = _BIRDS | {
    "load": _sensor("Load", "load", "mdi:gauge", {"unit_of_measurement": "%"}, _MEASURED, _DIAGNOSTIC),
    "engine": {
        "platform": "binary_sensor",
        "name": "Engine",
        "device_class": "problem",
        "value_template": "{{ value_json.engine }}",
        **_DIAGNOSTIC,
    },
}


def station_id(station: str) -> str:
    """The id of a station's device."""
    return f"edgebird__{slug(station)}"


def source_id(station: str, source: str) -> str:
    """The id of a source's device; no slug has __ in it."""
    return f"{station_id(station)}__{slug(source)}"


def station_device(station: str, base: str) -> dict[str, Any]:
    """The discovery message of a station. base: what its topics begin with."""
    its = station_id(station)
    device = {"identifiers": [its], "name": station, "manufacturer": "edgebird", "model": "Station"}
    return _message(device, its, base, f"{base}/state", _OF_STATION)


def source_device(station: str, source: str, base: str) -> dict[str, Any]:
    """The discovery message of a source."""
    its, topics = source_id(station, source), f"{base}/{slug(source)}"
    device = {"identifiers": [its], "name": source, "manufacturer": "edgebird", "model": "Source"}
    device["via_device"] = station_id(station)
    message = _message(device, its, base, f"{topics}/state", _OF_SOURCE)
    bird = {"platform": "event", "name": "Bird", "icon": "mdi:bird", "event_types": ["detection"]}
    message["components"]["bird"] = bird | {"unique_id": f"{its}__bird", "state_topic": f"{topics}/detection"}
    return message


def _message(device: dict[str, Any], its: str, base: str, topic: str, entities: dict[str, Any]) -> dict[str, Any]:
    components = {
        key: {**entity, "unique_id": f"{its}__{key}", "state_topic": topic} for key, entity in entities.items()
    }
    components["last_bird"]["json_attributes_topic"] = topic
    return {
        "device": {**device, "sw_version": __version__},
        "origin": {"name": "edgebird", "sw_version": __version__},
        "availability": [{"topic": f"{base}/status"}],
        "components": components,
    }
