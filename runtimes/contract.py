"""What every engine owes its caller: checked input, checked output, the card's activation, a warm start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np

from edgebird.card import Card, floor_group
from edgebird.errors import BundleError, RuntimeUnavailableError
from edgebird.parity import check_finite
from edgebird.runtimes import Runtime, RuntimeOptions
from edgebird.types import FloatArray


def check_open(name: str, is_open: bool) -> None:
    """Raise RuntimeUnavailableError if the runtime of this name was closed."""
    if not is_open:
        raise RuntimeUnavailableError(f"{name}: the runtime is closed")


def check_graph(name: str, found: Mapping[str, tuple[str, Sequence[Any]]], card: Card) -> None:
    """Raise BundleError unless the graph has the card's input and output: name, float32, every dimension.

    found: inputs and outputs of the graph, name -> dtype and shape; a dimension that is no number is free.
    """
    for tensor in (card.input, card.output):
        if tensor.name not in found:
            raise BundleError(
                f"{name}: the graph has no {tensor.name!r}, only {', '.join(found)}: its card does not fit"
            )
        dtype, shape = found[tensor.name]
        fixed = [(size, wanted) for size, wanted in zip(shape, tensor.shape, strict=False) if isinstance(size, int)]
        if dtype != "float32" or len(shape) != len(tensor.shape) or any(size != wanted for size, wanted in fixed):
            raise BundleError(
                f"{name}: {tensor.name} is {dtype} {list(shape)} in the graph, float32 {list(tensor.shape)} in its card"
            )


def check_windows(windows: FloatArray, card: Card) -> None:
    """Raise ValueError unless `windows` is float32 [batch >= 1, window_samples]."""
    if windows.ndim != 2 or windows.shape[1] != card.window_samples or not len(windows) or windows.dtype != np.float32:
        raise ValueError(
            f"windows are {windows.dtype} {list(windows.shape)}, wanted float32 [batch, {card.window_samples}]"
        )


def in_pieces(run: Callable[[FloatArray], FloatArray], windows: FloatArray, size: int) -> FloatArray:
    """What `run` gives for windows [n, samples] in pieces of exactly `size`, the last filled with zeros: [n, ...]."""
    padded = np.pad(windows, ((0, -len(windows) % size), (0, 0)))
    return np.concatenate([run(padded[i : i + size]) for i in range(0, len(padded), size)])[: len(windows)]


class Streams:
    """Scores the windows of a batch at the same time, each stream on a thread of its own.

    No thread waits for another within a network, as the threads of one inference do after each layer.
    runs: what scores windows [piece, samples] -> [piece, classes], one for each stream. card: of the model; windows
    that share a floor stay together, a fixed batch is filled with zeros.
    """

    _GROUPS = 4  # pieces for each stream at once: their ends are waited for

    def __init__(self, runs: Sequence[Callable[[FloatArray], FloatArray]], card: Card) -> None:
        size = card.input.shape[0]
        self._fixed = isinstance(size, int)
        self._piece = size if isinstance(size, int) else floor_group(card.db_floor)
        self.least = len(runs) * self._piece  # windows that use every stream once
        self.group = self._GROUPS * self.least
        self._pool = ThreadPoolExecutor(len(runs), "edgebird-stream")
        self._free: SimpleQueue[Callable[[FloatArray], FloatArray]] = SimpleQueue()
        for run in runs:
            self._free.put(run)

    def run(self, windows: FloatArray) -> FloatArray:
        """[n, samples] -> [n, classes], in order."""
        padded = np.pad(windows, ((0, -len(windows) % self._piece), (0, 0))) if self._fixed else windows
        pieces = [padded[i : i + self._piece] for i in range(0, len(padded), self._piece)]
        return np.concatenate(list(self._pool.map(self._one, pieces)))[: len(windows)]

    def _one(self, piece: FloatArray) -> FloatArray:
        run = self._free.get()
        try:
            return run(piece)
        finally:
            self._free.put(run)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def to_scores(output: FloatArray, windows: int, card: Card) -> FloatArray:
    """The scores in a model's output: its activation applied, its shape and values checked.

    Raises BundleError for a shape that is not [windows, classes], ScoreError for values that are not finite.
    """
    wanted = (windows, len(card.labels))
    if output.shape != wanted:
        raise BundleError(f"the model gave {list(output.shape)}, wanted {list(wanted)}: its card does not fit it")
    check_finite(output)
    if card.activation == "sigmoid":
        # Two forms, so that exp never overflows.
        decay = np.exp(-np.abs(output))
        output = np.where(output >= 0, np.float32(1), decay) / (1 + decay)
    return output.astype(np.float32, copy=False)


def warm_up(runtime: Runtime, options: RuntimeOptions, throughput: int) -> None:
    """Run every batch size that will be used once. throughput: that which uses all streams, or the whole GPU."""
    card = runtime.card
    usual = (*card.batches, throughput) if options.throughput else card.batches
    for windows in warm_up_windows(usual if options.batches is None else options.batches, card):
        runtime.infer(windows)


def warm_up_windows(batches: Iterable[int], card: Card) -> Iterable[FloatArray]:
    """Quiet noise at every batch size: float32 [batch, window_samples] each; some engines treat zeros specially."""
    noise = np.random.default_rng(0)
    for batch in sorted(set(batches)):
        yield noise.normal(0.0, 0.01, (batch, card.window_samples)).astype(np.float32)
