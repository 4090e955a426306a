"""What can be set of whom a station tells over the network: tables of their own, of rows as `model` has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgebird.settings import checks
from edgebird.settings.row import Setting, set_by


# fmt: off
@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Figures for Prometheus. listen: HOST:PORT."""

    listen: str = field(metadata=set_by(
        Setting("listen", "Where Prometheus finds the figures of the station.", checks.address(),
                note="HOST:PORT; only this computer can reach 127.0.0.1", example="127.0.0.1:9108",
                missing="settings of metrics, but no address: give listen = in [metrics]", fixed=True)))


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """A broker of MQTT, and what a station is called there.

    port: None for 1883, with tls 8883. password: what it is, not where it stands. station: None for the computer's
    name. discovery: the prefix of Home Assistant's discovery, empty for none.
    """

    host: str = field(metadata=set_by(
        Setting("host", "The broker's name or address.", checks.text(), example="192.168.1.10",
                missing="settings of mqtt, but no broker: give host = in [mqtt]", fixed=True)))
    port: int | None = field(default=None, metadata=set_by(
        Setting("port", "Of the broker; default: 1883, with tls 8883.", checks.port(), example=1883, fixed=True)))
    user: str | None = field(default=None, metadata=set_by(
        Setting("user", "Who the station is to the broker.", checks.text(), example="edgebird", fixed=True)))
    password: str | None = field(default=None, repr=False, metadata=set_by(
        Setting("password", "Its password; ${NAME} is taken from the environment.", checks.secret(),
                example="${MQTT_PASSWORD}", fixed=True)))
    tls: bool = field(default=False, metadata=set_by(
        Setting("tls", "Encrypted, and the broker's certificate is verified.", checks.boolean(), example=True,
                fixed=True)))
    ca_file: Path | None = field(default=None, metadata=set_by(
        Setting("ca-file", "Certificates that may have signed the broker's; default: those of the system.",
                checks.path(), example="/etc/edgebird/broker.pem", fixed=True)))
    station: str | None = field(default=None, metadata=set_by(
        Setting("station", "What the station is called there; default: the computer's name.", checks.text(),
                example="orchard", fixed=True)))
    topic: str = field(default="edgebird", metadata=set_by(
        Setting("topic", "Topics begin with TOPIC/STATION/, default {default}.", checks.topic(), fixed=True)))
    discovery: str = field(default="homeassistant", metadata=set_by(
        Setting("discovery", "Prefix of Home Assistant's discovery, default {default}; empty for none.",
                checks.topic(empty=True), note="prefix of Home Assistant's discovery; empty for none", fixed=True)))


# fmt: on
