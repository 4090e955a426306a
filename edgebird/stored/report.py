"""A report of a range of days: one page of HTML that holds everything, reads on any screen and prints well."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from html import escape

from edgebird import __version__
from edgebird.pictures import stylesheet
from edgebird.pictures.day import DayMap, MapRow, day_map
from edgebird.sinks.firsts import firsts_of_days
from edgebird.stored.coverage import clock, coverage
from edgebird.stored.days import HeardSpecies, species_by_hour
from edgebird.stored.drawn import day_view, said_first
from edgebird.stored.health import last_state
from edgebird.stored.local import local_time
from edgebird.stored.names import LocalNames
from edgebird.stored.ranges import Days, account, heard_by_day, season

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p, li, td, th { max-width: 46rem; } .soft { color: var(--soft); } .table, .wide { overflow-x: auto; }
.wide svg { min-width: 36rem; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { white-space: nowrap; }
section { break-inside: avoid; } @media print { body { margin: 0; max-width: none; } .wide svg { min-width: 0; } }
"""
FIRST_LINE = "<!DOCTYPE html>"
_SEASONS = 12  # species whose season is drawn
_ROWS = 40  # of the map of all days

_WORDS = """Hatched is when nothing was heard: there an empty place does not mean that there was no bird. A score is no
probability, and scores of different species cannot be compared: listen to clips of a species before you believe its
count."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """Which days, both included, and in which names."""

    days: Days
    names: LocalNames


def report(connection: sqlite3.Connection, wanted: ReportRequest) -> str:
    """Return the page."""
    days = wanted.days
    title = f"Birds from {days.first} to {days.last}" if days.many > 1 else f"Birds on {days.first}"
    return (
        f'{FIRST_LINE}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{stylesheet()}{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        + "".join(_body(connection, wanted))
        + f'<p class="soft">Made with edgebird {__version__} on {datetime.now():%Y-%m-%d}.</p>\n'
        + "</main>\n</body>\n</html>\n"
    )


def _body(connection: sqlite3.Connection, wanted: ReportRequest) -> Iterator[str]:
    days = wanted.days
    species = species_by_hour(connection, days.first, days.last)
    firsts = _firsts(connection, days)
    told = last_state(connection).told
    sources = coverage(connection, days.first, days.last)
    local = local_time(connection, days.first, days.last)
    picture, seconds = account(sources, days, local, clock(told) if told else None)
    yield _summary(species, seconds, firsts)
    yield f'<section>\n<h2>What was heard of the time</h2>\n<div class="wide">{picture}</div>\n'
    yield f"{_reasons(seconds)}</section>\n"
    if days.many == 1:
        yield f'<h2>The day</h2>\n<div class="wide">{day_view(connection, days.first, wanted.names).picture}</div>\n'
    elif species:
        yield f'<h2>Hours of the day, all days together</h2>\n<div class="wide">{_hours(species, wanted.names)}</div>\n'
    if firsts:
        yield _first_list(firsts, species, wanted.names)
    if days.many > 1 and species:
        yield "<h2>Seasons</h2>\n"
        heard = heard_by_day(connection, days)
        for number, one in enumerate(species[:_SEASONS]):
            name = _name(one, wanted.names)
            drawn = season(connection, one.code, name, days, heard, f"season{number}")
            yield f'<section><h3>{escape(name)} <i class="soft">{escape(one.scientific_name)}</i></h3>\n'
            yield f'<div class="wide">{drawn}</div></section>\n'
    yield _table(species, wanted.names)


def _name(one: HeardSpecies, names: LocalNames) -> str:
    return names.of(one.code, one.scientific_name, one.common_name)


def _firsts(connection: sqlite3.Connection, days: Days) -> list[tuple[str, date, str]]:
    """Code, day and what it is the first of."""
    found = firsts_of_days(connection, days.first, days.last)
    return [(one.code, date.fromisoformat(one.time[:10]), said) for one in found if (said := said_first(one))]


def _summary(species: list[HeardSpecies], seconds: Mapping[str, float], firsts: list[tuple[str, date, str]]) -> str:
    many, scored, total = sum(one.count for one in species), seconds.get("scored", 0.0), sum(seconds.values())
    share = f" ({scored / total:.1%} of the time of all sources)" if total else ""
    new = len({code for code, _, said in firsts if said == "first ever"})
    told = f"{many} detections of {len(species)} species in {scored / 3600:.1f} hours that were scored{share}."
    return f'<p>{told} {new} species were new.</p>\n<p class="soft">{_WORDS}</p>\n'


def _reasons(seconds: Mapping[str, float]) -> str:
    rows = "".join(
        f"<tr><td>{escape(reason)}</td><td>{value / 3600:.2f}</td></tr>\n" for reason, value in seconds.items()
    )
    head = '<tr><th scope="col">became</th><th scope="col">hours, all sources</th></tr>'
    return f'<div class="table"><table><thead>{head}</thead><tbody>\n{rows}</tbody></table></div>\n' if rows else ""


def _hours(species: list[HeardSpecies], names: LocalNames) -> str:
    rows = [MapRow(_name(one, names), one.counts) for one in species[:_ROWS]]
    return day_map(DayMap(f"The {len(rows)} most frequent species by hour of the day", rows), "hours")


def _first_list(firsts: list[tuple[str, date, str]], species: list[HeardSpecies], names: LocalNames) -> str:
    known = {one.code: _name(one, names) for one in species}
    lines = "".join(f"<li>{day}: {escape(known.get(code, code))}, {said}</li>\n" for code, day, said in firsts)
    return f"<h2>Firsts</h2>\n<ul>\n{lines}</ul>\n"


def _table(species: list[HeardSpecies], names: LocalNames) -> str:
    heads = ("species", "detections", "highest score", "first", "last")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "".join(
        f'<tr><th scope="row">{escape(_name(one, names))} <i class="soft">{escape(one.scientific_name)}</i></th>'
        f"<td>{one.count}</td><td>{one.best:.2f}</td><td>{_minute(one.first)}</td><td>{_minute(one.last)}</td></tr>\n"
        for one in species
    )
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>"
    return f'<h2>Species</h2>\n<div class="table">{table}</div>\n'


def _minute(text: str) -> str:
    return escape(text[:16].replace("T", " "))
