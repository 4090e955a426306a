"""What the full model and its first fold say of windows, and the images that the gate is to judge."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ExportError
from edgebird.export.cascade.material import SoundWindow
from edgebird.machine import usable_cores
from edgebird.runtimes.ort_session import session_of
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


def hear(
    sounds: Iterable[SoundWindow], stages: Mapping[str, Mapping[str, Path]], gate: Path | None = None
) -> HeardWindows:
    """Score windows by the stages of each precision, all of them to the end, one on each core.

    stages: precision -> part -> graph. gate: judges the images, which are not kept then. Raises ExportError for no
    window.
    """
    parts = {name: {part: _part(path) for part, path in files.items()} for name, files in stages.items()}
    judge = _part(gate) if gate else None
    rows: list[_Row] = []
    with ThreadPoolExecutor(usable_cores(), "edgebird-cascade") as pool:
        waiting: deque[Future[_Row]] = deque()
        for sound in sounds:
            waiting.append(pool.submit(_hear_one, sound, parts, judge))
            if len(waiting) > 2 * usable_cores():  # no more sound is in memory than that
                rows.append(waiting.popleft().result())
        rows += [future.result() for future in waiting]
    if not rows:
        raise ExportError("the cascade is not written: of the recordings for one of its uses no window can be read")
    images = [row.image for row in rows if row.image is not None]
    return HeardWindows(
        np.array([row.sound.recording for row in rows]),
        np.array([(row.sound.window.start, row.sound.window.end) for row in rows], np.int64),
        np.stack(images) if images else np.empty(0, np.float32),
        {name: np.stack([row.scores[name] for row in rows]) for name in parts},
        {name: np.stack([row.first[name] for row in rows]) for name in parts},
        {name: np.array([row.logits[name] for row in rows], np.float32) for name in parts} if judge else {},
    )


def _hear_one(
    sound: SoundWindow, parts: Mapping[str, Mapping[str, Callable[..., Any]]], judge: Callable[..., Any] | None
) -> _Row:
    samples = sound.window.samples[np.newaxis]
    scores, firsts, logits, kept = {}, {}, {}, None
    for name, run in parts.items():
        image = run["front"](samples)
        first = run["first"](image)
        if judge:
            logits[name] = float(judge(image)[0, 0])
        elif name == "fp32":
            kept = image[0]
        firsts[name] = first[0]
        scores[name] = run["rest"](samples, image, first)[0] if "rest" in run else first[0]
    window = replace(sound.window, samples=samples[0, :0])  # the sound is not kept
    return _Row(SoundWindow(sound.recording, window), kept, scores, firsts, logits)


def _part(path: Path) -> Callable[..., Any]:
    session = session_of(path, threads=1, spinning=False)
    names = [given.name for given in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]
