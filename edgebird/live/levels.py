"""How loud a source is, and whether something is wrong with that: silent, clipping, quiet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgebird.types import FloatArray

SILENT_S = 5  # of digital silence: a muted or broken microphone never is
CLIPPING_S = 3  # of the last ten
QUIET_S = 60
QUIET_DBFS = -75.0  # rms; the quietest recordings of real microphones we have are at -62
VERDICTS = ("silent", "clipping", "quiet")
_CLIPPED, _CLIPPED_SHARE = 0.999, 0.001
_FLOOR_DBFS = -120.0


@dataclass(frozen=True, slots=True)
class Level:
    """One second. rms and peak in dB of full scale, rms without the DC offset; flat: all samples are equal."""

    rms_dbfs: float
    peak_dbfs: float
    flat: bool
    clipped: bool


@dataclass(slots=True)
class _Second:
    """What is known of a second while it comes. power: sum of squares. clipped: samples at full scale."""

    samples: int = 0
    total: float = 0.0
    power: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    clipped: int = 0

    def add(self, samples: FloatArray) -> None:
        """Take audio, float32 [n], n > 0."""
        mean = float(samples.mean(dtype=np.float64))
        centred = samples - np.float32(mean)  # or a DC offset would hide what is quiet in the rounding of squares
        variance = float(np.square(centred, out=centred).mean())
        self.samples += len(samples)
        self.total += len(samples) * mean
        self.power += len(samples) * (variance + mean**2)
        self.least, self.most = min(self.least, float(samples.min())), max(self.most, float(samples.max()))
        if max(-self.least, self.most) >= _CLIPPED:
            self.clipped += int((np.abs(samples) >= _CLIPPED).sum())

    def level(self) -> Level:
        """Of all that came."""
        flat = self.least == self.most
        variance = 0.0 if flat else max(0.0, self.power / self.samples - (self.total / self.samples) ** 2)
        clipped = self.clipped >= max(1, _CLIPPED_SHARE * self.samples)
        return Level(_dbfs(math.sqrt(variance)), _dbfs(max(-self.least, self.most)), flat, clipped)


def level_of(samples: FloatArray) -> Level:
    """Return how loud audio is as a whole, float32 [n], n > 0."""
    whole = _Second()
    whole.add(samples)
    return whole.level()


def _dbfs(amplitude: float) -> float:
    return max(_FLOOR_DBFS, 20.0 * math.log10(max(amplitude, 1e-9)))


class LevelWatch:
    """Takes a source's audio and says once a second how it is: "" for well, or silent, clipping, quiet."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._second = _Second()
        self._flat = self._quiet = 0  # seconds on end
        self._clipped: list[bool] = []
        self.level: Level | None = None
        self.verdict = ""

    def renewed(self) -> LevelWatch:
        """The watch of what comes after a loss: it counts anew, but a verdict stays until a second contradicts it."""
        watch = LevelWatch(self._rate)
        watch.verdict = self.verdict
        watch._flat = SILENT_S - 1 if self.verdict == "silent" else 0
        watch._quiet = QUIET_S - 1 if self.verdict == "quiet" else 0
        watch._clipped = [True] * (CLIPPING_S - 1) if self.verdict == "clipping" else []
        return watch

    def add(self, samples: FloatArray) -> None:
        """Take audio, float32 [n]."""
        while len(samples):
            rest = self._rate - self._second.samples
            self._second.add(samples[:rest])
            samples = samples[rest:]
            if self._second.samples == self._rate:
                self._judge(self._second.level())
                self._second = _Second()

    def _judge(self, level: Level) -> None:
        self.level = level
        self._flat = self._flat + 1 if level.flat else 0
        self._quiet = self._quiet + 1 if level.rms_dbfs < QUIET_DBFS else 0
        self._clipped = [*self._clipped[-9:], level.clipped]
        if self._flat >= SILENT_S:
            self.verdict = "silent"
        elif sum(self._clipped) >= CLIPPING_S:
            self.verdict = "clipping"
        elif self._quiet >= QUIET_S:
            self.verdict = "quiet"
        else:
            self.verdict = ""
