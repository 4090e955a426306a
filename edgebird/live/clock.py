"""Tells audio that was lost from a sound card that is a little slow or late, by the machine's clock.

A sound card delivers its frames late by a varying delay, and runs some 50 to 100 ppm off its nominal rate. The time
at which frames arrive, less the time they stand for, is therefore an almost flat line from below: the least of each
second. Frames that were lost raise that line for good, frames that were late only for a moment, on a busy machine for
two seconds. Sound servers hand over a quarter of a second at once, so that the line itself is off by a tenth of a
second now and then: what is usual is the median of the last half minute.

A sound server may be ahead of the clock for a while: then the line rises for good, and nothing was lost. By how much it
may is known where it is opened (`Device.late_s` of the capture). Such a step is no drift.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from edgebird.capture.devices import CARD_LATE_S

SUSPECTED_JUMP_S = 0.02  # a rise that may be a loss when the sound card itself says that it has lost something
SETTLE_S = 3.0  # of rise, after which it is one
SUSPICION_S = SETTLE_S + 1.0
ENVELOPE_S = 30.0
_POINT_S = 1.0  # of which the least counts
_DRIFT_POINTS = 8  # of one envelope each, so four minutes


@dataclass
class Drift:
    """Least squares over what is usual, a point each `ENVELOPE_S`."""

    count: int = 0
    mean_time: float = 0.0
    mean_delay: float = 0.0
    spread: float = 0.0
    product: float = 0.0

    def add(self, time: float, delay: float) -> None:
        """Take a point."""
        self.count += 1
        off = time - self.mean_time
        self.mean_time += off / self.count
        self.mean_delay += (delay - self.mean_delay) / self.count
        self.spread += off * (time - self.mean_time)
        self.product += off * (delay - self.mean_delay)

    @property
    def ppm(self) -> float | None:
        """How much faster than nominal the card runs, parts in a million; None while it cannot be told."""
        return -1e6 * self.product / self.spread if self.count >= _DRIFT_POINTS else None


@dataclass
class FrameClock:
    """Watches the frames of one unbroken capture.

    rate: frames per second, nominal. jump_s: a rise of the line above what is usual that may be a loss. `observe` says
    what was lost; positions it is given must not count that.
    """

    rate: float
    jump_s: float = CARD_LATE_S
    drift: Drift = field(default_factory=Drift)
    _first: float | None = None
    _lost: float = 0.0  # seconds found to be lost so far
    _minima: deque[float] = field(default_factory=lambda: deque(maxlen=round(ENVELOPE_S / _POINT_S)))
    _second: tuple[float, float] | None = None  # since when, and the least delay since
    _usual: float = 0.0
    _suspected: tuple[float, float] | None = None  # since when, and the least delay since
    _next_point: float = 0.0
    _last_point: float = 0.0  # what was usual then
    _suspicious: bool = False
    _suspicious_until: float | None = None

    def suspect(self) -> None:
        """Look more closely at the next frames: their sound card says that some were lost."""
        self._suspicious, self._suspicious_until = True, None

    def give_up(self) -> float:
        """Seconds by which the frames that are held back are late: lost, when nothing more will come."""
        late = self._suspected[1] - self._usual if self._suspected else 0.0
        self._suspected = None
        self._lost += late
        return late

    def observe(self, frames: int, time: float) -> float | None:
        """Take that `frames` in all had come at `time` (monotonic seconds).

        Returns 0.0 if nothing was lost, None while that is open (hold the frames back), else the seconds that were lost
        before the first of the frames that are held back.
        """
        if self._first is None:
            self._first = time - frames / self.rate
            self._next_point = time + ENVELOPE_S
        delay = time - self._first - frames / self.rate - self._lost
        if delay - self._usual <= self._allowed_s(time):
            self._suspected = None
            self._remember(time, delay)
            return 0.0
        since, least = self._suspected or (time, delay)
        least = min(least, delay)
        self._suspected = (since, least)
        if time - since < SETTLE_S:
            return None
        self._suspected = None
        lost = least - self._usual
        self._lost += lost
        return lost

    def _allowed_s(self, time: float) -> float:
        if not self._suspicious:
            return self.jump_s
        if self._suspicious_until is None:
            self._suspicious_until = time + SUSPICION_S
        self._suspicious = time < self._suspicious_until
        return SUSPECTED_JUMP_S

    def _remember(self, time: float, delay: float) -> None:
        """Keep the least delay of each second, and a point of drift now and then."""
        since, least = self._second or (time, delay)
        self._second = (since, min(least, delay))
        if not self._minima:
            self._usual = self._second[1]
        if time - since >= _POINT_S:
            self._minima.append(self._second[1])
            self._second, self._usual = None, median(self._minima)
        if time >= self._next_point:
            if abs(self._usual - self._last_point) > SUSPECTED_JUMP_S:
                self.drift = Drift()
            self.drift.add(time, self._usual)
            self._last_point = self._usual
            self._next_point = time + ENVELOPE_S
