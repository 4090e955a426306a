"""A runtime without an engine: every score is 0. It measures what everything around an engine costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import SCORES
from edgebird.runtimes import Runtime, RuntimeOptions
from edgebird.runtimes.contract import check_open, check_windows
from edgebird.runtimes.outputs import Outputs
from edgebird.types import FloatArray


class NullRuntime:
    """See `Runtime`."""

    concurrency = 1

    def __init__(self, bundle: Bundle, name: str, further: Sequence[str] = ()) -> None:
        self.name, self.card, self.provider = name, bundle.card, "none"
        self.batch_size = max(bundle.card.batches)
        self._outputs = Outputs(bundle.card, further)
        self._closed = False

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> zeros [batch, classes]; see `Runtime`."""
        check_open(self.name, not self._closed)
        check_windows(windows, self.card)
        return np.zeros((len(windows), len(self.card.labels)), np.float32)

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """Zeros; see `Runtime`."""
        scores = self.infer(windows)
        further = {
            name: np.zeros((len(windows), *map(int, tensor.shape[1:])), np.float32)
            for name, tensor in self._outputs.tensors.items()
        }
        return {**further, SCORES: scores}

    def close(self) -> None:
        """Nothing to free, but closed is closed."""
        self._closed = True


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Open it; the precision must be one of the bundle's all the same."""
    bundle.model(options.precision)
    return NullRuntime(bundle, name, options.outputs)


def probe(name: str) -> str:
    """It runs everywhere."""
    return "no engine, scores 0"
