"""A season: in which weeks and at which hours, with the sun; and an account of each day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgebird.pictures.svg import Box, picture, shade, words

_LEFT, _RIGHT, _TOP, _FOOT, _PLOT = 40, 8, 8, 24, 720


@dataclass(frozen=True, slots=True)
class Column:
    """A week or a day. label: under it, or "". title: what it is, for the reader. heard: how much of it, 0 to 1."""

    label: str
    title: str
    heard: float = 1.0


@dataclass(frozen=True, slots=True)
class SeasonMap:
    """What `season_map` draws.

    counts: detections by column and hour. curves: sunrise and sunset, an hour or None for each column.
    """

    title: str
    columns: Sequence[Column]
    counts: Mapping[tuple[int, int], int]
    curves: Sequence[Sequence[float | None]] = ()


def season_map(shown: SeasonMap, name: str = "season") -> str:
    """Return the picture: time to the right, hours upwards. Columns that were heard by half or less are hatched."""
    row = 9
    height = 24 * row
    return picture(name, _size(height), shown.title, _season(shown, name, row))


def _size(height: float) -> tuple[float, float]:
    return _LEFT + _PLOT + _RIGHT, _TOP + height + _FOOT


def _season(shown: SeasonMap, name: str, row: float) -> Iterator[str]:
    height, wide = 24 * row, _PLOT / max(1, len(shown.columns))
    yield Box(_LEFT, _TOP, _PLOT, height).draw("empty")
    yield from (words(_LEFT - 6, _TOP + (24 - hour) * row + 4, f"{hour:02d}", "end") for hour in range(0, 25, 6))
    most = max(shown.counts.values(), default=1)
    for (column, hour), count in sorted(shown.counts.items()):
        box = Box(_LEFT + column * wide, _TOP + (23 - hour) * row, max(0.5, wide - 0.4), row - 0.4)
        yield box.draw(
            f"c{shade(count, most)}", f"{shown.columns[column].title}, {hour:02d} to {hour + 1:02d}: {count}"
        )
    yield from _deaf(shown.columns, name, wide, height)
    for curve in shown.curves:
        yield from _curve(curve, wide, row)
    yield from _labels(shown.columns, wide, height)


def _curve(curve: Sequence[float | None], wide: float, row: float) -> Iterator[str]:
    """A line over the middles of the columns; it breaks where there is no time."""
    points: list[str] = []
    for column, hour in enumerate([*curve, None]):
        if hour is not None:
            points.append(f"{_LEFT + (column + 0.5) * wide:.1f},{_TOP + (24 - hour) * row:.1f}")
        elif points:
            yield f'<polyline class="sunline" points="{" ".join(points)}"/>'
            points = []


def _deaf(columns: Sequence[Column], name: str, wide: float, height: float) -> Iterator[str]:
    for index, column in enumerate(columns):
        if column.heard <= 0.5:
            said = f"{column.title}: heard {100 * column.heard:.0f} % of the time"
            yield Box(_LEFT + index * wide, _TOP, wide, height).hatched(name, said)


def _labels(columns: Sequence[Column], wide: float, height: float) -> Iterator[str]:
    for index, column in enumerate(columns):
        if column.label:
            yield words(_LEFT + index * wide, _TOP + height + 15, column.label)


@dataclass(frozen=True, slots=True)
class AccountMap:
    """What `account_bars` draws. shares: of each column what was scored and what was lost, 0 to 1."""

    title: str
    columns: Sequence[Column]
    shares: Sequence[tuple[float, float]]


def account_bars(shown: AccountMap, name: str = "account") -> str:
    """Return the picture: a bar for each column, scored below, lost above it, hatched what did not run."""
    return picture(name, _size(90), shown.title, _account(shown, name))


def _account(shown: AccountMap, name: str) -> Iterator[str]:
    height, wide = 90.0, _PLOT / max(1, len(shown.columns))
    yield from (words(_LEFT - 6, _TOP + height * (1 - share) + 4, f"{share:.0%}", "end") for share in (0, 0.5, 1))
    for index, (column, (scored, lost)) in enumerate(zip(shown.columns, shown.shares, strict=True)):
        x, gap = _LEFT + index * wide, min(1.0, wide / 8)
        said = f"{column.title}: {scored:.1%} scored, {lost:.1%} lost, {1 - scored - lost:.1%} not running"
        if scored + lost < 0.9995:
            yield Box(x, _TOP, wide - gap, height * (1 - scored - lost)).hatched(name, said)
        yield Box(x, _TOP + height * (1 - scored), wide - gap, height * scored).draw("heard", said)
        if lost > 0:
            high = max(1.0, height * lost)
            yield Box(x, _TOP + height * (1 - scored) - high, wide - gap, high).draw("lost", said)
    yield from _labels(shown.columns, wide, height)


@dataclass(frozen=True, slots=True)
class BarRow:
    """A bar. title: what it is, for the reader."""

    label: str
    value: float
    title: str


def bars(title: str, rows: Sequence[BarRow], name: str = "bars") -> str:
    """Return columns side by side, from zero."""
    return picture(name, _size(110), title, _bars(rows))


def _bars(rows: Sequence[BarRow]) -> Iterator[str]:
    height, wide = 110.0, _PLOT / max(1, len(rows))
    most = max((row.value for row in rows), default=0) or 1
    yield Box(_LEFT, _TOP, _PLOT, height).draw("empty")
    yield words(_LEFT - 6, _TOP + 8, f"{most:.4g}", "end") + words(_LEFT - 6, _TOP + height, "0", "end")
    for index, row in enumerate(rows):
        high, x = height * row.value / most, _LEFT + index * wide
        yield Box(x + 1, _TOP + height - high, max(0.5, wide - 2), high).draw("bar", row.title)
        yield words(x + wide / 2, _TOP + height + 15, row.label, "middle")
