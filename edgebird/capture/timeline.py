"""Where decoded audio belongs: timestamps against the clock."""

from __future__ import annotations

_JITTER_S = 0.02  # timestamps may be so far off without a meaning
_FORGET_S = 60.0  # time constant of what is not a jump: 100 ppm between the sender's clocks stay below 6 ms
_SLACK_S = 1.0  # audio may arrive so much earlier than ever before


class Timeline:
    """Where decoded audio belongs, in frames since the first, by its timestamps: a jump ahead is audio that was lost.

    Timestamps jitter and drift a little, and jump without a loss where a server starts again: lost is only what can
    have sounded, by the clock, since the stream was opened.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._next = 0  # the position after the last frames
        self._base: float | None = None  # the timestamp of position 0
        self._opened = 0.0
        self._most_ahead_s = 0.0
        self.ahead_s = 0.0  # audio received so far, minus the time that it took

    def place(self, stamp: int | None, frames: int, now: float) -> int:
        """Return the position of the next frames. stamp: in frames, None if unknown. now: monotonic seconds."""
        if self._next == 0:
            self._opened = now
        if stamp is not None:
            self._next += self._lost(stamp, frames, now)
        position, self._next = self._next, self._next + frames
        self.ahead_s = self._ahead(0, now)
        self._most_ahead_s = max(self._most_ahead_s, self.ahead_s)
        return position

    def _lost(self, stamp: int, frames: int, now: float) -> int:
        if self._base is None:
            self._base = stamp - self._next
        offset = stamp - self._base - self._next
        if abs(offset) <= _JITTER_S * self._rate:
            self._base += offset * frames / (self._rate * _FORGET_S)
        elif offset > 0 and self._ahead(offset, now) <= self._most_ahead_s + _SLACK_S:
            return round(offset)
        else:
            self._base += offset
        return 0

    def _ahead(self, more: float, now: float) -> float:
        return (self._next + more) / self._rate - (now - self._opened)
