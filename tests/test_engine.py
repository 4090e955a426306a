"""Building engines: for real with TensorRT-RTX, which needs no GPU; else on doubles of every version of TensorRT.

The names that the code uses are held to the real bindings' API (`data/tensorrt_api.json.gz`).
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebird.bundle import Bundle, open_bundle
from edgebird.card import Tensor
from edgebird.errors import BundleError, OutputError, ParityError, RuntimeUnavailableError, ScoreError, UsageError
from edgebird.runtimes.trt.build import build_engine
from edgebird.runtimes.trt.request import EngineRequest
from edgebird.runtimes.trt.sidecar import read_sidecar
from tests import test_cli, test_trt_runtime
from tests.conftest import require
from tests.cuda_double import API as CUDA_API
from tests.foreign import tone_bundle
from tests.tensorrt_double import API, RTX, VERSIONS
from tests.test_trt_runtime import Device

edgebird = test_cli.edgebird  # a fixture
device, orin = test_trt_runtime.device, test_trt_runtime.orin  # fixtures
ROOT = Path(__file__).parents[1]
GPUS = ("sm86", "sm89", "sm120")


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


def told_of(engine: Path) -> dict[str, Any]:
    """Its sidecar as JSON."""
    content: dict[str, Any] = json.loads(engine.with_suffix(".json").read_text())
    return content


# ------------------------------------------------------------------------------------ every name is one of the real API
# What the code calls these objects -> their class. Each file names a few.
OBJECTS = {
    "builder": "Builder",
    "compiled": "IRuntimeCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "loader": "Runtime",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "settings": "IRuntimeConfig",
    "t": "ITensor",
    "timing_cache": "ITimingCache",
}
TRT = ROOT / "runtimes/trt"
SOURCES = {
    "bindings": set[str](),
    "build": set[str](),
    "contexts": {"compiled", "context", "engine", "settings"},
    "opening": {"loader"},
    "plan": set(OBJECTS) - {"compiled", "context", "engine", "settings"},
    "progress": set[str](),
    "request": set[str](),
    "runtime": {"engine", "context"},
}
# Reached for TensorRT-RTX alone, or only where the version has it: (class, member) or enum.
RTX_ALONE = {
    ("BuilderFlag", "REQUIRE_USER_ALLOCATION"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
    ("ICudaEngine", "create_runtime_config"),
}
RTX_ENUMS = {"ComputeCapability", "CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy"}
RTX_CLASSES = {"IRuntimeCache", "IRuntimeConfig"}


def uses() -> Iterator[tuple[str, str, ast.AST]]:
    """Every use of TensorRT, class and member ("" and name for the module `trt` itself), with its call if it is one."""
    for source, names in SOURCES.items():
        tree = ast.parse((TRT / f"{source}.py").read_text(encoding="utf-8"))
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            owner = ast.unparse(node.value).removeprefix("lane.")
            found = calls.get(id(node), node)
            if node.attr.startswith("__") and node.attr != "__members__":
                continue
            if owner in names:
                yield OBJECTS[owner], node.attr, found
            elif owner in ("trt", "build.trt", "self.trt"):
                yield "", node.attr, found
            elif match := re.fullmatch(r"(?:build\.)?trt\.(\w+)", owner):
                yield match[1], node.attr, found


def test_what_is_used_is_seen_here() -> None:
    """A renamed variable must not hide its uses from the tests below."""
    seen = {(owner, name) for owner, name, _ in uses()}
    assert {
        ("", "Builder"), ("", "OnnxParser"), ("", "Runtime"), ("", "ILogger"), ("", "IProgressMonitor"),
        ("Builder", "build_serialized_network"), ("Builder", "create_network"), ("IBuilderConfig", "clear_flag"),
        ("BuilderFlag", "TF32"), ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"), ("ITensor", "shape"),
        ("MemoryPoolType", "WORKSPACE"), ("IOptimizationProfile", "set_shape"), ("OnnxParser", "parse_from_file"),
        ("ParserError", "node_name"), ("ITimingCache", "serialize"), ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "get_tensor_profile_shape"), ("ICudaEngine", "num_optimization_profiles"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_device_memory"), ("IRuntimeConfig", "set_runtime_cache"),
        ("IRuntimeCache", "deserialize"), ("ICudaEngine", "device_memory_size_v2"),
    } <= seen  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_is_one_that_this_version_has(version: str) -> None:
    """The bindings cannot be imported without a GPU's libraries: a slip would first be met on somebody's Jetson."""
    classes, enums = API[version]["classes"], API[version]["enums"]
    for owner, name, node in uses():
        where = f"{version}: {ast.unparse(node)}"
        if version != RTX and ((owner, name) in RTX_ALONE or {owner, name} & (RTX_ENUMS | RTX_CLASSES)):
            continue
        if not owner:
            assert name in classes or name in enums, where
        elif owner in enums:
            assert name in enums[owner] or name == "__members__", where
        else:
            assert name in classes[owner], where
            if isinstance(node, ast.Call):
                assert_fits(node, classes[owner][name], where)


def assert_fits(call: ast.Call, signature: str | None, where: str) -> None:
    """The call's arguments fit the signature of the bindings."""
    assert signature is not None, f"{where}: not a function"
    if "*args" in signature:
        return
    inside = re.sub(r"<[^>]*>", "", signature.partition("(")[2].partition(") ->")[0])
    parameters = [part.partition(":") for part in inside.split(", ")[1:]]
    names = [name for name, _, _ in parameters]
    needed = [name for name, _, kind in parameters if "=" not in kind]
    given = names[: len(call.args)] + [keyword.arg for keyword in call.keywords if keyword.arg]
    assert len(call.args) <= len(names), where
    assert set(needed) <= set(given) <= set(names), where


@pytest.mark.parametrize("version", VERSIONS)
def test_callbacks_take_the_names_that_this_version_gives(version: str) -> None:
    """pybind11 calls them by position, but a wrong count ends the process."""
    tree = [ast.parse((TRT / name).read_text(encoding="utf-8")) for name in ("progress.py", "bindings.py")]
    written = {
        function.name: [argument.arg for argument in function.args.args]
        for part in tree
        for node in ast.walk(part)
        if isinstance(node, ast.ClassDef) and node.name in ("Monitor", "Logger")
        for function in node.body
        if isinstance(function, ast.FunctionDef)
    }
    classes = API[version]["classes"]
    for owner, name in (
        ("IProgressMonitor", "phase_start"),
        ("IProgressMonitor", "step_complete"),
        ("IProgressMonitor", "phase_finish"),
        ("ILogger", "log"),
    ):
        inside = classes[owner][name].partition("(")[2].partition(") ->")[0]
        assert written[name] == [part.partition(":")[0] for part in inside.split(", ")]


@pytest.mark.parametrize("version", CUDA_API)
def test_every_cuda_call_is_one_that_cuda_python_has(version: str) -> None:
    api, used = CUDA_API[version], set()
    constants = api["constants"] | {name: value for enum in api["enums"].values() for name, value in enum.items()}
    for source in ("contexts.py", "gpu.py", "runtime.py"):
        for node in ast.walk(ast.parse((TRT / source).read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch("cuda[A-Z]\\w+", node.value)
            ):
                used.add(node.value)
    assert len(used) > 20
    assert used <= api["functions"].keys() | constants.keys() | api["enums"].keys()


# ----------------------------------------------------------------------------------------------- on the device: doubles
def test_an_engine_is_built_proven_and_described(device: Device, tones: Bundle) -> None:
    lines: list[str] = []
    path = build_engine(tones, EngineRequest(device.runtime), lines.append)
    assert path == tones.path / "engines" / f"model.fp32.{device.runtime}.engine"
    told = told_of(path)
    assert (told["runtime"], told["version"]) == (device.runtime, device.trt.module.__version__)
    assert told["onnx_sha256"] == tones.card.precisions["fp32"].sha256
    assert told["gpu"]["name"] == device.cuda.gpu.name
    assert {tuple(one) for one in told["profiles"]} == {("min", "opt", "max")}
    assert (told["profiles"][0]["min"], told["profiles"][-1]["max"]) == ([1, 40000], [4, 40000])
    assert (told["tf32"], told["optimization_level"], told["workspace_bytes"]) == (False, 3, 1 << 30)
    assert told["peak_memory"]["process"] > 1e6
    assert told["peak_memory"]["tensorrt_gpu"] == 172 << 20
    assert told["parity"]["gpu"] == device.cuda.gpu.name
    assert told["parity"]["max_abs"] < 1e-5
    assert open_bundle(tones.path) == tones  # the cache is none of the card's business
    assert [line.split()[0] for line in lines] == ["building", "built", "proven", "wrote"]


def test_tf32_is_off_and_the_graph_alone_decides_on_precision(device: Device, tones: Bundle) -> None:
    """TF32 is on by default and moves scores by 0.03; a weakly typed network may run the frontend in FP16."""
    device.build(tones)
    assert device.trt.built["flags"] == (["REQUIRE_USER_ALLOCATION"] if device.trt.rtx else [])
    assert device.trt.built["typed"]


def test_a_left_on_tf32_would_be_found(orin: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orin.trt.module.IBuilderConfig, "clear_flag", lambda *_: None)
    with pytest.raises(ParityError, match="was deleted: the engine does not score as the original network did"):
        orin.build(tones)


@pytest.mark.parametrize("fault", ["wrong", "not finite", "interrupted"])
@pytest.mark.parametrize("before", [False, True])
def test_an_engine_that_fails_its_proof_is_deleted(
    device: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, fault: str, before: bool
) -> None:
    """The worst that FP16 is known for: wrong birds in silence. One that works is there until another is proven: a
    station goes on with it.
    """
    if before:
        device.build(tones)
    there = engines_of(tones)
    assert len(there) == 2 * before
    error: type[BaseException] = {"wrong": ParityError, "not finite": ScoreError}.get(fault, KeyboardInterrupt)
    if fault == "interrupted":

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("edgebird.runtimes.trt.opening.prove", interrupt)
    device.trt.faults.off = 0.02 if fault == "wrong" else 0.0
    device.trt.faults.nan = fault == "not finite"
    with pytest.raises(error) as caught:
        device.build(tones, rebuild=True)
    if fault == "wrong":
        assert "worst window 'Low Tone'" in str(caught.value)
        assert "build it again" not in str(caught.value)
    assert engines_of(tones) == there
    assert device.cuda.left() == {}
    device.trt.faults.off, device.trt.faults.nan = 0.0, False
    if before:
        device.open(tones).close()


def engines_of(bundle: Bundle) -> dict[str, bytes]:
    """What is in its folder for engines."""
    return {path.name: path.read_bytes() for path in (bundle.path / "engines").glob("*")}


def test_a_folder_that_cannot_be_written_is_told_before_minutes_of_building(orin: Device, tones: Bundle) -> None:
    (tones.path / "engines").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*engines: File exists"):
        orin.build(tones)
    assert orin.trt.built == {}


def test_what_is_there_and_fits_is_not_built_again(orin: Device, tones: Bundle) -> None:
    """An Orin takes minutes for it."""
    path = orin.build(tones)
    orin.trt.faults.build = True
    lines: list[str] = []
    assert build_engine(tones, EngineRequest(), lines.append) == path
    assert "--rebuild builds it anew" in lines[0]
    for request in ({"rebuild": True}, {"max_batch": 8}, {"optimization_level": 5}, {"workspace_mib": 512}):
        with pytest.raises(RuntimeUnavailableError, match="cannot build the engine"):
            orin.build(tones, **request)
    assert path.is_file()  # and it still works


@pytest.mark.parametrize(("available", "limit"), [(4 << 30, int(0.8 * (4 << 30))), (None, None)])
def test_a_build_leaves_memory_to_the_system_where_gpu_and_cpu_share_it(
    device: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, available: int | None, limit: int | None
) -> None:
    """TensorRT takes up to three quarters of all memory there: on 8 GB the kernel kills it, or the station."""
    monkeypatch.setattr("edgebird.runtimes.trt.build.available_memory", lambda: available)
    told = told_of(device.build(tones))
    pools = {pool.name: size for pool, size in device.trt.built["config"]._limits.items()}
    wanted = limit if device.cuda.gpu.integrated else None
    assert pools.get("TACTIC_DRAM") == told["tactic_dram_bytes"] == wanted


def test_timings_that_cannot_be_kept_cost_no_engine(
    orin: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It took minutes."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert orin.build(tones).is_file()
    assert "the next build measures anew: " in caplog.text


def test_timings_are_kept_for_each_gpu_and_version(
    device: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the user's cache: TensorRT reads them unchecked, and a bundle may come from anywhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = device.build(tones)
    assert not list(path.parent.glob("timing.*"))
    caches = list((tmp_path / "cache" / "edgebird" / "tensorrt").glob("timing.*.cache"))
    if device.runtime == "tensorrt-rtx":  # measures nothing, and warns of it
        assert caches == []
        return
    (cache,) = caches
    assert told_of(path)["timing_cache"] == cache.name
    assert cache.read_bytes() == f"timings of {device.trt.version}".encode()
    device.build(tones, rebuild=True)
    assert device.trt.built["config"]._cache._content == cache.read_bytes()
    cache.write_bytes(b"of another GPU")
    device.build(tones, rebuild=True)
    assert device.trt.built["config"]._cache._content == b""
    cache.write_bytes(b"of another GPU")
    device.trt.faults.build = True
    with pytest.raises(RuntimeUnavailableError, match=r"no implementation for node X \(and 1 more"):  # not the cache
        device.build(tones, rebuild=True)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("builder", "cannot start: no NVIDIA GPU or driver here"),
        ("profile", r"refuses batches of 1 to [14] windows: IOptimizationProfile::isValid: MIN<=OPT<=MAX"),
        ("build", r"cannot build the engine: IBuilder::buildSerializedNetwork: Error Code 10: no implementation for "
                  r"node X \(and 1 more: see -v\)"),
    ],
)  # fmt: skip
def test_what_tensorrt_refuses_is_one_line_with_its_words(device: Device, tones: Bundle, fault: str, told: str) -> None:
    setattr(device.trt.faults, fault, True)
    with pytest.raises(RuntimeUnavailableError, match=f"TensorRT.* {told}") as caught:
        device.build(tones)
    assert "\n" not in str(caught.value)
    assert not list((tones.path / "engines").glob("model*"))


def test_a_refused_timing_cache_is_an_error(orin: Device, tones: Bundle) -> None:
    orin.trt.faults.timing_cache = True
    with pytest.raises(RuntimeUnavailableError, match="refuses a timing cache: no reason given"):
        orin.build(tones)


def test_the_parsers_errors_name_node_and_reason(orin: Device, tones: Bundle) -> None:
    """On a Jetson there is no onnx to look into the graph with."""
    orin.trt.faults.nodes = [
        ("frontend/spectrum", "STFT", "In node 7 (importNode): UNSUPPORTED_NODE:\nno importer for STFT"),
        ("pool", "GeM", "no importer"),
    ]
    with pytest.raises(RuntimeUnavailableError) as caught:
        orin.build(tones)
    assert str(caught.value) == (
        "TensorRT 10.3.0 refuses the model model.fp32.onnx: node 'frontend/spectrum' (STFT): In node 7 (importNode): "
        "UNSUPPORTED_NODE: no importer for STFT (and 1 more: see -v)"
    )


@pytest.mark.parametrize(
    ("level", "name"), [("ampere-plus", "AMPERE_PLUS"), ("same-compute-capability", "SAME_COMPUTE_CAPABILITY")]
)
def test_compatibility_is_on_request_and_by_name(device: Device, tones: Bundle, level: str, name: str) -> None:
    request = {"hardware": level, "version_compatible": True}
    if device.runtime == "tensorrt-rtx":
        with pytest.raises(UsageError, match="has no compatibility options: name the GPUs with --for"):
            device.build(tones, **request)
    elif device.trt.version == "10.3.0" and level == "same-compute-capability":
        with pytest.raises(RuntimeUnavailableError, match="has no --hardware-compatible same-compute"):
            device.build(tones, **request)
    else:
        told = told_of(device.build(tones, **request))
        assert (told["hardware_compatibility"], told["flags"]) == (name, ["VERSION_COMPATIBLE"])


def test_a_model_of_fixed_batch_needs_no_profile(orin: Device, tmp_path: Path) -> None:
    path = orin.build(tone_bundle(tmp_path / "fixed", batch=2))
    assert told_of(path)["profiles"] == []
    assert orin.build(tone_bundle(tmp_path / "again", batch=2)).is_file()


def test_a_model_that_scores_groups_of_four_needs_an_engine_for_them(orin: Device, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-batch 2: this bundle scores 4 at once"):
        orin.build(tone_bundle(tmp_path / "groups", db_floor="batch"), max_batch=2)


def test_ctrl_c_stops_the_build_at_its_next_step(device: Device, tones: Bundle) -> None:
    """An exception in a callback would have to cross TensorRT's C++ code, and ends the process."""

    def press(phase: str, _share: float) -> None:
        if phase == "Timing graph nodes":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_engine(tones, EngineRequest(device.runtime), progress=press)
    assert not list((tones.path / "engines").glob("model*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("error", [BrokenPipeError("head has read enough"), ValueError("I/O on closed file")])
def test_a_build_goes_on_where_nobody_reads_its_progress(device: Device, tones: Bundle, error: Exception) -> None:
    """It was cancelled after minutes, `by user`, because of `2>&1 | head`."""
    calls = []

    def fail(phase: str, _share: float) -> None:
        calls.append(phase)
        raise error

    assert build_engine(tones, EngineRequest(device.runtime), progress=fail).is_file()
    assert len(calls) == 1


# ------------------------------------------------------------------------------- ahead of time: for real, without a GPU
def compile_for(bundle: Bundle, out: Path, precision: str = "fp32", gpus: tuple[str, ...] = GPUS) -> Path:
    require("tensorrt_rtx")
    return build_engine(bundle, EngineRequest("tensorrt-rtx", precision, capabilities=gpus, out=out))


def test_tensorrt_rtx_compiles_ahead_of_time(tones: Bundle, tmp_path: Path) -> None:
    path = compile_for(tones, tmp_path / "out")
    told = told_of(path)
    assert path == tmp_path / "out" / "model.fp32.tensorrt-rtx.engine"
    assert told["capabilities"] == list(GPUS)
    assert (told["gpu"], told["parity"], told["tf32"]) == (None, "unproven", False)
    assert told["engine_bytes"] == path.stat().st_size
    assert told["inputs"] == [{"name": "sound", "shape": ["batch", 40000]}]
    assert told["version"] == require("tensorrt_rtx").__version__
    assert read_sidecar(path.with_suffix(".json")).engine == path.name
    assert told["flags"] == ["REQUIRE_USER_ALLOCATION"]  # else no CUDA graph can be captured of it
    assert not (tones.path / "engines").exists()  # what is for others does not go into the bundle


@pytest.mark.parametrize(
    ("gpu", "told"),
    [
        ("sm87", r"not for sm87 \(Jetson Orin\): its engine is built on it, with --runtime tensorrt"),
        ("sm110", r"not for sm110 \(Jetson Thor\): its engine is built on it, with --runtime tensorrt"),
        ("sm90", "compiles for sm80, sm86, sm89, sm120, sm121, not for sm90"),
        (
            "sm75",
            r"not for sm75 \(Turing\), where it has no FP32 matrix product: build on that GPU, with --runtime tens",
        ),
    ],
)
def test_gpus_that_it_does_not_compile_for_are_refused(
    tones: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, told: str
) -> None:
    """At once, before minutes of work for the others."""
    monkeypatch.setattr("edgebird.runtimes.trt.build.write_engine", None)
    for gpus in (("sm86", gpu), (gpu,)):
        with pytest.raises(RuntimeUnavailableError, match=told) as caught:
            compile_for(tones, tmp_path / "out", gpus=gpus)
        assert ("sm75" in str(caught.value)) == (gpu == "sm75"), "nobody is offered what is refused next"
    assert not list(tmp_path.glob("out/*"))


def test_without_a_gpu_it_needs_to_know_for_which(tones: Bundle) -> None:
    require("tensorrt_rtx")
    with pytest.raises(RuntimeUnavailableError, match="for a GPU that is not here: --for sm86 --out DIR"):
        build_engine(tones, EngineRequest("tensorrt-rtx"))


def test_the_real_parser_and_compiler_say_why(tmp_path: Path) -> None:
    onnx = require("onnx")
    bundle = tone_bundle(tmp_path / "bundle", golden=None)
    model = onnx.load(bundle.model())
    model.graph.node[0].op_type = "MatMulInteger"
    model.graph.node[0].name = "probes"
    onnx.save(model, bundle.model())
    with pytest.raises(RuntimeUnavailableError, match=r"refuses the model model.fp32.onnx: node 'probes' \(MatMulInt"):
        compile_for(bundle, tmp_path / "out")


def test_a_card_that_does_not_fit_the_graph_is_told(tones: Bundle, tmp_path: Path) -> None:
    card = replace(tones.card, labels=tones.card.labels[:2], output=Tensor("birds", ("batch", 2)))
    with pytest.raises(BundleError, match=r"birds is float32 \['batch', 3\] in the graph, float32 \['batch', 2\]"):
        compile_for(Bundle(tones.path, card), tmp_path / "out")


def test_tensorrt_rtx_compiles_exp108(narrow_folds: dict[str, Path], tmp_path: Path) -> None:
    """The other experiments: test_graph.py."""
    require("onnx")
    from edgebird.export.exporter import ExportRequest, export_bundle
    from tests.test_graph import few_golden_windows

    with pytest.MonkeyPatch.context() as patch:
        few_golden_windows(patch, 1)
        bundle = export_bundle(ExportRequest((narrow_folds["exp108"],), tmp_path / "bundle"))
    assert compile_for(bundle, tmp_path / "out").stat().st_size > 0.5 * bundle.model().stat().st_size


def test_tensorrt_rtx_compiles_the_demo(tmp_path: Path) -> None:
    from edgebird import demo

    compile_for(open_bundle(demo.BUNDLE), tmp_path / "out")


# ----------------------------------------------------------------------------------------------------- the command line
def test_the_command_builds_and_prints_the_engine(
    edgebird: test_cli.Command,
    tones: Bundle,
    tmp_path: Path,
) -> None:
    require("tensorrt_rtx")
    out = tmp_path / "out"
    arguments = ["build", tones.path, "--runtime", "tensorrt-rtx", "--for", "sm86", "--for", "SM89", "--out", out]
    ended = edgebird(*arguments)
    assert (ended.code, ended.out) == (0, f"{out}/model.fp32.tensorrt-rtx.engine\n")
    assert "building  model.fp32.onnx with TensorRT-RTX" in ended.err
    assert "100% Building engine" in ended.err
    assert edgebird(*arguments, "-q").err == ""
    assert "TensorRT info: " in edgebird(*arguments, "-v").err


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_the_command_goes_on_where_nobody_reads_stderr(tones: Bundle, tmp_path: Path, options: list[str]) -> None:
    """For real: an exception in a callback of TensorRT's C++ code cancels the build."""
    require("tensorrt_rtx")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "edgebird", "build", str(tones.path), "--runtime", "tensorrt-rtx", "--for", "sm86"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=write,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stdout.decode()) == (0, f"{tmp_path}/out/model.fp32.tensorrt-rtx.engine\n")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--for", "sm87", "--out", "x", "--runtime", "tensorrt-rtx"], 1, "Jetson Orin"),
        (["--for", "sm86"], 2, "--for needs --runtime tensorrt-rtx"),
        (["--precision", "fp16"], 1, "no fp16 graph in this bundle, it has fp32"),
        (["--runtime", "onnx"], 2, "engines are built for"),
    ],
)
def test_its_errors_are_one_line(
    edgebird: test_cli.Command,
    tones: Bundle,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    require("tensorrt_rtx")
    ended = edgebird("build", tones.path, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.error()


def test_an_engine_that_fails_is_exit_code_1(
    edgebird: test_cli.Command,
    tones: Bundle,
    orin: Device,
) -> None:
    orin.trt.faults.off = 0.02
    ended = edgebird("build", tones.path)
    assert ended.code == 1
    assert "was deleted: the engine does not score as the original" in ended.error()
    orin.trt.faults.off = 0.0
    assert edgebird("build", tones.path).code == 0
    ended = edgebird("verify", tones.path, "--runtime", "tensorrt")
    assert ended.code == 0
    assert "fp32 on tensorrt: PASSED" in ended.out
