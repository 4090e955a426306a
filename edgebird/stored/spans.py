"""Spans of time: when something was so, in order and without overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

Span: TypeAlias = tuple[datetime, datetime]  # beginning, end; each with its offset


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the time that is in any of them."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        elif end > start:
            joined.append((start, end))
    return joined


def subtract(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """Return the time that is in `spans` and in no hole; both as `union` gives them."""
    left: list[Span] = []
    at = 0
    for start, end in spans:
        while at < len(holes) and holes[at][1] <= start:
            at += 1
        here = at
        while here < len(holes) and holes[here][0] < end:
            if holes[here][0] > start:
                left.append((start, holes[here][0]))
            start = max(start, holes[here][1])
            here += 1
        if start < end:
            left.append((start, end))
    return left


def within(spans: Iterable[Span], start: datetime, end: datetime) -> list[Span]:
    """Return what of them is between two times."""
    cut = ((max(start, first), min(end, last)) for first, last in spans)
    return [span for span in cut if span[0] < span[1]]


def common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """Return the time that is in both; both as `union` gives them."""
    return subtract(one, subtract(one, other))


def seconds_of(spans: Iterable[Span]) -> float:
    """Return how long they are together."""
    return sum((end - start).total_seconds() for start, end in spans)
