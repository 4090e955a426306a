"""Pictures of what a station stored, and the report: they show what is there, escape it, and need nothing else."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer.testing
from typer.testing import Result

from edgebird.cli.app import make_app
from edgebird.pictures import stylesheet
from edgebird.pictures.day import DayMap, MapRow, Phase, day_map
from edgebird.pictures.season import BarRow, bars
from edgebird.pictures.svg import shade
from edgebird.sinks.database import DatabaseSink
from edgebird.stored.database import StoredDatabase
from edgebird.stored.drawn import day_view
from edgebird.stored.names import LocalNames
from edgebird.stored.ranges import Days, hours_of, scores_of, season
from tests.sinking import Tape, detection, opened
from tests.year import Year, write_year

YEAR = Year(first=date(2025, 3, 1), days=80, detections=4000, species=20, outage_h=30)
EVIL = '<b>"Fink\'s"</b> & Co'


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_year(tmp_path_factory.mktemp("year") / "birds.db", YEAR)


def edgebird(*arguments: object) -> Result:
    return typer.testing.CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


def svg(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_a_deaf_afternoon_is_hatched_and_an_empty_one_is_not(year: Path) -> None:
    """The two look alike on every other station's page."""
    outage = YEAR.outage[0].date()
    with StoredDatabase(year).reading() as connection:
        cut, whole = (day_view(connection, day, LocalNames()) for day in (outage, outage - timedelta(days=3)))
    titles = [element.text or "" for element in svg(cut.picture).iter("title")]
    assert "07:00:00 to 00:00:00, nobody heard: not running" in titles
    assert "nobody heard" not in whole.picture
    assert cut.deaf_s == 17 * 3600
    assert re.search(r"sunrise 06:\d\d", whole.picture)
    assert re.search(r"sunset 18:\d\d", whole.picture)


def test_names_and_titles_are_text_and_nothing_else() -> None:
    """A source or species may be called anything; on a page it must not become markup."""
    shown = DayMap(EVIL, [MapRow(EVIL, {5: 1}, f"/species/{EVIL}")], strips={EVIL: [Phase(1, 2, EVIL)]})
    for picture in (day_map(shown), bars(EVIL, [BarRow(EVIL, 1, EVIL)])):
        assert "<b>" not in picture
        assert EVIL in [element.text for element in svg(picture).iter("title")]


@pytest.mark.parametrize("count", [0, 1, 2, 10, 999, 1000])
def test_more_is_never_drawn_paler(count: int) -> None:
    assert 0 <= shade(count, 1000) <= shade(count + 1, 1000) <= 6
    assert (shade(count, 1000) == 0) == (count == 0)


def test_pictures_have_classes_and_no_style(year: Path) -> None:
    """A page that forbids inline styles would show them black."""
    days, code = Days(YEAR.first, YEAR.ends.date()), "bawhor2"
    with StoredDatabase(year).reading() as connection:
        pictures = [day_view(connection, YEAR.first, LocalNames()).picture, season(connection, code, "x", days, {})]
        pictures += [hours_of(connection, code, days), scores_of(connection, code, days)]
    for picture in pictures:
        assert " style=" not in picture
        kinds = {kind for element in svg(picture).iter() for kind in element.get("class", "").split()}
        assert all(f".{kind}" in stylesheet() for kind in kinds)


class Loads(HTMLParser):
    """Gathers what a page asks for elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.wanted += [
            f"{tag} {value}" for key, value in attrs if key in ("src", "href", "style") or key.startswith("on")
        ]
        self.wanted += [tag] if tag in ("script", "iframe", "b") else []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("days", [1, 40, 80])
def test_a_report_holds_everything_and_asks_for_nothing(year: Path, tmp_path: Path, days: int) -> None:
    last = YEAR.first + timedelta(days=days - 1)
    span = ["--from", YEAR.first, "--to", last, "--out", tmp_path / "r.html"]
    (tmp_path / "names.csv").write_text(f'Bycanistes subcylindricus,"{EVIL.replace(chr(34), chr(34) * 2)}"\n')
    done = edgebird("report", "--database", year, *span, "--names", tmp_path / "names.csv")
    assert (done.exit_code, done.stdout) == (0, "")
    page = Loads()
    page.feed((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.wanted == []
    text = " ".join(page.texts)
    assert "What was heard of the time" in text
    assert "first ever" in text


def test_a_station_that_heard_nothing_has_a_report_of_nothing(tmp_path: Path) -> None:
    sink = opened(DatabaseSink(tmp_path / "birds.db"))
    tape = Tape()
    sink.take(detection(tape), None)
    sink.close()
    done = edgebird("report", "--database", tmp_path / "birds.db", "--from", "2020-02-29", "--out", tmp_path / "r.html")
    assert done.exit_code == 0, done.stderr
    assert "0 detections of 0 species" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_what_cannot_be_is_one_line_and_writes_nothing(year: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.html"
    other.write_text("my notes\n")
    empty = tmp_path / "empty.db"
    opened(DatabaseSink(empty)).close()
    given = ["--database", year, "--out", tmp_path / "r.html"]
    for code, options, said in (
        (1, ["--database", year, "--out", other], "it is no web page"),
        (1, ["--database", tmp_path / "none.db", "--out", tmp_path / "r.html"], "there is no such file"),
        (1, ["--database", empty, "--out", tmp_path / "r.html"], "has told nothing yet"),
        (2, [*given, "--from", "2025-02-02", "--to", "2025-02-01"], "first and a last"),
        (2, [*given, "--from", "yesterday"], "yesterday"),
        (2, [*given, "--from", "0001-01-01"], "1900 to 2999"),
        (2, [*given, "--to", "9999-12-31"], "1900 to 2999"),
    ):  # fmt: skip
        done = edgebird("report", *options)
        assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
    assert other.read_text() == "my notes\n"
    assert not (tmp_path / "r.html").exists()
