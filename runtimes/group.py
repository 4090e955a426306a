"""How many windows at once are scored fastest on a device: found by trying, as far as memory goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edgebird.errors import RuntimeUnavailableError

log = logging.getLogger(__name__)

LARGEST = 64  # windows
_GAIN = 1.03  # less is not worth the memory and the wait for a fuller group
_TIMES = 3
GROUPS = tuple(1 << power for power in range(LARGEST.bit_length()))
_PIECES = 4  # in a row: the copies of one overlap with another, as in use


def fastest_group(
    name: str,
    usual: int,
    score: Callable[[int, int], object],
    free: Callable[[], int],
    sizes: Sequence[int] = GROUPS,
) -> int:
    """The smallest of `sizes`, in order, that is within 3 % of the best. name: of the runtime, for the log.

    usual: those up to it are run anyway; a larger one only where memory might suffice, as long as each is a gain.
    score: scores so many windows, so many times in a row; free: bytes of the device's memory.
    """
    rates: dict[int, float] = {}
    before = free()
    for size in sizes:
        left = free()
        if size > usual and left < 2 * (before - left):  # twice the windows, of an allocator that takes twice as much
            log.debug("%s: %d windows at once are not tried, %d MiB of memory are free", name, size, left >> 20)
            break
        try:
            score(size, 1)
        except RuntimeUnavailableError as error:
            if size <= usual:
                raise
            log.debug("%s: not %d windows at once: %s", name, size, error)
            break
        rates[size] = max(_rate(size, score) for _ in range(_TIMES))
        if size > usual and rates[size] < _GAIN * max(rates[other] for other in rates if other != size):
            break
    best = max(rates.values())
    group = next(size for size, rate in rates.items() if _GAIN * rate >= best)
    told = ", ".join(f"{size}: {rate:.0f}" for size, rate in rates.items())
    log.debug("%s scores %d windows at once (windows a second of each size: %s)", name, group, told)
    return group


def _rate(size: int, score: Callable[[int, int], object]) -> float:
    begun = time.perf_counter()
    score(size, _PIECES)
    return size * _PIECES / max(1e-9, time.perf_counter() - begun)
