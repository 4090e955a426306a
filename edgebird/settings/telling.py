"""What can be set of whom a station tells over the network: tables of their own, of rows as `model` has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgebird.errors import UsageError
from edgebird.settings import checks
from edgebird.settings.hours import Spans, asks_the_sun, hours
from edgebird.settings.row import Setting, set_by

BIRDS = ("first-ever", "first-this-year", "back", "first-today", "every")  # the rarer comes first
TROUBLES = ("deaf", "silent", "disk-low")
OCCASIONS = (*BIRDS, *TROUBLES)
ATTACHMENTS = ("clip", "spectrogram")
ENOUGH_FREE = 10**9  # bytes
FIELDS = ("common_name", "scientific_name", "code", "score", "source", "time", "date", "reason")


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


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """An [[alert]]: what is told to whom.

    to: addresses as Apprise has them; they hold passwords. when: some of OCCASIONS, any of which is one.
    species, above: only these birds, of at least this score. free: bytes, None for ENOUGH_FREE.
    quiet_hours: local times (start, end).
    """

    name: str = field(metadata=set_by(
        Setting("name", "What the alert is called; its memory has this name.", checks.text(), example="rarities",
                fixed=True)))
    to: tuple[str, ...] = field(repr=False, metadata=set_by(
        Setting("to", "Whom it is sent to, addresses as Apprise has them; ${NAME} is taken from the environment.",
                checks.several(checks.secret(), 'a list such as ["${NTFY_URL}"]', least=1),
                note="addresses as Apprise has them: https://github.com/caronc/apprise/wiki", example=["${NTFY_URL}"],
                fixed=True)))
    when: tuple[str, ...] = field(metadata=set_by(
        Setting("when", "Any of these: first-ever, first-this-year, first-today, back, every; deaf, silent, disk-low.",
                checks.several(checks.choice(lambda: OCCASIONS), f"a list of some of {', '.join(OCCASIONS)}", 1),
                example=["first-ever", "back"], fixed=True)))
    days: int = field(default=30, metadata=set_by(
        Setting("days", "For `back`: days without the species, default {default}.", checks.whole(1), fixed=True)))
    species: tuple[str, ...] = field(default=(), metadata=set_by(
        Setting("species", "Only these birds, by eBird code or scientific name; default: all.",
                checks.several(checks.text(), "a list of species"), example=["comcuc", "Turdus merula"], fixed=True)))
    above: float = field(default=0.0, metadata=set_by(
        Setting("above", "Only birds with at least this score, default {default}; others are no first either.",
                checks.number(0, 1), fixed=True)))
    minutes: float = field(default=10.0, metadata=set_by(
        Setting("minutes", "For `deaf` and `silent`: how long that lasts, default {default}.",
                checks.number(1, 1440, "minutes"), fixed=True)))
    free: int | None = field(default=None, metadata=set_by(
        Setting("free", "For `disk-low`: what is left; default: 1GB.", checks.size(), example="1GB", fixed=True)))
    cooldown_h: float = field(default=0.0, metadata=set_by(
        Setting("cooldown", "Hours in which a species is not told again, default {default}.",
                checks.number(0, 8760, "hours"), fixed=True)))
    quiet_hours: Spans = field(default=(), metadata=set_by(
        Setting("quiet-hours", "Local time in which nothing is sent; it is sent afterwards.", hours(),
                example=["22:00-06:00"], fixed=True)))
    attach: tuple[str, ...] = field(default=(), metadata=set_by(
        Setting("attach", "Of a bird, where the service takes files: clip, spectrogram.",
                checks.several(checks.choice(lambda: ATTACHMENTS), "a list of clip, spectrogram or both"),
                example=["clip", "spectrogram"], fixed=True)))
    title: str = field(default="{common_name}: {reason}", metadata=set_by(
        Setting("title", "Of a bird: the first line; fields in braces.", checks.template(FIELDS), fixed=True)))
    text: str = field(default="{scientific_name}, {score:.2f}, {source}, {time}", metadata=set_by(
        Setting("text", "Of a bird: what follows.", checks.template(FIELDS), fixed=True)))

    def __post_init__(self) -> None:
        if asks_the_sun(self.quiet_hours):
            raise UsageError(f"alert {self.name!r}: its quiet-hours are by the clock, not by the sun")


@dataclass(frozen=True, slots=True)
class BirdWeatherSettings:
    """A station at BirdWeather. queue: a folder for it alone."""

    token: str = field(repr=False, metadata=set_by(
        Setting("token", "Of the station there; ${NAME} is taken from the environment.", checks.secret(),
                example="${BIRDWEATHER_TOKEN}", fixed=True,
                missing="settings of birdweather, but no token: give token = in [birdweather]")))
    queue: Path = field(metadata=set_by(
        Setting("queue", "What is still to be sent, a folder for it alone.", checks.path(),
                example="/var/lib/edgebird/birdweather", fixed=True,
                missing="settings of birdweather, but no folder: give queue = in [birdweather]")))


# fmt: on
