"""A day, or days laid over each other: which species when, by sun and night, and when nobody heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgebird.pictures.svg import Box, link, picture, shade, shortened, words

_LEFT, _HOUR, _RIGHT, _ROW, _TOP, _STRIP, _FOOT = 190, 23, 54, 20, 36, 14, 6
_LETTERS = 27


@dataclass(frozen=True, slots=True)
class MapRow:
    """A species. counts: detections by place of the hour. address: of its page, None in a report.

    mark: after its name.
    """

    name: str
    counts: Mapping[int, int]
    address: str | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class HourColumn:
    """An hour of the day. start, end: hours since midnight, as they pass. number: by the clock. mark: in words."""

    start: float
    end: float
    number: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the day, in hours since midnight as they pass, and what it was, for the reader."""

    start: float
    end: float
    title: str


@dataclass(frozen=True, slots=True)
class DayMap:
    """What `day_map` draws.

    deaf: when no source was heard. strips: of each source when it was not. night: between sunset and sunrise.
    sun: times of day with their words, such as 6.2 and "sunrise 06:12". hours: 24, but for a day on which clocks are
    changed.
    """

    title: str
    rows: Sequence[MapRow]
    deaf: Sequence[Phase] = ()
    strips: Mapping[str, Sequence[Phase]] | None = None
    night: Sequence[Phase] = ()
    sun: Sequence[tuple[float, str]] = ()
    hours: Sequence[HourColumn] = tuple(HourColumn(hour, hour + 1, hour) for hour in range(24))

    @property
    def length(self) -> float:
        """Of the day, in hours."""
        return self.hours[-1].end


def day_map(shown: DayMap, name: str = "day") -> str:
    """Return the picture. name: unique on its page."""
    strips = shown.strips or {}
    top = _TOP + len(strips) * _STRIP + (6 if strips else 0)
    height = max(1, len(shown.rows)) * _ROW
    size = _x(shown.length) + _RIGHT, top + height + _FOOT
    return picture(name, size, shown.title, _parts(shown, name, top, height))


def _x(hour: float) -> float:
    return _LEFT + _HOUR * hour


def _parts(shown: DayMap, name: str, top: float, height: float) -> Iterator[str]:
    twice = {one.number for one in shown.hours if one.mark}
    marked = [one for one in shown.hours if one.number % 3 == 0 or one.number in twice]
    yield from (words(_x(one.start), 12, f"{one.number:02d}", "middle") for one in marked)
    yield words(_x(shown.length), 12, "24", "middle")
    wide = _HOUR * shown.length
    for index, (source, phases) in enumerate((shown.strips or {}).items()):
        yield from _strip(name, Box(_LEFT, _TOP + index * _STRIP + 2, wide, 8), source, phases)
    yield Box(_LEFT, top, wide, height).draw("empty")
    yield from (Box(_x(one.start), top, _HOUR * (one.end - one.start), height).draw("night") for one in shown.night)
    most = max((count for row in shown.rows for count in row.counts.values()), default=1)
    for index, row in enumerate(shown.rows):
        yield from _row(row, shown.hours, top + index * _ROW, most)
    if not shown.rows:
        yield words(_x(12), top + 14, "nothing was detected", "middle")
    for one in shown.deaf:  # over the cells: where nobody heard, an empty cell says nothing
        yield Box(_x(one.start), top, _HOUR * (one.end - one.start), height).hatched(name, one.title)
    for hour, said in shown.sun:
        yield f'<line class="sunline" x1="{_x(hour):.1f}" y1="{_TOP - 6}" x2="{_x(hour):.1f}" y2="{top + height:.1f}"/>'
        yield words(_x(hour), _TOP - 9, said, "start" if hour < 3 else "end" if hour > 21 else "middle", "sun")


def _strip(name: str, place: Box, source: str, phases: Sequence[Phase]) -> Iterator[str]:
    """When a source was heard."""
    yield words(_LEFT - 8, place.y + 7, shortened(source, _LETTERS), "end")
    yield place.draw("heard", f"{source}: heard")
    for one in phases:
        box = Box(_x(one.start), place.y - 1, max(0.8, _HOUR * (one.end - one.start)), 10)
        yield box.draw("empty") + box.hatched(name, f"{source}: {one.title}")


def _row(row: MapRow, hours: Sequence[HourColumn], y: float, most: int) -> Iterator[str]:
    label = words(_LEFT - 8, y + 14, shortened(row.name, _LETTERS - 2 * bool(row.mark)) + row.mark, "end", "name")
    yield link(row.address, label)
    for place, count in sorted(row.counts.items()):
        hour = hours[place]
        box = Box(_x(hour.start) + 0.5, y + 0.5, _HOUR * (hour.end - hour.start) - 1, _ROW - 1)
        said = f"{hour.number:02d} to {hour.number + 1:02d}{hour.mark}"
        yield box.draw(f"c{shade(count, most)}", f"{row.name}, {said}: {count}")
    yield words(_x(hours[-1].end) + _RIGHT - 6, y + 14, str(sum(row.counts.values())), "end")
