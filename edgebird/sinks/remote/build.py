"""From settings to the sinks that tell over the network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.parity import BF16_OF
from edgebird.settings.model import StationSettings
from edgebird.sinks import Sink
from edgebird.sinks.lines import now
from edgebird.sinks.remote.alerts import AlertSink
from edgebird.sinks.remote.disks import Disks
from edgebird.sinks.remote.metrics import MetricsSink, Running
from edgebird.sinks.remote.mqtt import MqttSink
from edgebird.timestamps import parse_timezone


def remote_sinks(settings: StationSettings, bundle: Bundle, runtime_name: str) -> list[Sink]:
    """The sinks that are asked for. Raises UsageError for settings that do not fit, EdgebirdError without an extra."""
    sinks: list[Sink] = []
    if settings.metrics:
        disks = Disks(settings.output.paths)
        sinks.append(MetricsSink(settings.metrics.listen, _running(settings, bundle, runtime_name), disks))
    if settings.mqtt:
        sinks.append(MqttSink(settings.mqtt, settings.output.database, _clock(settings)))
    if settings.alerts:
        disks = Disks(settings.output.paths)
        sinks.append(AlertSink(settings.alerts, settings.output.database, disks, _clock(settings)))
    return sinks


def _clock(settings: StationSettings) -> Callable[[], datetime]:
    """The wall clock in the time zone of events."""
    zone = settings.detection.timezone
    if zone is None:
        return now
    return partial(datetime.now, parse_timezone(zone))


def _running(settings: StationSettings, bundle: Bundle, runtime_name: str) -> Running:
    precision = settings.detection.precision
    parity = None if precision in BF16_OF else bundle.graph_of(precision).parity.get("max_abs")
    return Running(__version__, runtime_name, bundle.path.resolve().name, precision, parity)
