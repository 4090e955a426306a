"""Figures for Prometheus, at http://HOST:PORT/metrics; docs/station.md says what each is.

Names and units follow https://prometheus.io/docs/practices/naming/: base units, `_total` for what only grows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgebird.errors import EdgebirdError, OutputError
from edgebird.events import Event, encodable
from edgebird.sinks import Memory, Sink
from edgebird.sinks.remote.disks import Disks
from edgebird.sinks.remote.tally import Tally

if TYPE_CHECKING:
    from prometheus_client.core import Metric

STATES = ("starting", "open", "lost", "silent", "clipping", "quiet", "closed")
_HEARD = ("open", "silent", "clipping", "quiet")
_BOUNDS = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30")


@dataclass(frozen=True, slots=True)
class Running:
    """What a station runs.

    parity: largest difference of its scores from the original's, None where nobody knows. proven: `at_start`, as the
    engine that runs scored golden windows then; `card`, as the bundle's card says of the graph. tolerance: what is
    allowed.
    """

    version: str
    runtime: str
    model: str
    precision: str
    parity: float | None
    proven: str
    tolerance: float


class MetricsSink(Sink):
    """Serves the figures of a station over HTTP, on threads of their own.

    listen: HOST:PORT. Raises EdgebirdError without the extra `metrics`.
    """

    name = "metrics"

    def __init__(self, listen: str, running: Running, disks: Disks) -> None:
        try:
            import prometheus_client
        except ImportError:
            raise EdgebirdError("[metrics] needs prometheus-client: pip install 'edgebird[metrics]'") from None
        self._package = prometheus_client
        host, _, port = listen.rpartition(":")
        self._listen, self._host, self._port = listen, host.strip("[]"), int(port)
        self._running, self._disks = running, disks
        self._tally, self._lock = Tally(), threading.Lock()
        self._stop: Callable[[], None] | None = None

    def open(self) -> None:
        """Begin to serve. Raises OutputError where another program has the port."""
        self.close()
        registry = self._package.CollectorRegistry()
        registry.register(self)
        try:
            server, thread = self._package.start_http_server(self._port, self._host, registry)
        except OSError as error:
            raise OutputError(f"cannot serve metrics on {self._listen}: {error.strerror or error}") from error
        self._disks.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._stop = stop

    def take(self, event: Event, memory: Memory | None) -> None:
        """Add an event to the figures."""
        with self._lock:
            self._tally.take(event)

    def close(self) -> list[Event]:
        """Serve no more."""
        stop, self._stop = self._stop, None
        if stop:
            stop()
        self._disks.stop()
        return []

    def describe(self) -> list[Metric]:
        """Nothing: what there is comes with `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures, for a scrape; called on its thread."""
        with self._lock:
            found = [*self._of_station(), *self._of_sources(), *self._of_results(), *self._of_sinks()]
        yield from found

    def _of_station(self) -> Iterator[Metric]:
        one, tally = self._running, self._tally
        about = {"version": one.version, "runtime": one.runtime, "model": one.model, "precision": one.precision}
        yield _gauge("station_info", "What runs; always 1.", [({k: encodable(v) for k, v in about.items()}, 1.0)])
        yield _gauge("engine_up", "Whether the engine scores; 0 while it is lost.", [({}, float(tally.engine_up))])
        if one.parity is not None:
            words = "Largest difference of scores from the original's: of this engine at_start, or as the card says."
            yield _gauge("engine_parity_max_difference", words, [({"proven": one.proven}, one.parity)])
            words = "What is allowed of it at this precision."
            yield _gauge("engine_parity_tolerance", words, [({}, one.tolerance)])
        if tally.stats_at is not None:
            figures = tally.performance
            yield _gauge("stats_timestamp_seconds", "When the station last told its figures.", [({}, tally.stats_at)])
            words = "Seconds of inference per second of audio, all sources; above 1 audio is lost."
            yield _gauge("real_time_ratio", words, [({}, figures["real_time_factor"])])
            yield _gauge("cpu_ratio", "CPU of the station, 1 is one core.", [({}, figures["cpu_percent"] / 100)])
            yield _gauge("memory_bytes", "Resident memory of the station.", [({}, figures["memory_mb"] * 1e6)])
        disks = [({"path": encodable(str(path))}, disk) for path, disk in self._disks.now.items()]
        words = "Left for edgebird on the disk that it writes this path to."
        yield _gauge("disk_free_bytes", words, [(labels, float(disk.free)) for labels, disk in disks])
        yield _gauge("disk_size_bytes", "Size of that disk.", [(labels, float(disk.size)) for labels, disk in disks])

    def _of_sources(self) -> Iterator[Metric]:
        named = [({"source": name}, its) for name, its in self._tally.sources.items()]
        yield _gauge("source_up", "Whether the source is heard.", [(of, float(s.state in _HEARD)) for of, s in named])
        states = [({**of, "state": state}, float(s.state == state)) for of, s in named for state in STATES]
        yield _gauge("source_state", "1 for the state that the source is in.", states)
        levels = [(of, s.level_dbfs) for of, s in named if s.level_dbfs is not None]
        yield _gauge("source_level_dbfs", "Level of its last second, dB of full scale.", levels)
        waiting = [(of, s.waiting_s) for of, s in named]
        yield _gauge("source_waiting_seconds", "Heard, and not scored yet.", waiting)
        drifts = [(of, s.drift) for of, s in named if s.drift is not None]
        yield _gauge("source_drift_ratio", "Its clock against the computer's; 1e-6 is 1 ppm.", drifts)
        heard = [(of, s.ended_audio_s + s.audio_s) for of, s in named]
        yield _counter("source_audio_seconds", "All its audio, lost or not.", heard)
        scored = [(of, s.ended_scored_s + s.scored_s) for of, s in named]
        yield _counter("source_scored_seconds", "What was scored of it.", scored)
        lost = [({"source": name, "reason": why}, s) for (name, why), s in self._tally.lost_s.items()]
        yield _counter("source_lost_seconds", "What was not, told when a gap is over or lasts for ten minutes.", lost)

    def _of_results(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        tally = self._tally
        found = [({"source": name, "code": code}, float(n)) for (name, code), n in tally.detections.items()]
        yield _counter("detections", "Birds, by source and eBird code.", found)
        yield _counter("windows", "Windows that were scored.", [({}, float(tally.windows))])
        words = "Windows that were scored after the next one of their source was due."
        yield _counter("window_misses", words, [({}, float(tally.misses))])
        buckets, sum_so_far = [], 0
        for bound in (*_BOUNDS, "inf"):
            sum_so_far += tally.latency[bound]
            buckets.append(("+Inf" if bound == "inf" else bound, float(sum_so_far)))
        words = "From the last sound of a window to its scores, of live sources."
        histogram = HistogramMetricFamily("edgebird_window_latency_seconds", words)
        histogram.add_metric([], buckets, tally.latency_total_s)
        yield histogram
        clips = [({"source": name}, float(number)) for name, number in tally.clips.items()]
        yield _counter("clips", "Clips that were written.", clips)
        yield _counter("clips_deleted", "Clips that were deleted to make room.", [({}, float(tally.clips_deleted))])

    def _of_sinks(self) -> Iterator[Metric]:
        tally = self._tally
        failing = [({"sink": encodable(name)}, float(fails)) for name, fails in tally.sinks.items()]
        yield _gauge("sink_failing", "Whether an output fails now.", failing)
        lost = [({"sink": encodable(name)}, float(number)) for name, number in tally.sink_lost.items()]
        yield _counter("sink_lost_events", "Events that an output did not keep, told when it has recovered.", lost)


def _gauge(name: str, words: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _with(GaugeMetricFamily(f"edgebird_{name}", words), f"edgebird_{name}", samples)


def _counter(name: str, words: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _with(CounterMetricFamily(f"edgebird_{name}", words), f"edgebird_{name}_total", samples)


def _with(family: Metric, name: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    for labels, value in samples:
        family.add_sample(name, labels, value)
    return family
