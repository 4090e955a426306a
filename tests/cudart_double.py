"""A double of CUDA's library as `edgebird.runtimes.cudart` calls it, and of ONNX Runtime's session on its stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgebird.runtimes import ort, ort_gpu, ort_session
from edgebird.runtimes.cudart import Cudart
from edgebird.runtimes.trt.gpu import Cuda
from tests.cuda_double import CudaDouble, FakeGpu, Mark, Stream

_MORE = ("cudaEventCreateWithFlags", "cudaDeviceGetAttribute", "cudaGraphGetNodes",
         "cudaGraphNodeGetType")  # fmt: skip


class CudartDouble(CudaDouble):
    """node_kinds: of a graph's nodes. free: bytes of the GPU's memory."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__("13.5.0", gpu)
        self.node_kinds: list[int] = [0]
        self.free = 8 << 30
        self._order = threading.RLock()
        for name in _MORE:
            setattr(self.module, name, self._call(name))
        for name, value in vars(Cudart).items():
            if isinstance(value, int | SimpleNamespace) and not hasattr(self.module, name):
                setattr(self.module, name, value)
        for name in list(vars(self.module)):
            function = getattr(self.module, name)
            if name.startswith("cuda") and callable(function) and not isinstance(function, type):
                setattr(self.module, name, self._one_at_a_time(function))

    def install_for_ort(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the place of CUDA and of ONNX Runtime's CUDA provider."""
        real = ort_session.session_of

        def session_of(model: Any, _name: str, _threads: Any, settings: Mapping[str, str], **_: Any) -> Any:
            stream = self.streams[int(settings["user_compute_stream"])]
            return SessionOnStream(self, stream, real(model, "ort-cpu", 1))

        monkeypatch.setattr(ort, "session_of", session_of)
        monkeypatch.setattr(ort, "open_stream", lambda _ort, name: ort_gpu.Stream(Cuda(self.module, name)))

    def _one_at_a_time(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._order:
                return function(*arguments)

        return call

    def _call(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            errors = self.module.cudaError_t
            if name in self.fail:
                return errors[self.fail[name]], None
            result = getattr(self, f"_{name}")(*arguments)
            return (errors.cudaSuccess,) if result is None else (errors.cudaSuccess, result)

        return call

    def _cudaStreamCreateWithFlags(self, flags: int) -> Stream:  # noqa: N802
        assert flags == Cudart.cudaStreamNonBlocking
        return self._cudaStreamCreate()

    def _cudaEventCreateWithFlags(self, flags: int) -> Mark:  # noqa: N802
        assert flags == Cudart.cudaEventDisableTiming
        return self._cudaEventCreate()

    def _cudaMemGetInfo(self) -> tuple[int, int]:  # noqa: N802
        return self.free, self.free

    def _cudaDeviceGetAttribute(self, attribute: int, device: int) -> int:  # noqa: N802
        assert device == 0
        return {18: self.gpu.integrated, 19: 1}[attribute]

    def _cudaGraphGetNodes(self, graph: Any) -> list[int]:  # noqa: N802
        assert graph.handle in self.graphs
        return self.node_kinds

    def _cudaGraphNodeGetType(self, node: int) -> int:  # noqa: N802
        return node


class SessionOnStream:
    """ONNX Runtime on the CPU, which computes when the stream gets there."""

    def __init__(self, double: CudartDouble, stream: Stream, session: Any) -> None:
        self._double, self._stream, self._session = double, stream, session
        self.runs = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def io_binding(self) -> Any:
        """Addresses, and how many windows are there."""
        bound: dict[str, Any] = {}

        def bind(what: str) -> Callable[..., None]:
            def call(name: str, device: str, number: int, dtype: Any, shape: tuple[int, ...], address: int) -> None:
                assert (device, number, dtype) == ("cuda", 0, np.float32)
                bound[what] = name, shape, address

            return call

        return SimpleNamespace(bind_input=bind("input"), bind_output=bind("output"), bound=bound)

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        """Start an inference, and wait for it unless the options say no: nobody may wait during a capture."""
        waits = options is None
        assert waits or options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        assert waits == (self._stream.captured is None)
        self.runs += 1
        (name, shape, source), (out, columns, target) = binding.bound["input"], binding.bound["output"]

        def compute() -> None:
            windows = np.frombuffer(self._double.bytes_at(source, 4 * int(np.prod(shape))), np.float32).reshape(shape)
            scores = self._session.run([out], {name: windows.copy()})[0]
            assert scores.shape == columns
            self._double.bytes_at(target, scores.nbytes)[:] = scores.tobytes()

        self._stream.put(compute)
        if waits:
            self._double.module.cudaStreamSynchronize(self._stream)
