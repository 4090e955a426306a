"""The execution contexts of an engine: one block of working memory for all, and how TensorRT-RTX compiles for them."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edgebird.errors import OutputError
from edgebird.files import atomic_path
from edgebird.runtimes.trt.bindings import TrtLog
from edgebird.runtimes.trt.gpu import Cuda

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """trt: TensorRT's module. engine: an ICudaEngine. log: what TensorRT says.

    compiled: the file for what TensorRT-RTX compiles while it runs; None for TensorRT, which has compiled all.
    """

    trt: ModuleType
    engine: Any
    log: TrtLog
    compiled: Path | None = None


class Contexts:
    """Makes execution contexts. Only one of them may run at a time.

    They share one block of memory, for left to itself each takes what the largest batch needs.

    TensorRT-RTX compiles kernels for a batch size when it first meets one, and computes with others until then: what
    was proven would not be what runs later. Here it waits for them (EAGER), and keeps them for the next opening. It
    captures CUDA graphs itself, as it alone knows which kernels are final.

    Raises CudaError where the GPU has no room for the block.
    """

    def __init__(self, loaded: LoadedEngine, cuda: Cuda) -> None:
        self._loaded, self._cuda, engine = loaded, cuda, loaded.engine
        self._settings: Any = None
        self._compiled: Any = None
        self._known = b""
        if loaded.compiled:
            self._settings = self._for_rtx(loaded.compiled)
        self._size = max(1, int(engine.device_memory_size_v2))
        self._block = int(cuda("cudaMalloc", self._size))

    @property
    def captures_graphs(self) -> bool:
        """Whether TensorRT captures CUDA graphs by itself."""
        return self._settings is not None

    def make(self) -> Any:
        """An IExecutionContext; None where TensorRT refuses."""
        engine, trt = self._loaded.engine, self._loaded.trt
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = engine.create_execution_context(managed if self._settings is None else self._settings)
        if context is not None:
            context.set_device_memory(self._block, self._size)
        return context

    def _for_rtx(self, file: Path) -> Any:
        trt, engine = self._loaded.trt, self._loaded.engine
        settings = engine.create_runtime_config()
        settings.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        settings.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        compiled = settings.create_runtime_cache()
        with suppress(OSError):
            self._known = file.read_bytes()
        if self._known and not compiled.deserialize(self._known):
            log.debug("%s does not fit here: kernels are compiled anew", file)
            self._loaded.log.problems.clear()  # they explain nothing that comes later
        if settings.set_runtime_cache(compiled):
            self._compiled = compiled
        else:
            log.debug("kernels are compiled at each opening: %s", self._loaded.log.explain("no reason given"))
        return settings

    def keep_compiled(self) -> None:
        """Keep what TensorRT-RTX compiled since it was opened, where that can be written."""
        file, compiled = self._loaded.compiled, self._compiled
        content = compiled.serialize() if file and compiled is not None else None
        if file is None or content is None or bytes(content) == self._known:
            return
        try:
            with atomic_path(file) as temporary:
                temporary.write_bytes(content)
        except OutputError as error:
            log.debug("kernels are compiled at each opening: %s", error)
        self._known = bytes(content)

    def free(self) -> None:
        """Free the block; no context may run afterwards."""
        self._cuda("cudaFree", self._block)
