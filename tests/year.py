"""A station's database as a year of listening leaves it: detections, statistics, gaps, an outage, with a seed.

Species are those of BirdCLEF 2023. Each has hours and months in which it is heard, so that pictures have something to
show. `python -m tests.year FILE` writes one.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.events import Event, to_json
from edgebird.export.families.folds.labels import birdclef2023
from edgebird.sinks.database import DatabaseSink

ZONE = timezone(timedelta(hours=3))
PLACE = (-1.27, 36.81)
SOURCES = ("garden", "pond", "wood")
REASONS = ("stalled", "disconnected", "overrun", "engine")


@dataclass(frozen=True)
class Year:
    """What is made. outage: the station does not run in these hours after the middle of the time, of all sources."""

    first: date = date(2025, 1, 1)
    days: int = 365
    detections: int = 200_000
    species: int = 80
    sources: tuple[str, ...] = SOURCES
    stats_every: timedelta = timedelta(hours=1)
    gaps_a_day: float = 2.0
    outage_h: int = 30
    clips: bool = True
    seed: int = 2023

    @property
    def begins(self) -> datetime:
        return datetime.combine(self.first, time(), ZONE)

    @property
    def ends(self) -> datetime:
        return self.begins + timedelta(days=self.days)

    @property
    def outage(self) -> tuple[datetime, datetime]:
        """When it does not run."""
        start = self.begins + timedelta(days=self.days // 2, hours=7)
        return start, start + timedelta(hours=self.outage_h)

    def runs(self) -> list[tuple[datetime, datetime]]:
        """When it runs."""
        return (
            [(self.begins, self.outage[0]), (self.outage[1], self.ends)]
            if self.outage_h
            else [(self.begins, self.ends)]
        )


def write_year(path: Path, year: Year = Year()) -> Path:
    """Write the database, closed as the station closes it; the same for the same year, whatever the machine."""
    path.unlink(missing_ok=True)
    sink = DatabaseSink(path)
    sink.open()
    sink.close()
    random = np.random.default_rng(year.seed)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO detections (source, time, start_s, end_s, code, scientific_name, common_name, score, windows,"
            " latency_s, clip) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _detections(year, random),
        )
        events = sorted([*_stats(year), *_gaps(year, random), *_turns(year)], key=lambda event: event["time"])
        connection.executemany(
            "INSERT INTO events (time, source, event, json) VALUES (?, ?, ?, ?)",
            ((event["time"], event["source"], event["event"], to_json(event)) for event in events),
        )
    return path


def _detections(year: Year, random: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Rows by time. Scores are low for most; each species has an hour and a month about which it is heard."""
    labels = birdclef2023()[:: max(1, 264 // year.species)][: year.species]
    many = year.detections
    share = random.pareto(1.1, len(labels)) + 0.05
    which = random.choice(len(labels), many, p=share / share.sum())
    peak, month = random.choice([6.3, 6.8, 7.5, 9.0, 17.5, 21.0], len(labels)), random.uniform(0, 12, len(labels))
    hours = np.mod(peak[which] + random.normal(0, 1.6, many), 24)
    days = np.mod((month[which] + random.normal(0, 2.2, many)) * year.days / 12, year.days).astype(int)
    at_ms = np.round(1000 * (days * 86_400.0 + hours * 3600)).astype(np.int64)
    score = np.round(np.clip(0.3 + random.beta(1.1, 2.2, many) * 0.7, 0.3, 0.999), 6)
    source = random.choice(len(year.sources), many, p=_shares(len(year.sources)))
    length = 5 + 2.5 * random.poisson(1.0, many)
    out, back = ((moment - year.begins) / timedelta(milliseconds=1) for moment in year.outage)
    order = [int(row) for row in np.argsort(at_ms, kind="stable") if not out <= at_ms[row] < back]
    texts = np.datetime_as_string(np.datetime64(year.begins.replace(tzinfo=None), "ms") + at_ms, unit="ms")
    offset = year.begins.isoformat()[-6:]
    for row in order:
        label, name, text, value = labels[which[row]], year.sources[source[row]], str(texts[row]), float(score[row])
        stamp = text[:19].translate({45: None, 58: None, 84: "_"})
        clip = f"clips/{name}/{stamp}_{label.code}_{value:.2f}.flac" if year.clips else None
        start_s, long_s = int(at_ms[row]) / 1000, float(length[row])
        yield (
            name, text + offset, start_s, start_s + long_s, label.code, label.scientific_name, label.common_name,
            value, int(long_s // 2.5) - 1, 0.31, clip,
        )  # fmt: skip


def _shares(many: int) -> NDArray[np.float64]:
    share = 1.0 / np.arange(1, many + 1)
    result: NDArray[np.float64] = share / share.sum()
    return result


def _stats(year: Year) -> Iterator[Event]:
    for begins, ends in year.runs():
        moment, number = begins + year.stats_every, 0
        while moment <= ends:
            heard = (moment - begins).total_seconds()
            number += 1
            yield {
                "event": "stats", "source": None, "time": moment.isoformat(timespec="milliseconds"), "wall_s": heard,
                "latitude": PLACE[0], "longitude": PLACE[1], "windows": 1440 * len(year.sources),
                "inference_ms": _percentiles(70 + number % 24), "latency_s": _percentiles(0.3 + 0.01 * (number % 12)),
                "misses": int(number % 97 == 0), "real_time_factor": 0.08, "cpu_percent": 31.0 + number % 5,
                "memory_mb": 390.0,
                "sources": [
                    {"source": name, "state": "open", "level_dbfs": -48.0 - 3 * index, "audio_s": heard,
                     "scored_s": heard - 2, "gap_s": 0.0, "waiting_s": 2.0, "drift_ppm": 21.5 + index}
                    for index, name in enumerate(year.sources)
                ],
            }  # fmt: skip
            moment += year.stats_every


def _percentiles(median: float) -> dict[str, float]:
    return {"p50": median, "p90": 1.2 * median, "p99": 1.5 * median, "max": 2 * median}


def _gaps(year: Year, random: np.random.Generator) -> Iterator[Event]:
    many = int(random.poisson(year.gaps_a_day * year.days))
    for start in np.sort(random.uniform(0, year.days * 86_400 - 600, many)):
        moment = year.begins + timedelta(milliseconds=round(1000 * float(start)))
        if year.outage[0] - timedelta(seconds=600) <= moment < year.outage[1]:
            continue
        length = round(float(min(600, random.exponential(240))), 3)
        start_s = (moment - year.begins).total_seconds()
        yield {
            "event": "gap", "source": str(random.choice(list(year.sources))),
            "time": moment.isoformat(timespec="milliseconds"), "start_s": start_s, "end_s": start_s + length,
            "reason": str(random.choice(list(REASONS))),
        }  # fmt: skip


def _turns(year: Year) -> Iterator[Event]:
    """Sources that open and close."""
    for begins, ends in year.runs():
        for moment, state in ((begins, "open"), (ends, "closed")):
            for name in year.sources:
                at = round((moment - begins).total_seconds(), 3)
                yield {"event": "source", "source": name, "time": moment.isoformat(timespec="milliseconds"),
                       "state": state, "at_s": at, "detail": ""}  # fmt: skip


if __name__ == "__main__":
    made = write_year(Path(sys.argv[1]), Year(**json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
