"""ONNX Runtime on a device: memory for windows and scores that stays there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebird.runtimes.outputs import Outputs
from edgebird.types import FloatArray

DEVICE = 0  # the first that CUDA_VISIBLE_DEVICES leaves


class BoundRuns:
    """Runs a session on windows in the memory of its device, taken once for each batch size.

    sizes: the batches that are run; other numbers of windows are filled up to the next with zeros. Empty: any number as
    it comes.
    """

    def __init__(self, session: Any, outputs: Outputs, sizes: Sequence[int], device: str = "cuda") -> None:
        self._session, self._wanted, self._sizes, self._device = session, outputs, tuple(sizes), device
        self._bound: dict[int, _Bound] = {}

    def run(self, windows: FloatArray) -> FloatArray:
        """The model's output for float32 [batch, window_samples]; a copy."""
        count = len(windows)
        size = next((size for size in self._sizes if size >= count), count)
        bound = self._bound.get(size)
        if bound is None:
            bound = self._bound[size] = _Bound(self._session, self._wanted, size, self._device)
        return bound.run(np.pad(windows, ((0, size - count), (0, 0))))[:count]

    def close(self) -> None:
        """Free the memory."""
        self._bound.clear()
        self._session = None


class _Bound:
    """Input and wanted outputs of one batch size that stay on the device."""

    def __init__(self, session: Any, outputs: Outputs, batch: int, device: str) -> None:
        import onnxruntime as ort

        self._session, self._wanted, card = session, outputs, outputs.card
        make = ort.OrtValue.ortvalue_from_shape_and_type
        self._input = make((batch, card.window_samples), np.float32, device, DEVICE)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(card.input.name, self._input)
        self._outputs = {name: make((batch, *shape), np.float32, device, DEVICE) for name, shape in outputs.shapes()}
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, windows: FloatArray) -> FloatArray:
        """The model's output for float32 [batch, window_samples]; a copy."""
        self._input.update_inplace(np.ascontiguousarray(windows))
        self._session.run_with_iobinding(self._binding)
        found = self._wanted.joined({name: value.numpy() for name, value in self._outputs.items()})
        return np.array(found)  # on the CPU it is the very memory
