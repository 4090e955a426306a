"""Batches in flight on a GPU: while it computes one, the next is filled and copied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from edgebird.errors import RuntimeUnavailableError
from edgebird.types import FloatArray

S = TypeVar("S")

SLOTS = 2  # batches in flight


class Flights(Generic[S]):
    """Scores pieces, each in a slot, of which there are few. As many callers as slots may be there at the same time.

    start: begins with windows [batch, samples] in a slot. finish: waits for the scores of so many windows there,
    float32 [batch, classes], the caller's own; also after `start` failed, as nobody may fill what the GPU still reads.
    """

    def __init__(
        self, slots: Sequence[S], start: Callable[[S, FloatArray], None], finish: Callable[[S, int], FloatArray]
    ) -> None:
        self._start, self._finish = start, finish
        self._free: SimpleQueue[S] = SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def run(self, pieces: Sequence[FloatArray]) -> FloatArray:
        """The scores of all pieces, in order, as one array. Raises what `start` and `finish` raise; no slot is lost."""
        flying: deque[tuple[S, int]] = deque()
        found: list[FloatArray] = []
        try:
            for piece in pieces:
                while (slot := self._take(wait=not flying)) is None:
                    found.append(self._land(*flying.popleft()))
                flying.append((slot, len(piece)))
                self._start(slot, piece)
            while flying:
                found.append(self._land(*flying.popleft()))
        finally:
            while flying:
                with suppress(RuntimeUnavailableError):
                    self._land(*flying.popleft())
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _take(self, wait: bool) -> S | None:
        """A free slot; None if there is none and the caller has others that it can finish."""
        with suppress(Empty):
            return self._free.get(block=wait)
        return None

    def _land(self, slot: S, count: int) -> FloatArray:
        try:
            return self._finish(slot, count)
        finally:
            self._free.put(slot)
