"""A double of TensorRT's Python bindings, one for each version: it has the classes, members, enum values and arguments
that the real version has (`data/tensorrt_api.json.gz`) and no others, and ONNX Runtime computes what engines compute.

It is made to catch mistakes that a GPU would turn into wrong birds: TF32 that was left on and weakly typed networks
change the scores, a graph that is replayed after its context was given another shape computes NaN, and so does a
context whose working memory is not there. TensorRT-RTX computes with kernels that are not final at first, unless it is
told to wait for them.
"""

from __future__ import annotations

import enum
import gzip
import json
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.cuda_double import CudaDouble

API: dict[str, Any] = json.loads(gzip.decompress((Path(__file__).parent / "data/tensorrt_api.json.gz").read_bytes()))
RTX = "rtx_1.7.1.116"
VERSIONS = sorted(API)
WORKING_MEMORY = 1 << 16  # of a context of any engine

_TYPES = {"int": int, "typing.SupportsInt": int, "str": str, "bool": bool}


class Member(enum.Enum):
    """A value of a pybind11 enum."""

    def __int__(self) -> int:
        return int(self.value)


@dataclass
class Faults:
    """What shall go wrong; `nodes` are parser errors as (node, operator, reason), `off` is added to every score, and
    `final_off` to those of the kernels that TensorRT-RTX makes for a batch size.
    """

    builder: bool = False
    nodes: list[tuple[str, str, str]] = field(default_factory=list)
    profile: bool = False
    select: bool = False
    capability: bool = False
    build: bool = False
    timing_cache: bool = False
    runtime_cache: bool = False
    runtime: bool = False
    deserialize: bool = False
    context: bool = False
    input_shape: bool = False
    address: bool = False
    execute: bool = False
    nan: bool = False
    off: float = 0.0
    final_off: float = 0.0


class TensorRTDouble:
    """`module` is what Python imports as `tensorrt` or `tensorrt_rtx`; built: what the builder was last told;
    contexts: how many were made; own_memory: bytes that contexts took for themselves; compiled: for how many batch
    sizes TensorRT-RTX made kernels.
    """

    def __init__(self, version: str, cuda: CudaDouble) -> None:
        self.version, self.api, self.cuda, self.faults = version, API[version], cuda, Faults()
        self.rtx = version == RTX
        self.built: dict[str, Any] = {}
        self.contexts = self.own_memory = self.compiled = 0
        self.module = ModuleType("tensorrt_rtx" if self.rtx else "tensorrt")
        self.module.__spec__ = ModuleSpec(self.module.__name__, None)
        self.module.__version__ = version.removeprefix("rtx_")  # type: ignore[attr-defined]
        for name, members in self.api["enums"].items():
            if "." not in name:
                setattr(self.module, name, Member(name, members))
        for name, members in self.api["classes"].items():
            setattr(self.module, name, self._strict(name, members))
        severity = Member("Severity", self.api["enums"]["ILogger.Severity"])
        self.module.ILogger.Severity = severity  # type: ignore[attr-defined]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setitem(sys.modules, self.module.__name__, self.module)

    def _strict(self, name: str, members: dict[str, str | None]) -> type:
        """The class of this version: what is written here, as far as the version has it and in its form."""
        written = globals().get(f"_{name}", _Nothing)
        namespace: dict[str, Any] = {k: v for k, v in vars(written).items() if k.startswith("_") and k != "__dict__"}
        namespace.pop("__weakref__", None)
        for member, signature in members.items():
            found = getattr(written, member, None)
            if found is None:
                continue  # nobody needs it yet: asking for it raises AttributeError
            namespace[member] = found if signature is None else self._checked(found, f"{name}.{signature}")
        namespace |= {"_double": self, "_members": frozenset(members), "__setattr__": _set_attribute}
        return type(name, tuple(base for base in written.__bases__ if base is not object), namespace)

    def _checked(self, function: Callable[..., Any], signature: str) -> Callable[..., Any]:
        """The function, with names and types of its arguments checked as the bindings do."""
        inside = re.sub(r"<[^>]*>", "...", signature.partition("(")[2].partition(") ->")[0])
        parameters = [part.split(":") for part in inside.split(", ")[1:]]
        if "*args" in signature:  # overloaded: the bindings' signature says nothing
            return function

        def call(instance: Any, *arguments: Any, **named: Any) -> Any:
            names = [name for name, _ in parameters]
            given = dict(zip(names, arguments, strict=False)) | named
            needed = {name for name, kind in parameters if "=" not in kind}
            if len(arguments) > len(names) or not needed <= given.keys() <= set(names):
                raise TypeError(f"incompatible function arguments: {signature}, got {arguments}, {named}")
            for name, kind in parameters:
                if name in given:
                    self._check_type(given[name], kind.partition("=")[0].strip(), signature)
            return function(instance, **given)

        return call

    def _check_type(self, value: Any, kind: str, signature: str) -> None:
        if kind in ("buffer", "typing_extensions.Buffer"):
            memoryview(value)
        elif kind == "Dims":
            if not all(isinstance(size, int) for size in value):
                raise TypeError(f"{signature}: {value!r} are no dimensions")
        elif not isinstance(value, _TYPES.get(kind) or getattr(self.module, kind)):
            raise TypeError(f"{signature}: {value!r} is no {kind}")


def _set_attribute(self: Any, name: str, value: Any) -> None:
    plain = type(self).__module__ == __name__ or type(self).__module__ == "abc"
    if plain and not name.startswith("_") and name not in self._members:
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
    object.__setattr__(self, name, value)


class _Nothing:
    pass


class _ILogger:
    _double: TensorRTDouble

    def _say(self, level: str, message: str) -> None:
        self.log(self._double.module.ILogger.Severity[level], message)  # type: ignore[attr-defined]


class _IProgressMonitor:
    _double: TensorRTDouble


class _IHostMemory(bytearray):
    @property
    def nbytes(self) -> int:
        return len(self)


class _Builder:
    _double: TensorRTDouble

    def __init__(self, logger: Any) -> None:
        if self._double.faults.builder:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        assert isinstance(logger, self._double.module.ILogger)
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        typed = self._double.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        network = self._double.module.INetworkDefinition()
        major = self._double.version.split(".")[0]
        network._typed = major in ("11", "rtx_1") or bool(flags & 1 << int(typed))
        return network

    def create_builder_config(self) -> Any:
        config = self._double.module.IBuilderConfig()
        config._logger = self._logger
        return config

    def create_optimization_profile(self) -> Any:
        return self._double.module.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        double, monitor = self._double, config.progress_monitor
        self._logger._say("VERBOSE", "thousands of lines")
        self._logger._say("ERROR", "Skipping tactic 0x1 due to insufficient memory on requested size of 9 detected")
        self._logger._say("INFO", "Peak memory usage of TRT CPU/GPU memory allocators: CPU 86 MiB, GPU 172 MiB")
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Timing graph nodes", "Building engine", 4)
        steps = [monitor.step_complete("Timing graph nodes", step) for step in range(4)]
        monitor.phase_finish("Timing graph nodes")
        go_on = monitor.step_complete("Building engine", 0) and all(steps)
        monitor.phase_finish("Building engine")
        workspace = config._limits.get(double.module.MemoryPoolType.WORKSPACE, 1 << 30)
        dynamic = any(-1 in tensor.shape for tensor in network._inputs)
        if double.faults.build or workspace < 1 << 16 or not go_on or (dynamic and not config._profiles):
            self._logger._say("ERROR", "IBuilder::buildSerializedNetwork: Error Code 10: no implementation\nfor node X")
            return None
        plan = {
            "version": double.version,
            "capability": [double.cuda.gpu.major, double.cuda.gpu.minor],
            "flags": sorted(flag.name for flag in config._flags),
            "typed": network._typed,
            "profiles": config._profiles,
            "capturable": not double.rtx or "REQUIRE_USER_ALLOCATION" in {flag.name for flag in config._flags},
        }
        double.built = plan | {"config": config}
        header = json.dumps(plan).encode()
        return double.module.IHostMemory(header + b"\n" + network._model)


class _INetworkDefinition:
    _double: TensorRTDouble

    def __init__(self) -> None:
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Any:
        return self._outputs[index]


class _ITensor:
    name = dtype = shape = ""


class _OnnxParser:
    _double: TensorRTDouble

    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._logger, self._errors = network, logger, list(self._double.faults.nodes)

    def parse_from_file(self, model: str) -> bool:
        import onnxruntime

        content = Path(model).read_bytes()
        try:
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  ONNX Runtime has no error of its own
            self._errors.append(("", "", f"cannot parse: {error}"))
        for _, _, reason in self._errors:
            self._logger._say("ERROR", f"ModelImporter.cpp:140: While parsing: {reason}")
        if self._errors:
            return False
        self._network._model = content
        self._network._inputs = [self._tensor(tensor) for tensor in session.get_inputs()]
        self._network._outputs = [self._tensor(tensor) for tensor in session.get_outputs()]
        return True

    def _tensor(self, of: Any) -> Any:
        tensor = self._double.module.ITensor()
        tensor.name = of.name
        tensor.shape = tuple(size if isinstance(size, int) else -1 for size in of.shape)
        tensor.dtype = self._double.module.DataType["FLOAT" if of.type == "tensor(float)" else "HALF"]
        return tensor

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        error = self._double.module.ParserError()
        error._told = self._errors[index]
        return error


class _ParserError:
    _told: tuple[str, str, str]

    def desc(self) -> str:
        return self._told[2]

    def node_name(self) -> str:
        return self._told[0]

    def node_operator(self) -> str:
        return self._told[1]


class _IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self._shapes[input] = [list(min), list(opt), list(max)]


class _IBuilderConfig:
    _double: TensorRTDouble
    _logger: Any
    builder_optimization_level = 3
    progress_monitor: Any = ()
    num_compute_capabilities = 0
    hardware_compatibility_level: Any = ()

    def __init__(self) -> None:
        module = self._double.module
        self._flags, self._limits, self._profiles = {module.BuilderFlag.TF32}, {}, []  # type: ignore[var-annotated]
        self._cache: Any = None
        self.hardware_compatibility_level = module.HardwareCompatibilityLevel.NONE

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def get_flag(self, flag: Any) -> bool:
        return flag in self._flags

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._limits[pool] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return int(self._limits[pool])

    def add_optimization_profile(self, profile: Any) -> int:
        least, best, most = next(iter(profile._shapes.values()))
        if self._double.faults.profile or not least <= best <= most:
            self._logger._say("ERROR", "IOptimizationProfile::isValid: MIN<=OPT<=MAX")
            return -1
        self._profiles.append(profile._shapes)
        return 0

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        return index < self.num_compute_capabilities and not self._double.faults.capability

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        if self._double.rtx:
            warnings.warn("Timing cache operations are no-ops in TensorRT-RTX", DeprecationWarning, stacklevel=2)
        cache = self._double.module.ITimingCache()
        cache._content = bytes(serialized_timing_cache)
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        own = cache._content in (b"", f"timings of {self._double.version}".encode())
        self._cache = cache
        if not own:
            self._logger._say("ERROR", "the timing cache is that of another device")
        return own and not self._double.faults.timing_cache

    def get_timing_cache(self) -> Any:
        return self._cache


class _ITimingCache:
    _double: TensorRTDouble
    _content: bytes

    def serialize(self) -> Any:
        return self._double.module.IHostMemory(f"timings of {self._double.version}".encode())


class _Runtime:
    _double: TensorRTDouble
    engine_host_code_allowed = False

    def __init__(self, logger: Any) -> None:
        if self._double.faults.runtime:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        assert isinstance(logger, self._double.module.ILogger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        double = self._double
        header, _, model = bytes(serialized_engine).partition(b"\n")
        plan = json.loads(header)
        portable = "VERSION_COMPATIBLE" in plan["flags"]
        fits = self.engine_host_code_allowed if portable else plan["version"] == double.version
        if double.faults.deserialize or not fits:
            self._logger._say("ERROR", "IRuntime::deserializeCudaEngine: Error Code 1: Serialization")
            return None
        engine = double.module.ICudaEngine()
        engine._open(plan, model, self._logger)
        return engine


class _ICudaEngine:
    _double: TensorRTDouble

    def _open(self, plan: dict[str, Any], model: bytes, logger: Any) -> None:
        import onnxruntime

        self._plan, self._logger = plan, logger
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._inputs, self._outputs = self._session.get_inputs(), self._session.get_outputs()

    @property
    def num_io_tensors(self) -> int:
        return len(self._inputs) + len(self._outputs)

    def _tensor(self, name: str) -> Any:
        (found,) = [tensor for tensor in (*self._inputs, *self._outputs) if tensor.name == name]
        return found

    def get_tensor_name(self, index: int) -> str:
        return str((*self._inputs, *self._outputs)[index].name)

    def get_tensor_dtype(self, name: str) -> Any:
        return self._double.module.DataType["FLOAT" if self._tensor(name).type == "tensor(float)" else "HALF"]

    def get_tensor_shape(self, name: str) -> Any:
        return tuple(size if isinstance(size, int) else -1 for size in self._tensor(name).shape)

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self._plan["profiles"]))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        return self._plan["profiles"][profile_index][name]

    @property
    def device_memory_size_v2(self) -> int:
        return WORKING_MEMORY

    def create_runtime_config(self) -> Any:
        return self._double.module.IRuntimeConfig()

    def create_execution_context(self, strategy: Any = None) -> Any:
        double, module = self._double, self._double.module
        if double.faults.context:
            self._logger._say("ERROR", "IExecutionContext: out of memory")
            return None
        double.contexts += 1
        context = module.IExecutionContext()
        config = strategy if double.rtx and isinstance(strategy, module.IRuntimeConfig) else None
        strategy = config._strategy if config else strategy
        context._engine, context._config = self, config
        context._managed = strategy is module.ExecutionContextAllocationStrategy.USER_MANAGED
        double.own_memory += 0 if context._managed else WORKING_MEMORY
        return context


class _IRuntimeConfig:
    _double: TensorRTDouble

    def __init__(self) -> None:
        module = self._double.module
        self._strategy, self._cache = module.ExecutionContextAllocationStrategy.STATIC, None
        if self._double.rtx:
            self.cuda_graph_strategy = module.CudaGraphStrategy.DISABLED
            self.dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.LAZY

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> Any:
        return self._double.module.IRuntimeCache()

    def set_runtime_cache(self, cache: Any) -> bool:
        if not self._double.faults.runtime_cache:
            self._cache = cache
        return not self._double.faults.runtime_cache


class _IRuntimeCache:
    _double: TensorRTDouble

    def __init__(self) -> None:
        self._batches: list[int] = []

    def deserialize(self, blob: Any) -> bool:
        version, _, batches = bytes(blob).partition(b"\n")
        if version.decode() != self._double.version:
            return False
        self._batches = json.loads(batches)
        return True

    def serialize(self) -> Any:
        return self._double.module.IHostMemory(f"{self._double.version}\n{json.dumps(self._batches)}".encode())


class _IExecutionContext:
    _double: TensorRTDouble
    _engine: Any
    _config: Any
    _managed: bool

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self._block = (0, 0)
        self._runs = self._profile = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self._double.cuda.streams
        self._profile, self._shape = profile_index, ()
        return not self._double.faults.select

    def set_device_memory(self, memory: int, size: int) -> None:
        assert self._managed, "it has memory of its own"
        self._block = (memory, size)

    def set_input_shape(self, name: str, shape: Any) -> bool:
        profiles = self._engine._plan["profiles"]
        least, _, most = profiles[self._profile][name] if profiles else (list(shape),) * 3
        fits = least <= list(shape) <= most
        if not fits or self._double.faults.input_shape:
            self._engine._logger._say("ERROR", f"setInputShape: {tuple(shape)} is outside of the profile")
            return False
        self._shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return not self._double.faults.address

    def get_tensor_shape(self, name: str) -> Any:
        return (self._shape[0], *self._engine.get_tensor_shape(name)[1:])

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._double.faults.execute:
            self._engine._logger._say("ERROR", "enqueueV3: Error Code 1: Cuda Runtime")
            return False
        shape, stream = self._shape, self._double.cuda.streams[stream_handle]
        final = self._is_final(shape[0])
        if self._captures():
            assert stream.captured is None, "it captures by itself"
            self._double.cuda.launches += self._runs > 0
        self._runs += 1
        stream.put(lambda: self._compute(shape, final))
        return True

    def _captures(self) -> bool:
        config = self._config
        if config is None or config.cuda_graph_strategy.name != "WHOLE_GRAPH_CAPTURE":
            return False
        return bool(self._engine._plan["capturable"] and self._is_final(self._shape[0]))

    def _is_final(self, batch: int) -> bool:
        """Whether the kernels that run are those made for the batch size."""
        config = self._config
        if config is None:
            return not self._double.rtx or self._runs > 1
        cache = config._cache
        if cache is not None and batch in cache._batches:
            return True
        if config.dynamic_shapes_kernel_specialization_strategy.name == "LAZY" and self._runs < 2:
            return False
        self._double.compiled += 1
        if cache is not None:
            cache._batches.append(batch)
        return True

    def _compute(self, shape: tuple[int, ...], final: bool) -> None:
        engine, cuda = self._engine, self._double.cuda
        (source,) = engine._inputs
        size = 4 * int(np.prod(shape))
        windows = np.frombuffer(bytes(cuda.bytes_at(self._addresses[source.name], size)), np.float32).reshape(shape)
        for target, values in zip(engine._outputs, engine._session.run(None, {source.name: windows}), strict=True):
            self._write(target, values, shape, final)

    def _write(self, target: Any, values: Any, shape: tuple[int, ...], final: bool) -> None:
        engine, faults, cuda = self._engine, self._double.faults, self._double.cuda
        scores = values.astype(np.float32) + faults.off
        scores = scores + np.float32(faults.final_off if final and self._double.rtx else 0)
        if self._managed:
            assert self._block[1] >= WORKING_MEMORY, "too little working memory"
            cuda.bytes_at(*self._block)
        if "TF32" in engine._plan["flags"] or not engine._plan["typed"]:
            scores = scores + np.float32(0.03)
        if faults.nan or shape != self._shape:
            scores = scores * np.float32(np.nan)
        cuda.bytes_at(self._addresses[target.name], scores.nbytes)[:] = scores.astype(np.float32).tobytes()
