"""An unbroken stretch of a capture: from one loss to the next, audio can be resampled and timed."""

from __future__ import annotations

from edgebird.live.clock import FrameClock
from edgebird.resampling import Resampler
from edgebird.types import FloatArray


class CaptureStretch:
    """An unbroken stretch of one capture: its resampler, its clock, and the audio that the clock is not sure of.

    rate_in: of the capture, rate_out: of the model, both in Hz. clock: None where lost frames cannot be told by it.
    """

    def __init__(self, rate_in: int, rate_out: int, clock: FrameClock | None) -> None:
        self._rate_in, self._rate_out, self._clock = rate_in, rate_out, clock
        self._resampler = Resampler(rate_in, rate_out)
        self._held: list[tuple[FloatArray, float]] = []
        self.last_at = 0.0  # monotonic seconds of the last frame that came
        self._taken_at = 0.0  # the same of the last that the resampler took
        self._taken = 0  # frames by the resampler
        self._inside_s = 0.0  # audio in the resampler

    @property
    def drift_ppm(self) -> float | None:
        """See `Feed`."""
        return self._clock.drift.ppm if self._clock else None

    @property
    def unwritten_s(self) -> float | None:
        """Audio that the resampler holds; None while the clock is in doubt and holds some too."""
        return None if self._held else self._inside_s

    def sort(self, mono: FloatArray, frames: int, at: float) -> list[tuple[FloatArray, float, float]]:
        """Take audio, of whose capture `frames` have come by now; give what is certain: samples, time, lost before."""
        self.last_at = at
        lost_s = self._clock.observe(frames, at) if self._clock else 0.0
        self._held.append((mono, at))
        return [] if lost_s is None else self._certain(lost_s)

    def give_up(self) -> list[tuple[FloatArray, float, float]]:
        """The same of what is held back, now that no more comes: what it is late by was lost."""
        return self._certain(self._clock.give_up() if self._clock else 0.0)

    def _certain(self, lost_s: float) -> list[tuple[FloatArray, float, float]]:
        return [(samples, time, lost_s if index == 0 else 0.0) for index, (samples, time) in enumerate(self.held())]

    def held(self) -> list[tuple[FloatArray, float]]:
        """Take the audio that was held back."""
        held, self._held = self._held, []
        return held

    @property
    def due(self) -> int:
        """Samples at `rate_out` that all it has resampled becomes."""
        return round(self._taken * self._rate_out / self._rate_in)

    def resampled(self, mono: FloatArray, at: float) -> tuple[FloatArray, float]:
        """Take samples at `rate_in`, the last heard at `at`; give those at `rate_out` that are complete, and when."""
        samples = self._resampler.push(mono)
        self._taken += len(mono)
        self._taken_at = at
        self._inside_s += len(mono) / self._rate_in - len(samples) / self._rate_out
        return samples, at - self._inside_s

    def rest(self) -> tuple[FloatArray, float]:
        """End it: what the resampler still holds. It is no newer than what that took: more may have come since."""
        return self._resampler.finish(), self._taken_at

    def continued(self) -> CaptureStretch:
        """The stretch after a loss in the same capture."""
        following = CaptureStretch(self._rate_in, self._rate_out, self._clock)
        following.last_at = self.last_at
        return following

    def suspect(self) -> None:
        """The sound card says that it has lost frames: short losses count too."""
        if self._clock:
            self._clock.suspect()
