"""From one sample rate to another, also where audio between is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr

from edgebird.types import AudioBlock, FloatArray


class Resampler:
    """Streaming sample-rate conversion (soxr HQ) of one unbroken piece of mono audio.

    rate_in, rate_out: samples per second. How the input is cut makes no difference: the output is that of
    `soxr.resample` over all of it, n * rate_out / rate_in samples rounded to the nearest integer.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "HQ") if rate_in != rate_out else None

    def push(self, samples: FloatArray) -> FloatArray:
        """Take float32 [n]; return the samples that are certain now, float32 [any], which may be the same array."""
        return self._convert(samples, last=False)

    def finish(self) -> FloatArray:
        """Return the last samples; nothing may be pushed afterwards."""
        return self._convert(np.empty(0, np.float32), last=True)

    def _convert(self, samples: FloatArray, last: bool) -> FloatArray:
        if self._stream is None:
            return samples
        converted: FloatArray = self._stream.resample_chunk(samples, last)
        return converted


class ResampledBlocks:
    """Makes blocks at another rate of audio in which parts are missing: each sample stays in its place.

    rate_in, rate_out: Hz. start: frames of the source before the first that is taken: a multiple of the rates' ratio.
    end: frames of the source up to which audio was taken, or said to be missing.
    """

    def __init__(self, rate_in: int, rate_out: int, start: int = 0) -> None:
        self._rate_in, self._rate_out = rate_in, rate_out
        self._resampler: Resampler | None = None
        self._before = ""  # why audio before the next block is missing
        self.end = start
        self.position = start * rate_out // rate_in  # after the last block

    def take(self, samples: FloatArray, start: int, lost: str) -> Iterator[AudioBlock]:
        """Blocks of float32 [n] from a frame of the source on. lost: why what is missing before it is missing.

        Where audio is missing before none, the block is empty.
        """
        before = ""
        if start > self.end:
            yield from self.finish()
            before, self.end = lost, start
            self.position = max(self.position, round(start * self._rate_out / self._rate_in))
            if not len(samples):
                yield AudioBlock(samples, self.position, before)
        if len(samples):
            self._resampler = self._resampler or Resampler(self._rate_in, self._rate_out)
            self.end += len(samples)
            yield from self._block(self._resampler.push(samples), before)

    def finish(self) -> Iterator[AudioBlock]:
        """The block of what is still held back, if there is any."""
        resampler, self._resampler = self._resampler, None
        if resampler:
            yield from self._block(resampler.finish())

    def _block(self, samples: FloatArray, lost: str = "") -> Iterator[AudioBlock]:
        self._before = lost or self._before
        if len(samples):
            yield AudioBlock(samples, self.position, self._before)
            self.position += len(samples)
            self._before = ""
