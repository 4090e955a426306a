"""How loud a source is, and whether something is wrong with that: silent, clipping, quiet."""

from __future__ import annotations

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


def measure(samples: FloatArray) -> Level:
    """The level of samples, float32 [n], n > 0."""
    peak = float(np.abs(samples).max())
    flat = bool((samples == samples[0]).all())
    rms = 0.0 if flat else float(np.std(samples, dtype=np.float64))
    clipped = peak >= _CLIPPED and float(np.mean(np.abs(samples) >= _CLIPPED)) >= _CLIPPED_SHARE
    return Level(_dbfs(rms), _dbfs(peak), flat, clipped)


def _dbfs(amplitude: float) -> float:
    return max(_FLOOR_DBFS, 20.0 * float(np.log10(max(amplitude, 1e-9))))


class LevelWatch:
    """Takes a source's audio and says once a second how it is: "" for well, or silent, clipping, quiet."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._buffer: list[FloatArray] = []
        self._buffered = 0
        self._flat = self._quiet = 0  # seconds on end
        self._clipped: list[bool] = []
        self.level: Level | None = None
        self.verdict = ""

    def add(self, samples: FloatArray) -> None:
        """Take audio, float32 [n]."""
        self._buffer.append(samples)
        self._buffered += len(samples)
        if self._buffered >= self._rate:
            self._second(measure(np.concatenate(self._buffer)))
            self._buffer.clear()
            self._buffered = 0

    def _second(self, level: Level) -> None:
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
