"""What the full model and its first fold say of windows, and the images that the gate is to judge."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.card import Card
from edgebird.errors import AudioError
from edgebird.kept import windows_apart
from edgebird.machine import usable_cores
from edgebird.runtimes.ort_session import session_of
from edgebird.types import FloatArray, Window


@dataclass(frozen=True, slots=True, eq=False)
class SoundWindow:
    """A window of a recording. recording: its name. start, end: samples."""

    recording: str
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class HeardWindows:
    """What was heard in windows.

    recordings [windows]: names. spans [windows, 2]: start and end, samples. images: float16 [windows, 1, H, W]. scores,
    first: precision -> the full model's, and the first fold's, [windows, classes].
    """

    recordings: NDArray[np.str_]
    spans: NDArray[np.int64]
    images: NDArray[np.float16]
    scores: Mapping[str, FloatArray]
    first: Mapping[str, FloatArray]

    def of(self, recordings: Iterable[str]) -> HeardWindows:
        """Those of some recordings."""
        rows = np.flatnonzero(np.isin(self.recordings, list(recordings)))
        return HeardWindows(
            self.recordings[rows],
            self.spans[rows],
            self.images[rows],
            {name: values[rows] for name, values in self.scores.items()},
            {name: values[rows] for name, values in self.first.items()},
        )


def sounds_of(path: Path, name: str, card: Card) -> Iterator[SoundWindow]:
    """Windows of a recording, one after the other, without overlap."""
    for window in windows_apart(path, card.sample_rate, card.window_samples):
        yield SoundWindow(name, window)


def hear(sounds: Iterable[SoundWindow], stages: Mapping[str, Mapping[str, Path]]) -> HeardWindows:
    """Score windows by the stages of each precision, all of them to the end, one on each core.

    stages: precision -> part -> graph.
    """
    parts = {name: {part: _part(path) for part, path in files.items()} for name, files in stages.items()}
    rows: list[_Row] = []
    with ThreadPoolExecutor(usable_cores(), "edgebird-cascade") as pool:
        waiting: deque[Future[_Row]] = deque()
        for sound in sounds:
            waiting.append(pool.submit(_hear_one, sound, parts))
            if len(waiting) > 2 * usable_cores():  # no more sound is in memory than that
                rows.append(waiting.popleft().result())
        rows += [future.result() for future in waiting]
    if not rows:
        raise AudioError("nothing to make a cascade of: no window can be read")
    return HeardWindows(
        np.array([row.recording for row in rows]),
        np.array([row.span for row in rows], np.int64),
        np.stack([row.image for row in rows]),
        {name: np.stack([row.scores[name] for row in rows]) for name in parts},
        {name: np.stack([row.first[name] for row in rows]) for name in parts},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Of one window, as in `HeardWindows`."""

    recording: str
    span: tuple[int, int]
    image: NDArray[np.float16]
    scores: dict[str, FloatArray]
    first: dict[str, FloatArray]


def _hear_one(sound: SoundWindow, parts: Mapping[str, Mapping[str, Callable[..., Any]]]) -> _Row:
    samples = sound.window.samples[np.newaxis]
    images, scores, firsts = [], {}, {}
    for name, run in parts.items():
        image = run["front"](samples)
        first = run["first"](image)
        images.append(image[0].astype(np.float16))
        firsts[name] = first[0]
        scores[name] = run["rest"](samples, image, first)[0] if "rest" in run else first[0]
    return _Row(sound.recording, (sound.window.start, sound.window.end), images[0], scores, firsts)


def _part(path: Path) -> Callable[..., Any]:
    session = session_of(path, threads=1, spinning=False)
    names = [given.name for given in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]
