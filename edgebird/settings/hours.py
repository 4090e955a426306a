"""Spans of the day: by the clock, or by the sun of the place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any, TypeAlias

from edgebird.settings.checks import Check

MORNING = ("astronomical-dawn", "nautical-dawn", "civil-dawn", "sunrise")
EVENING = ("sunset", "civil-dusk", "nautical-dusk", "astronomical-dusk")


@dataclass(frozen=True, slots=True)
class SunBound:
    """A time by the sun. event: one of MORNING or EVENING. offset: after it, or before it if it is negative."""

    event: str
    offset: timedelta = timedelta()


Bound: TypeAlias = "time | SunBound"
Span: TypeAlias = "tuple[Bound, Bound]"
Spans: TypeAlias = "tuple[Span, ...]"

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_EVENTS = "|".join((*MORNING, *EVENING))
_BOUND = rf"{_CLOCK}|(?:{_EVENTS})(?:[+-]{_CLOCK})?"
_SPAN = re.compile(rf"({_BOUND}) ?- ?({_BOUND})")
_PARTS = re.compile(rf"({_EVENTS})(?:([+-])({_CLOCK}))?")


def hours() -> Check:
    """Return the check of spans of the day, which become pairs of bounds."""
    wanted = f'a list such as ["22:00-04:30"], local times from 00:00 to 23:59, or {", ".join(MORNING + EVENING)}'
    wanted += ", as in sunset+00:30 - sunrise-01:00"

    def read(value: Any) -> Spans:
        if not isinstance(value, list | tuple):
            raise ValueError(wanted)
        spans: list[Span] = []
        for span in value:
            match = _SPAN.fullmatch(span) if isinstance(span, str) else None
            if match is None or match[1] == match[2]:
                raise ValueError(wanted)
            spans.append((_bound(match[1]), _bound(match[2])))
        return tuple(spans)

    return Check(read, lambda: wanted)


def asks_the_sun(spans: Iterable[Span]) -> bool:
    """Whether they need a place."""
    return any(isinstance(bound, SunBound) for span in spans for bound in span)


def _bound(text: str) -> Bound:
    match = _PARTS.fullmatch(text)
    if match is None:
        return time.fromisoformat(text)
    hours, minutes = map(int, (match[3] or "00:00").split(":"))
    offset = timedelta(hours=hours, minutes=minutes)
    return SunBound(match[1], -offset if match[2] == "-" else offset)
