"""An engine that `edgebird build` made, run with numpy and cuda-python alone.

Only what TensorRT 10.3, 10.13, 10.16, 11 and TensorRT-RTX 1.7 have in common is used here; `tests/test_engine.py`
holds it to that.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgebird.card import Card, floor_group
from edgebird.errors import BundleError, RuntimeUnavailableError
from edgebird.runtimes.contract import (
    check_graph,
    check_open,
    preferred_batch,
    prepared,
    warm_up_windows,
)
from edgebird.runtimes.flight import SLOTS, Flights
from edgebird.runtimes.group import fastest_group
from edgebird.runtimes.outputs import Outputs
from edgebird.runtimes.trt.bindings import dtype_name, free_batch
from edgebird.runtimes.trt.contexts import Contexts, LoadedEngine
from edgebird.runtimes.trt.gpu import Buffer, Cuda, CudaError, Stopwatch
from edgebird.types import FloatArray

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Lane:
    """What runs a batch size: an execution context of its own, and a CUDA graph of an inference once it has one.

    A graph belongs to the state that its context had when it was recorded, so contexts are not shared.
    """

    batch: int
    context: Any
    graph: Any = None


@dataclass(slots=True)
class _Slot:
    """What a batch in flight needs: a stream, memory for windows and outputs, and what runs each batch size there."""

    stream: Any
    input: Buffer
    outputs: dict[str, Buffer]
    lanes: dict[int, _Lane] = field(default_factory=dict)


class TrtRuntime:
    """See `Runtime`. Batches are fed in pieces of `batch_size`: what the profiles allow, or windows that share a
    floor.

    A piece is filled with zeros up to the next of a few sizes (`_lane_size`): no floor rises by them. Where the GPU has
    memory of its own two pieces are in flight: one is copied while the other computes.

    Takes its memory at once, one block of working memory for all sizes; raises BundleError if the engine does not fit
    the card, RuntimeUnavailableError if CUDA or TensorRT refuse.
    """

    def __init__(self, loaded: LoadedEngine, name: str, card: Card, cuda: Cuda, further: Sequence[str] = ()) -> None:
        self.name, self.card, self._wanted = name, card, Outputs(card, further)
        self.gpu = cuda.gpu()
        self.provider = f"{self.gpu.name} ({self.gpu.capability})"
        self._engine, self._cuda, self._log = loaded.engine, cuda, loaded.log
        self._check_engine()
        self._fixed = card.fixed_batch is not None
        self._ranges = () if self._fixed else self._profiles()
        self.max_batch = card.fixed_batch or max(most for _, most in self._ranges)
        self.batch_size = preferred_batch(card, self.max_batch)  # the graph takes the floor of all that it is given
        if self.batch_size > self.max_batch:
            told = f"the engine takes {self.max_batch} windows at once, this bundle scores {self.batch_size}"
            raise BundleError(f"{name}: {told}")
        self._resources, self._slots = ExitStack(), list[_Slot]()
        with ExitStack() as undo:  # of what was taken before something failed
            undo.callback(self.close)
            self._computed = self._keep("cudaEventDestroy", cuda("cudaEventCreate"))
            self.concurrency = 1 if self.gpu.integrated else SLOTS
            self._slots += [self._slot() for _ in range(self.concurrency)]
            self._contexts = Contexts(loaded, cuda)
            self._resources.callback(self._contexts.free)
            undo.pop_all()
        self._lock = threading.Lock()
        self._flights = Flights(self._slots, self._start, self._finish)

    def _slot(self) -> _Slot:
        stream = self._keep("cudaStreamDestroy", self._cuda("cudaStreamCreate"))
        written = (self.card.output, *self.card.outputs.values())  # also what nobody asked for: an engine writes all
        outputs = {tensor.name: self._buffer(math.prod(map(int, tensor.shape[1:]))) for tensor in written}
        return _Slot(stream, self._buffer(self.card.window_samples), outputs)

    def _keep(self, destroy: str, resource: Any) -> Any:
        self._resources.callback(self._cuda, destroy, resource)
        return resource

    def _buffer(self, columns: int) -> Buffer:
        buffer = Buffer(self._cuda, (self.max_batch, columns), self.gpu.integrated)
        self._resources.callback(buffer.free)
        return buffer

    def _check_engine(self) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        found = {n: (dtype_name(engine.get_tensor_dtype(n)), free_batch(engine.get_tensor_shape(n))) for n in names}
        check_graph(f"{self.name} engine", found, self.card)

    def _profiles(self) -> tuple[tuple[int, int], ...]:
        """The smallest and the largest batch of each of the engine's profiles."""
        engine, name = self._engine, self.card.input.name
        shapes = [engine.get_tensor_profile_shape(name, index) for index in range(engine.num_optimization_profiles)]
        return tuple((int(least[0]), int(most[0])) for least, _, most in shapes)

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        return self._wanted.scores(self._all(windows), len(windows))

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """See `Runtime`."""
        return self._wanted.named(self._all(windows), len(windows))

    def _all(self, windows: FloatArray) -> FloatArray:
        check_open(self.name, self._engine is not None)
        windows = prepared(windows, self.card)
        return self._flights.run([windows[i : i + self.batch_size] for i in range(0, len(windows), self.batch_size)])

    def _start(self, slot: _Slot, windows: FloatArray) -> None:
        """Start copy, inference and copy of at most `max_batch` windows."""
        batch = self._lane_size(len(windows))
        slot.input.send(windows, batch, slot.stream)
        with self._lock:
            if batch not in slot.lanes:
                self._meet(batch)
            self._cuda("cudaStreamWaitEvent", slot.stream, self._computed, 0)  # all use the same working memory
            self._compute(slot, slot.lanes[batch])
            self._cuda("cudaEventRecord", self._computed, slot.stream)
        self._download(slot, batch)

    def _download(self, slot: _Slot, batch: int) -> None:
        for name in self._wanted.names:
            slot.outputs[name].download(batch, slot.stream)

    def _finish(self, slot: _Slot, count: int) -> FloatArray:
        self._cuda("cudaStreamSynchronize", slot.stream)
        return np.array(self._wanted.joined({name: buffer.host[:count] for name, buffer in slot.outputs.items()}))

    def _meet(self, batch: int) -> None:
        """Make what runs a batch size in each slot: run it once, and record it."""
        for slot in self._slots:
            lane = self._new_lane(slot, batch)
            self._cuda("cudaStreamWaitEvent", slot.stream, self._computed, 0)
            self._execute(slot, lane)
            self._cuda("cudaStreamSynchronize", slot.stream)
            if not self._contexts.captures_graphs:
                self._record(slot, lane)
            slot.lanes[batch] = lane

    def find_group(self) -> None:
        """Have as many windows scored at once as is fastest here, where they may be scored together as one likes."""
        if self._fixed or floor_group(self.card.db_floor) > 1:
            return
        (windows,) = warm_up_windows((self.max_batch,), self.card)

        def score(size: int, times: int) -> None:
            self._flights.run([windows[:size]] * times)

        self.batch_size = fastest_group(self.name, self.max_batch, score, lambda: 0, self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batches that are run: 1, 2, 4, 8, ... and `max_batch`, as each of them takes memory."""
        return tuple(sorted({self._lane_size(count) for count in range(1, self.max_batch + 1)}))

    def _lane_size(self, count: int) -> int:
        """The batch that scores so many windows."""
        return self.max_batch if self._fixed else min(1 << (count - 1).bit_length(), self.max_batch)

    def _new_lane(self, slot: _Slot, batch: int) -> _Lane:
        card, context = self.card, self._contexts.make()
        if context is None:
            raise self._refused(f"no execution context for {batch} windows", "out of memory?")
        shape = (batch, card.window_samples)
        profile = next((index for index, (least, most) in enumerate(self._ranges) if least <= batch <= most), 0)
        if profile and not context.set_optimization_profile_async(profile, int(slot.stream)):
            raise self._refused(f"profile for {batch} windows refused", "no reason given")
        if not context.set_input_shape(card.input.name, shape):
            raise self._refused(f"input shape {list(shape)} refused", "outside of its profile")
        for name, buffer in ((card.input.name, slot.input), *slot.outputs.items()):
            if not context.set_tensor_address(name, buffer.device):
                raise self._refused(f"address of {name} refused", "no reason given")
        told = tuple(context.get_tensor_shape(card.output.name))
        if told != (batch, len(card.labels)):
            raise BundleError(f"the engine gives {list(told)}, wanted {[batch, len(card.labels)]}: not for this bundle")
        return _Lane(batch, context)

    def _execute(self, slot: _Slot, lane: _Lane) -> None:
        if not lane.context.execute_async_v3(int(slot.stream)):
            raise self._refused(f"inference of {lane.batch} windows failed", "no reason given")

    def _compute(self, slot: _Slot, lane: _Lane) -> None:
        if lane.graph is None:
            self._execute(slot, lane)
        else:
            self._cuda("cudaGraphLaunch", lane.graph, slot.stream)

    # --------------------------------------------------------------------------------------------------- for the bench
    def includes(self, batch: int) -> str:
        """What a time of `infer` has in it."""
        copies = "GPU and CPU share their memory, no copies" if self.gpu.integrated else "copies to and from the GPU"
        lane = self._slots[0].lanes.get(self._lane_size(batch))
        if self._contexts.captures_graphs:
            return f"{copies}; a CUDA graph of TensorRT's own where it can be captured"
        return f"{copies}; {'a CUDA graph' if lane and lane.graph is not None else 'no CUDA graph'}"

    def keep_compiled(self) -> None:
        """Keep what was compiled while it ran for the next opening."""
        self._contexts.keep_compiled()

    def split(self, windows: FloatArray) -> dict[str, float]:
        """Milliseconds of the parts of an inference of windows that were scored before, as many at once.

        h2d, compute and d2h are the GPU's time for copy, inference and copy, started one by one; enqueue is the CPU's
        time to start the inference. With a CUDA graph there are also the GPU's and the CPU's time of its launch. Where
        nothing is copied there are no copies.
        """
        windows, slot = windows[: self.batch_size], self._slots[0]
        lane = slot.lanes[self._lane_size(len(windows))]
        (h2d,), _ = self._timed(slot, lambda: slot.input.send(windows, lane.batch, slot.stream))
        (compute,), enqueue = self._timed(slot, lambda: self._execute(slot, lane))
        (d2h,), _ = self._timed(slot, lambda: self._download(slot, lane.batch))
        parts = {"compute": compute, "enqueue": enqueue}
        if lane.graph is not None:
            (parts["graph"],), parts["graph_launch"] = self._timed(slot, lambda: self._compute(slot, lane))
        if not self.gpu.integrated:
            parts |= {"h2d": h2d, "d2h": d2h}
        return parts

    def _timed(self, slot: _Slot, start: Callable[[], None]) -> tuple[list[float], float]:
        """Milliseconds that what `start` starts takes, by the GPU, and those that starting took, by the CPU."""
        watch = Stopwatch(self._cuda, slot.stream)
        try:
            watch.mark()
            begin = time.perf_counter()
            start()
            starting = (time.perf_counter() - begin) * 1e3
            watch.mark()
            self._cuda("cudaStreamSynchronize", slot.stream)
            return watch.milliseconds(), starting
        finally:
            watch.free()

    # --------------------------------------------------------------------------------------------------------- a graph
    def _record(self, slot: _Slot, lane: _Lane) -> None:
        """Record an inference as a CUDA graph, which takes one launch instead of hundreds, where that works."""
        cuda, stream = self._cuda, slot.stream
        mode = cuda.constant("cudaStreamCaptureModeThreadLocal", "cudaStreamCaptureMode")
        try:
            cuda("cudaStreamBeginCapture", stream, mode)
            try:
                self._execute(slot, lane)
            finally:
                graph = cuda("cudaStreamEndCapture", stream)
            try:
                lane.graph = self._keep("cudaGraphExecDestroy", cuda("cudaGraphInstantiate", graph, 0))
            finally:
                cuda("cudaGraphDestroy", graph)
        except RuntimeUnavailableError as error:
            cuda.forget_error()
            log.debug("%s: no CUDA graph for %d windows: %s", self.name, lane.batch, error)

    def _refused(self, what: str, otherwise: str) -> RuntimeUnavailableError:
        problem = self._log.explain(otherwise)
        self._log.problems.clear()
        return RuntimeUnavailableError(f"{self.name}: {what}: {problem}")

    def close(self) -> None:
        """Free everything, the engine last."""
        if self._engine is None:
            return
        try:
            self._resources.close()
        except CudaError as error:  # after a failure of the GPU nothing can be freed but by the end of the process
            log.debug("%s: %s", self.name, error)
        self._slots.clear()
        self._engine = None
