"""What is scored while it is timed: real recordings, never silence or noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from edgebird import demo
from edgebird.card import Card
from edgebird.detection import Analysis, settings_for
from edgebird.errors import AudioError
from edgebird.sources import FileSource
from edgebird.types import AudioBlock, FloatArray, Window

_MOST_S = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Recordings, one after another. names: of the files. audio: float32 [n] at the model's rate.

    windows: those that detection cuts from it, all full.
    """

    names: tuple[str, ...]
    audio: FloatArray
    windows: tuple[Window, ...]
    rate: int

    def groups(self, size: int) -> Iterator[list[Window]]:
        """`size` windows that follow one another, for ever."""
        windows = cycle(self.windows)
        while True:
            yield [next(windows) for _ in range(size)]

    def blocks(self, seconds: float, block_s: float) -> Iterator[AudioBlock]:
        """The audio over and over, as a live source gives it."""
        size, position = round(block_s * self.rate), 0
        while position < seconds * self.rate:
            at = position % max(1, len(self.audio) - size)
            block = self.audio[at : at + size]
            yield AudioBlock(block, position)
            position += len(block)


def read_material(paths: Sequence[Path], card: Card, hop_s: float) -> Material:
    """The first ten minutes of recordings (the demo's where none is given), read and resampled as `detect` does.

    Files that begin later are not opened, and not named. Raises AudioError for what cannot be read or is shorter than a
    window, UsageError for a hop that does not fit.
    """
    paths = list(paths) or [demo.RECORDING]
    most = round(_MOST_S * card.sample_rate)
    blocks: list[FloatArray] = []
    names: list[str] = []
    length = 0
    for path in paths:
        if length >= most:
            break
        names.append(path.name)
        for block in FileSource(path, card.sample_rate).blocks():
            blocks.append(block.samples)
            length += len(block.samples)
            if length >= most:
                break
    audio = np.concatenate(blocks)[:most] if blocks else np.empty(0, np.float32)
    windows = Analysis(card, settings_for(card, hop_s)).push(AudioBlock(audio, 0))
    if not windows:
        window_s = card.window_samples / card.sample_rate
        raise AudioError(f"{paths[0]}: {len(audio) / card.sample_rate:.1f} s, a window takes {window_s:g} s of audio")
    return Material(tuple(names), audio, tuple(windows), card.sample_rate)
