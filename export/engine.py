"""Building TensorRT engines from a bundle: on the device that will run them, or ahead of time with TensorRT-RTX.

One code path for TensorRT 10.3 to 11 and TensorRT-RTX 1.7: precision comes from the graph alone (strongly typed),
enum members are taken by name, and every refusal is an error with TensorRT's own words. Needs neither torch nor onnx.
"""

from __future__ import annotations

import logging
import platform
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.card import Tensor
from edgebird.errors import EdgebirdError, OutputError, RuntimeUnavailableError, UsageError
from edgebird.export.phases import Phases, interruptible, make_monitor
from edgebird.files import atomic_path, file_sha256
from edgebird.machine import l4t
from edgebird.runtimes import RuntimeOptions
from edgebird.runtimes.contract import check_graph
from edgebird.runtimes.gpu import Gpu, open_cuda
from edgebird.runtimes.sidecar import ENGINES, Sidecar, engine_path, find_engine
from edgebird.runtimes.trt import (
    MODULES,
    TrtLog,
    cannot_start,
    dtype_name,
    free_batch,
    import_tensorrt,
    make_logger,
    open_engine,
    title,
)

log = logging.getLogger(__name__)

HARDWARE = ("same-compute-capability", "ampere-plus")
JETSONS = {"sm72": "Jetson Xavier", "sm87": "Jetson Orin", "sm110": "Jetson Thor"}
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What to build.

    capabilities: GPUs to compile for ahead of time, such as `sm86`; none: for the GPU that is here. out: where engines
    compiled ahead of time go. max_batch: windows that the engine takes at once. workspace_mib: memory that a layer may
    take to work in. optimization_level: 0 to 5, how long to search for fast kernels. hardware: one of HARDWARE, to let
    other GPUs load it; version_compatible: to let newer TensorRTs of the same major version; both cost speed.
    rebuild: build although there is an engine that fits.
    """

    runtime: str = "tensorrt"
    precision: str = "fp32"
    capabilities: tuple[str, ...] = ()
    out: Path | None = None
    max_batch: int = 4
    workspace_mib: int = 1024
    optimization_level: int = 3
    hardware: str | None = None
    version_compatible: bool = False
    rebuild: bool = False


@dataclass(slots=True)
class _Build:
    """One build: TensorRT, what it says, what to build, and the objects it is made of."""

    trt: ModuleType
    bundle: Bundle
    request: EngineRequest
    timing_cache: Path | None
    log: TrtLog = field(default_factory=TrtLog)

    def refused(self, what: str, otherwise: str = "no reason given") -> RuntimeUnavailableError:
        """The error for something TensorRT would not do."""
        return RuntimeUnavailableError(f"{title(self.trt)} {what}: {self.log.explain(otherwise)}")


def build_engine(
    bundle: Bundle,
    request: EngineRequest,
    tell: Callable[[str], None] = lambda _line: None,
    progress: Callable[[str, float], None] = lambda _phase, _share: None,
) -> Path:
    """Build an engine and its sidecar, prove it if its GPU is here, return its path.

    On the device it goes into the bundle and must score the golden data as the original network did; one that does not
    is deleted, and one that was there before stays until the new one is proven. Compiled ahead of time it goes to
    `request.out`, unproven. tell: takes lines for the user; progress: takes the phase and the share that is done, on
    any thread.

    Raises RuntimeUnavailableError with TensorRT's reason, ParityError, ScoreError, UsageError, OutputError.
    """
    check_request(request)
    model = bundle.model(request.precision)
    if request.max_batch < max(bundle.card.batches):
        raise UsageError(f"--max-batch {request.max_batch}: this bundle scores {max(bundle.card.batches)} at once")
    trt = import_tensorrt(request.runtime)
    _check_capabilities(trt, request)
    gpu = None if request.capabilities else _gpu_here(request)
    if gpu and not request.rebuild and (ready := _ready(bundle, request, trt, gpu)):
        tell(f"ready     {ready}: it fits and is proven; --rebuild builds it anew")
        return ready
    folder = request.out if request.out else bundle.path / ENGINES
    cache = None if gpu is None or request.runtime != "tensorrt" else folder / timing_cache_name(gpu, trt.__version__)
    build = _Build(trt, bundle, request, cache)
    tell(f"building  {model.name} with {title(trt)} for {', '.join(request.capabilities) or gpu}")
    path = engine_path(folder, request.runtime, request.precision)
    with _aside(path) as built:
        sidecar = _build(build, built, gpu, progress)
        tell(f"built     {path.name}: {sidecar.engine_bytes / 1e6:.1f} MB in {sidecar.build_seconds:.0f} s")
        if gpu is not None:
            _prove(bundle, request, built.parent, tell)
    tell(f"wrote     {path}")
    return path


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Where to build and prove an engine: with its sidecar it takes the place of `path` on success and goes on failure.

    It has its own name in a folder beside. Between the two moves nothing is loaded: the sidecar does not fit.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent)
    except OSError as failure:
        raise OutputError(f"cannot write {path.parent}: {failure.strerror}") from failure
    with folder as name:
        built = Path(name) / path.name
        yield built
        try:
            built.replace(path)
            built.with_suffix(".json").replace(path.with_suffix(".json"))
        except OSError as failure:
            raise OutputError(f"cannot write {path}: {failure.strerror}") from failure


def check_request(request: EngineRequest) -> None:
    """Raise UsageError for options that do not fit together."""
    if request.runtime not in MODULES:
        raise UsageError(f"--runtime {request.runtime}: engines are built for {' or '.join(MODULES)}")
    for capability in request.capabilities:
        if not re.fullmatch(r"sm\d{2,3}", capability):
            raise UsageError(f"--for {capability}: wanted a compute capability such as sm86")
    if request.capabilities and request.runtime != "tensorrt-rtx":
        raise UsageError("--for needs --runtime tensorrt-rtx: TensorRT builds for the GPU that is here, and no other")
    if bool(request.capabilities) != bool(request.out):
        raise UsageError("--for and --out DIR go together: engines for other GPUs do not belong into the bundle")
    if request.runtime != "tensorrt" and (request.hardware or request.version_compatible):
        raise UsageError(f"{request.runtime} has no compatibility options: name the GPUs with --for")
    if request.hardware not in (None, *HARDWARE):
        raise UsageError(f"--hardware-compatible {request.hardware}: wanted {' or '.join(HARDWARE)}")
    if not 0 <= request.optimization_level <= 5:
        raise UsageError(f"--optimization-level {request.optimization_level}: wanted 0 to 5")


def _check_capabilities(trt: ModuleType, request: EngineRequest) -> None:
    """Raise RuntimeUnavailableError for GPUs that TensorRT-RTX does not compile for."""
    if not request.capabilities:
        return
    known = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    for capability in request.capabilities:
        if capability.upper() not in known:
            names = ", ".join(sorted((name.lower() for name in known), key=lambda name: int(name[2:])))
            refused = f"{title(trt)} compiles for {names}, not for {capability}"
            if capability in JETSONS:
                refused += f" ({JETSONS[capability]}): its engine is built on it, with --runtime tensorrt"
            raise RuntimeUnavailableError(refused)


def _gpu_here(request: EngineRequest) -> Gpu:
    try:
        return open_cuda(request.runtime).gpu()
    except RuntimeUnavailableError as error:
        if request.runtime != "tensorrt-rtx":
            raise
        raise RuntimeUnavailableError(f"{error}; for a GPU that is not here: --for sm86 --out DIR") from error


def _ready(bundle: Bundle, request: EngineRequest, trt: ModuleType, gpu: Gpu) -> Path | None:
    """The engine that is there already, if it fits and is proven."""
    try:
        path, sidecar = find_engine(
            bundle, request.runtime, request.precision, trt.__version__, gpu, bundle.path / ENGINES
        )
    except RuntimeUnavailableError as error:
        log.debug("%s", error)
        return None
    proven = sidecar.proven_on(gpu, trt.__version__) or bundle.card.golden is None
    return path if proven and _as_requested(sidecar, request) else None


def _as_requested(sidecar: Sidecar, request: EngineRequest) -> bool:
    return (
        (sidecar.profile["max"][0] if sidecar.profile else request.max_batch) == request.max_batch
        and sidecar.optimization_level == request.optimization_level
        and sidecar.workspace_bytes == request.workspace_mib * _MIB
        and sidecar.hardware_compatibility == _hardware_name(request)
        and ("VERSION_COMPATIBLE" in sidecar.flags) == request.version_compatible
    )


def _hardware_name(request: EngineRequest) -> str:
    return request.hardware.replace("-", "_").upper() if request.hardware else "NONE"


def timing_cache_name(gpu: Gpu, version: str) -> str:
    """A file for each GPU and version: what was measured on one says nothing of another."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-").lower()
    return f"timing.{name}.{gpu.capability}.{gpu.multiprocessors}mp.{version}.cache"


def _build(build: _Build, path: Path, gpu: Gpu | None, progress: Callable[[str, float], None]) -> Sidecar:
    """Build, write the engine and then its sidecar, which alone makes it one that is used."""
    started = time.monotonic()
    trt_logger = make_logger(build.trt, build.log)
    try:
        builder = build.trt.Builder(trt_logger)
    except TypeError as error:  # factory function returned nullptr
        raise cannot_start(build.trt, build.log) from error
    network = _parse(build, builder, trt_logger)
    config = _configure(build, builder, network)
    plan = _compile(build, builder, network, config, progress)
    with atomic_path(path) as temporary:
        temporary.write_bytes(plan)
    _keep_timing_cache(build, config)
    sidecar = _describe(build, network, config, path, gpu, time.monotonic() - started)
    sidecar.write(path.with_suffix(".json"))
    return sidecar


def _parse(build: _Build, builder: Any, trt_logger: Any) -> Any:
    """The network of the graph. Raises RuntimeUnavailableError naming the node and the reason."""
    trt = build.trt
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt_logger)
    path = build.bundle.model(build.request.precision)
    if not parser.parse_from_file(str(path)):
        reason = _parser_errors(parser) or build.log.explain("no reason given")
        raise RuntimeUnavailableError(f"{title(trt)} refuses the model {path.name}: {reason}")
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    check_graph(str(path), {t.name: (dtype_name(t.dtype), free_batch(t.shape)) for t in tensors}, build.bundle.card)
    return network


def _parser_errors(parser: Any) -> str:
    """The first thing that the parser did not take, in one line, "" if it told nothing; all of them go to the log."""
    told = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_operator() else ""
        told.append(node + " ".join(error.desc().split()))
        log.debug("parser: %s", told[-1])
    return told[0] + (f" (and {len(told) - 1} more: see -v)" if told[1:] else "") if told else ""


def _configure(build: _Build, builder: Any, network: Any) -> Any:
    """The builder's settings. Raises RuntimeUnavailableError for any that TensorRT refuses."""
    trt, request = build.trt, build.request
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib * _MIB)
    config.builder_optimization_level = request.optimization_level
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; 10 bits of mantissa ruin the FP32 frontend
    if request.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request.hardware:
        config.hardware_compatibility_level = _hardware_level(build)
    if request.capabilities:
        config.num_compute_capabilities = len(request.capabilities)
        for index, capability in enumerate(request.capabilities):
            if not config.set_compute_capability(trt.ComputeCapability.__members__[capability.upper()], index):
                raise build.refused(f"does not compile for {capability}")
    _add_profile(build, builder, config)
    _load_timing_cache(build, config)
    return config


def _hardware_level(build: _Build) -> Any:
    levels, name = build.trt.HardwareCompatibilityLevel.__members__, _hardware_name(build.request)
    if name not in levels:
        raise RuntimeUnavailableError(
            f"{title(build.trt)} has no --hardware-compatible {build.request.hardware}: leave it out"
        )
    return levels[name]


def _add_profile(build: _Build, builder: Any, config: Any) -> None:
    shapes = _shapes(build)
    if not shapes:
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(build.bundle.card.input.name, shapes["min"], shapes["opt"], shapes["max"])
    if config.add_optimization_profile(profile) < 0:
        raise build.refused(f"refuses batches of 1 to {build.request.max_batch} windows")


def _shapes(build: _Build) -> dict[str, tuple[int, ...]]:
    """Least, best and largest input shape; none for a graph whose batch is fixed."""
    card = build.bundle.card
    if card.fixed_batch is not None:
        return {}
    return {
        name: (batch, card.window_samples) for name, batch in (("min", 1), ("opt", 1), ("max", build.request.max_batch))
    }


def _load_timing_cache(build: _Build, config: Any) -> None:
    """Start from what earlier builds measured on this GPU; one that does not fit is left aside."""
    if build.timing_cache is None:  # TensorRT-RTX measures nothing
        return
    known = build.timing_cache.read_bytes() if build.timing_cache.is_file() else b""
    for content in dict.fromkeys((known, b"")):
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, False):
            return
        if not content:
            raise build.refused("refuses a timing cache")
        log.warning("%s does not fit this TensorRT: the build starts without it", build.timing_cache)
        build.log.problems.clear()  # they explain nothing that comes later


def _keep_timing_cache(build: _Build, config: Any) -> None:
    if build.timing_cache is None:
        return
    timing_cache = config.get_timing_cache()
    content = timing_cache.serialize() if timing_cache is not None else None
    if content is None:
        raise build.refused("gives no timing cache")
    with atomic_path(build.timing_cache) as temporary:
        temporary.write_bytes(content)


def _compile(build: _Build, builder: Any, network: Any, config: Any, tell: Callable[[str, float], None]) -> bytes:
    """The engine as bytes."""
    phases = Phases(tell)
    monitor = make_monitor(build.trt, phases)  # lives as long as the build
    config.progress_monitor = monitor
    with interruptible(phases):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise build.refused("cannot build the engine", "no reason given; too little --workspace?")
    return bytes(plan)


def _describe(build: _Build, network: Any, config: Any, path: Path, gpu: Gpu | None, seconds: float) -> Sidecar:
    trt, request, bundle = build.trt, build.request, build.bundle
    graph = bundle.card.precisions[request.precision]
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    return Sidecar(
        runtime=request.runtime,
        version=trt.__version__,
        precision=request.precision,
        engine=path.name,
        engine_sha256=file_sha256(path),
        engine_bytes=path.stat().st_size,
        onnx_sha256=graph.sha256,
        opset=graph.opset,
        platform=f"{platform.system()} {platform.machine()}",
        l4t=l4t() if gpu else None,
        gpu=asdict(gpu) if gpu else None,
        capabilities=request.capabilities,
        kept_fp32=tuple(graph.kept),
        flags=tuple(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag)),
        tf32=config.get_flag(trt.BuilderFlag.TF32),
        hardware_compatibility=config.hardware_compatibility_level.name,
        optimization_level=config.builder_optimization_level,
        workspace_bytes=config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        profile=_shapes(build),
        inputs=tuple(Tensor(t.name, free_batch(t.shape)) for t in inputs),
        outputs=tuple(Tensor(t.name, free_batch(t.shape)) for t in outputs),
        dtypes={t.name: dtype_name(t.dtype) for t in (*inputs, *outputs)},
        timing_cache=build.timing_cache.name if build.timing_cache else None,
        build_seconds=round(seconds, 1),
        peak_memory=_peak_memory(build.log),
        edgebird=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def _peak_memory(trt_log: TrtLog) -> dict[str, int]:
    """Bytes: of this process so far (Linux counts KiB), and what TensorRT's allocators report."""
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    for message in trt_log.memory:
        if told := re.search(r"CPU (\d+) MiB, GPU (\d+) MiB", message):
            peak |= {"tensorrt_cpu": int(told[1]) * _MIB, "tensorrt_gpu": int(told[2]) * _MIB}
    return peak


def _prove(bundle: Bundle, request: EngineRequest, folder: Path, tell: Callable[[str], None]) -> None:
    """Open the engine in `folder` as it will be used, which runs the golden data through it."""
    try:
        open_engine(bundle, request.runtime, RuntimeOptions(request.precision), folder).close()
    except EdgebirdError as failure:
        reason = failure.__cause__ if isinstance(failure.__cause__, EdgebirdError) else failure
        raise type(failure)(f"the new {request.precision} engine was deleted: {reason}") from failure
    if bundle.card.golden is not None:
        tell("proven    on this GPU against the original network")
