"""`edgebird bench`: how it times, what it refuses to measure, how it compares. No test depends on how fast this is."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.benchmarks import comparison, figures, memory, overhead, session, subjects
from edgebird.benchmarks.material import read_material
from edgebird.benchmarks.method import ROUNDS, Duration, take_turns
from edgebird.benchmarks.page import page_of
from edgebird.benchmarks.scenarios import multi
from edgebird.benchmarks.scenarios.multi import largest
from edgebird.benchmarks.sensors import Sensors
from edgebird.benchmarks.session import Plan
from edgebird.benchmarks.studies import listening
from edgebird.benchmarks.subjects import Subject, Wanted
from edgebird.bundle import Bundle, open_bundle
from edgebird.errors import AudioError, CheckpointError, EdgebirdError, UsageError
from edgebird.machine import installed_version
from edgebird.runtimes import open_runtime
from edgebird.runtimes.ort import OrtRuntime
from edgebird.types import FloatArray
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle
from tests.test_cli import Command, edgebird

__all__ = ["edgebird"]

SHORT = Duration(0.0, 10, 0.0, 1)


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


def measured(bundle: Bundle, **plan: Any) -> dict[str, Any]:
    """A report as `--json` writes and reads it."""
    plan = {"duration": SHORT, "wanted": Wanted(("ort-cpu",))} | plan
    report: dict[str, Any] = json.loads(json.dumps(session.run(bundle, Plan(**plan), lambda _line: None)))
    return report


# -------------------------------------------------------------------------------------------------------------- figures
def test_statistics_leave_no_sample_out() -> None:
    """A tail that is clipped as an outlier is the very audio that a station loses."""
    told = figures.statistics([*range(1, 100), 10_000])
    assert (told["min"], told["p50"], told["max"], told["mean"]) == (1.0, 50.5, 10_000.0, 149.5)
    assert told["p90"] < told["p95"] < told["p99"] < told["p999"] < told["max"]
    assert told["cv"] > 6


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ([10.0, 10.2] * 50, []),
        ([10.0] * 50 + [10.4] * 50, []),
        ([10.0] * 50 + [10.7] * 50, ["the second half is +7.0% off the first"]),
        ([10.0] * 95 + [20.0] * 5, ["samples vary by 20.8%"]),
        ([10.0], []),
    ],
    ids=["steady", "a little drift", "drift", "outliers", "one"],
)
def test_what_is_not_steady_is_said(samples: list[float], told: list[str]) -> None:
    assert figures.unsteady(samples) == told


def test_a_ratio_of_rounds_that_took_turns_is_sure_where_the_machine_was_not() -> None:
    """Something else slowed the second half of the rounds threefold: both subjects alike."""
    noise = np.random.default_rng(1)
    load = np.repeat([1.0, 3.0], ROUNDS // 2)
    fast = [list(10 * factor * (1 + 0.01 * noise.random(5))) for factor in load]
    slow = [list(12 * factor * (1 + 0.01 * noise.random(5))) for factor in load]
    paired, unpaired = figures.ratio(slow, fast, paired=True), figures.ratio(slow, fast, paired=False)
    assert 1.18 < paired.low < paired.value < paired.high < 1.22
    assert unpaired.high - unpaired.low > 10 * (paired.high - paired.low)
    assert figures.ratio(slow, fast, paired=True) == paired  # seeded


# --------------------------------------------------------------------------------------------------------------- method
class Machine:
    """A clock, and steps that take a time of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def step(self, name: str, seconds: float, after_another: float = 0.0) -> Callable[[], None]:
        """after_another: what it takes longer when another subject was the last to run."""

        def run() -> None:
            self.now += seconds + (after_another if self.ran[-1:] != [name] else 0.0)
            self.ran.append(name)

        return run

    def take_turns(self, *steps: Callable[[], None], duration: Duration) -> Any:
        return take_turns(steps, duration, lambda: {"meter": 2 * self.now}, lambda: self.now)


def test_at_least_so_long_and_so_often_after_a_warm_up() -> None:
    for step_s, least in ((0.001, 3000), (0.5, 50)):
        machine = Machine()
        (turns,) = machine.take_turns(machine.step("a", step_s), duration=Duration(3.0, 50, 1.0, 5))
        assert len(turns.samples) >= least
        assert turns.samples == pytest.approx([1e3 * step_s] * len(turns.samples))
        assert len(machine.ran) - len(turns.samples) == pytest.approx(max(5, 1.0 / step_s), abs=1)  # of warm-up


def test_subjects_take_turns_and_none_pays_for_the_other() -> None:
    machine = Machine()
    steps = [machine.step(name, seconds, 0.3) for name, seconds in (("a", 0.01), ("b", 0.02))]
    a, b = machine.take_turns(*steps, duration=Duration(0.0, 20, 0.0, 1))
    assert [len(samples) for samples in a.rounds] == [2] * ROUNDS
    assert a.samples == pytest.approx([10.0] * 20)  # not 310
    assert b.samples == pytest.approx([20.0] * 20)
    first, second = machine.ran[2], machine.ran[5]
    assert {first, second} == {"a", "b"}
    assert machine.ran[2:14] == [first] * 3 + [second] * 6 + [first] * 3  # nobody is always second


def test_nobody_always_runs_after_the_same_neighbour() -> None:
    """Who comes after the engine that heats the machine would be the slower one for that."""
    machine = Machine()
    names = "abcd"
    machine.take_turns(*(machine.step(name, 0.01) for name in names), duration=Duration(0.0, 10, 0.0, 1))
    turns = machine.ran[len(names) :: 2]  # a first step that is not counted, and one that is
    before: dict[str, set[str]] = {name: set() for name in names}
    for round_ in (turns[start : start + 4] for start in range(0, len(turns), 4)):
        assert sorted(round_) == list(names)
        for this, that in pairwise(round_):
            before[that].add(this)
    assert all(len(neighbours) == 3 for neighbours in before.values())


def test_energy_is_that_of_the_subjects_own_turns() -> None:
    machine = Machine()
    a, b = machine.take_turns(machine.step("a", 0.01), machine.step("b", 0.02), duration=Duration(0.0, 20, 0.0, 1))
    assert (a.steps, b.steps) == (30, 30)
    assert a.joules["meter"] == pytest.approx(2 * 30 * 0.01)  # 2 W
    assert b.joules["meter"] == pytest.approx(2 * b.seconds)


def test_no_turn_is_shorter_than_its_meters_need() -> None:
    machine = Machine()
    turns = machine.take_turns(machine.step("a", 0.1), machine.step("b", 0.1), duration=Duration(0.0, 10, 0.0, 1, 2.0))
    for one in turns:
        assert [len(samples) for samples in one.rounds] == pytest.approx([20] * ROUNDS, abs=1)


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 99, 100, 1000, 4096, 9999])
@pytest.mark.parametrize("guess", [1, 100, 4096])
def test_the_largest_number_of_streams_is_found_from_any_guess(limit: int, guess: int) -> None:
    tried: list[int] = []

    def carries(number: int) -> bool:
        tried.append(number)
        return number <= limit

    found = largest(carries, guess)
    assert 0.95 * min(limit, 4096) - 1 <= found <= min(limit, 4096)
    assert len(tried) == len(set(tried)) < 25
    assert found == 0 or found in tried  # what is told was measured


def test_a_number_of_streams_that_fails_later_is_stepped_down_from() -> None:
    """A station that misses one deadline of fifty loses audio every few minutes."""
    tried: list[int] = []

    def carries(number: int) -> bool:
        tried.append(number)
        return number <= 90

    assert multi.confirmed(carries, 100) == 90
    assert tried == [100, 95, 90]
    assert multi.confirmed(lambda number: False, 3) == 0


def test_a_number_of_streams_is_confirmed_with_many_queries_of_sizes_that_ran_before(tones: Bundle) -> None:
    """An engine's first run at a size is slow: it is no reason to say that a machine carries fewer streams."""
    sizes: list[int] = []

    class Engine:
        card, batch_size = tones.card, 4

        def infer(self, windows: FloatArray) -> FloatArray:
            sizes.append(len(windows))
            return np.zeros((len(windows), len(tones.card.labels)), np.float32)

    subject, now = Subject(Engine(), "fp32", None), [0.0]  # type: ignore[arg-type]

    def clock() -> float:
        if not now[0]:
            assert sorted(sizes) == [2, 4]  # both have run before the clock starts
        now[0] += 0.1
        return now[0]

    material = read_material((), tones.card, 2.5)
    probe = multi._try(subject, material, multi.Streams(6, 2.5), 50, clock)
    assert (len(probe.queries_ms), probe.carried) == (50, True)
    assert set(sizes) == {2, 4}
    now[0] = 0.0
    sizes.clear()
    few = multi._try(subject, material, multi.Streams(6, 2.5), 5000, clock)
    assert 60 / 0.7 < len(few.queries_ms) < 60 / 0.3  # no more than a minute's


# ------------------------------------------------------------------------------------------------------------- subjects
def test_a_wrong_engine_gets_no_figure_and_leaves_the_others_theirs(
    edgebird: Command, tones: Bundle, tmp_path: Path
) -> None:
    """One that hears nothing is the fastest of all."""
    file = tmp_path / "report.json"
    ended = edgebird("bench", tones.path, "--runtime", "ort-cpu", "--runtime", "null", "--seconds", 0, "--json", file)
    assert ended.code == 1
    assert "null fp32, 1 at once: scores differ by up to 0.8" in ended.error()
    assert re.search(r"^null fp32( +-)+ +INVALID$", ended.out, re.MULTILINE)
    right, wrong = json.loads(file.read_text())["runs"]
    assert right["verdict"] in ("STEADY", "NOISY")
    assert (wrong["verdict"], wrong["parity"]["max_abs"] > 0.5) == ("INVALID", True)
    assert not wrong.keys() & {"latency_ms", "samples_ms", "window_ms", "load_ms", "energy"}


def test_an_engine_that_is_wrong_at_one_batch_size_only_is_wrong(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some engines return what was never computed at a new batch size."""
    infer = OrtRuntime.infer

    def late(self: OrtRuntime, windows: FloatArray) -> FloatArray:
        return infer(self, windows) * np.float32(0.5 if len(windows) == 4 else 1.0)

    monkeypatch.setattr(OrtRuntime, "infer", late)
    (run,) = measured(tones, scenarios=("offline",))["runs"]
    assert run["verdict"] == "INVALID"
    assert "4 at once: scores differ" in run["reasons"][0]


@pytest.mark.parametrize("scenario", ["multi", "listen"])
def test_an_engine_that_is_wrong_at_a_rest_of_the_streams_is_wrong(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    """Sources are rarely due all at once, and a group is rarely full: every size is timed."""
    infer = OrtRuntime.infer

    def late(self: OrtRuntime, windows: FloatArray) -> FloatArray:
        return infer(self, windows) * np.float32(0.5 if len(windows) == 3 else 1.0)

    monkeypatch.setattr(OrtRuntime, "infer", late)
    (run,) = measured(tones, scenarios=(scenario,), streams=7, wanted=Wanted(("ort-cpu",), threads=4))["runs"]
    assert run["verdict"] == "INVALID"
    assert "3 at once: scores differ" in run["reasons"][0]


def test_what_cannot_be_opened_is_told_and_the_rest_is_measured(edgebird: Command, tones: Bundle) -> None:
    ended = edgebird("bench", tones.path, "--runtime", "ort-cpu", "--precision", "fp32", "--precision", "fp16",
                     "--seconds", 0)  # fmt: skip
    assert ended.code == 1
    assert "no fp16 graph in this bundle" in ended.error()
    assert "not measured: ort-cpu fp16: " in ended.out
    assert "ort-cpu fp32" in ended.out


def test_opening_and_the_first_inference_are_apart_from_the_rest(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing an engine is once a process, and noise may take another way through it than birds do."""
    given: list[FloatArray] = []
    infer, probe = OrtRuntime.infer, subjects.probe

    def noting(self: OrtRuntime, windows: FloatArray) -> FloatArray:
        given.append(windows)
        return infer(self, windows)

    def slow(name: str) -> str:
        time.sleep(0.05)
        return probe(name)

    monkeypatch.setattr(OrtRuntime, "infer", noting)
    monkeypatch.setattr(subjects, "probe", slow)
    (run,) = measured(tones)["runs"]
    assert run["import_ms"] >= 50
    assert run["first_windows"] == 1
    golden = tones.golden().windows()[:1]
    assert np.array_equal(next(windows for windows in given if windows.any()), golden)
    assert run["load_ms"] > 0
    assert run["first_ms"] > 0
    assert run["memory_mb"]["peak"] > run["memory_mb"]["before"] - 1 > 0  # the kernel counts it in lots, by core
    assert run["includes"]
    assert run["split"]["unknown"]  # the card names no images: the share of the frontend is not known, not zero


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of TorchScript, which is what the original has
def test_the_original_runs_in_its_own_way_beside_the_graph(
    exported: Path, narrow_folds: dict[str, Path], tmp_path: Path
) -> None:
    """In batches of four, and proven as every engine: here the floor of a window must not be its neighbours'."""
    require("torch")
    from tests.seeded import narrow_architecture, save_torchscript, seeded_model

    twin = save_torchscript(tmp_path / "fold_0_model_jit_bs4.pt", seeded_model("exp105", None, narrow_architecture()))
    report = measured(open_bundle(exported), wanted=Wanted(("ort-cpu",), threads=1, baseline=(twin,)))
    ours, original = report["runs"]
    assert (original["runtime"], original["batch"], original["parity"]["max_abs"] < 1e-4) == ("torchscript", 4, True)
    assert (ours["first_windows"], original["first_windows"]) == (1, 4)
    assert original["window_ms"] == pytest.approx(original["latency_ms"]["p50"] / 4)
    assert ours["split"]["parts_ms"].keys() == {"frontend", "rest"}
    (ratio,) = report["ratios"]
    assert (ratio["run"], ratio["to"]) == (1, 0)
    assert ratio["low"] <= ratio["value"] <= ratio["high"]


@pytest.mark.parametrize(("content", "told"), [(b"PK no", "not a TorchScript file"), (None, "no such file")])
def test_a_baseline_that_is_none_is_one_line(tones: Bundle, tmp_path: Path, content: bytes | None, told: str) -> None:
    require("torch")
    file = tmp_path / "fold.pt"
    if content:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        measured(tones, wanted=Wanted(("ort-cpu",), baseline=(file,)))


# ------------------------------------------------------------------------------------------------------------ scenarios
def test_each_scenario_tells_what_it_is_for(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    ended = edgebird("bench", tones.path, "--scenario", "offline", "--scenario", "multi", "--streams", 3, "--hop", 0.02,
                     "--runtime", "ort-cpu", "--seconds", 0, "--iterations", 10, "--threads", 1,
                     "--json", file)  # fmt: skip
    assert ended.code == 0
    report = json.loads(file.read_text())
    assert [run["batch"] for run in report["runs"] if run["scenario"] == "offline"] == [1, 2, 4, 8]
    for run in report["runs"]:
        assert sum(run["rounds"]) == len(run["samples_ms"]) >= 10
        assert run["parity"]["max_abs"] < 1e-4
    (run,) = (run for run in report["runs"] if run["scenario"] == "multi")
    assert (run["scenario"], run["streams"], run["hop_s"]) == ("multi", 3, 0.02)
    capacity = run["capacity"]
    tried = {probe["streams"]: probe for probe in capacity["probes"]}
    assert tried[capacity["streams"]]["carried"]
    assert tried[capacity["streams"]]["max_ms"] <= 20
    assert tried[capacity["streams"]]["queries"] == capacity["queries"] >= 50  # five in time are luck
    assert all(streams > capacity["streams"] for streams, probe in tried.items() if not probe["carried"])
    assert run["batch"] <= 3


@pytest.mark.slow
def test_listening_is_measured_from_sound_to_event(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    """It takes as long as the audio does."""
    audio, file = tmp_path / "meadow.wav", tmp_path / "report.json"
    soundfile.write(audio, scene(6, [(1, 0.8, 0, 5)]), RATE)
    ended = edgebird("bench", tones.path, "--scenario", "listen", "--streams", 2, "--hop", 0.05, "--runtime", "ort-cpu",
                     "--seconds", 0, "--audio", audio, "--json", file)  # fmt: skip
    assert ended.code == 0
    (run,) = json.loads(file.read_text())["runs"]
    assert len(run["samples_ms"]) == 2 * 11
    assert run["batch"] in (1, 2)  # never more than streams, whatever the engine would like
    assert min(run["samples_ms"]) > 0
    assert run["events"] >= 2  # what is heard goes the whole way
    assert run["cpu_percent"] > 0
    assert run["missed_deadlines"] == sum(late > 50 for late in run["samples_ms"])


@pytest.mark.slow
def test_what_listening_takes_is_that_of_a_station_that_runs(tones: Bundle, tmp_path: Path) -> None:
    recording = tmp_path / "tones.wav"
    soundfile.write(recording, scene(20, [(1, 0.8, 0, 5)]), RATE)
    command = [sys.executable, "-m", "edgebird", "listen", "--bundle", str(tones.path), "--realtime", "--file"]
    station, capture = listening.listen([*command, str(recording)], windows=2, hop_s=1.0, settle_s=5.0)
    assert 0 < station < 500
    assert capture == 0  # a file has no process of its own
    with pytest.raises(UsageError, match=r"^listen has ended with exit code 1$"):
        listening.listen([*command, str(tmp_path / "nowhere.wav")], windows=1, hop_s=0.1, settle_s=3.0)


def test_windows_that_share_a_floor_are_refused_where_they_have_no_meaning(tmp_path: Path) -> None:
    bundle = tone_bundle(tmp_path / "batch", db_floor="batch")
    with pytest.raises(UsageError, match="--batch 1: windows of this bundle share a floor in groups of 4"):
        measured(bundle, batches=(1,))
    with pytest.raises(UsageError, match="--scenario listen: windows of this bundle share a floor"):
        measured(bundle, scenarios=("listen",))


def test_recordings_are_scored_never_silence(tones: Bundle, tmp_path: Path) -> None:
    usual = read_material((), tones.card, 2.5)
    assert usual.names == ("three_birds.flac",)
    assert usual.audio.std() > 1e-3
    first, second = next(usual.groups(2))
    assert second.start - first.start == 2.5 * RATE
    soundfile.write(tmp_path / "short.wav", scene(3, []), RATE)
    with pytest.raises(AudioError, match=r"short\.wav: 3\.0 s, a window takes 5 s of audio"):
        read_material([tmp_path / "short.wav"], tones.card, 2.5)


def test_files_after_ten_minutes_are_not_said_to_be_scored(tones: Bundle, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first.wav", "second.wav", "third.wav")]
    for file in files[:2]:
        soundfile.write(file, np.tile(scene(10, [(1, 0.8, 0, 5)]), 31), RATE)  # 310 s
    material = read_material(files, tones.card, 2.5)  # the third is not even there
    assert material.names == ("first.wav", "second.wav")
    assert len(material.audio) == 600 * RATE


def test_memory_is_told_in_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux says kB and means KiB."""
    (tmp_path / "status").write_text("VmHWM:\t  200000 kB\nVmRSS:\t  100000 kB\n")
    monkeypatch.setattr(memory, "_SELF", tmp_path)
    assert (memory.resident_mb(), memory.peak_mb()) == (102.4, 204.8)


def test_a_baseline_that_a_scenario_cannot_take_is_told(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = open_runtime(tones, "null")
    runtime.name = "torchscript"
    monkeypatch.setattr(subjects, "open_baseline", lambda *_arguments: runtime)
    told: list[str] = []
    wanted = Wanted(("ort-cpu",), threads=1, baseline=(Path("fold.pt"),))
    report = session.run(tones, Plan(wanted, ("multi",), streams=2, hop_s=0.02, duration=SHORT), told.append)
    assert "multi: without the baseline, which takes batches of four and nothing else" in told
    assert [run["runtime"] for run in report["runs"]] == ["ort-cpu"]


def test_a_machine_that_was_throttled_is_the_verdict(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "open_sensors", lambda root: Sensors(throttled={"HwThermalSlowdown"}))
    report = measured(tones)
    assert report["runs"][0]["verdict"] == "THROTTLED"
    assert report["runs"][0]["reasons"][0] == "HwThermalSlowdown"
    assert report["conditions"]["throttled"] == ["HwThermalSlowdown"]


def test_energy_is_told_by_window_beside_idle_power(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Meter:
        name, resolution_s, read = "VDD_IN", 0.0, 0

        def joules(self) -> float:
            self.read += 1
            return 5.0 * self.read

    monkeypatch.setattr(session, "open_sensors", lambda root: Sensors([Meter()]))
    monkeypatch.setattr(session, "_IDLE_S", 0.01)
    monkeypatch.setattr(Sensors, "watch", lambda self: None)  # which would read this meter in between
    energy = measured(tones)["runs"][0]["energy"]["VDD_IN"]
    assert energy["joules_per_window"] == pytest.approx(5.0)  # 5 J for each of ten turns of one window
    assert energy["busy_w"] > 0
    assert energy["idle_w"] > 0
    monkeypatch.setattr(session, "open_sensors", lambda root: Sensors())
    assert measured(tones)["runs"][0]["energy"] == {}  # and not zero


def test_what_edgebird_itself_costs_is_told_beside_the_bare_session(tones: Bundle) -> None:
    own = measured(tones)["overhead"]
    assert own["share"] == pytest.approx(own["null_ms"] / own["bare_ms"])
    runtime = open_runtime(tones, "null")
    runtime.name = "openvino"  # whose session is not called bare, and whose bf16 is no graph of the bundle
    told = overhead.measure(tones, Subject(runtime, "bf16", None), read_material((), tones.card, 2.5), 2.5)
    assert told.keys() == {"null_ms"}


# ------------------------------------------------------------------------------------------------------------ comparing
def altered(report: dict[str, Any], factor: float, **machine: Any) -> dict[str, Any]:
    """The report of a machine whose samples were steady and took `factor` times as long."""
    copy: dict[str, Any] = json.loads(json.dumps(report))
    for run in copy["runs"]:
        run["samples_ms"] = [factor * (10 + 0.01 * (i % 3)) for i in range(len(run["samples_ms"]))]
    copy["machine"] |= machine
    return copy


def test_a_change_is_told_with_its_interval_and_slower_is_an_error(
    edgebird: Command, tones: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "old.json"
    command = ("bench", tones.path, "--runtime", "ort-cpu", "--seconds", 0)
    assert edgebird(*command, "--json", file).code == 0
    old = json.loads(file.read_text())
    for factor, code, told in ((1e-6, 1, "slower"), (1e6, 0, "faster")):
        file.write_text(json.dumps(altered(old, factor)))
        ended = edgebird(*command, "--compare", file, "--fail-if-slower", "5%")
        assert ended.code == code
        assert re.search(
            rf"^single ort-cpu fp32: \S+% against .* \(95 %: \S+ to \S+%\), {told}", ended.out, re.MULTILINE
        )


@pytest.mark.parametrize(
    ("factor", "slower"), [(1.0, False), (1.04, False), (1.06, True), (0.5, False)], ids=lambda value: str(value)
)
def test_slower_is_slower_by_more_than_the_limit(tones: Bundle, factor: float, slower: bool) -> None:
    report = measured(tones)
    (one,) = comparison.compare(altered(report, factor), altered(report, 1.0))
    assert one.ratio.value == pytest.approx(factor, rel=1e-3)
    assert one.is_slower(0.05) is slower


def test_two_machines_or_bundles_are_not_compared(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    """Such a ratio is a number all the same, and would be believed."""
    report = measured(tones)
    for machine, told in (
        ({"cpu": "Cortex-A78AE"}, "not the same machine: its cpu was 'Cortex-A78AE' then and is"),
        ({"power_mode": "NV Power Mode: 15W"}, "its power mode was 'NV Power Mode: 15W' then and is unknown now"),
    ):
        file = tmp_path / "other.json"
        file.write_text(json.dumps(altered(report, 1.0, **machine)))
        ended = edgebird("bench", tones.path, "--runtime", "ort-cpu", "--seconds", 0, "--compare", file)
        assert (ended.code, ended.out) == (1, "")  # before any time is spent
        assert told in ended.error()
    for audio in ({"files": ["dawn.wav"]}, {"windows": 3}, {"hop_s": 5.0}):
        other = altered(report, 1.0)
        other["audio"] |= audio
        with pytest.raises(EdgebirdError, match=f"not the same audio: its {next(iter(audio))} was "):
            comparison.compare(report, other)
    other = altered(report, 1.0)
    other["bundle"]["sha256"]["fp32"] = "0" * 64
    with pytest.raises(EdgebirdError, match="not the same bundle: its fp32 graph was 0000"):
        comparison.compare(report, other)
    other = altered(report, 1.0)
    other["runs"][0]["threads"] = 7
    with pytest.raises(EdgebirdError, match="no run in common with the earlier report, which has single ort-cpu fp32"):
        comparison.compare(report, other)


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--fail-if-slower", "5%"], 2, "--fail-if-slower 5%: than what? give an earlier report with --compare FILE"),
        (["--fail-if-slower", "much", "--compare", "FILE"], 2, "--fail-if-slower 'much': wanted a percentage"),
        (["--compare", "FILE"], 1, "not a report of `edgebird bench --json`"),
        (["--compare", "nowhere"], 1, "nowhere: No such file or directory"),
        (["--scenario", "all"], 2, "--scenario all: wanted single, multi, offline, listen"),
        (["--hop", "9"], 2, "hop 9 s: wanted more than 0 and at most the window"),
        (["--audio", "nowhere.wav"], 1, "nowhere.wav: no such file"),
        (["--runtime", "abacus"], 2, "unknown runtime 'abacus'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_are_one_line(
    edgebird: Command, tones: Bundle, tmp_path: Path, options: list[str], code: int, told: str
) -> None:
    (tmp_path / "FILE").write_text("{}")
    given = [str(tmp_path / option) if option == "FILE" else option for option in options]
    ended = edgebird("bench", tones.path, "--seconds", 0, *given)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.error()


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_what_cannot_be_written_is_known_before_time_is_spent(
    edgebird: Command, tones: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def never(*_arguments: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(session, "run", never)
    for file in (tmp_path, tmp_path / "FILE" / "report"):
        (tmp_path / "FILE").write_text("kept")
        ended = edgebird("bench", tones.path, option, file)
        assert (ended.code, ended.out) == (1, "")
        assert f"cannot write {file}" in ended.error()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FILE", "tones"]


def test_an_earlier_report_is_kept_until_the_new_one_is_there(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("kept")
    assert edgebird("bench", tones.path, "--runtime", "abacus", "--json", file).code == 2
    assert file.read_text() == "kept"


# ------------------------------------------------------------------------------------------------------------ the page
class Page(HTMLParser):
    """Complains about elements that are not closed in order, and about whatever would load or run something."""

    VOID = ("meta", "br", "rect", "circle", "line", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe", "object", "use")
        assert not {name for name, _ in attrs} & {"src", "href", "xlink:href", "onload", "onclick"}
        self.found.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    """It is mailed around and opened offline, years later."""
    file = tmp_path / "report.html"
    ended = edgebird("bench", tones.path, "--runtime", "ort-cpu", "--seconds", 0, "--batch", 1, "--batch", 2,
                     "--html", file)  # fmt: skip
    assert ended.code == 0
    text = file.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.found.count("svg") == page.found.count("title") - 1 == 2 * 3
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text


def test_what_a_machine_calls_itself_cannot_break_the_page(tones: Bundle) -> None:
    report = measured(tones)
    report["machine"]["cpu"] = "<script>alert(1)</script> & Co"
    Page().feed(page_of(report))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in page_of(report)


def test_tensorrt_is_told_by_whatever_name_nvidia_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without the version of the engine it measured can be compared with none."""

    def version(name: str) -> str:
        if name == "tensorrt-cu12":
            return "10.9.0.34"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert installed_version("tensorrt") == "10.9.0.34"
    assert installed_version("numpy") is None
