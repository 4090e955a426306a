"""TensorRT's runtime, on doubles of every version and of cuda-python (there is no GPU here): the contract of all
runtimes, what keeps a wrong engine from being loaded, and every failure of the device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle, seal
from edgebird.doctor import examine
from edgebird.errors import BundleError, ParityError, RuntimeUnavailableError, ScoreError
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime, probe
from edgebird.runtimes.trt.build import build_engine
from edgebird.runtimes.trt.request import EngineRequest
from edgebird.runtimes.trt.runtime import TrtRuntime
from edgebird.runtimes.trt.sidecar import Sidecar, read_sidecar
from edgebird.types import FloatArray
from tests import test_runtimes as contract
from tests.conftest import require
from tests.cuda_double import CudaDouble, FakeGpu
from tests.foreign import amplitudes, tone_bundle
from tests.tensorrt_double import RTX, VERSIONS, WORKING_MEMORY, TensorRTDouble

# The contract of all runtimes, held here too.
CONTRACT = [
    contract.test_a_batch_size_that_was_not_announced_gives_right_scores,
    contract.test_a_card_that_does_not_fit_its_graph_is_told_when_the_runtime_opens,
    contract.test_a_graph_the_engine_refuses_is_one_line,
    contract.test_a_model_of_fixed_batch_takes_any_number_of_windows,
    contract.test_a_runtime_says_what_it_is,
    contract.test_an_intact_export_passes_in_every_engine,
    contract.test_closing_twice_is_harmless_and_a_closed_runtime_is_an_error,
    contract.test_scores_belong_to_the_caller,
    contract.test_scores_of_a_batch_are_those_of_its_windows,
    contract.test_scores_that_are_not_finite_are_an_error_never_a_score,
    contract.test_the_cards_activation_is_applied_once_and_without_overflow,
    contract.test_wrong_windows_are_refused_with_what_was_got_and_wanted,
]
globals().update({test.__name__: test for test in CONTRACT})

ORIN, THOR, RTX4090 = FakeGpu("Orin", 8, 7, 1), FakeGpu("NVIDIA Thor", 11, 0, 1), FakeGpu("RTX 4090", 8, 9, 0)
DEVICES = {  # version of TensorRT -> version of cuda-python, GPU
    "10.3.0": ("12.6.0", ORIN),
    "10.13.3.9": ("13.5.0", THOR),
    "10.16.1.11": ("13.5.0", ORIN),
    "11.0.0.114": ("12.8.0", RTX4090),
    "11.4.0.106": ("13.5.0", RTX4090),
    RTX: ("12.8.0", RTX4090),
}


@dataclass
class Device:
    """A computer with a GPU, as far as doubles go."""

    cuda: CudaDouble
    trt: TensorRTDouble

    @property
    def runtime(self) -> str:
        return "tensorrt-rtx" if self.trt.rtx else "tensorrt"

    def build(self, bundle: Bundle, **request: Any) -> Path:
        return build_engine(bundle, EngineRequest(self.runtime, **request))

    def open(self, bundle: Bundle) -> Runtime:
        return open_runtime(bundle, self.runtime, RuntimeOptions(batches=(1, 4)))


def install(version: str, monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu | None = None) -> Device:
    require("onnxruntime")
    cuda_version, usual_gpu = DEVICES[version]
    cuda = CudaDouble(cuda_version, gpu or usual_gpu)
    trt = TensorRTDouble(version, cuda)
    cuda.install(monkeypatch)
    trt.install(monkeypatch)
    return Device(cuda, trt)


@pytest.fixture(params=VERSIONS)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    return install(request.param, monkeypatch)


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> Device:
    return install("10.3.0", monkeypatch)


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Its GPU has memory of its own."""
    return install("11.4.0.106", monkeypatch)


@pytest.fixture
def engine(device: Device) -> str:
    return device.runtime


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


@pytest.fixture
def runtime(device: Device, tones: Bundle) -> Iterator[Runtime]:
    device.build(tones)
    opened = open_runtime(tones, device.runtime, RuntimeOptions(batches=(1, 5)))
    yield opened
    opened.close()


def sidecar_of(path: Path) -> Sidecar:
    return read_sidecar(path.with_suffix(".json"))


def change(path: Path, **values: Any) -> None:
    """Change fields of a sidecar."""
    file = path.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def assert_right(runtime: Runtime, count: int) -> None:
    batch: FloatArray = contract.windows(count)
    np.testing.assert_allclose(runtime.infer(batch), amplitudes(batch), rtol=0, atol=1e-5)


def test_every_version_has_a_device_here() -> None:
    assert set(DEVICES) == set(VERSIONS)


def test_all_that_was_taken_is_given_back(device: Device, tones: Bundle) -> None:
    """A station that opens a runtime again after a failure would otherwise fill the GPU."""
    device.build(tones)
    assert device.cuda.left() == {}
    runtime = device.open(tones)
    assert_right(runtime, 3)
    assert device.cuda.left()
    runtime.close()
    assert device.cuda.left() == {}


def test_each_batch_size_becomes_a_graph_that_is_replayed(device: Device, tones: Bundle) -> None:
    device.build(tones)
    runtime = device.open(tones)
    for count, launches in ((1, 1), (4, 1), (2, 1), (2, 1), (1, 1)):  # 2 was not announced
        device.cuda.launches = 0
        assert_right(runtime, count)
        assert device.cuda.launches == launches


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(device: Device, tones: Bundle, call: str) -> None:
    device.build(tones)
    device.cuda.fail[call] = "cudaErrorStreamCaptureUnsupported"
    device.cuda.launches = 0
    runtime = device.open(tones)
    for count in (1, 3, 1, 3):
        assert_right(runtime, count)
    assert (device.cuda.launches > 0) == device.trt.rtx  # which captures by itself


def test_many_batch_sizes_take_few_contexts(orin: Device, tones: Bundle) -> None:
    """Each has working memory of its own: one for each number of sources fills the GPU of a station."""
    orin.build(tones, max_batch=12)
    runtime = orin.open(tones)
    orin.trt.contexts = 0
    for count in (*range(12, 0, -1), *range(1, 30)):
        assert_right(runtime, count)
    assert orin.trt.contexts <= len({2, 8, 12})  # 1 and 4 were announced
    assert isinstance(runtime, TrtRuntime)
    assert runtime.split(contract.windows(3)).keys() == {"compute", "enqueue", "graph", "graph_launch"}
    assert runtime.includes(3).endswith("; a CUDA graph")


def test_no_batch_size_is_new_to_the_gpu_once_it_is_open(orin: Device, tones: Bundle) -> None:
    """Each takes a context and a graph: made while a bird sings, they cost its sound."""
    orin.build(tones, max_batch=6)
    runtime = open_runtime(tones, "tensorrt")
    assert isinstance(runtime, TrtRuntime)
    assert [tuple(slot.lanes) for slot in runtime._slots] == [runtime.sizes] == [(1, 2, 4, 6)]
    orin.trt.contexts = 0
    for count in (*range(1, 15), 40):
        assert_right(runtime, count)
    assert orin.trt.contexts == 0
    runtime.close()


def floor_bundle(folder: Path, batch: int | str) -> Bundle:
    """The tone model with a floor as the experiments have it: no score is below a tenth of the best in the batch."""
    onnx = require("onnx")
    bundle = tone_bundle(folder, batch=batch, db_floor="batch", golden=None)
    model = onnx.load(bundle.model())
    model.graph.node[-1].output[0] = "amplitudes"
    tenth = onnx.numpy_helper.from_array(np.float32(0.1), "tenth")
    model.graph.initializer.append(tenth)
    model.graph.node.extend([
        onnx.helper.make_node("ReduceMax", ["amplitudes"], ["best"], keepdims=1),
        onnx.helper.make_node("Mul", ["best", "tenth"], ["floor"]),
        onnx.helper.make_node("Max", ["amplitudes", "floor"], ["birds"]),
    ])  # fmt: skip
    onnx.save(model, bundle.model())
    return seal(folder)


@pytest.mark.parametrize("batch", ["batch", 4, 8])
def test_windows_that_share_a_floor_are_scored_in_groups_of_four(
    orin: Device, tmp_path: Path, batch: int | str
) -> None:
    """The graph takes the floor of all that it is given: eight at once would be other scores than those proven."""
    bundle = floor_bundle(tmp_path / "floor", batch)
    orin.build(bundle, max_batch=8)
    runtime = orin.open(bundle)
    assert runtime.batch_size == 4
    windows = contract.windows(11) * np.linspace(0.1, 1, 11, dtype=np.float32)[:, None]
    alone = amplitudes(windows)
    wanted = [np.maximum(alone[i : i + 4], 0.1 * alone[i : i + 4].max()) for i in (0, 4, 8)]
    np.testing.assert_allclose(runtime.infer(windows), np.concatenate(wanted), rtol=0, atol=1e-5)


def test_an_engine_too_small_for_a_shared_floor_is_refused(orin: Device, tmp_path: Path) -> None:
    bundle = floor_bundle(tmp_path / "floor", 2)
    with pytest.raises(BundleError, match="the engine takes 2 windows at once, this bundle scores 4"):
        orin.build(bundle)


def test_a_batch_beyond_the_profile_is_fed_in_pieces(device: Device, tones: Bundle) -> None:
    device.build(tones, max_batch=2)
    runtime = device.open(tones)
    assert_right(runtime, 5)


def test_where_the_gpu_has_memory_of_its_own_two_batches_are_in_flight(device: Device, tones: Bundle) -> None:
    """A large GPU would wait for each copy. Where memory is shared there is none, and a second slot would only cost."""
    device.build(tones)
    runtime = device.open(tones)
    assert isinstance(runtime, TrtRuntime)
    assert runtime.concurrency == len(runtime._slots) == (1 if device.cuda.gpu.integrated else 2)
    contexts = device.trt.contexts
    assert_right(runtime, 23)  # both slots
    for slot in runtime._slots:
        slot.input.host[:] = 0
    assert_right(runtime, 23)
    assert device.trt.contexts == contexts
    runtime.close()
    assert device.cuda.left() == {}


def test_the_group_is_found_within_what_the_engine_takes(
    desktop: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest batch is not the fastest on each GPU."""
    desktop.build(tones, max_batch=6)
    asked: list[Any] = []

    def found(_name: str, usual: int, score: Any, _free: Any, sizes: Any) -> int:
        score(2, 3)
        asked.append((usual, sizes))
        return 2

    monkeypatch.setattr("edgebird.runtimes.trt.runtime.fastest_group", found)
    runtime = open_runtime(tones, "tensorrt", RuntimeOptions(throughput=True, measure=True))
    assert (asked, runtime.batch_size) == ([(6, (1, 2, 4, 6))], 2)
    assert_right(runtime, 7)
    runtime.close()


def test_where_gpu_and_cpu_share_memory_nothing_is_copied(orin: Device, tones: Bundle) -> None:
    """Copies would cost a Jetson time and memory."""
    orin.build(tones)
    orin.cuda.fail["cudaMemcpyAsync"] = "cudaErrorInvalidValue"
    orin.cuda.on_gpu.clear()
    assert_right(orin.open(tones), 2)
    assert orin.cuda.on_gpu == [WORKING_MEMORY]


# ---------------------------------------------------------------------------------------------------------- the bench
def test_the_parts_of_an_inference_are_timed_by_the_gpu(device: Device, tones: Bundle) -> None:
    """In the double each work on the stream takes 1 ms and each mark too: marks in the wrong place would show."""
    device.build(tones)
    runtime = device.open(tones)
    assert isinstance(runtime, TrtRuntime)
    parts = runtime.split(contract.windows(4))
    copied = {} if device.cuda.gpu.integrated else {"h2d": 2.0, "d2h": 2.0}
    enqueue, launch = parts.pop("enqueue"), parts.pop("graph_launch", 1.0 if device.trt.rtx else 0.0)
    assert parts == {"compute": 2.0, **copied, **({} if device.trt.rtx else {"graph": 2.0})}
    assert enqueue > 0
    assert launch > 0
    graph = "a CUDA graph of TensorRT's own where it can be captured" if device.trt.rtx else "a CUDA graph"
    told = "GPU and CPU share their memory, no copies" if device.cuda.gpu.integrated else "copies to and from the GPU"
    assert runtime.includes(4) == f"{told}; {graph}"
    assert_right(runtime, 4)
    runtime.close()
    assert device.cuda.left() == {}


def test_an_engine_without_a_graph_says_so_in_its_figures(desktop: Device, tones: Bundle) -> None:
    desktop.build(tones)
    desktop.cuda.fail["cudaGraphInstantiate"] = "cudaErrorStreamCaptureUnsupported"
    runtime = desktop.open(tones)
    assert isinstance(runtime, TrtRuntime)
    assert runtime.split(contract.windows(1)).keys() == {"h2d", "compute", "d2h", "enqueue"}
    assert runtime.includes(1).endswith("no CUDA graph")
    desktop.cuda.fail["cudaEventElapsedTime"] = "cudaErrorIllegalAddress"
    with pytest.raises(RuntimeUnavailableError, match="cudaEventElapsedTime failed"):
        runtime.split(contract.windows(1))
    runtime.close()
    assert desktop.cuda.left() == {}


# ------------------------------------------------------------------------------------------ an engine that does not fit
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"version": "10.3.1"}, "built with TensorRT 10.3.1, here is 10.3.0"),
        (
            {"gpu": {"name": "Orin", "capability": "sm87", "multiprocessors": 8}},
            r"built on Orin \(sm87, 8 multiprocessors"
            r"\), this GPU is Orin \(sm87, 16 multiprocessors\)",
        ),
        ({"gpu": {"name": "Orin", "capability": "sm72", "multiprocessors": 16}}, r"built on Orin \(sm72, 16 multi"),
        ({"gpu": {"name": "Orin", "capability": "sm87"}}, r"built on Orin \(sm87, unknown multiprocessors\)"),
        ({"gpu": None, "capabilities": ["sm86"]}, "compiled for sm86, this GPU is sm87"),
        ({"onnx_sha256": "0" * 64}, "built from another graph than the bundle has now"),
        ({"engine_sha256": "0" * 64}, "the engine is damaged or not the one of its sidecar"),
        ({"engine": "model.fp16.tensorrt.engine"}, "its sidecar is that of model.fp16.tensorrt.engine"),
        ({"format": 2}, "its sidecar cannot be read: sidecar format 2, this edgebird reads 1"),
        ({"colour": 1}, "its sidecar cannot be read: not a sidecar"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_engine_that_does_not_fit_is_told_with_the_command_that_builds_it(
    orin: Device, tones: Bundle, values: dict[str, Any], told: str
) -> None:
    """Loaded all the same, it would crash or, worse, hear the wrong birds in silence."""
    change(orin.build(tones), **values)
    with pytest.raises(RuntimeUnavailableError, match=told) as caught:
        orin.open(tones)
    command = f"build it again: edgebird build {tones.path} --runtime tensorrt --precision fp32 --rebuild"
    assert str(caught.value).endswith(command)
    assert orin.build(tones).is_file()  # the command does it, and so does it without --rebuild
    orin.open(tones).close()


@pytest.mark.parametrize("damage", [b"", b"not an engine", b"{"])
def test_a_damaged_file_is_told_and_never_loaded(orin: Device, tones: Bundle, damage: bytes) -> None:
    path = orin.build(tones)
    for file in (path, path.with_suffix(".json")):
        whole = file.read_bytes()
        file.write_bytes(damage)
        with pytest.raises(RuntimeUnavailableError, match="build it again: edgebird build"):
            orin.open(tones)
        file.write_bytes(whole)


def test_without_an_engine_the_command_is_told(orin: Device, tones: Bundle) -> None:
    with pytest.raises(RuntimeUnavailableError, match=rf"no fp32 engine for this bundle: edgebird build {tones.path}"):
        orin.open(tones)


@pytest.mark.parametrize(
    ("level", "gpu", "fits"),
    [
        ("ampere-plus", RTX4090, True),
        ("ampere-plus", FakeGpu("T4", 7, 5, 0), False),
        ("same-compute-capability", FakeGpu("A GPU", 8, 9, 0), True),
        ("same-compute-capability", FakeGpu("A GPU", 8, 6, 0), False),
        (None, FakeGpu("A GPU", 8, 9, 0), False),
        (None, FakeGpu("RTX 4090", 8, 9, 0, multiprocessors=8), False),
        ("same-compute-capability", FakeGpu("RTX 4090", 8, 9, 0, multiprocessors=8), True),
    ],
)
def test_a_compatible_engine_loads_where_it_may(
    monkeypatch: pytest.MonkeyPatch, tones: Bundle, level: str | None, gpu: FakeGpu, fits: bool
) -> None:
    install("11.4.0.106", monkeypatch).build(tones, hardware=level)
    other = install("11.4.0.106", monkeypatch, gpu)
    if fits:
        assert_right(other.open(tones), 2)
    else:
        with pytest.raises(RuntimeUnavailableError, match="this GPU is"):
            other.open(tones)


def test_code_of_an_engine_runs_where_it_was_built_and_nowhere_else(
    desktop: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A version-compatible engine is a program for the CPU, and its sidecar travels with it: whoever sends a bundle
    would have his program run.
    """
    path = desktop.build(tones, version_compatible=True)
    desktop.open(tones).close()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of another user"))
    with pytest.raises(RuntimeUnavailableError, match=r"brings code of its own.* was not built by this user") as caught:
        desktop.open(tones)
    assert str(caught.value).endswith(f"build {tones.path} --runtime tensorrt --precision fp32 --rebuild --version-comp"
                                      "atible")  # fmt: skip
    change(path, flags=[])  # which a sidecar may say
    with pytest.raises(RuntimeUnavailableError, match="cannot load this engine"):
        desktop.open(tones)
    desktop.build(tones, version_compatible=True)  # it does not take what is there for its own
    desktop.open(tones).close()


def test_the_bytes_that_were_checked_are_those_that_are_loaded(
    orin: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two readings somebody may put another file there."""
    path = orin.build(tones)
    whole, read = path.read_bytes(), Path.read_bytes

    def read_once(self: Path) -> bytes:
        content = read(self)
        if self == path:
            path.write_bytes(b"another engine")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_once)
    runtime = orin.open(tones)
    assert_right(runtime, 2)
    assert path.stat().st_size != len(whole)


def test_a_version_compatible_engine_loads_in_a_newer_tensorrt(monkeypatch: pytest.MonkeyPatch, tones: Bundle) -> None:
    path = install("11.0.0.114", monkeypatch).build(tones, version_compatible=True)
    assert_right(install("11.4.0.106", monkeypatch).open(tones), 2)
    newest = install("11.4.0.106", monkeypatch)
    newest.trt.faults.off = 0.02
    newest.open(tones).close()  # it was proven in this version by the first opening
    assert sidecar_of(path).parity["version"] == "11.4.0.106"  # type: ignore[index]
    older = install("11.0.0.114", monkeypatch)
    older.trt.faults.off = 0.02
    with pytest.raises(ParityError):  # other kernels run there
        older.open(tones)
    change(path, version="10.16.1.11")
    with pytest.raises(RuntimeUnavailableError, match=r"built with TensorRT 10\.16"):
        install("11.4.0.106", monkeypatch).open(tones)


# ------------------------------------------------------------------------------------------------- proof at the opening
def test_an_engine_from_elsewhere_is_proven_where_it_first_runs(
    monkeypatch: pytest.MonkeyPatch, tones: Bundle, tmp_path: Path
) -> None:
    """One that was compiled ahead of time never ran: it must not hear birds before it was held to the golden data."""
    device = install(RTX, monkeypatch)
    made = device.build(tones, capabilities=("sm89",), out=tmp_path / "shipped")
    engines = tones.path / "engines"
    engines.mkdir()
    for file in (made, made.with_suffix(".json")):
        file.rename(engines / file.name)
    path = engines / made.name
    assert sidecar_of(path).parity == "unproven"
    device.trt.faults.off = 0.02
    with pytest.raises(ParityError, match=r"worst window 'Low Tone', class 'ton.+'; build it again \(edgebird build"):
        device.open(tones)
    assert sidecar_of(path).parity == "unproven"
    assert device.cuda.left() == {}
    device.trt.faults.off = 0.0
    device.open(tones).close()
    parity = sidecar_of(path).parity
    assert isinstance(parity, dict)
    assert parity["gpu"] == "RTX 4090"
    assert parity["max_abs"] < 1e-5
    device.trt.faults.off = 0.02  # it is proven on this GPU: not done again
    device.open(tones).close()
    other = install(RTX, monkeypatch, FakeGpu("RTX 4070", 8, 9, 0))
    other.trt.faults.off = 0.02
    with pytest.raises(ParityError):  # on another it is
        other.open(tones)


def test_the_largest_batch_an_engine_takes_is_proven_too(
    orin: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`detect` fills it: other kernels may run there than for one window and for four."""
    orin.build(tones)
    runtime = orin.open(tones)
    runtime.close()
    infer = type(runtime).infer

    def wrong_at_twelve(self: Runtime, windows: FloatArray) -> FloatArray:
        return infer(self, windows) * np.float32(0.5 if len(windows) == 12 else 1.0)

    monkeypatch.setattr(type(runtime), "infer", wrong_at_twelve)
    orin.build(tones, rebuild=True)
    with pytest.raises(ParityError, match="was deleted: the engine does not score as the original network did"):
        orin.build(tones, max_batch=12, rebuild=True)


def test_an_rtx_engine_is_proven_anew_with_another_driver(
    monkeypatch: pytest.MonkeyPatch, tones: Bundle, tmp_path: Path
) -> None:
    """TensorRT-RTX makes its kernels when the engine is opened, in the driver."""
    told = tmp_path / "version"
    monkeypatch.setattr("edgebird.runtimes.trt.gpu._DRIVER_FILE", str(told))
    told.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC 12")
    device = install(RTX, monkeypatch)
    path = device.build(tones)
    assert sidecar_of(path).parity["driver"] == "535.104.05"  # type: ignore[index]
    device.trt.faults.off = 0.02
    device.open(tones).close()
    told.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@host)\n")
    with pytest.raises(ParityError):
        device.open(tones)
    device.trt.faults.off = 0.0
    device.open(tones).close()
    assert sidecar_of(path).parity["driver"] == "580.65.06"  # type: ignore[index]


def test_a_bundle_without_golden_data_runs_with_a_warning(
    orin: Device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = tone_bundle(tmp_path / "foreign", golden=None)
    orin.build(bundle)
    orin.open(bundle).close()
    assert "nothing proves this engine" in caplog.text


# -------------------------------------------------------------------------------------------------------- what can fail
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("runtime", "cannot start: no NVIDIA GPU or driver here, or its build is for a newer CUDA than the driver's"),
        ("deserialize", "cannot load this engine: IRuntime::deserializeCudaEngine: Error Code 1"),
        ("context", "no execution context for 1 windows: IExecutionContext: out of memory"),
        ("input_shape", r"input shape \[1, 40000\] refused: setInputShape"),
        ("address", "address of sound refused: no reason given"),
        ("execute", "inference of 1 windows failed: enqueueV3: Error Code 1"),
    ],
)
def test_what_tensorrt_refuses_is_an_error_with_its_words(device: Device, tones: Bundle, fault: str, told: str) -> None:
    """Its calls return None and False, which would otherwise be met as a traceback or as scores of the last window."""
    device.build(tones)
    setattr(device.trt.faults, fault, True)
    with pytest.raises(RuntimeUnavailableError, match=told) as caught:
        device.open(tones)
    assert "\n" not in str(caught.value)
    assert device.cuda.left() == {}


def test_probe_does_not_promise_what_cannot_start(device: Device) -> None:
    device.trt.faults.runtime = True
    with pytest.raises(RuntimeUnavailableError, match="cannot start"):
        probe(device.runtime)


def test_a_tensorrt_that_is_too_old_is_refused(orin: Device, tones: Bundle) -> None:
    """JetPack 6.0 has 8.6: what is missing there would be met as an AttributeError."""
    orin.build(tones)
    orin.trt.module.__version__ = "8.6.2"  # type: ignore[attr-defined]
    for attempt in (lambda: orin.open(tones), lambda: orin.build(tones), lambda: probe("tensorrt")):
        with pytest.raises(
            RuntimeUnavailableError, match=r"needs TensorRT 10\.3 or newer .*JetPack 6\.1.*here is 8\.6\.2"
        ):
            attempt()


def test_what_can_be_freed_is_freed(desktop: Device, tones: Bundle) -> None:
    """Pinned memory is not given back by a GPU that failed, and the CPU lacks it."""
    desktop.build(tones)
    runtime = desktop.open(tones)
    desktop.cuda.fail["cudaFree"] = "cudaErrorIllegalAddress"
    runtime.close()
    assert desktop.cuda.left() == {"memory": 5}  # of the GPU, for windows and scores of two batches, and work


def test_scores_that_are_not_finite_are_an_error_at_once(device: Device, tones: Bundle) -> None:
    device.build(tones)
    runtime = device.open(tones)
    device.trt.faults.nan = True
    with pytest.raises(ScoreError, match="not finite"):
        runtime.infer(contract.windows(1))
    device.trt.faults.nan = False
    assert_right(runtime, 1)


@pytest.mark.parametrize("call", ["cudaHostAlloc", "cudaMalloc", "cudaStreamCreate"])
def test_a_gpu_without_memory_is_told_and_nothing_is_kept(desktop: Device, tones: Bundle, call: str) -> None:
    desktop.build(tones)
    desktop.cuda.fail[call] = "cudaErrorMemoryAllocation"
    with pytest.raises(RuntimeUnavailableError, match=f"{call} failed: out of memory: no memory left on the GPU"):
        desktop.open(tones)
    assert desktop.cuda.left() == {}


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaGraphLaunch", "cudaMemcpyAsync"])
def test_a_gpu_that_fails_while_it_runs_is_told_and_can_be_closed(desktop: Device, tones: Bundle, call: str) -> None:
    desktop.build(tones)
    runtime = desktop.open(tones)
    desktop.cuda.fail[call] = "cudaErrorIllegalAddress"
    with pytest.raises(RuntimeUnavailableError, match=rf"tensorrt: {call} failed: cudaErrorIllegalAddress"):
        runtime.infer(contract.windows(1))
    for name in ("cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaGraphExecDestroy"):
        desktop.cuda.fail[name] = "cudaErrorIllegalAddress"  # as CUDA does from then on
    runtime.close()
    runtime.close()


@pytest.mark.parametrize("version", ["10.3.0", "11.0.0.114", "11.4.0.106"])
def test_without_a_driver_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch, tones: Bundle, version: str) -> None:
    """cuda-python of CUDA 12 raises RuntimeError where there is no libcuda, later ones return a code."""
    device = install(version, monkeypatch)
    device.cuda.driver = False
    for attempt in (lambda: device.open(tones), lambda: device.build(tones), lambda: probe("tensorrt")):
        with pytest.raises(RuntimeUnavailableError, match=r"driver") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_what_is_missing_is_told_with_what_to_install(
    orin: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    orin.build(tones)
    monkeypatch.setitem(sys.modules, "cuda.cudart", None)
    with pytest.raises(RuntimeUnavailableError, match=r"needs cuda-python: pip install 'edgebird\[tensorrt\]'"):
        orin.open(tones)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for machine, told in (("x86_64", r"'edgebird\[tensorrt\]', for a driver of CUDA 12"), ("aarch64", "tensorrt, for")):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        with pytest.raises(RuntimeUnavailableError, match=f"tensorrt needs TensorRT: pip install {told}"):
            orin.open(tones)
    monkeypatch.setattr("edgebird.runtimes.trt.bindings.l4t", lambda: "36.4.3")
    with pytest.raises(RuntimeUnavailableError, match="sudo apt install python3-libnvinfer, in a venv with --system"):
        probe("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'edgebird\[tensorrt-rtx\]'"):
        probe("tensorrt-rtx")


def test_probe_tells_version_and_gpu(device: Device) -> None:
    gpu = device.cuda.gpu
    wanted = f"{device.trt.module.__version__}, {gpu.name} (sm{gpu.major}{gpu.minor}), 8.0 GiB, CUDA 1"
    assert wanted in probe(device.runtime)


def test_doctor_tells_the_gpu_and_the_jetson(orin: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    monkeypatch.setattr("edgebird.machine._L4T_FILE", str(tmp_path / "release"))
    monkeypatch.setattr("edgebird.doctor.power_mode", lambda: "NV Power Mode: MAXN 0")
    lines = list(examine())
    assert "GPU: Orin (sm87), 8.0 GiB, CUDA 12.6, driver for CUDA 13.5" in lines
    assert "Jetson: L4T 36.4.3, JetPack 6.2, NV Power Mode: MAXN 0" in lines
    assert "tensorrt         runs: TensorRT 10.3.0, Orin (sm87), 8.0 GiB, CUDA 12.6" in lines
    orin.cuda.driver = False
    monkeypatch.setattr("edgebird.doctor.installed_version", lambda _name: None)
    assert {
        "nvidia-ml-py not installed (pip install 'edgebird[gpu]')",
        "tensorrt not installed (sudo apt install python3-libnvinfer, in a venv with --system-site-packages)",
    } <= {" ".join(line.split()) for line in examine()}
    (line,) = [line for line in examine() if line.startswith("GPU: ")]
    assert "CUDA needs a GPU and its driver: cudaSetDevice: Failed to dlopen libcuda.so.1" in line


@pytest.mark.parametrize(
    ("release", "name"),
    [("R35 (release), REVISION: 4.1", "JetPack 5"), ("R36 (release), REVISION: 3.0", "JetPack 6.0"),
     ("R36 (release), REVISION: 4.0", "JetPack 6.1"), ("R38 (release), REVISION: 4.0", "JetPack 7.1"),
     ("R99 (release), REVISION: 1.0", "JetPack unknown to edgebird")],
)  # fmt: skip
def test_doctor_names_the_jetpack(
    orin: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str, name: str
) -> None:
    """JetPack 6.0 is too old and 6.1 is not: `6` tells nobody what to do."""
    (tmp_path / "release").write_text(f"# {release}, GCID: 1\n")
    monkeypatch.setattr("edgebird.machine._L4T_FILE", str(tmp_path / "release"))
    (line,) = [line for line in examine() if line.startswith("Jetson: ")]
    assert f", {name}, " in line
