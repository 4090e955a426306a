"""The last seconds of a live source: written by its capture, which never waits, and read when the engine has time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgebird.types import AudioBlock

OVERRUN = "overrun"  # the reader was late, and the oldest samples had to go
_LEAST_PIECE = 64  # samples, on average: a bound on memory for captures that come in crumbs


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio that came. at: monotonic seconds when its last sample was heard. bridged: silence for a short loss."""

    block: AudioBlock
    at: float
    bridged: bool = False

    @property
    def end(self) -> int:
        """Position after it."""
        return self.block.end


@dataclass(frozen=True, slots=True)
class Lost:
    """Audio that never came, or was dropped: positions, and why."""

    start: int
    end: int
    reason: str


Piece: TypeAlias = Heard | Lost


class Ring:
    """Pieces in order of position, without holes: read + lost = written, whoever is how late.

    capacity: samples of audio it holds. When more come, the oldest unread ones go and become a `Lost` of overrun.
    One thread writes, another reads; neither waits for the other longer than a list operation takes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._most = capacity, 4096 + capacity // _LEAST_PIECE
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._end = 0
        self._expected: tuple[int, Callable[[], None]] | None = None
        self._lock = threading.Lock()

    @property
    def end(self) -> int:
        """Position after all that was written."""
        return self._end

    @property
    def waiting(self) -> int:
        """Samples of audio that are not read yet."""
        return self._held

    @property
    def empty(self) -> bool:
        """Whether nothing is to be read, neither audio nor losses."""
        return not self._pieces

    def write(self, block: AudioBlock, at: float, bridged: bool = False) -> None:
        """Add audio that starts where the last piece ended; `at` is when its last sample was heard.

        Raises ValueError if it starts elsewhere: what was lost between has to be said with `lose`.
        """
        with self._lock:
            if block.start != self._end:
                raise ValueError(f"audio at {block.start} does not follow {self._end}")
            if len(block.samples):
                self._pieces.append(Heard(block, at, bridged))
                self._end = block.end
                self._held += len(block.samples)
                self._make_room()
                self._wake_reader()

    def lose(self, until: int, reason: str) -> None:
        """Say that the audio up to a position never came; nothing if that is not ahead."""
        with self._lock:
            if until > self._end:
                self._append(Lost(self._end, until, reason))
                self._end = until
                self._wake_reader()

    def read(self) -> Piece | None:
        """Take the oldest piece, None if there is none."""
        with self._lock:
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            if isinstance(piece, Heard):
                self._held -= len(piece.block.samples)
            return piece

    def expect(self, position: int, wake: Callable[[], None]) -> None:
        """Have `wake` called, once, as soon as the end is at a position or after it; at once if it is.

        One expectation replaces another. `wake` is called by the thread that writes, and must not wait.
        """
        with self._lock:
            self._expected = position, wake
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self._expected and self._end >= self._expected[0]:
            _, wake = self._expected
            self._expected = None
            wake()

    def _append(self, lost: Lost) -> None:
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, Lost) and last.reason == lost.reason:
            self._pieces[-1] = Lost(last.start, lost.end, lost.reason)
        else:
            self._pieces.append(lost)

    def _make_room(self) -> None:
        """Drop the oldest audio for an overrun; losses of another reason that lie between keep theirs."""
        front: list[Lost] = []
        while self._held > self._capacity or len(self._pieces) > self._most:
            piece = self._pieces.popleft()
            dropped = self._drop(piece) if isinstance(piece, Heard) else piece
            last = front[-1] if front else None
            if last and (last.reason == dropped.reason or len(front) >= self._most // 2):
                front[-1] = Lost(last.start, dropped.end, last.reason)
            else:
                front.append(dropped)
        self._pieces.extendleft(reversed(front))

    def _drop(self, heard: Heard) -> Lost:
        """Give up as much of the oldest audio as has to go, and put the rest back."""
        samples, start = heard.block.samples, heard.block.start
        excess = self._held - self._capacity
        if not 0 < excess < len(samples):
            self._held -= len(samples)
            return Lost(start, heard.end, OVERRUN)
        self._pieces.appendleft(Heard(AudioBlock(samples[excess:], start + excess), heard.at, heard.bridged))
        self._held -= excess
        return Lost(start, start + excess, OVERRUN)
