"""What the events of a station add up to: the figures that are told as metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgebird.events import Event, encodable

MOST_SOURCES = 100  # that are told apart: a station whose sources change for months has no more series than that
MOST_SERIES = 5000  # of detections: a source and a species each
OTHER = "other"


@dataclass(slots=True)
class SourceTally:
    """A source, since the station began. audio_s, scored_s, waiting_s: seconds; drift: its clock's, a ratio."""

    state: str = "starting"
    level_dbfs: float | None = None
    waiting_s: float = 0.0
    drift: float | None = None
    audio_s: float = 0.0
    scored_s: float = 0.0
    ended_audio_s: float = 0.0  # of earlier sources of this name
    ended_scored_s: float = 0.0


@dataclass(slots=True)
class Tally:
    """Takes events and adds them up; one thread takes them.

    sources: by name. lost_s: (source, reason) -> seconds. detections: (source, code) -> how many. clips: by source.
    sinks: name -> whether it fails now. sink_lost: name -> events. latency: upper bound in seconds -> windows, as the
    statistics tell it. performance: the figures of the last statistics. stats_at: seconds since 1970 of these.
    """

    sources: dict[str, SourceTally] = field(default_factory=dict)
    lost_s: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    detections: Counter[tuple[str, str]] = field(default_factory=Counter)
    clips: Counter[str] = field(default_factory=Counter)
    clips_deleted: int = 0
    sinks: dict[str, bool] = field(default_factory=dict)
    sink_lost: Counter[str] = field(default_factory=Counter)
    engine_up: bool = True
    latency: Counter[str] = field(default_factory=Counter)
    latency_total_s: float = 0.0
    windows: int = 0
    misses: int = 0
    performance: dict[str, Any] = field(default_factory=dict)
    stats_at: float | None = None

    def take(self, event: Event) -> None:
        """Add an event."""
        if add := getattr(self, f"_add_{event['event']}", None):
            add(event)

    def _name(self, event: Event) -> str:
        name = encodable(event["source"])
        return name if name in self.sources or len(self.sources) < MOST_SOURCES else OTHER

    def _source(self, event: Event) -> SourceTally:
        return self.sources.setdefault(self._name(event), SourceTally())

    def _add_source(self, event: Event) -> None:
        self._source(event).state = "open" if event["state"] == "recovered" else event["state"]

    def _add_gap(self, event: Event) -> None:
        self._source(event)
        self.lost_s[self._name(event), event["reason"]] += event["end_s"] - event["start_s"]

    def _add_detection(self, event: Event) -> None:
        self._source(event)
        series = self._name(event), encodable(event["code"])
        if series not in self.detections and len(self.detections) >= MOST_SERIES:
            series = OTHER, OTHER
        self.detections[series] += 1

    def _add_clip(self, event: Event) -> None:
        self.clips[self._name(event)] += event["path"] is not None

    def _add_retention(self, event: Event) -> None:
        self.clips_deleted += len(event["deleted"])

    def _add_sink(self, event: Event) -> None:
        self.sinks[event["sink"]] = event["state"] == "failed"
        self.sink_lost[event["sink"]] += event.get("lost", 0)

    def _add_engine(self, event: Event) -> None:
        self.engine_up = event["state"] != "failed"

    def _add_summary(self, event: Event) -> None:
        """The account of a source that ends; another of its name may follow."""
        its = self._source(event)
        audio_s, scored_s = event["scored_s"] + event["gap_s"] + event["tail_s"], event["scored_s"]
        its.ended_audio_s += audio_s
        its.ended_scored_s += scored_s
        # What is left is of others that are counted with it, or was rounded: a counter that goes down has begun anew.
        its.audio_s, its.scored_s = max(0.0, its.audio_s - audio_s), max(0.0, its.scored_s - scored_s)
        its.waiting_s = 0.0
        its.state, its.level_dbfs = "closed", None

    def _add_stats(self, event: Event) -> None:
        for its in map(self._source, event["sources"]):
            its.audio_s = its.scored_s = its.waiting_s = 0.0
        for figures in event["sources"]:  # several may be one, as `other`
            its = self._source(figures)
            its.state, its.level_dbfs = figures["state"], figures["level_dbfs"]
            its.waiting_s += figures["waiting_s"]
            its.audio_s += figures["audio_s"]
            its.scored_s += figures["scored_s"]
            its.drift = None if figures["drift_ppm"] is None else figures["drift_ppm"] / 1e6
        self.windows += event["windows"]
        self.misses += event["misses"]
        self.latency.update(event["latency_counts"])
        self.latency_total_s += event["latency_total_s"]
        self.performance = {name: event[name] for name in ("real_time_factor", "cpu_percent", "memory_mb")}
        self.stats_at = datetime.fromisoformat(event["time"]).timestamp()
