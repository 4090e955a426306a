"""From blocks of audio to the windows a model scores, with an account of every sample."""

from __future__ import annotations

import numpy as np

from edgebird.types import AudioBlock, Window

MIN_TAIL_S = 0.5  # a shorter rest at the end is not scored


class Windower:
    """Cuts the blocks of one source into windows; how the source was cut into blocks makes no difference.

    window_samples: length of a window. hop: samples from one window's start to the next, 1 to window_samples.
    min_tail: how many samples no earlier window holds make a last, zero-padded window worth scoring.

    A block that starts later than the one before it ended is a gap (so is a first block that does not start at 0).
    What came before is closed as at the end of a source, and windows start anew at the block: none spans a gap.
    An empty block only moves the position, which is how a source that ends deaf accounts for it.

    Holds one window; a window handed out is never written to again.
    """

    def __init__(self, window_samples: int, hop: int, min_tail: int) -> None:
        if not 0 < hop <= window_samples:
            raise ValueError(f"hop must be 1 to {window_samples} samples (one window), got {hop}")
        if min_tail < 0:
            raise ValueError(f"min_tail must not be negative, got {min_tail}")
        self._hop = hop
        self._min_tail = min_tail
        self._window = np.empty(window_samples, np.float32)  # the window being filled
        self._filled = 0
        self._position = 0  # the end of the audio so far
        self._covered = 0  # the end of the last window, or the start of the segment
        self._scored = 0
        self._gap = 0
        self._tail = 0

    @property
    def scored(self) -> int:
        """Samples inside at least one window."""
        return self._scored

    @property
    def gap(self) -> int:
        """Samples that never came."""
        return self._gap

    @property
    def tail(self) -> int:
        """Samples that came, but too few before a gap or the end to fill or deserve a window."""
        return self._tail

    def push(self, block: AudioBlock) -> list[Window]:
        """Take the next block; return the windows it completes, first to last.

        Raises ValueError for a block that starts before the end of the one before it.
        """
        if block.start < self._position:
            raise ValueError(f"block starts at {block.start}, but audio up to {self._position} has already come")
        windows = []
        if block.start > self._position:
            windows = self.finish()
            self._gap += block.start - self._position
            self._position = self._covered = block.start
        rest = block.samples
        while len(rest):
            taken = rest[: len(self._window) - self._filled]
            self._window[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            self._position += len(taken)
            rest = rest[len(taken) :]
            if self._filled == len(self._window):
                windows.append(self._next_window())
        return windows

    @property
    def missing(self) -> int:
        """Samples until the next window is complete."""
        return len(self._window) - self._filled

    def finish(self) -> list[Window]:
        """End the source: afterwards `scored + gap + tail` is the position of its end.

        Returns the last, zero-padded window if it holds `min_tail` samples that no other has, else nothing.
        """
        uncovered = self._position - self._covered
        windows = []
        if uncovered and uncovered >= self._min_tail:
            self._window[self._filled :] = 0
            windows = [self._next_window()]
        else:
            self._tail += uncovered
        self._covered = self._position
        self._filled = 0
        return windows

    def _next_window(self) -> Window:
        """Hand out the window, and begin the next one with the samples they share."""
        full = self._window
        window = Window(full, start=self._position - self._filled, end=self._position)
        self._scored += self._position - self._covered
        self._covered = self._position
        self._window = np.empty_like(full)
        self._filled = len(full) - self._hop
        self._window[: self._filled] = full[self._hop :]
        return window
