"""ONNX Runtime on a device: memory for windows and scores that stays there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebird.card import Card
from edgebird.types import FloatArray

DEVICE = 0  # the first that CUDA_VISIBLE_DEVICES leaves


class BoundRuns:
    """Runs a session on windows in the memory of its device, taken once for each batch size.

    sizes: the batches that are run; other numbers of windows are filled up to the next with zeros. Empty: any number as
    it comes.
    """

    def __init__(self, session: Any, card: Card, sizes: Sequence[int], device: str = "cuda") -> None:
        self._session, self._card, self._sizes, self._device = session, card, tuple(sizes), device
        self._bound: dict[int, _Bound] = {}

    def run(self, windows: FloatArray) -> FloatArray:
        """The model's output for float32 [batch, window_samples]; a copy."""
        count = len(windows)
        size = next((size for size in self._sizes if size >= count), count)
        bound = self._bound.get(size)
        if bound is None:
            bound = self._bound[size] = _Bound(self._session, self._card, size, self._device)
        return bound.run(np.pad(windows, ((0, size - count), (0, 0))))[:count]

    def close(self) -> None:
        """Free the memory."""
        self._bound.clear()
        self._session = None


class _Bound:
    """Input and output of one batch size that stay on the device."""

    def __init__(self, session: Any, card: Card, batch: int, device: str) -> None:
        import onnxruntime as ort

        self._session = session
        make = ort.OrtValue.ortvalue_from_shape_and_type
        self._input = make((batch, card.window_samples), np.float32, device, DEVICE)
        self._output = make((batch, len(card.labels)), np.float32, device, DEVICE)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(card.input.name, self._input)
        self._binding.bind_ortvalue_output(card.output.name, self._output)

    def run(self, windows: FloatArray) -> FloatArray:
        """The model's output for float32 [batch, window_samples]; a copy."""
        self._input.update_inplace(np.ascontiguousarray(windows))
        self._session.run_with_iobinding(self._binding)
        output: FloatArray = self._output.numpy().copy()  # on the CPU it is the very memory
        return output
