"""Whatever happens to sources, sinks and the engine at once: a station goes on, tells it, and accounts for all sound.

Every fault of a source meets every fault of a sink, every fault of the engine and every precision, and so do these
with each other (pairwise): `runs`. The tables are in `faults`.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgebird.bundle import Bundle
from edgebird.card import Precision
from edgebird.detection import detection_settings
from edgebird.errors import RuntimeUnavailableError
from edgebird.events import Event
from edgebird.live import captured
from edgebird.live.assembly import make_sinks
from edgebird.live.engine import Engine
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.station import Station, StationOptions
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.settings.keywords import keyword_settings
from edgebird.settings.model import StationSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.thread import SinkThread
from edgebird.types import Origin
from tests.faults import (
    ENGINE_FAULTS,
    HOP_S,
    PRECISIONS,
    SECONDS,
    SINK_FAULTS,
    SOURCE_FAULTS,
    WINDOW_S,
    EngineFault,
    SinkFault,
    SourceFault,
    Struck,
    microphone,
)
from tests.foreign import LABELS, MODEL, RATE, tone_bundle

pytestmark = pytest.mark.slow

_LONGEST_S = 30.0  # for what happens in three seconds on a machine that does nothing else


@dataclass(frozen=True)
class Row:
    """One run: a healthy microphone and some sources with faults, through one engine, into all sinks."""

    sink: SinkFault
    engine: EngineFault
    precision: str
    sources: tuple[SourceFault, ...]

    def __str__(self) -> str:
        return f"sink: {self.sink.fault}, engine: {self.engine.fault}, {self.precision}"


def runs() -> list[Row]:
    """For each sink fault and precision a run; engine faults and sources walk along its diagonals."""
    engines, precisions = len(ENGINE_FAULTS), len(PRECISIONS)
    assert engines == precisions == 5, "the diagonals meet everything where both are the same prime"
    return [
        Row(
            sink,
            ENGINE_FAULTS[(i + 2 * j) % engines],
            precision,
            tuple(fault for k, fault in enumerate(SOURCE_FAULTS) if (i + k) % precisions == j),
        )
        for (i, sink), (j, precision) in itertools.product(enumerate(SINK_FAULTS), enumerate(PRECISIONS))
    ]


def test_every_fault_meets_every_other() -> None:
    """A row that is added to a table must not leave pairs out."""
    met = set()
    for row in runs():
        others = [("sink", row.sink.fault), ("engine", row.engine.fault), ("precision", row.precision)]
        met |= set(itertools.combinations(others, 2))
        met |= {(other, ("source", source.name)) for other in others for source in row.sources}
    all_of = [
        [("sink", fault.fault) for fault in SINK_FAULTS],
        [("engine", fault.fault) for fault in ENGINE_FAULTS],
        [("precision", name) for name in PRECISIONS],
        [("source", fault.name) for fault in SOURCE_FAULTS],
    ]
    for one, other in itertools.combinations(all_of, 2):
        assert set(itertools.product(one, other)) <= met


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A graph that is the same in each precision: what is tried here is the way there."""
    graphs = {name: Precision(MODEL, "", 17) for name in ("fp32", "fp16", "int8")}
    parts = {"images": ("projected",), "maps": ("power",)}  # what is between them is computed in bf16
    folder = tmp_path_factory.mktemp("faults") / "tones"
    return tone_bundle(folder, window_samples=round(WINDOW_S * RATE), golden=None, precisions=graphs, **parts)


class _Told(Sink):
    """All events, as a user's own sink sees them."""

    name = "told"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, event: Event, memory: Memory | None) -> None:
        self.events.append(event)

    def of(self, kind: str, source: str | None = None) -> list[Event]:
        return [e for e in self.events if e["event"] == kind and (source is None or e["source"] == source)]


@dataclass
class _Ran:
    """A run that is over. folder: where its sinks wrote."""

    row: Row
    folder: Path
    told: _Told
    failures: list[str]


@pytest.fixture(params=runs(), ids=str)
def ran(request: pytest.FixtureRequest, tones: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Ran:
    """Run a row."""
    row: Row = request.param
    monkeypatch.setattr(captured, "STALL_S", 0.6)
    monkeypatch.setattr(captured, "FIRST_PAUSE_S", 0.1)
    kept = {name: tmp_path / name for name in ("out", "log", "clips")}
    row.sink.wreck(tmp_path)
    settings = keyword_settings(
        None, None,
        {"mic": "healthy", "bundle": tones.path, "hop": HOP_S, "clip_pre": 0, "clip_post": 0, **kept,
         "precision": row.precision, "csv": tmp_path / "tables" / "birds.csv", "database": tmp_path / "birds.db"},
    )  # fmt: skip
    runtime = _opened(tones, row.precision)
    told = _Told()
    own = [row.sink.own()] if row.sink.own else []
    sinks = make_sinks(settings, tones, runtime.name, [told, *own])
    if row.sink.full:
        (full,) = (sink for sink in sinks if sink.name == row.sink.name)
        monkeypatch.setattr(full, "take", _disk_full)
    telling = SinkThread(sinks)
    telling.open()
    faults = (SourceFault("healthy", "none", microphone(["audio", 99, 0.8])), *row.sources)

    def look() -> None:
        heard = {source.name: source.audio_s for source in station.status().sources}
        if all(_has_happened(fault, heard, told) for fault in faults):
            station.stop()

    engine = Engine(Struck(runtime, row.engine), reopen=lambda: _opened(tones, row.precision))
    station = Station(engine, telling, StationOptions(HOP_S, _LONGEST_S), look)
    with ExitStack() as stack:
        stack.callback(engine.close)
        for fault in faults:
            station.add(_listener(fault, settings, tones, tmp_path, stack))
        station.run()
    return _Ran(row, tmp_path, told, station.failures)


def _has_happened(fault: SourceFault, heard: dict[str, float], told: _Told) -> bool:
    """Whether a source is over, or has been heard for long enough and what must be told of it was."""
    states = [event["state"] for event in told.of("source", fault.name)]
    wanted = [state for state in fault.states if state != "closed"]
    return fault.name not in heard or (heard[fault.name] >= SECONDS and states[: len(wanted)] == wanted)


def _disk_full(event: Event, memory: Memory | None) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(bundle: Bundle, precision: str) -> Runtime:
    engine = "openvino" if "bf16" in precision else "ort-cpu"
    try:
        return open_runtime(bundle, engine, RuntimeOptions(precision, threads=1))
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


def _listener(
    fault: SourceFault, settings: StationSettings, bundle: Bundle, folder: Path, stack: ExitStack
) -> Listener:
    place = folder / fault.name
    place.mkdir()
    judge = detection_settings(settings.detection, bundle.card)
    return Listener(fault.make(place, stack), bundle.card, judge, ListenOptions(history_s=30), Origin(fault.name))


# ------------------------------------------------------------------------------------------------- what must be true
def test_a_station_survives_tells_and_accounts_for_every_second(ran: _Ran) -> None:
    _check_accounts(ran.told)
    for fault in ran.row.sources:
        _check_source(fault, ran)
    _check_healthy(ran)
    _check_sinks(ran)


def _check_accounts(told: _Told) -> None:
    """Scored, told as gaps, or too short to score: in samples, exactly."""
    for summary in told.of("summary"):
        parts = summary["scored_s"] + summary["gap_s"] + summary["tail_s"]
        gaps = sum(e["end_s"] - e["start_s"] for e in told.of("gap", summary["source"]))
        assert gaps == pytest.approx(summary["gap_s"], abs=1e-9), summary
        if "audio_s" in summary:
            assert parts == pytest.approx(summary["audio_s"], abs=1e-9), summary


def _check_source(fault: SourceFault, ran: _Ran) -> None:
    (summary,) = ran.told.of("summary", fault.name)
    gaps = [gap for gap in ran.told.of("gap", fault.name) if gap["reason"] != "engine"]
    assert {gap["reason"] for gap in gaps} == fault.gaps, fault.name
    least, most = fault.lost_s
    assert least <= sum(gap["end_s"] - gap["start_s"] for gap in gaps) <= most, fault.name
    states = [event["state"] for event in ran.told.of("source", fault.name)]
    assert tuple(states[: len(fault.states)]) == fault.states, fault.name
    failures = [text for text in ran.failures if f"/{fault.name}/" in text]
    assert len(failures) == bool(fault.failure), fault.name
    assert fault.failure in "".join(failures), fault.name
    found = {(event["code"], round(event["score"], 1)) for event in ran.told.of("detection", fault.name)}
    hears = fault.hears and summary["scored_s"] > 0  # the only window of a short one may be what the engine lost
    assert found == ({(LABELS[1].code, 0.8)} if hears else set()), fault.name


def _check_healthy(ran: _Ran) -> None:
    """Nothing that befalls others costs it anything; an engine's fault costs the windows that it struck."""
    (summary,) = ran.told.of("summary", "healthy-none")
    gaps = ran.told.of("gap", "healthy-none")
    assert {gap["reason"] for gap in gaps} <= ({"engine"} if ran.row.engine.lost else set())
    assert summary["gap_s"] <= 2 * WINDOW_S
    struck = [gap for gap in ran.told.of("gap") if gap["reason"] == "engine"]
    assert bool(struck) == ran.row.engine.lost
    assert [event["state"] for event in ran.told.of("engine")] == list(ran.row.engine.states)
    assert summary["scored_s"] > SECONDS / 2
    assert not [event for event in ran.told.of("source", "healthy-none") if event["state"] == "lost"]


def _check_sinks(ran: _Ran) -> None:
    """The sink that fails says so, and the others have all that was told."""
    failed = {event["sink"] for event in ran.told.of("sink") if event["state"] == "failed"}
    assert failed == {name for name in [ran.row.sink.name] if name}
    detections = len(ran.told.of("detection"))
    assert {name: count for name, count in _kept(ran.folder).items() if name not in failed} == {
        name: detections for name in _KEPT if name not in failed
    }


_KEPT = ("lines", "table", "database", "folder", "clips")


def _kept(folder: Path) -> dict[str, int]:
    """How many detections each sink that works has kept."""
    counts: dict[str, Any] = {
        "lines": _detections(folder.glob("log/*.jsonl")),
        "folder": _detections(folder.glob("out/*.jsonl")),
        "clips": len([*folder.glob("clips/**/*.flac")]),
    }
    if (table := folder / "tables" / "birds.csv").is_file():
        counts["table"] = len(table.read_text().splitlines()) - 1
    if (database := folder / "birds.db").is_file():
        try:
            with closing(sqlite3.connect(database)) as connection:
                counts["database"] = connection.execute("SELECT count(*) FROM detections").fetchone()[0]
        except sqlite3.DatabaseError:
            counts["database"] = 0
    return counts


def _detections(files: Iterable[Path]) -> int:
    whole = [file for file in files if not file.is_symlink()]  # a full disk can be read without end
    events = [json.loads(line) for file in whole for line in file.read_text().splitlines()]
    return sum(event["event"] == "detection" for event in events)
