"""How a station is doing: values for the live screen, the `stats` event and the summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source now.

    state: starting, open, lost, silent, clipping, quiet or closed; detail: why, one line. level_dbfs, peak_dbfs: of
    the last second, None when nothing came. audio_s, scored_s, gap_s: since it first opened. waiting_s: heard, but not
    scored yet. drift_ppm: its clock against the machine's, None while unknown.
    """

    name: str
    state: str
    detail: str
    level_dbfs: float | None
    peak_dbfs: float | None
    audio_s: float
    scored_s: float
    gap_s: float
    waiting_s: float
    drift_ppm: float | None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a figure."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Performance:
    """What listening costs and how late it is.

    inference_ms: of one window. latency_s: from the last sample heard to the onset event. misses: windows scored after
    the next one of their source was due. real_time_factor: seconds of inference per second of audio, all sources.
    cpu_percent: of one core, this process and its capture processes; memory_mb: the same, resident.
    """

    windows: int
    inference_ms: Percentiles | None
    latency_s: Percentiles | None
    misses: int
    real_time_factor: float
    cpu_percent: float
    memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """As the events tell it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Status:
    """A station now."""

    wall_s: float
    runtime: str
    sources: tuple[SourceStatus, ...]
    performance: Performance
