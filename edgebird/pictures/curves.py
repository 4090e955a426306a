"""Curves in a square frame: precision against recall, found against false alarms, right against probability."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgebird.pictures.svg import Box, picture, words

_LEFT, _RIGHT, _TOP, _FOOT, _WIDE, _HIGH, _KEY = 52, 14, 10, 40, 340, 240, 16
_KINDS = ("curve", "curve second", "curve third")


@dataclass(frozen=True, slots=True)
class Series:
    """A line. name: in the key, "" for none."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with an interval. title: what it is, for the reader."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Curves:
    """What `curves` draws.

    across, up: what the axes are. most: where they end. diagonal: a line where both are equal.
    """

    title: str
    across: str
    up: str
    series: Sequence[Series]
    most: tuple[float, float] = (1.0, 1.0)
    marks: Sequence[Mark] = ()
    diagonal: bool = False


def curves(shown: Curves, name: str = "curves") -> str:
    """Return the picture. name: unique on its page."""
    keys = sum(bool(one.name) for one in shown.series)
    size = _LEFT + _WIDE + _RIGHT, _TOP + keys * _KEY + _HIGH + _FOOT
    return picture(name, size, shown.title, _parts(shown, _TOP + keys * _KEY))


def round_up(value: float) -> float:
    """Return a round number that is no less: where an axis may end."""
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return next(part * step for part in (1, 2, 5, 10) if part * step >= value * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values are in the picture. most: at its right and upper edge. top: of the frame."""

    most: tuple[float, float]
    top: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        wide, high = self.most
        return _LEFT + _WIDE * min(x / wide, 1.0), self.top + _HIGH * (1 - min(y / high, 1.0))


def _parts(shown: Curves, top: float) -> Iterator[str]:
    frame = _Frame(shown.most, top)
    yield from _axes(shown, frame)
    if shown.diagonal:
        end = min(shown.most)
        (x1, y1), (x2, y2) = frame.place(0, 0), frame.place(end, end)
        yield f'<line class="curve diagonal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
    for number, one in enumerate(shown.series):
        kind = _KINDS[number % len(_KINDS)]
        yield f'<polyline class="{kind}" points="{" ".join(_line(one, frame))}"/>'
        if one.name:
            row = _TOP + number * _KEY + 4
            yield f'<line class="{kind}" x1="{_LEFT}" y1="{row}" x2="{_LEFT + 24}" y2="{row}"/>'
            yield words(_LEFT + 30, row + 4, one.name)
    for mark in shown.marks:
        (x, y), (_, low), (_, high) = (frame.place(mark.x, value) for value in (mark.y, mark.low, mark.high))
        yield f'<line class="curve" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'
        yield Box(x - 3.5, y - 3.5, 7, 7).draw("bar", mark.title)


def _line(one: Series, frame: _Frame) -> Iterator[str]:
    """Its points in the picture; many that lie on one place are one."""
    last = ""
    for x, y in one.points:
        here = "{:.1f},{:.1f}".format(*frame.place(x, y))
        if here != last:
            yield here
        last = here


def _axes(shown: Curves, frame: _Frame) -> Iterator[str]:
    (wide, high), top = frame.most, frame.top
    yield Box(_LEFT, top, _WIDE, _HIGH).draw("empty")
    for part in range(5):
        (x, _), (_, y) = frame.place(wide * part / 4, 0), frame.place(0, high * part / 4)
        yield f'<line class="axis" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + _HIGH}"/>'
        yield f'<line class="axis" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDE}" y2="{y:.1f}"/>'
        yield words(x, top + _HIGH + 15, _number(wide * part / 4), "middle")
        yield words(_LEFT - 6, y + 4, _number(high * part / 4), "end")
    yield words(_LEFT + _WIDE / 2, top + _HIGH + 33, shown.across, "middle", "name")
    middle = top + _HIGH / 2
    turned = words(14, middle, shown.up, "middle", "name")
    yield f'<g transform="rotate(-90 14 {middle:.1f})">{turned}</g>'


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
