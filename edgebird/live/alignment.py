"""Has blocks of a capture end where windows do, also after losses and starts that one side does not know of.

A block that ends shortly before a window does makes all results of a source late by almost a block, for as long as it
is open: a loss that the clock tells, samples that are no sound, or an engine that was too slow shift the windows.

A sound card hands over its frames many at once. Windows that begin with the first frame after a loss would end where
such a period does, and their last samples, which are still in the resampler, come with the next. So of the first period
after a loss that the clock tells only the end is heard, as when the capture was opened. Where windows begin in the
middle of a period for another reason, results stay late by less than one, a quarter of a second.
"""

from __future__ import annotations

import math

from edgebird.capture.blocks import lead

_TOLERANCE_S = 0.01  # of the lead that blocks have beyond the ends of windows
_SPARE_S = 0.02  # by which windows end earlier than they need to: samples are rounded


class Alignment:
    """Where blocks of one capture are counted from, as far as its parent knows.

    rate: of the capture, Hz. period: frames that it gets at once, 0 if they come as they are. surplus: frames of the
    first period after a loss that are left out.
    """

    def __init__(self, rate: int, block_s: float, period: int) -> None:
        self._size, self._tolerance = block_s * rate, _TOLERANCE_S * rate
        self.surplus = max(0, period - lead(rate) - round(_SPARE_S * rate))
        self._begin = 0.0

    def begin(self, position: int) -> None:
        """Take that the capture has begun anew at a position, in its frames."""
        self._begin = position

    def wanted(self, window_end: float, position: int) -> int | None:
        """Where blocks shall be counted from so that they end where a window does; None if they are.

        window_end: in frames of the capture, as `position`, up to which audio has come.
        """
        off = (window_end - self._begin) % self._size
        if min(off, self._size - off) <= self._tolerance:
            return None
        steps = max(0, math.ceil((window_end - position) / self._size))
        self._begin = window_end - steps * self._size
        return round(self._begin)
