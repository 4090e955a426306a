"""TensorRT's runtime with real streams, memory and graphs: in TensorRT's place ONNX Runtime computes on the stream.

So a GPU for which no TensorRT is at hand still shows whether lanes, shared memory and graphs are right.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from edgebird.benchmarks.device.attempts import Finding, attempt, float_graphs, golden_batch, milliseconds
from edgebird.bundle import Bundle
from edgebird.runtimes import probe
from edgebird.runtimes.ort_session import cuda_options, session_of
from edgebird.runtimes.trt.bindings import TrtLog
from edgebird.runtimes.trt.contexts import LoadedEngine
from edgebird.runtimes.trt.gpu import Cuda, open_cuda
from edgebird.runtimes.trt.opening import prove
from edgebird.runtimes.trt.runtime import TrtRuntime

log = logging.getLogger(__name__)

_LARGEST = 8


class StandIn:
    """What `TrtRuntime` takes for an ICudaEngine."""

    num_io_tensors = 2
    num_optimization_profiles = 1
    device_memory_size_v2 = 1 << 20

    def __init__(self, bundle: Bundle, precision: str, runtime: str) -> None:
        card = bundle.card
        self.model, self.card, self.runtime, self.calls = bundle.model(precision), card, runtime, 0
        self.precision = precision
        self.sessions: dict[int, Any] = {}  # one for each stream
        self.tensors = {card.input.name: (-1, card.window_samples), card.output.name: (-1, len(card.labels))}

    def get_tensor_name(self, index: int) -> str:
        """Input, output."""
        return list(self.tensors)[index]

    def get_tensor_dtype(self, _name: str) -> Any:
        """All are float32."""
        return SimpleNamespace(name="FLOAT")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """The batch is free."""
        return self.tensors[name]

    def get_tensor_profile_shape(self, _name: str, _profile: int) -> list[tuple[int, int]]:
        """Least, best and largest shape of the input."""
        return [(batch, self.card.window_samples) for batch in (1, 1, _LARGEST)]

    def create_execution_context(self, _strategy: Any) -> StandInContext:
        """A context for one batch size."""
        return StandInContext(self)


class StandInContext:
    """What it takes for an IExecutionContext."""

    def __init__(self, engine: StandIn) -> None:
        self._engine, self._batch = engine, 0
        self._addresses: dict[str, int] = {}
        self._binding: Any = None
        self._options: Any = None

    def set_device_memory(self, _address: int, _size: int) -> None:
        """ONNX Runtime has memory of its own."""

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        """Any batch."""
        self._batch = shape[0]
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Where the input is, or the output shall be."""
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """With the batch that was set."""
        return (self._batch, *self._engine.tensors[name][1:])

    def execute_async_v3(self, stream: int) -> bool:
        """Compute on the stream."""
        import onnxruntime as ort

        engine, on_gpu = self._engine, self._engine.runtime == "ort-cuda"
        if stream not in engine.sessions:
            given = {**cuda_options(engine.precision), "user_compute_stream": str(stream)} if on_gpu else {}
            engine.sessions[stream] = session_of(engine.model, engine.runtime, provider_options=given)
        session, runs = engine.sessions[stream], 1
        if self._binding is None:
            runs = 2  # memory is planned in the first, and taken so in the second: nothing is new in a capture
            self._binding = session.io_binding()
            for name, bind in zip(engine.tensors, (self._binding.bind_input, self._binding.bind_output), strict=True):
                device = "cuda" if on_gpu else "cpu"
                bind(name, device, 0, np.float32, self.get_tensor_shape(name), self._addresses[name])
            self._options = ort.RunOptions()
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        try:
            for _ in range(runs):
                session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # noqa: BLE001  ONNX Runtime raises what it likes; TensorRT says False
            log.warning("%s", error)
            return False
        engine.calls += 1
        return True


def lanes(bundle: Bundle, runtime: str = "ort-cuda", seconds: float = 0.3) -> Iterator[Finding]:
    """Scores, graphs, times of each batch size, and how much of Python's time is left to others meanwhile.

    seconds: for each figure.
    """
    cuda = open_cuda("check")
    cuda.gpu()
    probe(runtime)
    for precision in float_graphs(bundle):
        yield from attempt(precision, partial(_of, bundle, precision, runtime, cuda, seconds))


def _of(bundle: Bundle, precision: str, name: str, cuda: Cuda, seconds: float) -> Iterator[Finding]:
    engine = StandIn(bundle, precision, name)
    managed = SimpleNamespace(USER_MANAGED=2)
    trt = ModuleType("tensorrt")
    trt.ExecutionContextAllocationStrategy = managed  # type: ignore[attr-defined]
    runtime = TrtRuntime(LoadedEngine(trt, engine, TrtLog()), "tensorrt", bundle.card, cuda)
    for size in runtime.sizes:
        runtime.infer(golden_batch(bundle, size))
    before = engine.calls
    parity = prove(runtime, bundle, precision)
    yield {"max_abs": parity.max_abs, "p99": parity.p99, "calls_of_the_engine": engine.calls - before}
    for size in runtime.sizes:
        windows = golden_batch(bundle, size)
        work = partial(runtime.infer, windows)
        yield {"batch": size, "includes": runtime.includes(size), "ms": milliseconds(work, seconds),
               "parts": runtime.split(windows)}  # fmt: skip
    yield {"python_left_to_others": _left_to_others(work, seconds)}
    runtime.close()
    runtime.close()


def _left_to_others(work: Callable[[], object], seconds: float) -> float:
    """How fast another thread of Python turns while `work` goes on, as a share of alone."""
    turns, end = [0], threading.Event()

    def turn() -> None:
        while not end.is_set():
            turns[0] += 1

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        turns[0] = 0
        time.sleep(seconds)
        alone, turns[0] = turns[0], 0
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            work()
        return round(turns[0] / max(1, alone), 3)
    finally:
        end.set()
        thread.join()
