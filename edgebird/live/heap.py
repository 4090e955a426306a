"""Memory of a process that runs for months: C's heap and Python's garbage."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

# Of mallopt(3), glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 64 * 1024  # bytes


def keep_steady() -> None:
    """Have glibc keep one heap for all threads, and take large blocks from the system and give them back to it.

    By default each thread has a heap of its own, and the size from which blocks are large grows with every block that
    is freed: windows then lie between small blocks that live longer, and what is free between them grows for hours.
    Call before threads start; elsewhere than with glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, 2 * _LARGE)):
        if not mallopt(option, value):
            log.debug("mallopt refuses %d = %d", option, value)


@contextmanager
def collecting() -> Iterator[None]:
    """Leave what exists now to itself in Python's garbage collections, so that `gc.collect` takes a millisecond.

    By default the oldest generation is collected when it has grown by a quarter: beside 100,000 objects from imports
    that takes hours, and rings of dead objects hold their buffers as long.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
