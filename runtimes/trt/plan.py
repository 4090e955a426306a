"""From a graph to a plan, as TensorRT calls an engine in bytes, and to the sidecar that says how it was made.

One code path for TensorRT 10.3 to 11 and TensorRT-RTX 1.7: precision comes from the graph alone (strongly typed),
enum members are taken by name, and every refusal is an error with TensorRT's own words.
"""

from __future__ import annotations

import logging
import platform
import re
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.card import Tensor
from edgebird.errors import OutputError, RuntimeUnavailableError
from edgebird.files import atomic_path, file_sha256
from edgebird.machine import l4t
from edgebird.runtimes.contract import check_graph
from edgebird.runtimes.trt.bindings import TrtLog, cannot_start, dtype_name, free_batch, make_logger, title
from edgebird.runtimes.trt.gpu import Gpu
from edgebird.runtimes.trt.progress import Phases, interruptible, make_monitor
from edgebird.runtimes.trt.request import MIB, EngineRequest, hardware_name
from edgebird.runtimes.trt.sidecar import Sidecar

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Build:
    """One build: TensorRT, what it says, what to build, and the objects it is made of.

    tactic_dram: bytes that it may take of memory that the GPU shares with the CPU; None for no limit.
    """

    trt: ModuleType
    bundle: Bundle
    request: EngineRequest
    timing_cache: Path | None
    tactic_dram: int | None = None
    log: TrtLog = field(default_factory=TrtLog)

    def refused(self, what: str, otherwise: str = "no reason given") -> RuntimeUnavailableError:
        """The error for something TensorRT would not do."""
        return RuntimeUnavailableError(f"{title(self.trt)} {what}: {self.log.explain(otherwise)}")


def write_engine(build: Build, path: Path, gpu: Gpu | None, progress: Callable[[str, float], None]) -> Sidecar:
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


def _parse(build: Build, builder: Any, trt_logger: Any) -> Any:
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


def _configure(build: Build, builder: Any, network: Any) -> Any:
    """The builder's settings. Raises RuntimeUnavailableError for any that TensorRT refuses."""
    trt, request = build.trt, build.request
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib * MIB)
    if build.tactic_dram is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, build.tactic_dram)
    config.builder_optimization_level = request.optimization_level
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; 10 bits of mantissa ruin the FP32 frontend
    if request.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request.runtime == "tensorrt-rtx":
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # else a CUDA graph may not be captured
    if request.hardware:
        config.hardware_compatibility_level = _hardware_level(build)
    if request.capabilities:
        config.num_compute_capabilities = len(request.capabilities)
        for index, capability in enumerate(request.capabilities):
            if not config.set_compute_capability(trt.ComputeCapability.__members__[capability.upper()], index):
                raise build.refused(f"does not compile for {capability}")
    _add_profiles(build, builder, config)
    _load_timing_cache(build, config)
    return config


def _hardware_level(build: Build) -> Any:
    levels, name = build.trt.HardwareCompatibilityLevel.__members__, hardware_name(build.request)
    if name not in levels:
        raise RuntimeUnavailableError(
            f"{title(build.trt)} has no --hardware-compatible {build.request.hardware}: leave it out"
        )
    return levels[name]


def _add_profiles(build: Build, builder: Any, config: Any) -> None:
    for shapes in _profiles(build):
        profile = builder.create_optimization_profile()
        profile.set_shape(build.bundle.card.input.name, shapes["min"], shapes["opt"], shapes["max"])
        if config.add_optimization_profile(profile) < 0:
            raise build.refused(f"refuses batches of {shapes['min'][0]} to {shapes['max'][0]} windows")


def _profiles(build: Build) -> tuple[dict[str, tuple[int, ...]], ...]:
    """Least, best and largest input shape of each profile; none for a graph whose batch is fixed.

    TensorRT measures its kernels at the best shape: for one window, and for the most, each apart. TensorRT-RTX makes
    kernels for each batch where it runs.
    """
    card, most = build.bundle.card, build.request.max_batch
    if card.fixed_batch is not None:
        return ()
    ranges = [(1, 1, 1), (2, most, most)] if most > 1 and build.request.runtime == "tensorrt" else [(1, 1, most)]
    names = ("min", "opt", "max")
    return tuple({n: (batch, card.window_samples) for n, batch in zip(names, one, strict=True)} for one in ranges)


def _load_timing_cache(build: Build, config: Any) -> None:
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


def _keep_timing_cache(build: Build, config: Any) -> None:
    if build.timing_cache is None:
        return
    timing_cache = config.get_timing_cache()
    content = timing_cache.serialize() if timing_cache is not None else None
    if content is None:
        raise build.refused("gives no timing cache")
    try:
        with atomic_path(build.timing_cache) as temporary:
            temporary.write_bytes(content)
    except OutputError as error:  # the engine is worth more
        log.warning("the next build measures anew: %s", error)


def _compile(build: Build, builder: Any, network: Any, config: Any, tell: Callable[[str, float], None]) -> bytes:
    """The engine as bytes."""
    phases = Phases(tell)
    monitor = make_monitor(build.trt, phases)  # lives as long as the build
    config.progress_monitor = monitor
    with interruptible(phases):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise build.refused("cannot build the engine", "no reason given; too little --workspace?")
    return bytes(plan)


def _describe(build: Build, network: Any, config: Any, path: Path, gpu: Gpu | None, seconds: float) -> Sidecar:
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
        profiles=_profiles(build),
        inputs=tuple(Tensor(t.name, free_batch(t.shape)) for t in inputs),
        outputs=tuple(Tensor(t.name, free_batch(t.shape)) for t in outputs),
        dtypes={t.name: dtype_name(t.dtype) for t in (*inputs, *outputs)},
        timing_cache=build.timing_cache.name if build.timing_cache else None,
        build_seconds=round(seconds, 1),
        peak_memory=_peak_memory(build.log),
        tactic_dram_bytes=build.tactic_dram,
        edgebird=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def _peak_memory(trt_log: TrtLog) -> dict[str, int]:
    """Bytes: of this process so far (Linux counts KiB), and what TensorRT's allocators report."""
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    for message in trt_log.memory:
        if told := re.search(r"CPU (\d+) MiB, GPU (\d+) MiB", message):
            peak |= {"tensorrt_cpu": int(told[1]) * MIB, "tensorrt_gpu": int(told[2]) * MIB}
    return peak
