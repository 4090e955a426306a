"""What the full model and its first fold say of windows, and the images that the gate is to judge."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ExportError
from edgebird.export.cascade.material import SoundWindow
from edgebird.runtimes.cascade import StageChain
from edgebird.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class HeardWindows:
    """What was heard in windows.

    recordings [windows]: names. spans [windows, 2]: start and end, samples. images: float32 [windows, 1, H, W], of
    FP32; none where a gate judged. scores, first: precision -> the full model's, and the first fold's, [windows,
    classes]. logits: precision -> the gate's, [windows]; {} without one.
    """

    recordings: NDArray[np.str_]
    spans: NDArray[np.int64]
    images: FloatArray
    scores: Mapping[str, FloatArray]
    first: Mapping[str, FloatArray]
    logits: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Of one window; by precision."""

    sound: SoundWindow
    image: FloatArray | None
    scores: dict[str, FloatArray]
    first: dict[str, FloatArray]
    logits: dict[str, float]


def hear(sounds: Iterable[SoundWindow], chains: Mapping[str, Sequence[StageChain]]) -> HeardWindows:
    """Score windows by the stages of each precision, all of them to the end, as many at once as there are chains.

    chains: precision -> the parts in an engine, as many for each. Where they have a gate it judges the images, which
    are not kept then. Raises ExportError for no window.
    """
    streams = min(len(each) for each in chains.values())
    free: SimpleQueue[dict[str, StageChain]] = SimpleQueue()
    for index in range(streams):
        free.put({name: each[index] for name, each in chains.items()})
    rows: list[_Row] = []
    with ThreadPoolExecutor(streams, "edgebird-cascade") as pool:
        waiting: deque[Future[_Row]] = deque()
        for sound in sounds:
            waiting.append(pool.submit(_hear_with, free, sound))
            if len(waiting) > 2 * streams:  # no more sound is in memory than that
                rows.append(waiting.popleft().result())
        rows += [future.result() for future in waiting]
    if not rows:
        raise ExportError("the cascade is not written: of the recordings for one of its uses no window can be read")
    images = [row.image for row in rows if row.image is not None]
    judged = [name for name, each in chains.items() if each[0].gate]
    return HeardWindows(
        np.array([row.sound.recording for row in rows]),
        np.array([(row.sound.window.start, row.sound.window.end) for row in rows], np.int64),
        np.stack(images) if images else np.empty(0, np.float32),
        {name: np.stack([row.scores[name] for row in rows]) for name in chains},
        {name: np.stack([row.first[name] for row in rows]) for name in chains},
        {name: np.array([row.logits[name] for row in rows], np.float32) for name in judged},
    )


def _hear_with(free: SimpleQueue[dict[str, StageChain]], sound: SoundWindow) -> _Row:
    """Hear a window with a stream that nobody uses."""
    chains = free.get()
    try:
        return _hear_one(sound, chains)
    finally:
        free.put(chains)


def _hear_one(sound: SoundWindow, chains: Mapping[str, StageChain]) -> _Row:
    samples = sound.window.samples[np.newaxis]
    scores, firsts, logits, kept = {}, {}, {}, None
    for name, chain in chains.items():
        image = chain.front(samples)
        first = chain.first(image)
        if chain.gate:
            logits[name] = float(chain.gate(image)[0, 0])
        elif name == "fp32":
            kept = image[0]
        firsts[name] = first[0]
        scores[name] = chain.rest(samples, image, first)[0] if chain.rest else first[0]
    window = replace(sound.window, samples=samples[0, :0])  # the sound is not kept
    return _Row(SoundWindow(sound.recording, window), kept, scores, firsts, logits)
