"""What every engine owes its caller: checked input, scaled as the card says, in batches it may have, a warm start.

outputs.py has the other half: what it gives, and the card's activation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np

from edgebird.card import Card, Scaling, floor_group
from edgebird.errors import BundleError, EdgebirdError, RuntimeUnavailableError
from edgebird.runtimes import Runtime, RuntimeOptions
from edgebird.types import FloatArray


def check_open(name: str, is_open: bool) -> None:
    """Raise RuntimeUnavailableError if the runtime of this name was closed."""
    if not is_open:
        raise RuntimeUnavailableError(f"{name}: the runtime is closed")


@contextmanager
def engine_errors(name: str, what: str, reason: Callable[[Exception], str]) -> Iterator[None]:
    """Raise RuntimeUnavailableError where a call of an engine fails: its name, what failed, the engine's reason."""
    try:
        yield
    except EdgebirdError:
        raise
    except Exception as error:
        raise RuntimeUnavailableError(f"{name}: {what}: {reason(error)}") from error


def check_graph(name: str, found: Mapping[str, tuple[str, Sequence[Any]]], card: Card) -> None:
    """Raise BundleError unless the graph has the card's input and output: name, float32, every dimension.

    found: inputs and outputs of the graph, name -> dtype and shape; a dimension that is no number is free.
    """
    for tensor in (card.input, card.output, *card.outputs.values()):
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


def prepared(windows: FloatArray, card: Card) -> FloatArray:
    """Windows [batch, window_samples] as the graph takes them: checked as `check_windows` does, then scaled.

    What is given is not changed.
    """
    check_windows(windows, card)
    return scaled(windows, card.scaling)


def scaled(windows: FloatArray, scaling: Scaling | None) -> FloatArray:
    """Windows [batch, samples] with another mean and level, each by itself."""
    if scaling is None:
        return windows
    if scaling.remove_mean:
        windows = windows - windows.mean(axis=1, keepdims=True)
    if scaling.peak is not None:
        windows = _levelled(windows, np.abs(windows).max(axis=1, keepdims=True), scaling.peak)
    if scaling.rms is not None:
        windows = _levelled(windows, np.sqrt(np.mean(windows**2, axis=1, keepdims=True)), scaling.rms)
    return windows


def _levelled(windows: FloatArray, level: FloatArray, wanted: float) -> FloatArray:
    """Windows with another level, [batch, 1]; silence stays silence."""
    return windows * np.where(level > 0, np.float32(wanted) / np.where(level > 0, level, 1), 1).astype(np.float32)


Run: TypeAlias = Callable[[FloatArray], FloatArray]


def cut(windows: FloatArray, card: Card, largest: int | None = None, fixed: int | None = None) -> list[FloatArray]:
    """Windows [n, samples] in the pieces that a model may be given at once.

    Windows that share a floor come in their groups, from the first on: in other groups they have other scores.
    largest: for the others, None for no limit. fixed: what the last piece is filled up to with zeros, None for what the
    card says; zeros do not change a floor.
    """
    shared = floor_group(card.db_floor)
    fixed = fixed or card.fixed_batch
    size = fixed or (shared if shared > 1 else largest or len(windows))
    padded = np.pad(windows, ((0, -len(windows) % size), (0, 0))) if fixed else windows
    return [padded[i : i + size] for i in range(0, len(padded), size)]


def run_in_batches(
    run: Run, windows: FloatArray, card: Card, largest: int | None = None, fixed: int | None = None
) -> FloatArray:
    """What `run` gives for windows [n, samples] in the pieces that `cut` makes of them, in order: [n, ...]."""
    return np.concatenate([run(piece) for piece in cut(windows, card, largest, fixed)])[: len(windows)]


def preferred_batch(card: Card, windows: int) -> int:
    """`Runtime.batch_size` of an engine that takes so many windows at once; a fixed batch is not given in part."""
    shared = floor_group(card.db_floor)
    return shared if shared > 1 else max(windows, card.fixed_batch or 1)


class ParallelRuns:
    """Scores the windows of a batch at the same time, each stream on a thread of its own.

    No thread waits for another within a network, as the threads of one inference do after each layer.
    Two batches may be given at the same time: a stream that is through with its part of one takes up the next. That is
    why a batch need be no more than a piece for every stream.
    runs: what scores windows [piece, samples] -> [piece, classes], one for each stream. fixed: see `cut`.
    """

    concurrency = 2  # see `Runtime`

    def __init__(self, runs: Sequence[Run], card: Card, fixed: int | None = None) -> None:
        self._card, self._fixed = card, fixed
        self.batch_size = len(runs) * (fixed or card.fixed_batch or floor_group(card.db_floor))  # a piece for each
        self._pool = ThreadPoolExecutor(len(runs), "edgebird-stream")
        self._free: SimpleQueue[Run] = SimpleQueue()
        for run in runs:
            self._free.put(run)

    def run(self, windows: FloatArray) -> FloatArray:
        """[n, samples] -> [n, classes], in order."""
        pieces = cut(windows, self._card, largest=1, fixed=self._fixed)
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


def warm_up(runtime: Runtime, options: RuntimeOptions, sizes: Iterable[int] = ()) -> None:
    """Run every batch size that will be used once.

    sizes: those that the engine runs, where it fills up other numbers of windows; detection and listening may meet all
    of them.
    """
    card = runtime.card
    usual = (*card.batches, runtime.batch_size) if options.throughput else card.batches
    met = (*usual, *(size for size in sizes if size <= runtime.batch_size))
    for windows in warm_up_windows(met if options.batches is None else options.batches, card):
        runtime.infer(windows)


def warm_up_windows(batches: Iterable[int], card: Card) -> Iterable[FloatArray]:
    """Quiet noise at every batch size: float32 [batch, window_samples] each; some engines treat zeros specially."""
    noise = np.random.default_rng(0)
    for batch in sorted(set(batches)):
        yield noise.normal(0.0, 0.01, (batch, card.window_samples)).astype(np.float32)
