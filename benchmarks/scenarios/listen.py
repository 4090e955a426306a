"""Scenario `listen`: recordings as real-time streams through the whole streaming path, in this process.

Sources are paced by the clock, at the model's rate: rings, windows, the engine, pooling and events are in the figures;
capture processes, resampling and what is written to disks are not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from edgebird.benchmarks import memory
from edgebird.benchmarks.figures import statistics
from edgebird.benchmarks.material import Material
from edgebird.benchmarks.method import Counters, Turns
from edgebird.benchmarks.scenarios.batches import energy_of
from edgebird.benchmarks.scenarios.multi import Streams, sizes_of
from edgebird.benchmarks.split import includes
from edgebird.benchmarks.subjects import Subject
from edgebird.capture.blocks import block_s
from edgebird.detection import settings_for
from edgebird.events import Event
from edgebird.live.hush import ListenOptions
from edgebird.live.listener import Due, Listener
from edgebird.live.pulled import PacedSource
from edgebird.live.station import Station, StationOptions
from edgebird.live.telling import Telling
from edgebird.sinks import Memory
from edgebird.types import FloatArray, Origin

_BUFFER_S = 15.0
_WINDOWS = 10  # of each stream, at least

_Noted = list[tuple[float, float]]


class _Ear(Listener):
    """A listener that notes of each window when it was scored, and how late its events were.

    noted: shared by all ears; the time is the same for windows that were scored at once, the other is in seconds after
    a window's last sample was heard.
    """

    noted: _Noted

    def take(self, due: Due, scores: FloatArray, now: float) -> None:
        super().take(due, scores, now)
        self.noted.append((now, time.monotonic() - due.heard_at))


class _Account(Telling):
    """Counts what was lost, and keeps nothing."""

    def __init__(self) -> None:
        self.gap_s = 0.0
        self.events = 0

    def take(self, event: Event, memory: Memory | None) -> None:
        self.events += event["event"] in ("onset", "detection")
        if event["event"] == "gap":
            self.gap_s += event["end_s"] - event["start_s"]


def measure(
    subject: Subject,
    material: Material,
    streams: Streams,
    seconds: float,
    count: Counters,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Listen for as long as ten windows of each stream take, or `seconds` if that is more; the run as in the report.

    Every window is a sample, in order. batch: the most windows that were really scored at once. cpu_percent is of one
    core.
    """
    card = subject.runtime.card
    seconds = max(seconds, card.window_samples / card.sample_rate + _WINDOWS * streams.hop_s)
    tell(f"{subject.name}: listening to {streams.count} streams for {seconds:g} s")
    account = _Account()
    noted: _Noted = []
    station = Station(subject.runtime, account, StationOptions(streams.hop_s))
    for number in range(streams.count):
        station.add(_ear(f"stream {number + 1}", subject, material, (seconds, streams.hop_s), noted))
    turns, cost = _run(station, count)
    late_s = [late for _, late in noted]
    batch = max(Counter(scored_at for scored_at, _ in noted).values())
    turns.steps = len(late_s)
    samples = [1e3 * late for late in late_s]
    return {
        **subject.facts(),
        "scenario": "listen",
        "batch": batch,
        "streams": streams.count,
        "hop_s": streams.hop_s,
        "includes": includes(subject, batch),
        "latency_ms": statistics(samples),
        "samples_ms": [round(sample, 4) for sample in samples],
        "parity": subject.parity(sizes_of(subject, streams.count)),
        "energy": energy_of(turns, 1),
        **cost,
        **_verdict(account, sum(late > streams.hop_s for late in late_s)),
    }


def _run(station: Station, count: Counters) -> tuple[Turns, dict[str, Any]]:
    """Listen to the end; energy and time, and what it cost this process."""
    memory.forget_peak()
    before, began, spent = count(), time.monotonic(), time.process_time()
    station.run()
    wall, spent = time.monotonic() - began, time.process_time() - spent
    joules = {name: after - before[name] for name, after in count().items()}
    cost = {"cpu_percent": round(100 * spent / wall, 2), "peak_memory_mb": memory.peak_mb()}
    return Turns(joules=joules, seconds=wall), cost


def _verdict(account: _Account, misses: int) -> dict[str, Any]:
    """How it went; late or lost audio is no steady run."""
    lost = bool(misses or account.gap_s)
    return {
        "missed_deadlines": misses,
        "gap_s": round(account.gap_s, 3),
        "events": account.events,
        "verdict": "NOISY" if lost else "STEADY",
        "reasons": [f"{misses} deadlines missed, {account.gap_s:.1f} s lost"] if lost else [],
    }


def _ear(name: str, subject: Subject, material: Material, timing: tuple[float, float], noted: _Noted) -> Listener:
    """timing: seconds to listen for, and the hop."""
    card, (seconds, hop_s) = subject.runtime.card, timing
    settings = settings_for(card, hop_s)
    size = block_s(card.window_samples, settings.hop, card.sample_rate)
    feed = PacedSource(name, lambda: material.blocks(seconds, size), card.sample_rate, _BUFFER_S, size)
    ear = _Ear(feed, card, settings, ListenOptions(), Origin(name))
    ear.noted = noted
    return ear
