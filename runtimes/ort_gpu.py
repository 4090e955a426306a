"""ONNX Runtime's CUDA provider on a stream of our own: pinned memory, CUDA graphs, and two batches in flight."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import ModuleType
from typing import Any

import numpy as np

from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes.cudart import Cudart
from edgebird.runtimes.flight import SLOTS, Flights
from edgebird.runtimes.ort_bound import DEVICE
from edgebird.runtimes.ort_libraries import preload
from edgebird.runtimes.outputs import Outputs
from edgebird.runtimes.trt.gpu import Buffer, Cuda, CudaError
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

_MAJORS = ("13", "12")  # of CUDA, for a build of ONNX Runtime that does not tell


class Stream:
    """The stream that a session computes on: `given` are the options that tell its provider.

    Raises CudaError where there is no GPU, OSError where CUDA's library is missing.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        cuda("cudaSetDevice", DEVICE)
        about = [cuda.constant(f"cudaDevAttr{name}", "cudaDeviceAttr") for name in ("Integrated", "CanMapHostMemory")]
        self.shared = all(cuda("cudaDeviceGetAttribute", attribute, DEVICE) for attribute in about)
        self.handle: Any = cuda("cudaStreamCreateWithFlags", cuda.constant("cudaStreamNonBlocking"))
        self.given = {"user_compute_stream": str(int(self.handle))}

    def close(self) -> None:
        """Free it; twice is harmless."""
        handle, self.handle = self.handle, None
        if handle is not None:
            with suppress(CudaError):  # after a failure of the GPU only the end of the process frees it
                self.cuda("cudaStreamDestroy", handle)


def open_stream(ort: ModuleType, name: str) -> Stream:
    """A stream for runtime `name`, by the CUDA library that this build of ONNX Runtime loads. See `Stream`."""
    preload(ort)
    major = str(getattr(ort, "cuda_version", "") or "").partition(".")[0]
    for wanted in (major,) if major else _MAJORS:
        with suppress(OSError):
            return Stream(Cuda(Cudart(f"libcudart.so.{wanted}"), name))
    raise OSError(f"libcudart.so.{major or _MAJORS[0]} is missing")


class _Slot:
    """What a batch in flight needs: a stream for its copies, pinned memory, and a CUDA graph of each batch size."""

    def __init__(self, stream: Stream, rows: int, outputs: Outputs, keep: ExitStack) -> None:
        cuda = stream.cuda
        self.wanted, self.graphs = outputs, dict[int, Any]()
        self._bindings = dict[int, Any]()
        self.stream = cuda("cudaStreamCreateWithFlags", cuda.constant("cudaStreamNonBlocking"))
        keep.callback(cuda, "cudaStreamDestroy", self.stream)
        self.filled = cuda("cudaEventCreateWithFlags", cuda.constant("cudaEventDisableTiming"))
        keep.callback(cuda, "cudaEventDestroy", self.filled)
        self.input = Buffer(cuda, (rows, outputs.card.window_samples), stream.shared)
        keep.callback(self.input.free)
        self.outputs: dict[str, Buffer] = {}
        for name, shape in outputs.shapes():
            self.outputs[name] = Buffer(cuda, (rows, math.prod(shape)), stream.shared)
            keep.callback(self.outputs[name].free)

    def binding(self, session: Any, size: int) -> Any:
        """Where a session reads so many windows, and writes their scores."""
        if size not in self._bindings:
            card = self.wanted.card
            binding = self._bindings[size] = session.io_binding()
            taken, windows = self.input.device, (size, card.window_samples)
            binding.bind_input(card.input.name, "cuda", DEVICE, np.float32, windows, taken)
            for name, shape in self.wanted.shapes():
                binding.bind_output(name, "cuda", DEVICE, np.float32, (size, *shape), self.outputs[name].device)
        return self._bindings[size]


def _no_mark(_stream: Any) -> None:
    pass


class GpuRuns:
    """Runs a session of the CUDA provider on the stream that it was opened with.

    sizes: the batches that are run; other numbers of windows are filled up to the next with zeros. When a size is first
    met it is run twice, so that ONNX Runtime has its memory and cuDNN its algorithms, and then captured for each slot:
    one launch instead of hundreds, from any thread, without ONNX Runtime. graphs: whether to; where that fails it goes
    on without and says so.

    Two calls of `run` may go on at the same time, and the pieces of one call overlap likewise. Copies have the stream
    of their slot; what computes waits for what computed before, for all graphs use the same working memory.

    Takes its memory at once; raises CudaError where the GPU has none.
    """

    def __init__(
        self, stream: Stream, session: Any, outputs: Outputs, sizes: Sequence[int], graphs: bool = True
    ) -> None:
        import onnxruntime as ort

        self._stream, self._cuda, self._session, self._wanted = stream, stream.cuda, session, outputs
        self._sizes, self._graphs = tuple(sizes), graphs
        self._met: set[int] = set()
        self._lock = threading.Lock()
        self._unwaited = ort.RunOptions()
        self._unwaited.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._mark: Callable[[Any], None] = _no_mark
        self._resources = ExitStack()
        with ExitStack() as undo:  # of what was taken before something failed
            undo.callback(self._resources.close)
            self._computed = self._cuda("cudaEventCreateWithFlags", self._cuda.constant("cudaEventDisableTiming"))
            self._resources.callback(self._cuda, "cudaEventDestroy", self._computed)
            self._slots = [_Slot(stream, max(sizes), outputs, self._resources) for _ in range(SLOTS)]
            undo.pop_all()
        self._flights = Flights(self._slots, self._start, self._finish)

    def with_sizes(self, sizes: Sequence[int]) -> GpuRuns:
        """The same for other sizes, in the place of this one, which is not used any more."""
        self._resources.close()
        return GpuRuns(self._stream, self._session, self._wanted, sizes, self._graphs)

    def has_graph(self, count: int) -> bool:
        """Whether so many windows are scored by a CUDA graph, as far as they were met."""
        return all(self._size(count) in slot.graphs for slot in self._slots)

    def free_memory(self) -> int:
        """Bytes of the GPU that nobody has taken."""
        return int(self._cuda("cudaMemGetInfo")[0])

    def run(self, pieces: Sequence[FloatArray]) -> FloatArray:
        """The model's output for pieces float32 [batch, window_samples], in order, as one array; a copy."""
        return self._flights.run(pieces)

    def _size(self, count: int) -> int:
        return next((size for size in self._sizes if size >= count), self._sizes[-1])

    def _start(self, slot: _Slot, windows: FloatArray) -> None:
        """Start copy, inference and copy, with a mark between and around them."""
        size = self._size(len(windows))
        self._mark(slot.stream)
        slot.input.send(windows, size, slot.stream)
        self._mark(slot.stream)
        with self._lock:
            if size not in self._met:
                self._meet(slot, size)
            if (graph := slot.graphs.get(size)) is None:
                self._compute(slot, size)
            else:
                self._cuda("cudaStreamWaitEvent", slot.stream, self._computed, 0)
                self._cuda("cudaGraphLaunch", graph, slot.stream)
                self._cuda("cudaEventRecord", self._computed, slot.stream)
        self._mark(slot.stream)
        for buffer in slot.outputs.values():
            buffer.download(size, slot.stream)
        self._mark(slot.stream)

    def _finish(self, slot: _Slot, count: int) -> FloatArray:
        self._cuda("cudaStreamSynchronize", slot.stream)
        return np.array(self._wanted.joined({name: buffer.host[:count] for name, buffer in slot.outputs.items()}))

    def _compute(self, slot: _Slot, size: int) -> None:
        """Have ONNX Runtime run an inference on its stream, between the slot's copies."""
        cuda, stream = self._cuda, self._stream.handle
        cuda("cudaEventRecord", slot.filled, slot.stream)
        for event in (slot.filled, self._computed):
            cuda("cudaStreamWaitEvent", stream, event, 0)
        self._session.run_with_iobinding(slot.binding(self._session, size))  # which waits, or pinned memory piles up
        cuda("cudaEventRecord", self._computed, stream)
        cuda("cudaStreamWaitEvent", slot.stream, self._computed, 0)

    # ------------------------------------------------------------------------------------------------------- the graphs
    def _meet(self, slot: _Slot, size: int) -> None:
        """Run a batch size that is new until nothing of it is, and capture it for each slot."""
        for _ in range(2):  # memory is planned in the first, and taken so in the second
            self._compute(slot, size)
        self._cuda("cudaStreamSynchronize", self._stream.handle)
        self._met.add(size)
        if not self._graphs:
            return
        try:
            for each in self._slots:
                each.graphs[size] = self._captured(each, size)
        except Exception as error:  # noqa: BLE001  ONNX Runtime raises what it likes
            self._cuda.forget_error()
            for each in self._slots:
                each.graphs.pop(size, None)
            self._graphs = bool(self._slots[0].graphs)  # where the first cannot be captured none can
            reason = " ".join(str(error).split())[:300]
            log.warning("ort-cuda runs %d windows without a CUDA graph, which cannot be captured: %s", size, reason)

    def _captured(self, slot: _Slot, size: int) -> Any:
        cuda, stream = self._cuda, self._stream.handle
        binding = slot.binding(self._session, size)
        cuda(
            "cudaStreamBeginCapture", stream, cuda.constant("cudaStreamCaptureModeThreadLocal", "cudaStreamCaptureMode")
        )
        try:
            self._session.run_with_iobinding(binding, self._unwaited)
        finally:
            graph = cuda("cudaStreamEndCapture", stream)
        try:
            self._make_lasting(graph)
            executable = cuda("cudaGraphInstantiate", graph, 0)
        finally:
            cuda("cudaGraphDestroy", graph)
        self._resources.callback(cuda, "cudaGraphExecDestroy", executable)
        return executable

    def _make_lasting(self, graph: Any) -> None:
        """Have a graph that was just captured copy from memory of its own, where it copies from the CPU's.

        For products of matrices over a batch ONNX Runtime copies addresses from memory that older versions use again
        for the next run: sizes would then be computed from one another's windows. Raises RuntimeUnavailableError where
        the CPU would give memory back in each replay.
        """
        cuda, kinds = self._cuda, self._cuda.constant("cudaGraphNodeType")
        nodes = [(node, cuda("cudaGraphNodeGetType", node)) for node in cuda("cudaGraphGetNodes", graph)]
        if any(kind == kinds.cudaGraphNodeTypeHost for _, kind in nodes):
            raise RuntimeUnavailableError("this ONNX Runtime frees memory that a graph needs, a newer one does not")
        in_kind = cuda.constant("cudaMemcpyHostToDevice", "cudaMemcpyKind")
        for node, kind in nodes:
            if kind != kinds.cudaGraphNodeTypeMemcpy:
                continue
            source, target, size, direction = cuda("cudaGraphMemcpyNodeGetParams", node)
            if direction == in_kind:
                own = cuda("cudaHostAlloc", size, cuda.constant("cudaHostAllocDefault"))
                self._resources.callback(cuda, "cudaFreeHost", own)
                ctypes.memmove(own, source, size)
                cuda("cudaGraphMemcpyNodeSetParams1D", node, target, own, size, in_kind)

    # --------------------------------------------------------------------------------------------------- for the bench
    def split(self, infer: Callable[[], object]) -> dict[str, float]:
        """Milliseconds of the parts of an inference. infer: scores windows that fit one batch, by `run`.

        h2d, compute and d2h are the GPU's time for copy, inference and copy, nothing where nothing is copied. overhead:
        what `infer` takes by the CPU's clock beyond the GPU's time from the first copy to the last.
        """
        events = [self._cuda("cudaEventCreate") for _ in range(4)]
        coming = iter(events)
        self._mark = lambda stream: self._cuda("cudaEventRecord", next(coming), stream)
        try:
            begun = time.perf_counter()
            infer()
            whole = (time.perf_counter() - begun) * 1e3
            a, b, c, d = events
            h2d, compute, d2h = (self._cuda("cudaEventElapsedTime", *pair) for pair in ((a, b), (b, c), (c, d)))
        finally:
            self._mark = _no_mark
            for event in events:
                self._cuda("cudaEventDestroy", event)
        parts = {"compute": compute, "overhead": whole - h2d - compute - d2h}
        return parts if self._stream.shared else parts | {"h2d": h2d, "d2h": d2h}

    def close(self) -> None:
        """Free everything. Nobody else may hold the session any more: its end needs the stream."""
        try:
            self._resources.close()
        except CudaError as error:  # after a failure of the GPU nothing can be freed but by the end of the process
            log.debug("%s", error)
        self._slots.clear()
        self._session = None
        self._stream.close()
