"""From settings to the sinks that tell over the network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.errors import UsageError
from edgebird.parity import BF16_OF, Proof
from edgebird.settings.model import StationSettings
from edgebird.settings.telling import BirdWeatherSettings
from edgebird.sinks import Sink
from edgebird.sinks.lines import now
from edgebird.sinks.remote.alerts import AlertSink
from edgebird.sinks.remote.birdweather import ALGORITHMS, BirdWeatherSink
from edgebird.sinks.remote.disks import Disks
from edgebird.sinks.remote.metrics import MetricsSink, Running
from edgebird.sinks.remote.mqtt import MqttSink
from edgebird.timestamps import parse_timezone


def remote_sinks(
    settings: StationSettings, bundle: Bundle, runtime_name: str, proof: Proof | None = None
) -> list[Sink]:
    """The sinks that are asked for. proof: of the engine that runs.

    Raises UsageError for settings that do not fit, EdgebirdError without an extra.
    """
    sinks: list[Sink] = []
    if settings.metrics:
        disks = Disks(settings.output.paths)
        running = _running(settings, bundle, runtime_name, proof)
        sinks.append(MetricsSink(settings.metrics.listen, running, disks))
    if settings.mqtt:
        sinks.append(MqttSink(settings.mqtt, settings.output.database, _clock(settings)))
    if settings.alerts:
        disks = Disks(settings.output.paths)
        sinks.append(AlertSink(settings.alerts, settings.output.database, disks, _clock(settings)))
    if settings.birdweather:
        sinks.append(_birdweather(settings.birdweather, settings, bundle))
    return sinks


def _birdweather(its: BirdWeatherSettings, settings: StationSettings, bundle: Bundle) -> Sink:
    """Raises UsageError for a model that BirdWeather's terms do not allow, and without clips."""
    origin = bundle.card.provenance
    algorithm = ALGORITHMS.get(origin.family) if origin else None
    if algorithm is None:
        raise UsageError(f"[birdweather] is for BirdNET alone, by its terms: {bundle.path} is another model")
    if settings.output.clips is None:
        raise UsageError("[birdweather] sends clips: give folder = in [clips]")
    return BirdWeatherSink(its.token, its.queue, algorithm, settings.detection.coordinates)


def _clock(settings: StationSettings) -> Callable[[], datetime]:
    """The wall clock in the time zone of events."""
    zone = settings.detection.timezone
    if zone is None:
        return now
    return partial(datetime.now, parse_timezone(zone))


def _running(settings: StationSettings, bundle: Bundle, runtime_name: str, proof: Proof | None) -> Running:
    precision = settings.detection.precision
    graph = {} if precision in BF16_OF else bundle.graph_of(precision).parity
    parity = proof.parity.max_abs if proof else graph.get("max_abs")
    tolerance = bundle.card.tolerance(precision).max
    named = __version__, runtime_name, bundle.path.resolve().name, precision
    return Running(*named, parity, "at_start" if proof else "card", tolerance)
