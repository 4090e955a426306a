"""Joins a stream that was opened again to what was heard of it before: what a server sends twice is heard once.

Icecast and others begin with seconds from their memory, so what comes first was heard before the connection broke, or
sounded while there was none. The samples say how much was heard: the last of them are looked for in what comes, and
where they end, what is new begins. Where samples say nothing, as in silence or in a steady tone, the clock says it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgebird.capture.wire import Message
from edgebird.reading.mixing import one_channel
from edgebird.types import FloatArray

_TAIL_S = 1.0  # of what was heard, which is looked for
_PATTERNS_S = (0.5, 0.1)  # the last of it that has to be found: the shorter one only near the beginning
_ALIKE = 0.7  # correlation from which sound is the same; of other sound it is below 0.2
_AS_GOOD = 0.05  # below the best, and still as good
_LOBE_S = 0.002  # the same place, a little off
_SILENCE = 1e-5  # rms of what changes from sample to sample: below there is nothing to compare
_LOUDEST = 8.0  # what is louder is no sound
_SETTLE_S = 0.75  # in which no more comes than sounds: then a server's memory is over
_LONGEST_S = 5.0  # which it may take
_GROWTH_S = 0.05
_MEASURED_S = 10.0  # after an opening: so long it can be seen how far back a server reaches
_BEHIND_S = 1.0  # how far a growing loss is told behind the clock: audio comes a little late
_OPENING_S = 2.0  # that it may take until what a server has sent is here
_FARTHEST_S = 60.0  # no memory counts that is longer
_NEVER_S = 1e9
_STEADY_S = 1.0  # how far off the clock may be


def overlap(tail: FloatArray, head: FloatArray, rate: int, expected: float) -> int | None:
    """Return how many samples of `head` repeat the end of `tail`: 0 if none do, None if the samples do not say.

    tail, head: mono, float32 at `rate`, Hz. expected: what the clock says, in samples; it decides between places that
    are as good, as in a steady tone.
    """
    known = False
    for seconds in _PATTERNS_S:
        size = round(seconds * rate)
        within = head if seconds == _PATTERNS_S[0] else head[: round(2 * _PATTERNS_S[0] * rate)]
        if len(tail) <= size or len(within) <= size:
            continue
        pattern = np.diff(tail[-size - 1 :])  # changes: low tones and a constant are everywhere
        if float(np.sqrt(np.mean(pattern**2))) < _SILENCE:
            continue
        known = True
        ends = _places(pattern, np.diff(within, prepend=within[:1]), rate)
        if len(ends) == 1:
            return int(ends[0])
        if len(ends):
            nearest = int(ends[np.argmin(np.abs(ends - expected))])
            if abs(nearest - expected) <= _STEADY_S * rate:
                return nearest
            return None
    return 0 if known else None


def _places(pattern: FloatArray, signal: FloatArray, rate: int) -> FloatArray:
    """Where in `signal` a pattern ends, int [places]: those as good as the best, each once."""
    size = len(pattern)
    length = 1 << (len(signal) + size - 1).bit_length()
    spectrum = np.fft.rfft(signal, length) * np.conj(np.fft.rfft(pattern, length))
    products = np.fft.irfft(spectrum, length)[: len(signal) - size + 1]
    sums = np.concatenate([[0.0], np.cumsum(np.square(signal, dtype=np.float64))])
    energies = np.maximum(sums[size:] - sums[:-size], size * _SILENCE**2)
    alike = products / np.sqrt(energies * float(np.sum(np.square(pattern, dtype=np.float64))))
    best = float(alike.max())
    if best < _ALIKE:
        return np.empty(0, np.int64)
    good = np.flatnonzero(alike >= best - _AS_GOOD)
    groups = np.split(good, np.flatnonzero(np.diff(good) > _LOBE_S * rate) + 1)
    return np.array([group[np.argmax(alike[group])] + size for group in groups])


def began(message: Message, rate: int, channels: int) -> float:
    """When the first frame of a message was heard, monotonic seconds."""
    return message.time - len(message.payload) / (4 * channels * rate)


@dataclass(frozen=True, slots=True)
class Joined:
    """What comes after a stream was opened again: messages without what was heard.

    after_s: seconds of the stream between what was heard last and their beginning, None if the clock alone says that.
    off_s: how much later than that the clock may place them; if it is more, the sender has paused.
    """

    messages: list[Message]
    after_s: float | None = None
    off_s: float = math.inf


class Rejoin:
    """What was heard last of one stream, and what comes when it is opened again.

    channel: of what comes, see `one_channel`. joins: whether sound can come twice at all; from a microphone it cannot.
    told: options for the next capture, see wire.py.
    """

    def __init__(self, channel: int | None, joins: bool = True) -> None:
        self._channel, self._joins = channel, joins
        self._reach_s = 0.0  # of what was heard so far, which its server may send again
        self.told: dict[str, Any] = {}
        self._tail: deque[FloatArray] = deque()
        self._tail_rate, self._tail_at = 0, 0.0
        self._rate, self._channels = 0, 1
        self._held: list[Message] = []
        self._resumed_s: float | None = None
        self._off_s = _STEADY_S
        self._joining = False
        self._frames, self._since = 0, 0.0  # since the opening
        self._ahead_s, self._grown = 0.0, 0.0  # how much more has come than sounded, at most, and since when

    @property
    def behind_s(self) -> float:
        """How far behind the clock a loss may be told: so many seconds of it a server may still bring."""
        if self._held or self._resumed_s is not None:
            return _NEVER_S  # in a moment it will be known
        reach_s = min(self._reach_s, _FARTHEST_S)
        return _BEHIND_S + (reach_s + _OPENING_S if reach_s > _BEHIND_S else reach_s)

    def tell(self, resume: dict[str, Any] | None) -> None:
        """Take what an ended capture has for the next one; `ended` gives what is held back of it."""
        if resume:
            self.told = {"resume": resume}
            reach_s = float(resume.get("reach_s", 0.0))
            self._reach_s = max(self._reach_s, reach_s)
            self._off_s = max(_STEADY_S, reach_s)  # segments come when they are complete

    def opened(self, rate: int, channels: int, again: bool = True) -> None:
        """Take that a capture was opened, or that its format has changed (`again` False). rate: Hz."""
        self._rate, self._channels = rate, channels
        self._held, self._frames = [], 0
        self._joining = self._joins and again and bool(self._tail)

    def resumed(self, lost_s: float) -> None:
        """Take that what comes follows what was heard, after so many seconds."""
        self._resumed_s = lost_s

    def heard(self, mono: FloatArray, rate: int, at: float) -> None:
        """Remember sound, float32 [n] at `rate`, Hz, whose last sample was heard at `at`, monotonic seconds."""
        if not self._joins:
            return
        self.told = {}
        if rate != self._tail_rate:
            self._tail.clear()
            self._tail_rate = rate
        self._tail.append(np.clip(np.nan_to_num(mono), -_LOUDEST, _LOUDEST))
        self._tail_at = at
        while sum(map(len, self._tail)) - len(self._tail[0]) > _TAIL_S * rate:
            self._tail.popleft()

    def take(self, message: Message) -> Joined | None:
        """Take what has come, which may be held back: then nothing comes out, and later all of it."""
        if not self._joins:
            return Joined([message])
        frames = len(message.payload) // (4 * self._channels)
        if not self._frames:
            self._since, self._grown = message.time - frames / self._rate, message.time
            self._ahead_s = 0.0
        self._frames += frames
        ahead_s = self._frames / self._rate - (message.time - self._since)
        if ahead_s > self._ahead_s + _GROWTH_S:
            self._grown = message.time
        self._ahead_s = max(self._ahead_s, ahead_s)
        if message.time - self._since < _MEASURED_S:
            self._reach_s = max(self._reach_s, self._ahead_s)
        if not self._joining:
            self._resumed_s = None
            return Joined([message])
        self._held.append(message)
        if message.time - self._grown >= _SETTLE_S:
            return self.finish()
        follows = self._resumed_s is not None and self._since - self._tail_at <= self._resumed_s + self._off_s
        if follows or message.time - self._since >= _LONGEST_S:
            return self.finish(settled=False)
        return None

    def finish(self, settled: bool = True) -> Joined | None:
        """Give what is held back; None if nothing is. settled: a server's memory is over, so the clock places it."""
        held, self._held = self._held, []
        if not held:
            return None
        resumed_s, self._resumed_s = self._resumed_s, None
        self._joining = False
        off_s = self._off_s if settled else math.inf
        began = min(message.time - end / self._rate for message, end in zip(held, self._ends(held), strict=True))
        timed = [
            replace(message, time=began + end / self._rate) for message, end in zip(held, self._ends(held), strict=True)
        ]
        if resumed_s is not None:
            return Joined(timed, resumed_s, off_s)
        expected = (self._tail_at - began) * self._rate
        found = overlap(np.concatenate(self._tail), self._mono(timed), self._rate, expected)
        if self._tail_rate != self._rate:
            found = None
        if found is None:  # by the clock
            return Joined(self.without(timed, round(max(0.0, expected))), None)
        new = self.without(timed, found)
        if not new:  # then what comes next follows
            self._joining, self._resumed_s = True, 0.0
        return Joined(new, 0.0 if found else None, off_s)

    def ended(self) -> Joined | None:
        """Give what is held back, as the capture has ended: what it said of its place holds for no other."""
        try:
            return self.finish()
        finally:
            self._resumed_s, self._joining = None, False

    def without(self, messages: list[Message], frames: int) -> list[Message]:
        """Return messages without their first frames, if that is a number above 0."""
        left, frames = [], max(0, frames)
        for message in messages:
            size = len(message.payload) // (4 * self._channels)
            cut = min(frames, size)
            frames -= cut
            if cut < size:
                payload = message.payload[cut * 4 * self._channels :]
                left.append(replace(message, payload=payload, position=message.position + cut))
        return left

    def _ends(self, messages: list[Message]) -> list[int]:
        ends, end = [], 0
        for message in messages:
            end += len(message.payload) // (4 * self._channels)
            ends.append(end)
        return ends

    def _mono(self, messages: list[Message]) -> FloatArray:
        frames = np.frombuffer(b"".join(message.payload for message in messages), "<f4").reshape(-1, self._channels)
        mono: FloatArray = np.clip(np.nan_to_num(one_channel(frames, self._channel)), -_LOUDEST, _LOUDEST)
        return mono
