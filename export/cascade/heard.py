"""What the full model and its first fold say of windows, and the images that the gate is to judge."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ExportError
from edgebird.export.cascade.material import SoundWindow
from edgebird.parity import check_finite
from edgebird.runtimes.cascade import StageChain
from edgebird.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class HeardWindows:
    """What was heard in windows.

    recordings [windows]: names. spans [windows, 2]: start and end, samples. scores, first [windows, classes]: the full
    model's, and the first fold's. images: float16 [windows, 1, H, W]; [windows, 0] where a gate judged. gate, head
    [windows, 1]: their logits; [windows, 0] without one.
    """

    recordings: NDArray[np.str_]
    spans: NDArray[np.int64]
    scores: FloatArray
    first: FloatArray
    images: NDArray[np.float16]
    gate: FloatArray
    head: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Of one window, as in HeardWindows."""

    sound: SoundWindow
    scores: FloatArray
    first: FloatArray
    image: NDArray[np.float16]
    gate: FloatArray
    head: FloatArray


_NOTHING = np.empty(0, np.float32)


def hear(sounds: Iterable[SoundWindow], chains: Sequence[StageChain]) -> HeardWindows:
    """Score windows by the stages of a precision, all of them to the end, as many at once as there are chains.

    Where the chains have a gate, or a head, it judges. Raises ExportError for no window, ScoreError for what is not
    finite.
    """
    free: SimpleQueue[StageChain] = SimpleQueue()
    for chain in chains:
        free.put(chain)
    rows: list[_Row] = []
    with ThreadPoolExecutor(len(chains), "edgebird-cascade") as pool:
        waiting: deque[Future[_Row]] = deque()
        for sound in sounds:
            waiting.append(pool.submit(_hear_with, free, sound))
            if len(waiting) > 2 * len(chains):  # no more sound is in memory than that
                rows.append(waiting.popleft().result())
        rows += [future.result() for future in waiting]
    if not rows:
        raise ExportError(
            "a cascade needs windows for each use, and of the recordings for one of them none can be read"
        )
    return HeardWindows(
        np.array([row.sound.recording for row in rows]),
        np.array([(row.sound.window.start, row.sound.window.end) for row in rows], np.int64),
        np.stack([row.scores for row in rows]),
        np.stack([row.first for row in rows]),
        np.stack([row.image for row in rows]),
        np.stack([row.gate for row in rows]),
        np.stack([row.head for row in rows]),
    )


def _hear_with(free: SimpleQueue[StageChain], sound: SoundWindow) -> _Row:
    """Hear a window with a stream that nobody uses."""
    chain = free.get()
    try:
        samples = sound.window.samples[np.newaxis]
        image = chain.front(samples)
        first = chain.first(image)
        scores = chain.rest(samples, image, first) if chain.rest else first
        gate = chain.gate(image)[0] if chain.gate else _NOTHING
        head = chain.head(first)[0] if chain.head else _NOTHING
    finally:
        free.put(chain)
    for found in (scores, first, gate, head):
        check_finite(found)
    window = replace(sound.window, samples=_NOTHING)  # the sound is not kept
    kept = _NOTHING if chain.gate else image[0]
    return _Row(SoundWindow(sound.recording, window), scores[0], first[0], kept.astype(np.float16), gate, head)
