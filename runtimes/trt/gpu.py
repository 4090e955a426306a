"""The few CUDA runtime calls that an engine needs, through cuda-python, every one checked.

cuda-python of CUDA 12.8 and later has them in `cuda.bindings.runtime`, that of JetPack 6 (CUDA 12.6) in `cuda.cudart`.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.machine import found_in, usable_cores
from edgebird.runtimes.cudart import Cudart
from edgebird.types import FloatArray

_DEVICE = 0  # the first that CUDA_VISIBLE_DEVICES leaves
_DRIVER_FILE = "/proc/driver/nvidia/version"
# float32 values up to which one core fills at once: to start another copy takes longer than it saves. Of more, one core
# fills more slowly than the GPU copies: several fill them in pieces, of which each is copied when it is full.
_MANY = 1 << 20
_PIECE = 1 << 19
_FILLERS = 4


class CudaError(RuntimeUnavailableError):
    """A CUDA call that failed."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as engines know it.

    capability: its compute capability, such as `sm87`. multiprocessors: how many it has, which alone tells an Orin AGX
    from an Orin Nano. integrated: it shares its memory with the CPU, as on a Jetson. driver: the newest CUDA that the
    driver knows, cuda: that of the runtime library, both such as `12.6`. driver_release: the driver's own version, such
    as `580.65.06`; None where the system does not tell it.
    """

    name: str
    capability: str
    multiprocessors: int
    integrated: bool
    memory_bytes: int
    driver: str
    cuda: str
    driver_release: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.capability}), {self.memory_bytes / 2**30:.1f} GiB, CUDA {self.cuda}"


class Cuda:
    """CUDA's runtime API; wanted_by: the runtime that needs it, named in errors. cudart: cuda-python's, or `Cudart`."""

    def __init__(self, cudart: ModuleType | Cudart, wanted_by: str) -> None:
        self._cudart, self._wanted_by = cudart, wanted_by

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call a function of the API; its result, or several. Raises CudaError."""
        try:
            error, *results = getattr(self._cudart, function)(*arguments)
        except RuntimeError as failure:  # cuda-python 12 without a driver: `Failed to dlopen libcuda.so.1`
            raise CudaError(f"{self._wanted_by} needs a GPU and its driver: {function}: {failure}") from failure
        if error != self._cudart.cudaError_t.cudaSuccess:
            raise CudaError(f"{self._wanted_by}: {function} failed: {self._explain(error)}")
        return results[0] if len(results) == 1 else tuple(results) or None

    def constant(self, name: str, enum: str | None = None) -> Any:
        """A constant of the API, or a member of one of its enums, by name."""
        return getattr(getattr(self._cudart, enum) if enum else self._cudart, name)

    def _explain(self, error: Any) -> str:
        codes = self._cudart.cudaError_t
        text = self._cudart.cudaGetErrorString(error)[1].decode()
        if error == codes.cudaErrorMemoryAllocation:
            return f"{text}: no memory left on the GPU, close what else uses it or build with a smaller --max-batch"
        if error == codes.cudaErrorNoDevice:
            return f"{text}: the driver sees no NVIDIA GPU"
        if error == codes.cudaErrorInsufficientDriver:
            return f"{text}: no NVIDIA driver here, or one too old for this cuda-python (docs/gpu.md, docs/jetson.md)"
        return f"{text} ({error.name})"

    def forget_error(self) -> None:
        """Forget the error of a call that may fail, or the next one would report it again."""
        self._cudart.cudaGetLastError()

    def gpu(self) -> Gpu:
        """The GPU that is used: the first. Raises CudaError if there is none."""
        self("cudaSetDevice", _DEVICE)
        about = self("cudaGetDeviceProperties", _DEVICE)
        name = about.name.decode() if isinstance(about.name, bytes) else str(about.name)
        return Gpu(
            name=name.strip("\0 "),
            capability=f"sm{about.major}{about.minor}",
            multiprocessors=int(about.multiProcessorCount),
            integrated=bool(about.integrated and about.canMapHostMemory),
            memory_bytes=int(about.totalGlobalMem),
            driver=_version(self("cudaDriverGetVersion")),
            cuda=_version(self("cudaRuntimeGetVersion")),
            driver_release=_driver_release(),
        )


def _version(number: int) -> str:
    """12060 -> `12.6`."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver_release() -> str | None:
    found = found_in(_DRIVER_FILE, r"Kernel Module(?: for \w+)?\s+([\d.]+)")
    return found[1] if found else None


def open_cuda(wanted_by: str) -> Cuda:
    """CUDA for a runtime of this name. Raises NotInstalledError if cuda-python is missing."""
    for module in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return Cuda(importlib.import_module(module), wanted_by)
        except ImportError as error:
            missing = error
    extra = "tensorrt-rtx" if wanted_by == "tensorrt-rtx" else "tensorrt"
    raise NotInstalledError(f"{wanted_by} needs cuda-python: pip install 'edgebird[{extra}]' ({missing})") from missing


def has_cuda_python() -> bool:
    """Whether cuda-python is installed; nothing is imported."""
    return "cuda" in sys.modules or importlib.util.find_spec("cuda") is not None


class Stopwatch:
    """Marks on a stream, and the time between them by the GPU's own clock; `free` gives them back."""

    def __init__(self, cuda: Cuda, stream: Any) -> None:
        self._cuda, self._stream = cuda, stream
        self._events: list[Any] = []

    def mark(self) -> None:
        """Note the moment when the GPU has done all that was started so far."""
        self._events.append(self._cuda("cudaEventCreate"))
        self._cuda("cudaEventRecord", self._events[-1], self._stream)

    def milliseconds(self) -> list[float]:
        """From each mark to the next, once all work on the stream is done."""
        pairs = zip(self._events, self._events[1:], strict=False)
        return [float(self._cuda("cudaEventElapsedTime", start, end)) for start, end in pairs]

    def free(self) -> None:
        """Give the marks back."""
        while self._events:
            self._cuda("cudaEventDestroy", self._events.pop())


@cache
def _fillers() -> ThreadPoolExecutor:
    """Threads that fill memory; the copies let go of Python's lock."""
    return ThreadPoolExecutor(min(_FILLERS, usable_cores()), "edgebird-fill")


def _pieces(count: int) -> list[tuple[int, int]]:
    """Where each piece of so many values starts and ends."""
    piece = count if count <= _MANY else _PIECE
    return [(start, min(start + piece, count)) for start in range(0, count, piece)]


class Buffer:
    """float32 memory that CPU and GPU both reach: `host`, an array in pinned memory, and `device`, an address.

    Where the GPU shares the CPU's memory both are the same memory and nothing is copied; elsewhere `upload` and
    `download` copy.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], shared: bool) -> None:
        self._cuda, self._shared = cuda, shared
        self._row_bytes = 4 * int(np.prod(shape[1:]))
        size = shape[0] * self._row_bytes
        flags = cuda.constant("cudaHostAllocMapped" if shared else "cudaHostAllocDefault")
        self._address = int(cuda("cudaHostAlloc", size, flags))
        try:
            self.device = int(
                cuda("cudaHostGetDevicePointer", self._address, 0) if shared else cuda("cudaMalloc", size)
            )
        except CudaError:
            cuda("cudaFreeHost", self._address)
            raise
        memory = ctypes.cast(self._address, ctypes.POINTER(ctypes.c_float))
        self.host: FloatArray = np.ctypeslib.as_array(memory, shape)

    def send(self, windows: FloatArray, rows: int, stream: Any) -> None:
        """Put windows into `host`, zeros after them up to `rows`, and start to copy these to the GPU.

        In pieces: the GPU copies one while the CPU fills the next.
        """
        given = np.ascontiguousarray(windows).reshape(-1)
        wanted = self.host.reshape(-1)[: rows * self._row_bytes // 4]
        wanted[len(given) :] = 0

        def fill(start: int, end: int) -> None:
            wanted[start : min(end, len(given))] = given[start:end]

        pieces = _pieces(len(wanted))
        filled = [_fillers().submit(fill, *piece) for piece in pieces] if len(given) > _MANY else []
        try:
            for index, (start, end) in enumerate(pieces):
                if filled:
                    filled[index].result()
                else:
                    fill(start, end)
                self._copy_in(4 * start, 4 * (end - start), stream)
        finally:
            wait(filled)  # nobody else may fill it before they are through

    def upload(self, rows: int, stream: Any) -> None:
        """Start to copy the first rows to the GPU."""
        self._copy_in(0, rows * self._row_bytes, stream)

    def _copy_in(self, start: int, size: int, stream: Any) -> None:
        if not self._shared:
            kind = self._cuda.constant("cudaMemcpyHostToDevice", "cudaMemcpyKind")
            self._cuda("cudaMemcpyAsync", self.device + start, self._address + start, size, kind, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Start to copy the first rows from the GPU."""
        if not self._shared:
            kind = self._cuda.constant("cudaMemcpyDeviceToHost", "cudaMemcpyKind")
            self._cuda("cudaMemcpyAsync", self._address, self.device, rows * self._row_bytes, kind, stream)

    def free(self) -> None:
        """Free the memory; nobody may use `host` afterwards."""
        del self.host
        try:
            if not self._shared:
                self._cuda("cudaFree", self.device)
        finally:
            self._cuda("cudaFreeHost", self._address)
