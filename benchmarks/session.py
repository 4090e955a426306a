"""A session of measuring: open what is wanted, prove it, time it in the scenarios, and report all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgebird.benchmarks import machine, memory, overhead, split
from edgebird.benchmarks.comparison import require_same_audio, require_same_machine
from edgebird.benchmarks.material import Material, read_material
from edgebird.benchmarks.method import Duration
from edgebird.benchmarks.report import FORMAT, Run, ratios
from edgebird.benchmarks.scenarios import SCENARIOS, batches, listen, multi
from edgebird.benchmarks.scenarios.multi import Streams
from edgebird.benchmarks.sensors import ROOT, Sensors, open_sensors, system
from edgebird.benchmarks.subjects import Subject, Wanted, natural_batches, open_subjects, prove
from edgebird.bundle import Bundle
from edgebird.card import Card
from edgebird.detection import HOP_S
from edgebird.errors import UsageError

_IDLE_S = 2.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and how long. batches: (), for what fits the scenario. audio: (), for the demo's recording."""

    wanted: Wanted = field(default_factory=Wanted)
    scenarios: tuple[str, ...] = ("single",)
    batches: tuple[int, ...] = ()
    streams: int = 4
    hop_s: float = HOP_S
    audio: tuple[Path, ...] = ()
    duration: Duration = field(default_factory=Duration)

    def check(self, bundle: Bundle) -> None:
        """Raise UsageError for what does not fit the bundle."""
        if unknown := [name for name in self.scenarios if name not in SCENARIOS]:
            raise UsageError(f"--scenario {unknown[0]}: wanted {', '.join(SCENARIOS)}")
        group = max(bundle.card.batches)
        if group == 1:
            return
        if sizes := [size for size in self.batches if size != group]:
            raise UsageError(f"--batch {sizes[0]}: windows of this bundle share a floor in groups of {group}")
        if live := [name for name in self.scenarios if name in ("multi", "listen")]:
            raise UsageError(f"--scenario {live[0]}: windows of this bundle share a floor, it cannot listen")


@dataclass(frozen=True, slots=True)
class _Bench:
    """What the parts of a session share."""

    bundle: Bundle
    plan: Plan
    subjects: Sequence[Subject]
    material: Material
    sensors: Sensors
    tell: Tell

    def proven(self, batch_of: Callable[[Subject], Sequence[int]]) -> list[tuple[Subject, int]]:
        """Subjects with the batch sizes to measure them at, those that are right at each of theirs."""
        pairs = [(subject, batch) for subject in self.subjects for batch in batch_of(subject)]
        for subject, batch in pairs:
            if batch not in subject.proofs and not subject.wrong:
                prove(subject, self.bundle, batch)
        return [(subject, batch) for subject, batch in pairs if not subject.wrong]


def _told(card: Card) -> dict[str, Any]:
    """Of the bundle, for the report: its graphs, and where the weights of an adopted model are from."""
    told: dict[str, Any] = {"sha256": {name: graph.sha256 for name, graph in card.precisions.items()}}
    return told | ({"weights": asdict(card.provenance)} if card.provenance else {})


def run(bundle: Bundle, plan: Plan, tell: Tell, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """The report, as JSON has it. Runs of subjects that are wrong have verdict INVALID and no figures.

    earlier: a report that this one shall be compared with: of another machine, or of other audio, it is refused before
    time is spent.
    """
    plan.check(bundle)
    material = read_material(plan.audio, bundle.card, plan.hop_s)
    audio = {"files": material.names, "windows": len(material.windows), "hop_s": plan.hop_s}
    sensors = open_sensors(ROOT)
    plan = replace(plan, duration=replace(plan.duration, turn_s=sensors.turn_s))
    try:
        sensors.watch()
        if earlier:
            require_same_machine(machine.describe(sensors), earlier)
            require_same_audio(audio, earlier)
        idle = _idle_watts(sensors)
        before, runs, refused, extra = machine.observe(sensors), list[Run](), list[str](), dict[str, Any]()
        for wanted, scenarios in _by_opening(plan):
            with open_subjects(bundle, wanted, tell) as (subjects, reasons):
                bench = _Bench(bundle, plan, subjects, material, sensors, tell)
                runs += [run for name in scenarios for run in _scenario(bench, name)]
                refused += [reason for reason in reasons if reason not in refused]
                extra |= _overhead(bench) if "single" in scenarios else {}
        after = machine.observe(sensors)
        slowed = sorted(sensors.throttled.union(system.throttled(before, after)))
        for one in runs:
            _judge(one, slowed, idle)
        return {
            "format": FORMAT,
            "machine": machine.describe(sensors),
            "conditions": {"before": before, "after": after, "throttled": slowed, "idle_w": idle},
            "bundle": _told(bundle.card),
            "audio": audio,
            "runs": runs,
            "ratios": ratios(runs),
            "refused": refused,
            **extra,
        }
    finally:
        sensors.close()


def _by_opening(plan: Plan) -> Iterator[tuple[Wanted, list[str]]]:
    """How engines are opened for which scenarios: as `detect` does for recordings, and as `listen` does."""
    together = {"single": False, "offline": True}
    for throughput in (False, True):
        names = [name for name in dict.fromkeys(plan.scenarios) if together.get(name, plan.streams > 1) == throughput]
        if names:
            yield replace(plan.wanted, throughput=throughput), names


def _scenario(bench: _Bench, name: str) -> list[Run]:
    plan, group = bench.plan, max(bench.bundle.card.batches)
    memory.forget_peak()
    if name in ("single", "offline"):
        pairs = bench.proven(lambda subject: natural_batches(subject, plan.batches, _usual(subject, name, group)))
        bench.tell(
            f"{name}: {', '.join(f'{subject.name} x {batch}' for subject, batch in pairs) or 'nothing is right'}"
        )
        runs = batches.measure(pairs, bench.material, plan.duration, bench.sensors.joules, name) if pairs else []
        peak = memory.peak_mb()
        for found, (subject, batch) in zip(runs, pairs, strict=True):
            found["peak_memory_mb"] = peak
            if name == "single":
                found["split"] = split.measure(bench.bundle, subject, batch, bench.material)
    else:
        if plan.wanted.baseline:
            bench.tell(f"{name}: without the baseline, which takes batches of four and nothing else")
        # Looking for the number that is carried, `multi` comes to every size; listening, no more are ever due at once.
        most = (plan.streams,) if name == "listen" else ()
        pairs = bench.proven(lambda subject: () if subject.is_baseline else multi.sizes_of(subject, *most))
        runs = _streams(bench, name, list(dict.fromkeys(subject for subject, _ in pairs)))
    return runs + [_invalid(subject, name) for subject in bench.subjects if subject.wrong]


def _usual(subject: Subject, scenario: str, group: int) -> Sequence[int]:
    """Batch sizes: what is heard comes in groups of a fixed size, recordings in as many as the engine wants."""
    if scenario == "single":
        return (group,)
    return sorted({subject.runtime.batch_size, *(batches.OFFLINE_BATCHES if group == 1 else ())})


def _streams(bench: _Bench, name: str, subjects: Sequence[Subject]) -> list[Run]:
    plan = bench.plan
    streams = Streams(plan.streams, plan.hop_s)
    if name == "listen":
        seconds, count = plan.duration.seconds, bench.sensors.joules
        return [listen.measure(one, bench.material, streams, seconds, count, bench.tell) for one in subjects]
    if not subjects:
        return []
    bench.tell(f"multi: {plan.streams} streams, {', '.join(subject.name for subject in subjects)}")
    return multi.measure(subjects, bench.material, streams, plan.duration, bench.sensors.joules, bench.tell)


def _invalid(subject: Subject, scenario: str) -> Run:
    """A run without any figure."""
    parity = next((proof.to_json() for proof in reversed(subject.proofs.values())), None)
    facts = {key: value for key, value in subject.facts().items() if not key.endswith("_ms")}
    return {**facts, "scenario": scenario, "parity": parity, "verdict": "INVALID", "reasons": [subject.wrong]}


def _judge(one: Run, slowed: Sequence[str], idle: dict[str, float]) -> None:
    """Add what is known at the end only: whether the machine was throttled, and idle power."""
    if slowed and one["verdict"] != "INVALID":
        one["verdict"] = "THROTTLED"
        one["reasons"] = [*slowed, *one["reasons"]]
    for name, energy in one.get("energy", {}).items():
        energy["idle_w"] = idle[name]


def _idle_watts(sensors: Sensors) -> dict[str, float]:
    """By meter, before anything is opened."""
    if not sensors.meters:
        return {}
    before, began = sensors.joules(), time.monotonic()
    time.sleep(_IDLE_S)
    after, seconds = sensors.joules(), time.monotonic() - began
    return {name: (joules - before[name]) / seconds for name, joules in after.items()}


def _overhead(bench: _Bench) -> dict[str, Any]:
    """What edgebird itself costs, beside the first subject that has figures and is an engine of ours."""
    right = [subject for subject in bench.subjects if not subject.wrong and not subject.is_baseline]
    if not right:
        return {}
    return {"overhead": overhead.measure(bench.bundle, right[0], bench.material, bench.plan.hop_s)}
