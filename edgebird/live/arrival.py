"""When sound on a pipe came, which is not when it is read: behind an engine that is late it waits in the pipe first."""

from __future__ import annotations

import contextlib
import fcntl
import math
from collections import deque

_F_GETPIPE_SZ = getattr(fcntl, "F_GETPIPE_SZ", 1032)


def pipe_s(descriptor: int, bytes_a_second: float) -> float:
    """Seconds of sound that wait in a pipe at most; infinite where that cannot be told."""
    with contextlib.suppress(OSError):
        return fcntl.fcntl(descriptor, _F_GETPIPE_SZ) / bytes_a_second
    return math.inf


class Arrival:
    """Tells when blocks came of a sender that keeps time.

    Who had to wait for a block has it as it comes, and knows the sender's pace from then on. What was there already
    came as that pace says, but no sooner than the pipe had room for it. rate: Hz. pipe_s: see `pipe_s`.
    """

    def __init__(self, rate: int, pipe_s: float) -> None:
        self._rate, self._pipe_s = rate, pipe_s
        self._zero: float | None = None  # when position 0 came, at the sender's pace
        self._pause = True  # whether the pipe was empty before
        self._read: deque[tuple[int, float]] = deque()  # positions, and when they were read

    def came(self, start: int, end: int, asked: float, now: float) -> float:
        """When the last sample of a block came: positions in samples, asked for at `asked`, read at `now`."""
        waited = self._pause or now - asked >= 0.5 * (end - start) / self._rate
        self._pause = end <= start
        if waited or self._zero is None:
            self._zero = now - end / self._rate
        self._read.append((end, now))
        while len(self._read) > 1 and self._read[1][0] <= end - self._pipe_s * self._rate:
            self._read.popleft()
        position, room_at = self._read[0]
        had_room = room_at if position <= end - self._pipe_s * self._rate else -math.inf
        return min(now, max(had_room, self._zero + end / self._rate))
