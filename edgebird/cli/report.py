"""`edgebird report`."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgebird.stored.ranges import Days

NAME = "report"
_DAY = ["%Y-%m-%d"]
_LONGEST = 3660  # days
_YEARS = 1900, 2999


def run(
    database: Annotated[Path, typer.Option("--database", metavar="FILE", help="Of a station: `listen --database`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page to write.")],
    first: Annotated[
        datetime | None,
        typer.Option("--from", metavar="YYYY-MM-DD", formats=_DAY, help="First day; default: the last that was heard."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", metavar="YYYY-MM-DD", formats=_DAY, help="Last day, included; default: as --from."),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--names", metavar="FILE.csv", help="Names of species: `code or scientific name,name` a line."),
    ] = None,
) -> None:
    """Write what a station heard in a range of days as one page of HTML that holds everything and prints well.

    Example: edgebird report --database birds.db --from 2026-05-01 --to 2026-05-31 --out may.html
    """
    from edgebird.errors import DatabaseError, WrongOutputError
    from edgebird.files import atomic_text, first_line
    from edgebird.stored.database import StoredDatabase
    from edgebird.stored.health import last_day
    from edgebird.stored.names import LocalNames, read_names
    from edgebird.stored.report import FIRST_LINE, ReportRequest, report

    given = read_names(names) if names else LocalNames()
    if first_line(out) not in (None, FIRST_LINE):
        raise WrongOutputError(f"cannot write {out}: it is no web page: use another file")
    with StoredDatabase(database).reading() as connection:
        told = last_day(connection)
        if told is None:
            raise DatabaseError(f"{database}: the station has told nothing yet")
        page = report(connection, ReportRequest(_days(first, last, told), given))
    with atomic_text(out) as stream:
        stream.write(page)


def _days(first: datetime | None, last: datetime | None, told: date) -> Days:
    """Return the days that are meant. Raises UsageError where they are none, or more than ten years."""
    from edgebird.errors import UsageError
    from edgebird.stored.ranges import Days

    begin = first.date() if first else last.date() if last else told
    days = Days(begin, last.date() if last else begin)
    if not all(_YEARS[0] <= day.year <= _YEARS[1] for day in (days.first, days.last)):
        raise UsageError(f"--from {days.first} --to {days.last}: give days of the years {_YEARS[0]} to {_YEARS[1]}")
    if not 0 < days.many <= _LONGEST:
        raise UsageError(f"--from {days.first} --to {days.last}: give a first and a last day, at most ten years apart")
    return days
