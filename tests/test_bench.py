"""`edgebird bench`: whom it measures, what it refuses, what its report tells. No test depends on how fast this is."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.benchmarks import baseline, session, subjects
from edgebird.benchmarks.sensors import Sensors
from edgebird.benchmarks.session import Plan
from edgebird.benchmarks.studies import listening
from edgebird.benchmarks.subjects import Wanted
from edgebird.bundle import Bundle, open_bundle
from edgebird.errors import CheckpointError, UsageError
from edgebird.machine import installed_version
from edgebird.runtimes import open_runtime
from edgebird.runtimes.ort import OrtRuntime
from edgebird.types import FloatArray
from tests.benching import SHORT, measured
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle
from tests.test_cli import Command, edgebird

__all__ = ["edgebird"]


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


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


def test_a_baseline_on_a_gpu_is_refused_where_there_is_none(tones: Bundle, tmp_path: Path) -> None:
    """On the CPU in its place it would look as if an engine on the GPU were a hundred times as fast."""
    torch = require("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    report = measured(tones, wanted=Wanted(("ort-cpu",), baseline=(tmp_path / "fold.pt",), baseline_device="cuda"))
    assert report["refused"][0].startswith(
        f"torchscript-cuda fp32: --baseline-device cuda: PyTorch {torch.__version__} sees no NVIDIA GPU: it "
    )
    assert [run["runtime"] for run in report["runs"]] == ["ort-cpu"]
    with pytest.raises(UsageError, match="--baseline-device gpu: wanted cpu or cuda"):
        measured(tones, wanted=Wanted(("ort-cpu",), baseline=(tmp_path / "fold.pt",), baseline_device="gpu"))


def test_a_baseline_on_a_gpu_is_given_its_windows_there(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's `meta` device stands for the GPU: tensors there cannot be mixed with those of the CPU either."""
    torch = require("torch")
    monkeypatch.setitem(baseline.NAMES, "meta", "torchscript-cuda")
    seen = []

    def model(inputs: dict[str, Any]) -> Any:
        seen.append({name: tensor.device.type for name, tensor in inputs.items()})
        return torch.zeros(len(inputs["wave"]), len(tones.card.labels))

    runtime = baseline.TorchScriptRuntime([model], tones.card, "PyTorch, a GPU", "meta")
    assert np.all(runtime.infer(tones.golden().windows()[:4]) == 0.5)
    assert seen == [dict.fromkeys(("rating", "loss_target", "embedding", "wave"), "meta")]
    assert runtime.includes(4) == "copies to and from the GPU; no CUDA graph"


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
    if capacity["streams"]:
        assert tried[capacity["streams"]]["carried"]
        assert tried[capacity["streams"]]["max_ms"] <= 20
        assert tried[capacity["streams"]]["queries"] == capacity["queries"] >= 50  # five in time are luck
    else:  # a computer on which a window takes longer than this hop
        assert (capacity["queries"], tried[1]["carried"]) == (0, False)
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
    soundfile.write(recording, scene(60, [(1, 0.8, 0, 5)]), RATE)
    command = [sys.executable, "-m", "edgebird", "listen", "--bundle", str(tones.path), "--realtime", "--file"]
    # Until the processes in which it tries its engine are gone, also on a busy machine.
    station, capture = listening.listen([*command, str(recording)], windows=2, hop_s=1.0, settle_s=20.0)
    assert 0 < station < 500
    assert capture == 0  # a file has no process of its own
    with pytest.raises(
        UsageError, match=r"^listen has ended with exit code 1$"
    ):  # at once: nobody waits an hour for it
        listening.listen([*command, str(tmp_path / "nowhere.wav")], windows=1, hop_s=0.1, settle_s=3600.0)


def test_windows_that_share_a_floor_are_refused_where_they_have_no_meaning(tmp_path: Path) -> None:
    bundle = tone_bundle(tmp_path / "batch", db_floor="batch")
    with pytest.raises(UsageError, match="--batch 1: windows of this bundle share a floor in groups of 4"):
        measured(bundle, batches=(1,))
    with pytest.raises(UsageError, match="--scenario listen: windows of this bundle share a floor"):
        measured(bundle, scenarios=("listen",))


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


# ---------------------------------------------------------------------------------------------------------- the command


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


def test_tensorrt_is_told_by_whatever_name_nvidia_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without the version of the engine it measured can be compared with none."""

    def version(name: str) -> str:
        if name == "tensorrt-cu12":
            return "10.9.0.34"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert installed_version("tensorrt") == "10.9.0.34"
    assert installed_version("numpy") is None
