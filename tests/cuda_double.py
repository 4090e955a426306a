"""A double of cuda-python: it has the functions that the chosen version has (`data/cuda_api.json`), and no GPU.

It is stricter than a GPU: what is put on a stream happens when somebody waits for it and not before, also another
stream that waits for an event of this one, new memory is full
of NaN, freed memory cannot be used, and `left` tells what nobody freed.
"""

from __future__ import annotations

import ctypes
import enum
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

API: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "cuda_api.json").read_text(encoding="utf-8"))

_MEMORY = 8 << 30  # of the GPU, bytes


@dataclass(frozen=True)
class FakeGpu:
    name: str
    major: int
    minor: int
    integrated: int
    multiprocessors: int = 16


class Code(enum.Enum):
    """An enum of the bindings: a number by int() alone."""

    def __int__(self) -> int:
        return int(self.value)


@dataclass
class Mark:
    """An event: at how many works of its stream it came; None until the stream got there."""

    handle: int
    at: int | None = None


@dataclass
class Stream:
    """Work that waits; `captured` takes it instead while a graph is recorded. done: how many works are through."""

    handle: int
    work: list[Callable[[], None]] = field(default_factory=list)
    captured: list[Callable[[], None]] | None = None
    done: int = 0

    def __int__(self) -> int:
        return self.handle

    def put(self, work: Callable[[], None]) -> None:
        (self.work if self.captured is None else self.captured).append(work)


class CudaDouble:
    """`module` is what Python imports. fail: function -> name of the error it returns.

    driver: False for a machine without one. on_gpu: the blocks that were taken of the GPU's own memory, in bytes.
    """

    def __init__(self, version: str, gpu: FakeGpu, driver: bool = True) -> None:
        self.api, self.version, self.gpu, self.driver = API[version], version, gpu, driver
        self.fail: dict[str, str] = {}
        self.memory: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.graphs: set[int] = set()
        self.events: set[int] = set()
        self._recorded: dict[int, tuple[Stream, list[bool]]] = {}
        self.launches = 0
        self.on_gpu: list[int] = []
        self._next = 1000
        self.module = ModuleType(self.api["module"])
        for name, members in self.api["enums"].items():
            setattr(self.module, name, Code(name, members))
        for name, value in self.api["constants"].items():
            setattr(self.module, name, value)
        for name, signature in self.api["functions"].items():
            setattr(self.module, name, self._function(name, signature))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it what `import cuda...` finds, and nothing else."""
        for name in [name for name in sys.modules if name == "cuda" or name.startswith("cuda.")]:
            monkeypatch.delitem(sys.modules, name)
        parts = self.api["module"].split(".")
        for end in range(1, len(parts)):
            package = ModuleType(".".join(parts[:end]))
            package.__path__ = []
            monkeypatch.setitem(sys.modules, package.__name__, package)
        monkeypatch.setitem(sys.modules, self.api["module"], self.module)

    def left(self) -> dict[str, int]:
        """What was taken and not given back."""
        counts = {"memory": len(self.memory), "streams": len(self.streams), "graphs": len(self.graphs)}
        counts["events"] = len(self.events)
        return {name: count for name, count in counts.items() if count}

    def bytes_at(self, address: int, size: int) -> Any:
        """The memory at an address, as a writable view; whoever asks for what is not there is told at once."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + len(block):
                return memoryview(block).cast("B")[address - start : address - start + size]
        raise AssertionError(f"no memory at {address}, {size} bytes")

    def _function(self, name: str, signature: str) -> Callable[..., tuple[Any, ...]]:
        inside = signature.partition("(")[2].rpartition(")")[0]
        wanted = len(inside.split(",")) if inside.strip() else 0

        def call(*arguments: Any) -> tuple[Any, ...]:
            if len(arguments) != wanted:
                raise TypeError(f"{signature} takes {wanted} arguments, got {len(arguments)}")
            errors = self.module.cudaError_t
            if not self.driver and name not in ("cudaGetErrorString", "cudaRuntimeGetVersion", "cudaGetLastError"):
                if self.version.startswith("12"):
                    raise RuntimeError("Failed to dlopen libcuda.so.1")
                return errors.cudaErrorInsufficientDriver, None
            if name in self.fail:
                if name == "cudaStreamEndCapture":  # it ends all the same
                    arguments[0].captured = None
                return errors[self.fail[name]], None
            if name == "cudaMalloc" and arguments[0] > _MEMORY:
                return errors.cudaErrorMemoryAllocation, None
            result = getattr(self, f"_{name}")(*arguments)
            return (errors.cudaSuccess,) if result is None else (errors.cudaSuccess, result)

        return call

    def _take(self, size: int) -> int:
        block = (ctypes.c_char * size).from_buffer(bytearray(b"\xff" * size))  # NaN
        address = ctypes.addressof(block)
        self.memory[address] = block
        return address

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def _cudaSetDevice(self, device: int) -> None:  # noqa: N802
        assert device == 0

    def _cudaGetDeviceProperties(self, device: int) -> Any:  # noqa: N802
        values = {
            "name": self.gpu.name.encode() + b"\0\0", "major": self.gpu.major, "minor": self.gpu.minor,
            "integrated": self.gpu.integrated, "canMapHostMemory": 1, "totalGlobalMem": _MEMORY,
            "multiProcessorCount": self.gpu.multiprocessors,
        }  # fmt: skip
        return SimpleNamespace(**{name: values.get(name) for name in self.api["cudaDeviceProp"]})

    def _cudaDriverGetVersion(self) -> int:  # noqa: N802
        return 13050

    def _cudaRuntimeGetVersion(self) -> int:  # noqa: N802
        major, minor = self.version.split(".")[:2]
        return 1000 * int(major) + 10 * int(minor)

    def _cudaGetErrorString(self, error: Any) -> bytes:  # noqa: N802
        return {"cudaErrorMemoryAllocation": b"out of memory"}.get(error.name, error.name.encode())

    def _cudaGetLastError(self) -> None:  # noqa: N802
        return None

    def _cudaMalloc(self, size: int) -> int:  # noqa: N802
        self.on_gpu.append(size)
        return self._take(size)

    def _cudaHostAlloc(self, size: int, flags: int) -> int:  # noqa: N802
        assert (flags == self.module.cudaHostAllocMapped) == bool(self.gpu.integrated)
        return self._take(size)

    def _cudaHostGetDevicePointer(self, address: int, flags: int) -> int:  # noqa: N802
        assert address in self.memory
        assert flags == 0
        return address

    def _cudaFree(self, address: int) -> None:  # noqa: N802
        del self.memory[address]

    _cudaFreeHost = _cudaFree  # noqa: N815

    def _cudaStreamCreate(self) -> Stream:  # noqa: N802
        stream = Stream(self._handle())
        self.streams[stream.handle] = stream
        return stream

    def _cudaStreamDestroy(self, stream: Stream) -> None:  # noqa: N802
        del self.streams[int(stream)]

    def _cudaStreamSynchronize(self, stream: Stream) -> None:  # noqa: N802
        assert stream.captured is None, "waiting is not possible while a graph is recorded"
        while stream.work:
            stream.work.pop(0)()
            stream.done += 1

    def _cudaMemcpyAsync(self, to: int, source: int, size: int, kind: Code, stream: Stream) -> None:  # noqa: N802
        assert kind.name in ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost")

        def copy() -> None:
            self.bytes_at(to, size)[:] = self.bytes_at(source, size)

        stream.put(copy)

    def _cudaStreamBeginCapture(self, stream: Stream, mode: Code) -> None:  # noqa: N802
        assert mode.name.startswith("cudaStreamCaptureMode")
        assert stream.captured is None
        stream.captured = []

    def _cudaStreamEndCapture(self, stream: Stream) -> Any:  # noqa: N802
        assert stream.captured is not None
        work, stream.captured = stream.captured, None
        graph = SimpleNamespace(handle=self._handle(), work=work)
        self.graphs.add(graph.handle)
        return graph

    def _cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:  # noqa: N802
        executable = SimpleNamespace(handle=self._handle(), work=list(graph.work))
        self.graphs.add(executable.handle)
        return executable

    def _cudaGraphLaunch(self, executable: Any, stream: Stream) -> None:  # noqa: N802
        assert executable.handle in self.graphs
        self.launches += 1
        stream.work.extend(executable.work)

    def _cudaGraphDestroy(self, graph: Any) -> None:  # noqa: N802
        self.graphs.remove(graph.handle)

    def _cudaEventCreate(self) -> Mark:  # noqa: N802
        event = Mark(self._handle())
        self.events.add(event.handle)
        return event

    def _cudaEventRecord(self, event: Mark, stream: Stream) -> None:  # noqa: N802
        assert stream.captured is None, "the event would belong to the graph, and have no time"
        assert event.handle in self.events
        reached: list[bool] = []
        self._recorded[event.handle] = stream, reached

        def reach() -> None:
            event.at = stream.done
            reached.append(True)

        stream.put(reach)

    def _cudaStreamWaitEvent(self, stream: Stream, event: Mark, flags: int) -> None:  # noqa: N802
        assert flags == 0
        if event.handle not in self._recorded:
            return
        other, reached = self._recorded[event.handle]

        def wait() -> None:
            while not reached:
                other.work.pop(0)()
                other.done += 1

        stream.put(wait)

    def _cudaEventElapsedTime(self, start: Mark, end: Mark) -> float:  # noqa: N802
        """A millisecond for every copy, inference or mark between them."""
        assert start.at is not None, "nobody waited for the stream"
        assert end.at is not None, "nobody waited for the stream"
        return float(end.at - start.at)

    def _cudaEventDestroy(self, event: Mark) -> None:  # noqa: N802
        self.events.remove(event.handle)

    _cudaGraphExecDestroy = _cudaGraphDestroy  # noqa: N815
