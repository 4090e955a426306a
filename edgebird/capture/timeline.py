"""Where decoded audio belongs: what was lost is told by packets, and by timestamps together with the clock.

A sender's timestamps jitter, drift against its samples, and step where its clock is set; audio arrives late, and
catches up. None of that is a loss. Lost is

* what the network layer says is missing (`missed` packets),
* a step of the timestamps that comes with a pause of arrival which is not caught up, and
* a pause of a second or more which is not caught up, whatever the timestamps say.

Whether a pause is caught up takes up to three seconds to see: so long audio is held back, by whoever asks. Losses too
small to be seen so show in the long run, where timestamps and arrival go away from the samples together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from edgebird.capture.wire import DROPPED, STALLED

_SETTLE_S = 3.0  # after which a pause was not caught up
_PATIENCE_S = 15.0  # the same while it is being caught up
_CATCHING_UP = 0.1  # seconds gained in a second
_PAUSE_S = 1.0  # a shorter pause alone is no loss
_STALL_S = 2.5  # a pause that is called a stall, though the timestamps went on
_LEAST_S = 0.01  # a smaller step of the timestamps has no meaning
_RECENT_S = 2.0  # of timestamps, whose median counts
_MOST_STAMPS, _FEW_STAMPS = 256, 16
_COUNT_S = 0.25  # between two looks at all of them: that costs more than the rest
_FASTEST = 0.001  # a clock off by more is none
_LONG_S = 120.0  # the long run


@dataclass(frozen=True, slots=True)
class Loss:
    """Frames that never came, and why: DROPPED or STALLED; 0 of them if nothing is lost."""

    frames: int
    reason: str = DROPPED


NOTHING = Loss(0)


@dataclass(slots=True)
class _Pause:
    """Frames that are held back.

    least_s: how late they are at least; minima: the same of each second; offsets: of their timestamps, in frames.
    """

    since: float
    gap_s: float  # in which nothing came
    step: float  # of the timestamps, in frames
    least_s: float
    offsets: list[float]
    lateness: deque[tuple[float, float]]  # time, seconds late: of the last second
    minima: dict[int, float] = field(default_factory=dict)

    def add(self, now: float, late_s: float) -> None:
        """Take how late frames are that came now."""
        self.least_s = min(self.least_s, late_s)
        second = int(now - self.since)
        self.minima[second] = min(self.minima.get(second, late_s), late_s)
        self.lateness.append((now, late_s))
        while now - self.lateness[0][0] > 1.0:
            self.lateness.popleft()

    @property
    def late_s(self) -> float:
        """How late they are, found as `_Usual` finds what is usual: the least of all would be less on average."""
        return median(self.minima.values())


class Timeline:
    """Tells losses of one stream. rate: Hz. segmented: it comes in pieces of seconds, so that a pause means nothing."""

    def __init__(self, rate: int, segmented: bool = False) -> None:
        self._rate, self._segmented = rate, segmented
        self._next = 0  # the position after the last frames, losses included
        self._opened = self._last = 0.0
        self._packet = 0  # frames of the last packet
        self._stamps = _Stamps()
        self._usual = _Usual(min if segmented else median)
        self._pause: _Pause | None = None
        self._reference: tuple[float, float, float] | None = None  # time, timestamp less position, lateness
        self.ahead_s = 0.0  # audio received so far, minus the time that it took

    def observe(self, stamp: int | None, frames: int, now: float, missed: int = 0) -> tuple[Loss, Loss | None]:
        """Take frames that came; tell what was lost.

        stamp: in frames, None if unknown. now: monotonic seconds. missed: packets that are known to be lost before.

        Returns what was lost just before these frames, and what was lost before the first of those held back: None
        while that is open, hold these back then.
        """
        if not self._next:
            self._opened = self._last = now
        offset = None if stamp is None else float(stamp - self._next)
        told = self._told(offset, missed, frames) if missed else 0
        self._next += told + frames
        self._packet = frames
        offset = None if offset is None else offset - told
        late_s = now - self._opened - self._next / self._rate
        self.ahead_s = -late_s
        verdict = self._judge(offset, late_s, now)
        self._last = now
        return Loss(told), verdict

    def give_up(self) -> Loss:
        """What was lost before the first of those held back, now that no more comes."""
        return self._decide(self._pause, self._last) if self._pause else NOTHING

    def _told(self, offset: float | None, missed: int, frames: int) -> int:
        """Frames in packets that are known to be lost: timestamps tell, where they fit the number of packets."""
        counted = missed * (self._packet or frames)
        if offset is None or self._stamps.base is None:
            return counted
        step, jitter = offset - self._stamps.base, self._stamps.jitter
        fits = 0.5 * counted <= step <= 16 * counted  # a packet may hold several frames
        precise = jitter <= 0.005 * self._rate or abs(step - counted) > 2 * jitter + 0.02 * self._rate
        return round(step) if fits and precise else counted

    def _judge(self, offset: float | None, late_s: float, now: float) -> Loss | None:
        if self._pause is None:
            step = 0.0 if offset is None or self._stamps.base is None else offset - self._stamps.base
            more_s = self._usual.above(late_s)
            if not self._is_open(step, more_s):
                self._remember(offset, late_s, now)
                return self._long_run(now)
            self._pause = _Pause(now, now - self._last, step, more_s, [], deque())
        return self._look_again(self._pause, offset, late_s, now)

    def _is_open(self, step: float, late_s: float) -> bool:
        """Whether frames may come after a loss: too late, with a step of the timestamps that fits or a long pause."""
        if late_s >= _PAUSE_S and not self._segmented:
            return True
        step_s = step / self._rate
        return step_s > max(_LEAST_S, 1.5 * self._stamps.jitter / self._rate) and late_s >= 0.5 * step_s

    def _look_again(self, pause: _Pause, offset: float | None, late_s: float, now: float) -> Loss | None:
        more_s = self._usual.above(late_s)
        pause.add(now, more_s)
        if offset is not None:
            pause.offsets.append(offset)
        waited_s = now - pause.since
        catches_up = pause.lateness[0][1] - more_s > _CATCHING_UP and waited_s < _PATIENCE_S
        if not self._is_open(pause.step, pause.least_s):
            return self._end(pause, 0, now)
        return None if waited_s < _SETTLE_S or catches_up else self._decide(pause, now)

    def _decide(self, pause: _Pause, now: float) -> Loss:
        """What was lost in a pause that was not caught up."""
        step_s = 0.0
        if pause.offsets and self._stamps.base is not None:
            step_s = (_middle(sorted(pause.offsets)) - self._stamps.level) / self._rate
        seconds, fits = self._lost_s(step_s, pause.late_s)
        is_stall = not fits or pause.gap_s >= _STALL_S
        return self._end(pause, round(seconds * self._rate), now, STALLED if is_stall else DROPPED)

    def _end(self, pause: _Pause, lost: int, now: float, reason: str = DROPPED) -> Loss:
        self._pause = None
        self._next += lost
        for offset in pause.offsets:
            self._stamps.add(now, offset - lost)
        self._usual.add(now, now - self._opened - self._next / self._rate)
        return Loss(lost, reason)

    def _lost_s(self, step_s: float, late_s: float) -> tuple[float, bool]:
        """Seconds that were lost by a step of the timestamps and by what came too late; whether the step told it."""
        least_s = max(_LEAST_S, 0.3 * self._stamps.jitter / self._rate)
        alone = late_s if late_s >= _PAUSE_S and not self._segmented else 0.0
        if step_s < least_s or late_s < 0.5 * step_s:
            return alone, False
        jitter_s = self._stamps.jitter / self._rate  # large where a clock was set just before
        if jitter_s <= 0.1 and abs(late_s - step_s) <= 0.3:
            return step_s, True
        return (late_s, False) if alone or late_s < step_s else (step_s, True)

    def _remember(self, offset: float | None, late_s: float, now: float) -> None:
        if offset is not None:
            self._stamps.add(now, offset)
        self._usual.add(now, late_s)

    def _long_run(self, now: float) -> Loss:
        """What was lost in pieces too small to be seen: timestamps and arrival have both gone ahead of the samples."""
        level, usual = self._stamps.level, self._usual.value
        if self._stamps.base is None or not self._usual.settled:
            return NOTHING
        if self._reference is None:
            self._reference = now, level, usual
        since, level_then, usual_then = self._reference
        step_s, late_s = (level - level_then) / self._rate, usual - usual_then
        allowed_s = max(0.05, self._stamps.jitter / self._rate) + _FASTEST * (now - since)
        was_set = abs(step_s) > 0.5 and late_s < 0.5 * abs(step_s)  # the sender's clock
        lost_s = min(step_s, late_s)
        if was_set or (now - since > _LONG_S and lost_s < 0.5 * allowed_s):
            self._reference = now, level, usual
        if was_set or lost_s <= allowed_s:
            return NOTHING
        lost = round(lost_s * self._rate)
        self._next += lost
        self._stamps.shift(-lost)
        self._usual.shift(-lost / self._rate)
        return Loss(lost)


class _Stamps:
    """Timestamps of the last seconds, less the positions where they were found, in frames.

    base: their median, None before the first. level: see `_middle`; it moves evenly where the median jumps.
    jitter: nine of ten are no farther from the base.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque(maxlen=_MOST_STAMPS)
        self._counted = 0.0  # when
        self.base: float | None = None
        self.level = self.jitter = 0.0

    def add(self, now: float, offset: float) -> None:
        """Take a timestamp."""
        self._recent.append((now, offset))
        while now - self._recent[0][0] > _RECENT_S:
            self._recent.popleft()
        if len(self._recent) < _FEW_STAMPS or now - self._counted >= _COUNT_S:
            self._counted = now
            self._count()

    def shift(self, frames: float) -> None:
        """Take that all were found elsewhere."""
        self._recent = deque(((at, offset + frames) for at, offset in self._recent), maxlen=_MOST_STAMPS)
        self._count()

    def _count(self) -> None:
        offsets = sorted(offset for _, offset in self._recent)
        base = self.base = offsets[len(offsets) // 2]
        self.level = _middle(offsets)
        self.jitter = max(offsets[-1 - len(offsets) // 10] - base, base - offsets[len(offsets) // 10])


def _middle(values: list[float]) -> float:
    """The mean of sorted values, without a tenth at either end."""
    middle = values[len(values) // 10 : len(values) - len(values) // 10]
    return sum(middle) / len(middle)


class _Usual:
    """How late audio usually is: of the least lateness of each second of the last half minute, what is `chosen`."""

    def __init__(self, chosen: Callable[[Iterable[float]], float]) -> None:
        self._chosen = chosen
        self._minima: deque[float] = deque(maxlen=30)
        self._second: tuple[float, float] | None = None
        self.value = 0.0

    @property
    def settled(self) -> bool:
        """Whether it has seen enough to be compared with what comes."""
        return len(self._minima) >= 5

    def above(self, late_s: float) -> float:
        """How much later than usual something is."""
        return late_s - self.value if self._second or self._minima else 0.0

    def add(self, now: float, late_s: float) -> None:
        """Take what came now."""
        since, least = self._second or (now, late_s)
        self._second = since, min(least, late_s)
        if not self._minima:
            self.value = self._second[1]
        if now - since >= 1.0:
            self._minima.append(self._second[1])
            self._second, self.value = None, self._chosen(self._minima)

    def shift(self, seconds: float) -> None:
        """Take that all before was later by so much."""
        self._minima = deque((late_s + seconds for late_s in self._minima), maxlen=self._minima.maxlen)
        self.value += seconds
        if self._second:
            self._second = self._second[0], self._second[1] + seconds
