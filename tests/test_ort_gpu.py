"""ONNX Runtime's GPU providers: the real wheels as far as they go without a GPU (see `gpu_wheels`).

Nothing falls back to the CPU in silence, every graph that edgebird writes opens, and no batch size is new to the GPU
while a bird sings.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird import demo
from edgebird.bundle import Bundle, open_bundle, seal
from edgebird.detection import detect
from edgebird.runtimes import RuntimeOptions, ort, ort_bound, ort_libraries, ort_session
from edgebird.runtimes.outputs import Outputs
from edgebird.types import FloatArray, Label
from tests import gpu_code, gpu_wheels, read_kernels
from tests.conftest import require
from tests.foreign import RATE, WINDOW_S, amplitudes, scene, tone_bundle, tone_card
from tests.test_runtimes import windows

OPEN = """
import json, os, sys
from edgebird import open_bundle, open_runtime
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import probe
bundle = open_bundle(sys.argv[1])
told = {}
for name in ("ort-cuda", "ort-tensorrt"):
    for what, attempt in (("open", lambda: open_runtime(bundle, name).name), ("probe", lambda: probe(name))):
        try:
            told[f"{name} {what}"] = ["runs", attempt()]
        except RuntimeUnavailableError as error:
            told[f"{name} {what}"] = ["refused", str(error)]
told["cpu"] = open_runtime(bundle, "ort-cpu").name
told["tf32"] = os.environ["NVIDIA_TF32_OVERRIDE"]
print(json.dumps(told))
"""


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


@pytest.fixture(params=[gpu_wheels.OLDEST, gpu_wheels.NEWEST])
def python(request: pytest.FixtureRequest) -> str:
    return gpu_wheels.gpu_python(request.param)


def bundle_of_opset_20(folder: Path) -> Bundle:
    """The demo's bundle as edgebird wrote bundles first; its operators mean the same at both opsets."""
    onnx = require("onnx")
    shutil.copytree(demo.BUNDLE, folder)
    bundle = open_bundle(folder)
    model = onnx.load(bundle.model())
    model.opset_import[0].version = 20
    onnx.save(model, bundle.model())
    precisions = {"fp32": replace(bundle.card.precisions["fp32"], sha256="", opset=20, lint={"a": "operator STFT"})}
    (folder / "card.json").write_text(json.dumps(asdict(replace(bundle.card, precisions=precisions))))
    return seal(folder)


# ----------------------------------------------------------------------------------------------------- what opens where
def test_the_gpu_wheel_never_falls_back_to_the_cpu_in_silence(tones: Bundle, python: str) -> None:
    """It lists CUDA and TensorRT as available where neither can be loaded, and would run on the CPU."""
    told = gpu_wheels.run(python, OPEN, tones.path)  # nothing else is on stdout: ONNX Runtime would print there
    assert (told.pop("cpu"), told.pop("tf32")) == ("ort-cpu", "0")
    for attempt, (outcome, text) in told.items():
        name = attempt.split()[0]
        if outcome == "runs":
            assert name in text or "ONNX Runtime" in text
        else:
            assert text.startswith(f"{name}: lib")
            assert " is missing: ONNX Runtime " in text or " is missing: install the NVIDIA driver" in text
            assert "pip install 'edgebird[gpu,cuda1" in text or "--gpus all" in text


def test_a_bundle_opens_on_the_oldest_and_the_newest_wheel(tmp_path: Path) -> None:
    """With 1.23.2 nobody with JetPack 6's Python or a driver of CUDA 12 could use a GPU."""
    gpu_wheels.assert_opens_on_gpu_wheels(tmp_path, open_bundle(demo.BUNDLE).model())


REFUSED = """
import json, sys
from edgebird import open_bundle, open_runtime
from edgebird.errors import RuntimeUnavailableError
try:
    open_runtime(open_bundle(sys.argv[1]), "ort-cuda")
except RuntimeUnavailableError as error:
    print(json.dumps(str(error)))
"""


def test_a_refused_session_names_its_nodes_and_what_mends_it(tmp_path: Path) -> None:
    """ONNX Runtime's own message names no node: the user would not know that an export mends it."""
    bundle = bundle_of_opset_20(tmp_path / "old")
    python = gpu_wheels.gpu_python(gpu_wheels.OLDEST)
    libraries = gpu_wheels.hollow(python, tmp_path)
    told = gpu_wheels.run(python, REFUSED, bundle.path, LD_LIBRARY_PATH=str(libraries))
    version, _ = gpu_wheels.installed(python)
    assert told == (
        f"ort-cuda: no CUDA kernel for a part of model.fp32.onnx (opset 20) in ONNX Runtime {version}: "
        "frontend/0/frames/Pad (Pad), frontend/0/frames/AveragePool (AveragePool), frontend/0/ReduceMax (ReduceMax) "
        "and 8 more: export the bundle again, edgebird writes opset 18 now, or install onnxruntime-gpu 1.27 or newer"
    )


def test_nodes_on_the_cpu_are_named_by_newer_versions_too(tmp_path: Path) -> None:
    """They have a function for it, older ones only a log."""
    onnx = require("onnx")
    python = gpu_wheels.gpu_python(gpu_wheels.NEWEST)
    libraries = gpu_wheels.hollow(python, tmp_path)
    make = onnx.helper
    values = [make.make_tensor_value_info("x", 1, [1, 2, 2]), make.make_tensor_value_info("y", 1, [1])]
    nodes = [make.make_node("Det", ["x"], ["d"], "determinant"), make.make_node("Add", ["d", "d"], ["y"], "twice")]
    graph = make.make_graph(nodes, "no GPU has a kernel for Det", values[:1], values[1:])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8), tmp_path / "x.onnx")
    code = "import json, sys; from edgebird.runtimes.ort_placement import left_to_cpu; from pathlib import Path; "
    code += "print(json.dumps([[p.operator, p.node] for p in left_to_cpu(Path(sys.argv[1]), 'CUDAExecutionProvider')]))"
    told = gpu_wheels.run(python, code, tmp_path / "x.onnx", LD_LIBRARY_PATH=str(libraries))
    assert ["Det", "determinant"] in told


def test_a_provider_that_cannot_run_there_names_no_nodes(tmp_path: Path, tones: Bundle) -> None:
    """ONNX Runtime would open the graph on the CPU alone, and all of it would be told as what the GPU lacks."""
    python = gpu_wheels.gpu_python(gpu_wheels.NEWEST)
    code = "import json, sys; from edgebird.runtimes.ort_placement import left_to_cpu; from pathlib import Path; "
    code += "print(json.dumps(left_to_cpu(Path(sys.argv[1]), 'CUDAExecutionProvider')))"
    assert gpu_wheels.run(python, code, tones.model(), LD_LIBRARY_PATH=str(tmp_path)) == []


def test_bundles_of_opset_20_still_open(tmp_path: Path) -> None:
    bundle = bundle_of_opset_20(tmp_path / "old")
    assert bundle.card.precisions["fp32"].lint == {"TensorRT 10.3 (JetPack 6)": {"a": "operator STFT"}}  # of that time
    runtime = ort.open_runtime(bundle, "ort-cpu", RuntimeOptions(threads=1))
    golden = bundle.golden()
    np.testing.assert_allclose(runtime.infer(golden.windows()[:2]), golden.scores[:2], rtol=0, atol=1e-4)
    runtime.close()
    python = gpu_wheels.gpu_python(gpu_wheels.NEWEST)
    libraries = gpu_wheels.hollow(python, tmp_path)
    told = gpu_wheels.run(python, gpu_wheels.SESSION, bundle.model(), LD_LIBRARY_PATH=str(libraries))
    assert told == ["CUDAExecutionProvider"]


def test_cuda_of_pips_own_packages_is_found(tmp_path: Path, python: str) -> None:
    """They lie where no library path leads: without help a user with `edgebird[gpu,cuda13]` has no CUDA."""
    version, package = gpu_wheels.installed(python)
    hollow = gpu_wheels.hollow(python, tmp_path)
    site, driver = tmp_path / "site", tmp_path / "driver"
    driver.mkdir()
    site.mkdir()
    (site / "onnxruntime").symlink_to(package)
    for library in hollow.glob("lib*.so.*[0-9]"):
        if library.name.startswith("libcuda.so"):
            shutil.copy(library, driver)  # which is none of the packages
        else:
            folder = (
                site
                / "nvidia"
                / _home(library.name, is_cuda_12=python == gpu_wheels.gpu_python(gpu_wheels.OLDEST))
                / "lib"
            )
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, folder)
    model = open_bundle(demo.BUNDLE).model()
    told = gpu_wheels.run(python, gpu_wheels.SESSION, model, PYTHONPATH=str(site), LD_LIBRARY_PATH=str(driver))
    assert told == ["CUDAExecutionProvider"], version


def _home(library: str, is_cuda_12: bool) -> str:
    """The folder of NVIDIA's package for a library: one for all of CUDA 13, one for each part of CUDA 12."""
    if library.startswith("libcudnn"):
        return "cudnn"
    if not is_cuda_12:
        return "cu13"
    parts = {"libcublas": "cublas", "libcurand": "curand", "libcufft": "cufft", "libcudart": "cuda_runtime"}
    return next((folder for start, folder in parts.items() if library.startswith(start)), "other")


def test_the_gpus_of_the_table_are_those_that_the_wheels_have_code_for(python: str) -> None:
    version, package = gpu_wheels.installed(python)
    found = gpu_code.gpus_of(package / "capi" / "libonnxruntime_providers_cuda.so")
    code = [name.removeprefix("sm_") for name in found if name.startswith("sm_")]
    page = (gpu_wheels.ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("| ") and version in line.split("|")[1]]
    assert f"sm_{', '.join(code)}," in row
    assert ("no PTX" in row) == (len(code) == len(found))


# ------------------------------------------------------------------------------------------------------------ the table
def test_the_table_of_kernels_is_what_the_wheels_tell(tmp_path: Path, python: str) -> None:
    """The lint of an export believes it."""
    version, _ = gpu_wheels.installed(python)
    libraries = gpu_wheels.hollow(python, tmp_path)
    told = gpu_wheels.run(python, read_kernels.TELL, LD_LIBRARY_PATH=str(libraries))
    wanted = read_kernels.table({version: read_kernels.kernels(told)})
    content = json.loads(read_kernels.TABLE.read_text())[read_kernels.CUDA]["kernels"]
    found = {}
    for operator, rows in content.items():
        mine = [{**row, "versions": [version]} for row in rows if version in row["versions"]]
        if mine:
            found[operator] = mine
    assert found == wanted


# ---------------------------------------------------------------------------------------------------------- batch sizes
class _CountedBound:
    """In place of memory on a GPU: every size that is not ready yet is an engine search, seconds long."""

    ready: list[int] = []  # noqa: RUF012

    def __init__(self, session: Any, card: Any, batch: int, device: str) -> None:
        assert device == "cuda"
        self.ready.append(batch)
        self._batch = batch

    def run(self, given: FloatArray) -> FloatArray:
        assert given.shape == (self._batch, WINDOW_S * RATE)
        return amplitudes(given).astype(np.float32)


@pytest.mark.parametrize("name", ["ort-cuda", "ort-tensorrt"])
@pytest.mark.parametrize("throughput", [False, True])
def test_no_batch_size_is_new_to_the_gpu_once_it_is_open(
    name: str, throughput: bool, tones: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN measures its algorithms anew for each, and TensorRT builds an engine, while sound is lost."""
    import soundfile

    real = ort_session.session_of(tones.model(), "ort-cpu")
    monkeypatch.setattr(_CountedBound, "ready", [])
    monkeypatch.setattr(ort, "session_of", lambda *_, **__: real)
    monkeypatch.setattr(ort_bound, "_Bound", _CountedBound)
    runtime = ort.open_runtime(tones, name, RuntimeOptions(throughput=throughput))
    opened = list(_CountedBound.ready)
    assert opened == [size for size in (1, 2, 4, 8) if size <= runtime.batch_size]
    for count in (*range(1, 12), 16, 33):
        given = windows(count)
        np.testing.assert_allclose(runtime.infer(given), amplitudes(given), rtol=0, atol=1e-5)
    soundfile.write(tmp_path / "x.wav", scene(40, [(0, 0.9, 0, 5)]), RATE)
    assert [event["code"] for event in detect(tmp_path / "x.wav", runtime) if event["event"] == "detection"]
    assert opened == _CountedBound.ready


def test_windows_that_share_a_floor_are_warmed_in_their_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tone_bundle(tmp_path / "floor", db_floor="batch")
    real = ort_session.session_of(bundle.model(), "ort-cpu")
    monkeypatch.setattr(_CountedBound, "ready", [])
    monkeypatch.setattr(ort, "session_of", lambda *_, **__: real)
    monkeypatch.setattr(ort_bound, "_Bound", _CountedBound)
    runtime = ort.open_runtime(bundle, "ort-cuda", RuntimeOptions())
    opened = list(_CountedBound.ready)
    for count in range(1, 12):
        runtime.infer(windows(count))
    assert opened == _CountedBound.ready == [1, 2, 4]


# ---------------------------------------------------------------------------------------------------------- CUDA graphs
GRAPHS = """
import ctypes, json, sys, threading
import numpy as np
from edgebird import open_bundle, open_runtime
runtime = open_runtime(open_bundle(sys.argv[1]), "ort-cuda")
cuda = ctypes.CDLL(next(line.split()[-1] for line in open("/proc/self/maps") if "libcudart" in line))
told = lambda: [ctypes.c_int.in_dll(cuda, f"hollow_{what}").value for what in ("captures", "launches", "stale")]
def score(counts):
    for count in counts:
        runtime.infer(np.zeros((count, runtime.card.window_samples), np.float32))
opened = told()
score((1, 2, 3, 4, 8, 1))
here = told()
other = threading.Thread(target=score, args=((1, 8),))
other.start()
other.join()
print(json.dumps([runtime.includes(1), opened, here, told()]))
runtime.close()
"""


def test_an_inference_is_one_launch_of_a_cuda_graph(tmp_path: Path, python: str) -> None:
    """Hundreds of kernels that are started one by one take longer than a large GPU computes. The real provider captures
    and replays here, on a CUDA that counts: a graph for each size, at the opening, and none on another thread.
    """
    libraries = gpu_wheels.hollow(python, tmp_path)
    bundle = adding_bundle(tmp_path / "adding")
    includes, opened, here, other = gpu_wheels.run(python, GRAPHS, bundle.path, LD_LIBRARY_PATH=str(libraries))
    assert includes == "copies to and from the GPU; a CUDA graph"
    sizes = len((1, 2, 4, 8))
    assert opened == [2 * sizes, sizes, 0]  # for each of two batches in flight; each size is launched once
    assert here == [2 * sizes, sizes + 6, 0]
    assert other == [2 * sizes, sizes + 8, 0]


def test_a_graph_copies_what_it_copied_when_it_was_captured(tmp_path: Path, python: str) -> None:
    """For a product of matrices over a batch ONNX Runtime copies addresses from memory that the next run overwrites:
    windows would be scored from those of another batch size.
    """
    libraries = gpu_wheels.hollow(python, tmp_path)
    bundle = adding_bundle(tmp_path / "multiplying", multiplies=True)
    _, *told = gpu_wheels.run(python, GRAPHS, bundle.path, LD_LIBRARY_PATH=str(libraries))
    assert [stale for _, _, stale in told] == [0, 0, 0]
    assert [launches for _, launches, _ in told] == [4, 10, 12]


def adding_bundle(folder: Path, multiplies: bool = False) -> Bundle:
    """Scores every sample with its sum with itself: no operator in it needs cuDNN or cuBLAS.

    multiplies: by products of matrices with each window instead, as the frontend does.
    """
    onnx = require("onnx")
    labels = tuple(Label(f"sample{i}", f"S {i}", f"Sample {i}") for i in range(4))
    card = replace(tone_card(RATE, "batch"), labels=labels, window_samples=4, golden=None)
    card = replace(card, input=replace(card.input, shape=("batch", 4)), output=replace(card.output, shape=("batch", 4)))
    make = onnx.helper
    values = [make.make_tensor_value_info(name, 1, ["batch", 4]) for name in (card.input.name, card.output.name)]
    nodes, constants = [make.make_node("Add", ["sound", "sound"], ["birds"])], []
    if multiplies:
        constants = [make.make_tensor(name, 7, [len(to)], to) for name, to in (("s", [0, 2, 2]), ("w", [0, 4]))]
        nodes, wide = [make.make_node("Reshape", ["sound", "s"], ["squares"])], 2
        for name, given, high in (("m0", "squares", 64), ("m1", "p0", 64), ("m2", "p1", 2)):  # each has other addresses
            constants += [make.make_tensor(name, 1, [high, wide], [0.25] * (high * wide))]
            nodes += [make.make_node("MatMul", [name, given], [name.replace("m", "p")])]
            wide = high
        nodes += [make.make_node("Reshape", ["p2", "w"], ["birds"])]
    graph = make.make_graph(nodes, "adds", values[:1], values[1:], constants)
    folder.mkdir()
    onnx.save(
        make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8), folder / "model.fp32.onnx"
    )
    (folder / "card.json").write_text(json.dumps(asdict(card)))
    return seal(folder)


# ----------------------------------------------------------------------------------------------------- how it is set up
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_tensorrt_provider_is_configured(tones: Bundle, precision: str) -> None:
    """Unconfigured it builds an engine at every start, and one for each batch size; FP16 flags would be applied to the
    frontend too.
    """
    precisions = {precision: tones.card.precisions["fp32"]}
    given = ort._provider_options(
        Bundle(tones.path, replace(tones.card, precisions=precisions)), "ort-tensorrt", precision
    )
    assert {key: given[key] for key in given if "shapes" in key} == {
        "trt_profile_min_shapes": "sound:1x40000",
        "trt_profile_opt_shapes": "sound:1x40000",
        "trt_profile_max_shapes": "sound:4x40000",
    }
    assert (given["trt_engine_cache_enable"], given["trt_timing_cache_enable"]) == ("1", "1")
    assert given["trt_engine_cache_prefix"].startswith(precision)
    assert not [key for key in given if "fp16" in key or "int8" in key]


def test_the_tensorrt_provider_loads_no_engine_of_a_bundle_nor_of_another_version(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It loads what is in its cache unchecked: a bundle from elsewhere could bring code. And after an update of
    ONNX Runtime or TensorRT it refuses its own engines.
    """

    def cache() -> Path:
        return Path(ort._provider_options(tones, "ort-tensorrt", "fp32")["trt_engine_cache_path"])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ort_libraries, "_DRIVER_FILES", tmp_path / "driver")
    first = cache()
    assert first.is_dir()
    assert tones.path not in first.parents
    gpu = tmp_path / "driver" / "gpus" / "0000:01:00.0" / "information"
    gpu.parent.mkdir(parents=True)
    seen = {first}
    for text, is_new in (("Model: A\nIRQ: 1", True), ("Model: A\nIRQ: 2", False), ("Model: B\nIRQ: 2", True)):
        gpu.write_text(text)
        assert (cache() not in seen) == is_new
        seen.add(cache())
    monkeypatch.setattr(ort_libraries, "tensorrt_version", lambda: "10.14.1")
    assert cache() not in seen
    assert "10.14.1" in cache().name


def test_engines_that_cannot_be_kept_are_built_at_each_start(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not [key for key in ort._provider_options(tones, "ort-tensorrt", "fp32") if "cache" in key]
    assert "engines are built at each start: cannot write" in caplog.text


def test_cuda_runs_without_tf32(tones: Bundle) -> None:
    """10 bits of mantissa ruin the FP32 frontend."""
    options = {precision: ort._provider_options(tones, "ort-cuda", precision) for precision in ("fp32", "fp16")}
    assert [given["use_tf32"] for given in options.values()] == ["0", "0"]
    assert [given["prefer_nhwc"] for given in options.values()] == ["0", "1"]


def test_memory_that_stays_on_the_device_gives_the_same_scores(tones: Bundle) -> None:
    """Here the device is the CPU: the binding is the same."""
    session = ort_session.session_of(tones.model(), "ort-cpu", threads=1)
    runs = ort_bound.BoundRuns(session, Outputs(tones.card), (), "cpu")
    for count in (1, 3, 1):
        batch = windows(count)
        scores = runs.run(batch)
        np.testing.assert_allclose(scores, amplitudes(batch), rtol=0, atol=1e-5)
        kept = scores.copy()
        runs.run(batch[::-1].copy())
        np.testing.assert_array_equal(scores, kept)
