"""Reading ahead: what comes next is made while the last is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def prefetch(items: Iterable[T], most: int = 16) -> Generator[T, None, None]:
    """Give the items in their order, up to `most` of them made before they are asked for, on a thread of its own.

    What making an item raises is raised in its place. Closing the iterator ends the thread.
    """
    making = iter(items)
    with ThreadPoolExecutor(1, "edgebird-prefetch") as thread:
        pending: deque[Future[T | object]] = deque(thread.submit(next, making, _END) for _ in range(most))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(thread.submit(next, making, _END))
                yield item  # type: ignore[misc]
        finally:
            for future in pending:
                future.cancel()
