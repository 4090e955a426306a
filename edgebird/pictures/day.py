"""A day, or days laid over each other: which species when, by sun and night, and when nobody heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgebird.pictures.svg import Box, link, picture, shade, shortened, words

_LEFT, _HOUR, _RIGHT, _ROW, _TOP, _STRIP, _FOOT = 190, 23, 54, 20, 36, 14, 6
_WIDTH = _LEFT + 24 * _HOUR + _RIGHT
_LETTERS = 27


@dataclass(frozen=True, slots=True)
class MapRow:
    """A species. counts: detections by hour, 0 to 23. address: of its page, None in a report. mark: after its name."""

    name: str
    counts: Mapping[int, int]
    address: str | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the day, in hours from 0 to 24, and what it was, for the reader."""

    start: float
    end: float
    title: str


@dataclass(frozen=True, slots=True)
class DayMap:
    """What `day_map` draws.

    deaf: when no source was heard. strips: of each source when it was not. night: between sunset and sunrise.
    sun: times of day with their words, such as 6.2 and "sunrise 06:12".
    """

    title: str
    rows: Sequence[MapRow]
    deaf: Sequence[Phase] = ()
    strips: Mapping[str, Sequence[Phase]] | None = None
    night: Sequence[Phase] = ()
    sun: Sequence[tuple[float, str]] = ()


def day_map(shown: DayMap, name: str = "day") -> str:
    """Return the picture. name: unique on its page."""
    strips = shown.strips or {}
    top = _TOP + len(strips) * _STRIP + (6 if strips else 0)
    height = max(1, len(shown.rows)) * _ROW
    return picture(name, (_WIDTH, top + height + _FOOT), shown.title, _parts(shown, name, top, height))


def _x(hour: float) -> float:
    return _LEFT + _HOUR * hour


def _parts(shown: DayMap, name: str, top: float, height: float) -> Iterator[str]:
    yield from (words(_x(hour), 12, f"{hour:02d}", "middle") for hour in range(0, 25, 3))
    for index, (source, phases) in enumerate((shown.strips or {}).items()):
        yield from _strip(name, _TOP + index * _STRIP, source, phases)
    yield Box(_LEFT, top, 24 * _HOUR, height).draw("empty")
    yield from (Box(_x(one.start), top, _HOUR * (one.end - one.start), height).draw("night") for one in shown.night)
    most = max((count for row in shown.rows for count in row.counts.values()), default=1)
    for index, row in enumerate(shown.rows):
        yield from _row(row, top + index * _ROW, most)
    if not shown.rows:
        yield words(_x(12), top + 14, "nothing was detected", "middle")
    for one in shown.deaf:  # over the cells: where nobody heard, an empty cell says nothing
        yield Box(_x(one.start), top, _HOUR * (one.end - one.start), height).hatched(name, one.title)
    for hour, said in shown.sun:
        yield f'<line class="sunline" x1="{_x(hour):.1f}" y1="{_TOP - 6}" x2="{_x(hour):.1f}" y2="{top + height:.1f}"/>'
        yield words(_x(hour), _TOP - 9, said, "start" if hour < 3 else "end" if hour > 21 else "middle", "sun")


def _strip(name: str, y: float, source: str, phases: Sequence[Phase]) -> Iterator[str]:
    """When a source was heard."""
    yield words(_LEFT - 8, y + 9, shortened(source, _LETTERS), "end")
    yield Box(_LEFT, y + 2, 24 * _HOUR, 8).draw("heard", f"{source}: heard")
    for one in phases:
        box = Box(_x(one.start), y + 1, max(0.8, _HOUR * (one.end - one.start)), 10)
        yield box.draw("empty") + box.hatched(name, f"{source}: {one.title}")


def _row(row: MapRow, y: float, most: int) -> Iterator[str]:
    label = words(_LEFT - 8, y + 14, shortened(row.name, _LETTERS - 2 * bool(row.mark)) + row.mark, "end", "name")
    yield link(row.address, label)
    for hour, count in sorted(row.counts.items()):
        box = Box(_x(hour) + 0.5, y + 0.5, _HOUR - 1, _ROW - 1)
        yield box.draw(f"c{shade(count, most)}", f"{row.name}, {hour:02d} to {hour + 1:02d}: {count}")
    yield words(_WIDTH - 6, y + 14, str(sum(row.counts.values())), "end")
