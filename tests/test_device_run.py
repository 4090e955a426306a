"""The run on a device that nobody here has: its steps, its report, and each check as far as it goes without a GPU.

What is not right the first time is not seen before somebody has run it once on his GPU, and he will not do so again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.benchmarks.device import algorithms, checks, cuda_calls, kernels, lanes, load, run, targets
from edgebird.benchmarks.device.attempts import attempt
from edgebird.benchmarks.device.runner import DeviceStep, Ended, run_steps
from edgebird.benchmarks.device.steps import RUNTIMES, DeviceRun, steps_of
from edgebird.bundle import Bundle, seal
from edgebird.card import Golden
from edgebird.errors import RuntimeUnavailableError
from tests import gpu_wheels
from tests.conftest import require
from tests.cuda_double import CudaDouble
from tests.foreign import tone_bundle
from tests.test_ort_gpu import adding_bundle
from tests.test_trt_runtime import ORIN, RTX4090

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "on_device.sh"


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


def packed(report: Path) -> dict[str, str]:
    with tarfile.open(report) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {f.name.removeprefix("./"): archive.extractfile(f).read().decode() for f in files}  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------------------------- steps
@pytest.mark.slow
def test_a_dry_run_is_refused_at_every_step_that_needs_a_gpu(tmp_path: Path) -> None:
    """All of it as it will run on a GPU: a slip in one of its commands is seen here."""
    require("onnxruntime")
    environment = {**os.environ, "EDGEBIRD_PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([SCRIPT, "--dry", "--out", tmp_path], env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "15 of 15 did" in done.stderr or "16 of 16 did" in done.stderr  # one more with compute-sanitizer
    report = packed(Path(done.stdout.strip()))
    assert {"card.json", "summary.txt", "check.facts.log", "doctor.log", "check.lanes.log"} <= report.keys()
    assert "bench.ort-cuda.listen: exit 1" in report["summary.txt"]
    assert report["doctor.log"].splitlines()[0].endswith("-m edgebird doctor")


def test_a_step_that_hangs_costs_itself_alone(tmp_path: Path) -> None:
    """And all that it has started: a process that goes on would slow what is measured next."""
    steps = [
        DeviceStep("hangs", ("bash", "-c", "sleep 60 & echo $!; wait"), 4),
        DeviceStep("fails", (sys.executable, "-c", "import sys; print('first'); sys.exit('error: no memory')"), 30),
        DeviceStep("crashes", (sys.executable, "-c", "raise ValueError('a slip')"), 30),
        DeviceStep("is not there", ("/no/such/program",), 30),
        DeviceStep("works", (sys.executable, "-c", "print('done')"), 30),
    ]
    logs, told = tmp_path / "logs", list[str]()
    logs.mkdir()
    outcomes = run_steps(steps, logs, tmp_path / "report.tar.gz", told.append)
    assert [outcome.code for outcome in outcomes] == [None, 1, 1, 127, 0]
    assert [outcome.refused for outcome in outcomes] == [False, True, False, False, False]
    assert outcomes[1].last == "error: no memory"
    report = packed(tmp_path / "report.tar.gz")
    assert "hangs: over its limit of 4 s" in report["summary.txt"]
    assert "works: exit 0" in report["summary.txt"]
    assert report["fails.log"].splitlines()[1:] == ["first", "error: no memory"]
    pid = int(report["hangs.log"].splitlines()[1])
    end = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def test_the_report_is_there_after_every_step(tmp_path: Path) -> None:
    """Somebody may stop it, or his computer may."""
    logs, report = tmp_path / "logs", tmp_path / "report.tar.gz"
    logs.mkdir()
    seen = []

    def look(line: str) -> None:
        if line.startswith("two (at most"):
            seen.append(packed(report)["summary.txt"])

    command = (sys.executable, "-c", "")
    run_steps([DeviceStep("one", command, 30), DeviceStep("two", command, 30)], logs, report, look)
    assert len(seen) == 1
    assert seen[0].startswith("one: exit 0")


def test_a_dry_run_tells_what_did_not_fail_as_it_should(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be the step that crashes on the first GPU, or that says it ran on a GPU where there is none."""
    step, cpu = DeviceStep("s", (), 1), DeviceStep("cpu", (), 1, on_gpu=False)
    refused = Ended(step, 1, 0.1, "error: no GPU", False)
    assert run._told([refused, Ended(cpu, 0, 0.1, "", False)], True, tmp_path) == 0
    for wrong in (
        Ended(step, 0, 0.1, "", False),
        Ended(step, 1, 0.1, "ValueError: a slip", True),
        Ended(step, None, 0.1, "", False),
        Ended(step, -11, 0.1, "", False),
        Ended(cpu, 1, 0.1, "error: no memory", False),
    ):
        capsys.readouterr()
        assert run._told([refused, wrong], True, tmp_path) == 1
        assert f"  {wrong}" in capsys.readouterr().err
    assert run._told([refused], False, tmp_path) == 1


def test_every_runtime_is_proven_before_it_is_timed(tones: Bundle, tmp_path: Path) -> None:
    steps = list(steps_of(tones, DeviceRun(baseline=(tmp_path / "fold.pt",)), tmp_path))
    names = [step.name for step in steps]
    assert len(names) == len(set(names))
    for runtime in RUNTIMES:
        assert names.index(f"verify.{runtime}.fp32") < names.index(f"bench.{runtime}.single")
        assert (f"build.{runtime}.fp32" in names) == runtime.startswith("tensorrt")
    several = Bundle(tones.path, replace(tones.card, precisions=dict.fromkeys(("fp32", "fp16"))))  # type: ignore[arg-type]
    verified = [step.name for step in steps_of(several, DeviceRun(), tmp_path) if step.name.startswith("verify.ort-")]
    assert "verify.ort-rtx.fp16" in verified
    assert "verify.ort-webgpu.fp16" not in verified  # which refuses it
    (single,) = [step for step in steps if step.name == "bench.ort-cuda.single"]
    assert " --baseline-device cuda" in " ".join(single.command)
    (soak,) = [step for step in steps if step.name == "bench.ort-cuda.listen"]
    assert soak.command[soak.command.index("--seconds") + 1] == "120"
    assert all(step.limit_s > 120 for step in steps if step is soak)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["/nowhere"], "/nowhere"), (["BUNDLE", "cuda"], "cuda: wanted tensorrt, tensorrt-rtx, ort-cuda, ort-")],
)
def test_what_cannot_be_run_is_one_line(
    arguments: list[str], told: str, tones: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([argument.replace("BUNDLE", str(tones.path)) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


# --------------------------------------------------------------------------------------------------------------- checks
def test_a_part_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield {"found": 1}
        raise RuntimeError("CUDA failure 700:\n an illegal memory access")

    def whole() -> Iterator[dict[str, Any]]:
        yield from attempt("broken", broken)
        yield from attempt("next", lambda: iter([{"found": 2}]))

    monkeypatch.setitem(checks.CHECKS, "cuda", whole)
    assert checks.main(["cuda"]) == 1
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert [finding["part"] for finding in found] == ["broken", "broken", "next"]
    assert printed.err == "error: broken: RuntimeError: CUDA failure 700: an illegal memory access\n"

    def refused() -> Iterator[dict[str, Any]]:
        raise RuntimeUnavailableError("no GPU here")
        yield

    monkeypatch.setitem(checks.CHECKS, "cuda", refused)
    assert checks.main(["cuda"]) == 1
    assert capsys.readouterr().err == "error: no GPU here\n"


@pytest.mark.parametrize(
    ("check", "findings"),
    [
        (lambda bundle: algorithms.algorithms(bundle, "ort-cpu"), 4),
        (lambda bundle: algorithms.tf32(bundle, "cpu"), 2),
        (lambda bundle: algorithms.options(bundle, "ort-cpu", 0.0), 5),
    ],
    ids=["algorithms", "tf32", "options"],
)
def test_checks_of_onnx_runtime_measure_what_they_say(
    check: Callable[[Bundle], Iterator[dict[str, Any]]], findings: int, tones: Bundle
) -> None:
    """On the CPU in the GPU's place: every line of them runs, and scores are right."""
    found = list(check(tones))
    assert len(found) == findings
    for finding in found:
        assert "failed" not in finding
        assert finding.get("repeats_exactly", True)
        assert all(one["passes"] for one in finding.get("parity", ()))


@pytest.mark.parametrize("wheel", [gpu_wheels.OLDEST, gpu_wheels.NEWEST])
def test_the_cuda_provider_takes_every_option_that_is_tried(wheel: str, tmp_path: Path) -> None:
    """The real one, on a CUDA that computes nothing: an option that it does not know would cost the step."""
    python = gpu_wheels.gpu_python(wheel)
    libraries = gpu_wheels.hollow(python, tmp_path)
    bundle = adding_bundle(tmp_path / "adding")
    silence = {"audio": np.zeros((2, 4), np.int16), "scores": np.zeros((2, 4)), "names": np.array(["a", "b"])}
    np.savez(bundle.path / "golden.npz", **silence)  # type: ignore[arg-type]
    (bundle.path / "card.json").write_text(json.dumps(asdict(replace(bundle.card, golden=Golden("golden.npz", "")))))
    sealed = seal(bundle.path)
    code = """
import json, sys
from edgebird import open_bundle
from edgebird.benchmarks.device import algorithms, feeding
bundle = open_bundle(sys.argv[1])
checks = algorithms.algorithms(bundle), algorithms.tf32(bundle), algorithms.options(bundle, seconds=0.0)
checks += (feeding.feeding(bundle, "2"),)
print(json.dumps([list(findings) for findings in checks]))
"""
    found = gpu_wheels.run(python, code, sealed.path, LD_LIBRARY_PATH=str(libraries))
    assert [len(findings) for findings in found] == [4, 2, 5 + 4 + 3 + 3 + 2, 1 + 7 + 1]
    assert [finding["failed"] for findings in found for finding in findings if "failed" in finding] == []


@pytest.mark.parametrize("gpu", [ORIN, RTX4090], ids=["Orin", "RTX 4090"])
def test_the_check_of_cuda_finds_nothing_wrong_in_a_cuda_that_works(monkeypatch: pytest.MonkeyPatch, gpu: Any) -> None:
    double = CudaDouble("13.5.0", gpu)
    double.install(monkeypatch)
    # The double waits for what is recorded only where CUDA refuses to.
    monkeypatch.setattr(cuda_calls, "_broken_capture", lambda *_: iter([{"goes_on": True}]))
    found = list(cuda_calls.calls())
    assert [finding for finding in found if "failed" in finding] == []
    assert {"copies", "graph", "too much memory", "another thread"} <= {finding.get("part") for finding in found}
    assert double.left() == {}


def test_lanes_are_scored_by_the_runtime_of_tensorrt(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ONNX Runtime on the CPU, which computes at once: so the double records no graph, and memory is shared."""
    double = CudaDouble("12.6.0", ORIN)
    double.install(monkeypatch)
    double.fail["cudaStreamBeginCapture"] = "cudaErrorStreamCaptureUnsupported"
    found = list(lanes.lanes(tones, "ort-cpu", 0.0))
    assert [finding for finding in found if "failed" in finding] == []
    assert found[0]["max_abs"] < 1e-5
    assert [finding["batch"] for finding in found if "batch" in finding] == [1, 2, 4, 8]
    assert "python_left_to_others" in found[-1]
    assert double.left() == {}


def test_energy_is_what_the_counter_moved(tones: Bundle) -> None:
    class Meter:
        name, resolution_s, counted = "a GPU", 0.1, 0.0

        def joules(self) -> float:
            self.counted += 6.0
            return self.counted

    windows = np.zeros((8, 4), np.float32)
    (found,) = load.under_load(lambda some: some, windows, Meter(), 0.02)  # type: ignore[arg-type]
    count = found["windows_per_s"] * 6.0 / found["watts"]
    assert found["joules_a_window"] == pytest.approx(6.0 / count, rel=0.05)
    (counter,) = load._counter(Meter(), 0.01)
    assert counter["smallest_step_j"] == 6.0
    (idle,) = load._idle(Meter(), 0.01)
    assert idle["watts"] > 0


def test_a_long_recording_is_read_and_detected(tones: Bundle) -> None:
    found = list(load.detect(tones, "ort-cpu", "fp32", "6"))
    assert [finding.get("reading") for finding in found] == [48_000, 32_000, None]
    assert found[-1]["x_real_time"] > 0
    assert "failed" not in found[-1]
    (*_, failed) = load.detect(tones, "ort-cpu", "fp16", "6")
    assert failed["failed"].startswith("detect: error: ")


def test_the_original_takes_turns_with_edgebird(tones: Bundle, tmp_path: Path) -> None:
    """In a process of its own, where TF32 is not forbidden; and the figures that issue from both are what they say."""
    torch = require("torch")

    class Original(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:  # type: ignore[name-defined]
            return inputs["wave"][:, : inputs["embedding"].shape[2]] + inputs["rating"] + inputs["loss_target"]

    file = tmp_path / "fold_0_model_jit_bs4.pt"
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.script(Original()).save(file)
    found = list(targets.targets(tones, "ort-cpu", "fp32", str(file), "1,4"))
    assert [finding for finding in found if "failed" in finding] == []
    timed = [finding for finding in found if "wall_ms" in finding]
    assert [(one["subject"], one["batch"], one["calls"]) for one in timed[:4]] == [
        ("ort-cpu fp32", 1, 2), ("torchscript", 1, 2), ("torchscript search", 1, 2), ("torchscript fp32", 1, 2)
    ]  # fmt: skip
    medians = {(one["subject"], one["batch"]): one["wall_ms"]["p50"] for one in timed}
    defaults, _, fp32 = [finding for finding in found if finding.get("part") == "ratios"]
    assert fp32["a_batch_1"] == pytest.approx(medians["ort-cpu fp32", 1] / medians["torchscript fp32", 1], rel=0.1)
    assert defaults["b_batch_4"] == pytest.approx(medians["ort-cpu fp32", 4] / medians["torchscript", 4], rel=0.1)
    (*_, refused) = targets.targets(tones, "ort-cpu", "fp32", str(file), "4")
    assert refused["failed"].startswith("ratios: ")


def test_kernels_are_told_by_the_time_that_they_take() -> None:
    """Two that run at the same time keep the GPU busy once."""
    spans = [("copy", 0.0, 10.0), ("conv", 5.0, 45.0), ("conv", 50.0, 90.0), ("copy", 90.0, 100.0)]
    found = kernels.table(spans, 2)
    assert (found["us"], found["busy_us"], found["kernels"]) == (50.0, 47.5, 2.0)
    assert found["table"][0] == {"kernel": "conv", "us": 40.0, "count": 1.0, "share": 0.8}
