"""When a station heard: each second of a source was scored, or lost for a reason, or the station did not run.

The times are those of the station's clock: where it was set, spans are as far off as it was.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from edgebird.stored.local import local_time
from edgebird.stored.spans import Span, seconds_of, subtract, union, within

_BEFORE = timedelta(hours=1)  # longer gaps are told in pieces
_LATE = timedelta(seconds=30)  # statistics that are later than this after those before: the station stood still
_LONGEST = timedelta(days=1)  # between two of them


@dataclass(frozen=True, slots=True)
class DeafSpan:
    """Audio that was lost: a span, and why. bridged_s: seconds lost in a minute that was else heard, or None."""

    start: datetime
    end: datetime
    reason: str
    bridged_s: float | None = None


@dataclass(slots=True)
class Coverage:
    """What a source heard of a time. up: the station ran. lost: what it did not score of that."""

    source: str
    up: list[Span] = field(default_factory=list)
    lost: list[DeafSpan] = field(default_factory=list)

    @property
    def heard(self) -> list[Span]:
        """When it was heard and scored; losses of a fraction of a second count as heard."""
        return subtract(self.up, union((gap.start, gap.end) for gap in self.lost if gap.bridged_s is None))

    def seconds(self, start: datetime, end: datetime) -> dict[str, float]:
        """Return the account of a time: `scored`, each reason, `not running`; together they are its length."""
        up = within(self.up, start, end)
        account: dict[str, float] = defaultdict(float)
        told: list[Span] = []
        for gap in self.lost:
            span = within([(gap.start, gap.end)], start, end)
            if gap.bridged_s is not None:
                account[gap.reason] += gap.bridged_s if span else 0
            else:
                new = subtract(span, union(told))
                account[gap.reason] += seconds_of(new)
                told += new
        running = seconds_of(union([*up, *told]))
        lost = dict(sorted((reason, value) for reason, value in account.items() if value > 0))
        length = (end - start).total_seconds()
        return {"scored": max(0.0, running - sum(lost.values())), **lost, "not running": length - running}


def coverage(connection: sqlite3.Connection, first: date, last: date) -> list[Coverage]:
    """Return what each source heard from one day to another, both whole; sources by their names."""
    local = local_time(connection, first, last)
    start, end = local.midnight(first), local.midnight(last + timedelta(days=1))
    found: dict[str, Coverage] = {}
    for name, spans in _running(connection, start, end).items():
        found[name] = Coverage(name, within(union(spans), start, end))
    for row in _events(connection, ("gap",), start - _BEFORE, end):
        event = json.loads(row["json"])
        began = clock(event["time"])
        length = event["end_s"] - event["start_s"]
        bridged = length if event.get("bridged") else None
        gap = DeafSpan(began, began + timedelta(seconds=60 if bridged else length), event["reason"], bridged)
        if gap.end > start:
            found.setdefault(event["source"], Coverage(event["source"])).lost.append(gap)
    return [found[name] for name in sorted(found)]


def clock(text: str) -> datetime:
    """Return a time that the station wrote, with its offset."""
    return datetime.fromisoformat(text)


def deaf(sources: Sequence[Coverage], start: datetime, end: datetime) -> list[Span]:
    """Return when none of these sources was heard."""
    return subtract([(start, end)], union(span for source in sources for span in source.heard))


def _events(
    connection: sqlite3.Connection, kinds: Iterable[str], start: datetime, end: datetime
) -> Iterator[sqlite3.Row]:
    """Events of some kinds in a time, as they were told. Texts of times compare as the times do, but for offsets."""
    wanted = list(kinds)
    marks = ", ".join("?" for _ in wanted)
    statement = f"SELECT id, event, time, source, json FROM events WHERE event IN ({marks}) AND time >= ? AND time < ?"
    span = [moment.isoformat(timespec="milliseconds") for moment in (start, end)]
    rows = connection.execute(statement, [*wanted, *span]).fetchall()
    yield from sorted(rows, key=lambda row: int(row["id"]))


@dataclass(frozen=True, slots=True)
class _Mark:
    """A source at a time: how much of it there was, in seconds since it first opened."""

    at: datetime
    audio_s: float


def _running(connection: sqlite3.Connection, start: datetime, end: datetime) -> Mapping[str, list[Span]]:
    """When the station had each source: between two statistics of one run, and from its beginning to the first."""
    spans: dict[str, list[Span]] = defaultdict(list)
    before: dict[str, _Mark] = {}
    first = _nearest(connection, start, "max", "<") or start
    last = _nearest(connection, end, "min", ">=") or end  # says whether it ran until the end
    for row in _events(connection, ("stats", "summary"), first, last + timedelta(seconds=1)):
        event = json.loads(row["json"])
        for name, mark in _marks(event):
            spans[name].append((_since(mark, before.get(name)), mark.at))
            if event["event"] == "summary":
                before.pop(name, None)
            else:
                before[name] = mark
    return spans


def _since(mark: _Mark, last: _Mark | None) -> datetime:
    """From when on the source was there: since the last mark but while the computer slept, or since it opened."""
    opened = mark.at - timedelta(seconds=mark.audio_s)
    if last is None or mark.audio_s < last.audio_s or opened >= last.at:
        return opened
    slept = mark.at - last.at - timedelta(seconds=mark.audio_s - last.audio_s)
    return last.at + slept if slept > _LATE else last.at


def _marks(event: Mapping[str, object]) -> Iterator[tuple[str, _Mark]]:
    if event["time"] is None:
        return
    at = clock(str(event["time"]))
    if event["event"] == "summary":
        heard = sum(float(str(event[key])) for key in ("scored_s", "gap_s", "tail_s"))
        yield str(event["source"]), _Mark(at, heard)
        return
    sources = event.get("sources")
    for one in sources if isinstance(sources, list) else ():
        yield one["source"], _Mark(at, one["audio_s"])


def _nearest(connection: sqlite3.Connection, moment: datetime, which: str, side: str) -> datetime | None:
    """The statistics next to a time, before or after it; None if there are none within a day."""
    statement = f"SELECT {which}(time) FROM events WHERE event = 'stats' AND time {side} ?"
    (found,) = connection.execute(statement, [moment.isoformat(timespec="milliseconds")]).fetchone()
    near = clock(found) if found else None
    return near if near is not None and abs(near - moment) <= _LONGEST else None
