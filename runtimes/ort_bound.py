"""ONNX Runtime on a GPU: memory for windows and scores that stays there, and a CUDA graph of each batch size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from edgebird.card import Card
from edgebird.types import FloatArray

DEVICE = 0  # the first that CUDA_VISIBLE_DEVICES leaves


class BoundRuns:
    """Runs a session on windows in the memory of its device, taken once for each batch size.

    sizes: the batches that are run; other numbers of windows are filled up to the next with zeros. Empty: any number as
    it comes. graphs: the session was opened with `enable_cuda_graph`. Then the first run of a size is captured and each
    later one replays the addresses of the first: so there is one `_Bound` of a size, and it lives as long as the
    session. Graphs belong to the thread that captured them, so all runs are on one thread: on another, ONNX Runtime
    would capture again, while sound is lost.
    """

    def __init__(self, session: Any, card: Card, sizes: Sequence[int], graphs: bool, device: str = "cuda") -> None:
        self._session, self._card, self._sizes, self._device = session, card, tuple(sizes), device
        self._bound: dict[int, _Bound] = {}
        self._thread = ThreadPoolExecutor(1, "edgebird-gpu") if graphs else None

    @property
    def graphs(self) -> bool:
        """Whether an inference is a CUDA graph."""
        return self._thread is not None

    def run(self, windows: FloatArray) -> FloatArray:
        """The model's output for float32 [batch, window_samples]; a copy."""
        return self._thread.submit(self._run, windows).result() if self._thread else self._run(windows)

    def _run(self, windows: FloatArray) -> FloatArray:
        count = len(windows)
        size = next((size for size in self._sizes if size >= count), count)
        bound = self._bound.get(size)
        if bound is None:
            graph = size if self.graphs else None
            bound = self._bound[size] = _Bound(self._session, self._card, size, self._device, graph)
        return bound.run(np.pad(windows, ((0, size - count), (0, 0))))[:count]

    def close(self) -> None:
        """Free the memory."""
        if self._thread:
            self._thread.shutdown()
        self._bound.clear()
        self._session = None


class _Bound:
    """Input and output of one batch size that stay on the device. graph: the number of its CUDA graph, if any."""

    def __init__(self, session: Any, card: Card, batch: int, device: str, graph: int | None) -> None:
        import onnxruntime as ort

        self._session = session
        make = ort.OrtValue.ortvalue_from_shape_and_type
        self._input = make((batch, card.window_samples), np.float32, device, DEVICE)
        self._output = make((batch, len(card.labels)), np.float32, device, DEVICE)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(card.input.name, self._input)
        self._binding.bind_ortvalue_output(card.output.name, self._output)
        self._options = ort.RunOptions()
        if graph is not None:
            self._options.add_run_config_entry("gpu_graph_id", str(graph))

    def run(self, windows: FloatArray) -> FloatArray:
        """The model's output for float32 [batch, window_samples]; a copy."""
        self._input.update_inplace(np.ascontiguousarray(windows))
        self._session.run_with_iobinding(self._binding, self._options)
        output: FloatArray = self._output.numpy().copy()  # on the CPU it is the very memory
        return output
