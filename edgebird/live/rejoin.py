"""Joins a stream that was opened again to what was heard of it before: what a server sends twice is heard once.

Icecast and others begin with seconds from their memory, so what comes first was heard before the connection broke, or
sounded while there was none. The samples say how much was heard: the last of them are looked for in what comes, and
where they end, what is new begins. Where samples say nothing, as in silence or in a steady tone, the clock says it.
How long a loss was the clock says, too, where a sender has paused: it made nothing meanwhile, and its samples go on.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
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
    """What comes after a stream was opened again: messages without what was heard, OPEN where the format changes.

    after_s: seconds of the stream between what was heard last and their beginning, None if the clock alone says that.
    off_s: how much later than that the clock may place them; if it is more, the sender has paused.
    """

    messages: list[Message]
    after_s: float | None = None
    off_s: float = math.inf


@dataclass(slots=True)
class _Run:
    """Messages of one format that are held back. opened: the one that said the format, None for the first."""

    rate: int
    channels: int
    opened: Message | None = None
    messages: list[Message] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(len(message.payload) for message in self.messages) / (4 * self.channels * self.rate)

    def mono(self, channel: int | None) -> FloatArray:
        joined = np.frombuffer(b"".join(message.payload for message in self.messages), "<f4")
        frames = joined.reshape(-1, self.channels)
        mono: FloatArray = np.clip(np.nan_to_num(one_channel(frames, channel)), -_LOUDEST, _LOUDEST)
        return mono


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
        self._held: list[_Run] = []
        self._resumed_s: float | None = None
        self._off_s = _STEADY_S
        self._joining = False
        self._came_s, self._since = 0.0, 0.0  # since the opening
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
        self._came_s = 0.0
        self._held = []
        self._joining = self._joins and again and bool(self._tail)

    def changes(self, message: Message) -> bool:
        """Take an OPEN of another format while sound is held back; False if none is, and it counts from now on."""
        if not self._held:
            return False
        opened = message.json()
        self._rate, self._channels = int(opened["rate"]), int(opened["channels"])
        self._held.append(_Run(self._rate, self._channels, message))
        return True

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
        seconds = len(message.payload) / (4 * self._channels * self._rate)
        if not self._came_s:
            self._since, self._grown = message.time - seconds, message.time
            self._ahead_s = 0.0
        self._came_s += seconds
        ahead_s = self._came_s - (message.time - self._since)
        if ahead_s > self._ahead_s + _GROWTH_S:
            self._grown = message.time
        self._ahead_s = max(self._ahead_s, ahead_s)
        if message.time - self._since < _MEASURED_S:
            self._reach_s = max(self._reach_s, self._ahead_s)
        if not self._joining:
            self._resumed_s = None
            return Joined([message])
        if not self._held:
            self._held = [_Run(self._rate, self._channels)]
        self._held[-1].messages.append(message)
        if message.time - self._grown >= _SETTLE_S:
            return self.finish()
        follows = self._resumed_s is not None and self._since - self._tail_at <= self._resumed_s + self._off_s
        if follows or message.time - self._since >= _LONGEST_S:
            return self.finish(settled=False)
        return None

    def finish(self, settled: bool = True) -> Joined | None:
        """Give what is held back; None if nothing is. settled: a server's memory is over, so the clock places it."""
        runs, self._held = _timed(self._held), []
        if not runs:
            return None
        resumed_s, self._resumed_s = self._resumed_s, None
        self._joining = False
        off_s = self._off_s if settled else math.inf
        if resumed_s is not None:
            return Joined(_all_of(runs), resumed_s, off_s)
        heard_s = self._tail_at - began(runs[0].messages[0], runs[0].rate, runs[0].channels)  # by the clock
        known = False
        for number in reversed(range(len(runs))):
            run, before_s = runs[number], sum(run.seconds for run in runs[:number])
            if run.rate != self._tail_rate or not run.messages:
                continue
            expected = (heard_s - before_s) * run.rate
            found = overlap(np.concatenate(self._tail), run.mono(self._channel), run.rate, expected)
            if found:
                return self._rest(runs, before_s + found / run.rate, 0.0, off_s)
            known = known or found == 0
        if known:  # and not sent again
            return Joined(_all_of(runs), None, off_s)
        return self._rest(runs, heard_s, None)

    def _rest(self, runs: list[_Run], heard_s: float, after_s: float | None, off_s: float = math.inf) -> Joined:
        """What is left of runs without so many seconds that were heard before."""
        for run in runs:
            length_s = run.seconds
            run.messages = without(run.messages, round(heard_s * run.rate), run.channels)
            heard_s -= length_s
        if after_s is not None and not runs[-1].messages:  # then what comes next follows
            self._joining, self._resumed_s = True, 0.0
        return Joined(_all_of(runs), after_s, off_s)

    def ended(self) -> Joined | None:
        """Give what is held back, as the capture has ended: what it said of its place holds for no other."""
        try:
            return self.finish()
        finally:
            self._resumed_s, self._joining = None, False


def without(messages: list[Message], frames: int, channels: int) -> list[Message]:
    """Return messages of audio without their first frames, if that is a number above 0."""
    left, frames = [], max(0, frames)
    for message in messages:
        size = len(message.payload) // (4 * channels)
        cut = min(frames, size)
        frames -= cut
        if cut < size:
            payload = message.payload[cut * 4 * channels :]
            left.append(replace(message, payload=payload, position=message.position + cut))
    return left


def _timed(runs: list[_Run]) -> list[_Run]:
    """Give messages the time at which they sounded: one after the other, as those of a burst came at once."""
    ends, end_s = [], 0.0
    for number, run in enumerate(runs):
        for message in run.messages:
            end_s += len(message.payload) / (4 * run.channels * run.rate)
            ends.append((number, message, end_s))
    first = min((message.time - end_s for _, message, end_s in ends), default=0.0)
    timed = [replace(run, messages=[]) for run in runs]
    for number, message, end_s in ends:
        timed[number].messages.append(replace(message, time=first + end_s))
    return timed


def _all_of(runs: list[_Run]) -> list[Message]:
    return [message for run in runs for message in (*([run.opened] if run.opened else []), *run.messages)]
