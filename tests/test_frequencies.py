"""What is heard where and when: a file that is read wrongly makes common birds rare, and nobody sees why."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebird.errors import LabelError
from edgebird.frequencies import WEEKS, read_bar_chart, read_table, week_of
from edgebird.types import FloatArray, Label

LABELS = [
    Label("comcuc", "Cuculus canorus", "Common Cuckoo"),
    Label("eurrob1", "Erithacus rubecula", "European Robin"),
    Label("rocpig", "Columba livia", "Rock Pigeon"),
    Label("eurrob2", "Erithacus rubecula", "European Robin"),  # a second class of one species
    Label("noise", "noise", "noise"),
]
YEAR = [round(0.001 * week, 7) for week in range(WEEKS)]
SAMPLES = [float(10 + week) for week in range(WEEKS)]
MONTHS = "\t\t\t\t".join("Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez".split())


def chart(rows: list[tuple[str, list[float]]], samples: list[float] = SAMPLES, title: str = "Sample Size:") -> str:
    """A file as eBird makes it, without anything of one."""
    head = ["", "Häufigkeit der Beobachtungen", "", f"Number of taxa:\t{len(rows)}", "", f"\t{MONTHS}\t", ""]
    table = [(title, samples), ("", []), *rows]
    return "\n".join([*head, *("\t".join([name, *map(str, values), ""]) if values else "" for name, values in table)])


def read(tmp_path: Path, text: str) -> FloatArray:
    path = tmp_path / "chart.txt"
    path.write_text(text, encoding="utf-8")
    return read_bar_chart(path, LABELS)


def test_a_week_is_that_of_ebird_and_the_last_one_goes_to_the_end_of_the_month() -> None:
    for year in (2023, 2024):
        for day in (date(year, 1, 1) + timedelta(days) for days in range(366 if year == 2024 else 365)):
            first = {0: 1, 1: 8, 2: 15, 3: 22}[week_of(day) % 4]
            last = {0: 7, 1: 14, 2: 21, 3: monthrange(year, day.month)[1]}[week_of(day) % 4]
            assert first <= day.day <= last
            assert week_of(day) // 4 == day.month - 1


STYLES = {
    "scientific": "Cuculus canorus",
    "common": "Common Cuckoo",
    "both": 'Kuckuck (<em class="sci">Cuculus canorus</em>)',
    "both, bare": '<em class="sci">Cuculus canorus</em>',
    "escaped": 'Coucou gris &#40;<em class="sci">Cuculus&#32;canorus</em>&#41;',
    "other case": "CUCULUS  CANORUS",
}


@pytest.mark.parametrize("style", STYLES)
def test_a_row_is_found_by_its_scientific_name_in_every_style_and_language(tmp_path: Path, style: str) -> None:
    found = read(tmp_path, chart([(STYLES[style], YEAR)]))
    assert found[:, 0] == pytest.approx(YEAR)
    assert np.isnan(found[:, 1:]).all()


@pytest.mark.parametrize(
    "name",
    [
        'Columba sp. (<em class="sci">Columba sp.</em>)',
        'Haustaube (<em class="sci">Columba livia (Domestic type)</em>)',
        "Rock Pigeon (Feral Pigeon)",
        'a/b (<em class="sci">Columba livia/oenas</em>)',
        'hybrid (<em class="sci">Columba livia x oenas</em>)',
        "Columba livia/oenas",
        'Unterart (<em class="sci">Columba livia gaddi</em>)',
        'Rock Pigeon (<em class="sci">Columba nova</em>)',  # a species of that name that the model does not know
    ],
)
def test_what_is_no_species_of_the_model_counts_for_none(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, chart([("Cuculus canorus", YEAR), (name, YEAR)]))
    assert np.isnan(found[:, 2]).all()


def test_several_classes_of_a_species_share_its_row(tmp_path: Path) -> None:
    found = read(tmp_path, chart([("Erithacus rubecula", YEAR)]))
    assert found[:, 1] == pytest.approx(YEAR)
    assert found[:, 3] == pytest.approx(YEAR)


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_week_is_as_the_file_has_it_and_one_without_checklists_is_unknown(
    tmp_path: Path, data: st.DataObject
) -> None:
    """A value stands even in weeks without checklists: it would make a common bird rare there."""
    style = data.draw(st.sampled_from(list(STYLES.values())))
    values = data.draw(st.lists(st.floats(0, 1, width=32), min_size=WEEKS, max_size=WEEKS))
    samples = data.draw(st.lists(st.sampled_from([0.0, 1.0, 250.0]), min_size=WEEKS, max_size=WEEKS))
    title = data.draw(st.sampled_from(["Sample Size:", "Stichprobengröße:", "Taille de l'échantillon :"]))
    text = chart([("Turdus merula", YEAR), (style, values)], samples, title)
    text = text.replace("\n", data.draw(st.sampled_from(["\n", "\r\n"])))
    if not any(samples):
        with pytest.raises(LabelError, match="in a week with checklists"):
            read(tmp_path, text)
        return
    found = read(tmp_path, text)[:, 0]
    expected = [value if count else np.nan for value, count in zip(values, samples, strict=True)]
    assert np.array_equal(found, np.array(expected, np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no row of 48 numbers"),
        ("species,weeks,frequency\ncomcuc,all,1\n", "it has no row of 48 numbers"),
        (chart([("Cuculus canorus", YEAR[:47])]), "line 10: wanted 48 numbers from 0 on, got 47"),
        (chart([("Cuculus canorus", [*YEAR[:47], 1.5])]), "line 10: 1.5 is no frequency"),
        (chart([("Cuculus canorus", [*YEAR[:47], -0.1])]), "line 10: wanted 48 numbers from 0 on"),
        (chart([("Kuckuck", YEAR)]), "names are matched by their scientific one"),
    ],
)
def test_a_file_that_is_none_or_is_broken_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(LabelError, match=problem):
        read(tmp_path, text)


def test_a_missing_file_and_another_encoding_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Häher".encode("latin-1"))
    with pytest.raises(LabelError, match="not UTF-8"):
        read_bar_chart(tmp_path / "latin.txt", LABELS)
    with pytest.raises(LabelError, match="No such file"):
        read_bar_chart(tmp_path / "none.txt", LABELS)


# ------------------------------------------------------------------------------------------------------ the own table
def own(tmp_path: Path, *lines: str) -> FloatArray:
    path = tmp_path / "place.csv"
    path.write_text("species,weeks,frequency\n" + "\n".join(lines), encoding="utf-8-sig")
    return read_table(path, LABELS)


def test_a_table_says_where_a_species_is_and_that_it_is_not_there_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that is spelled wrong is told: its species would be as set, as if nobody knew."""
    found = own(tmp_path, "Cuculus canorus,17-20 22,5%", "european robin,all,0.5", "eurrob1,45-2,0.25", "Nobody,all,1")
    cuckoo = np.zeros(WEEKS)
    cuckoo[[16, 17, 18, 19, 21]] = 0.05
    robin = np.full(WEEKS, 0.5)
    robin[[44, 45, 46, 47, 0, 1]] = 0.25
    assert found[:, 0] == pytest.approx(cuckoo)
    assert found[:, 1] == pytest.approx(robin)
    assert found[:, 3] == pytest.approx(np.full(WEEKS, 0.5))  # its other class has a code of its own
    assert np.isnan(found[:, 2]).all()
    assert "place.csv: names that are no label of this model: 1 (Nobody)" in caplog.text
    with pytest.raises(LabelError, match=r"it names no label of this model \(Nobody\)"):
        own(tmp_path, "Nobody,all,1")


@pytest.mark.parametrize(
    "line", ["comcuc,0-3,0.1", "comcuc,1-49,0.1", "comcuc,,0.1", "comcuc,all,1.5", "comcuc,all", "comcuc,all,nan"]
)
def test_a_line_of_a_table_that_cannot_be_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(LabelError, match=f"place.csv, line 3: wanted a species.*got {line}"):
        own(tmp_path, "eurrob1,all,0.5", line)


def test_a_table_without_its_head_is_refused(tmp_path: Path) -> None:
    (tmp_path / "place.csv").write_text("comcuc,all,0.5\n")
    with pytest.raises(LabelError, match="its first line is not species,weeks,frequency"):
        read_table(tmp_path / "place.csv", LABELS)
