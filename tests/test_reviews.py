"""Reviews: whoever reviews a sample can say how much of all is right, and what they said is kept."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import DatabaseError
from edgebird.stored.records import Record
from edgebird.web.exports import ebird_records, raven_table
from edgebird.web.reviews import Frame, ReviewStore, Verdict
from edgebird.web.sampling import BANDS, Drawn, Stratum, band_of, draw, probabilities
from tests.sinking import query

FRAME = Frame(None, None, None, None, 10, 30, 2)


def record(number: int, code: str = "comcuc", score: float = 0.5, clip: str | None = None) -> Record:
    time = f"2023-05-0{1 + number % 9}T05:11:12.000+02:00"
    return Record(number, "garden", time, 1.0, 6.0, code, "Cuculus canorus", "Common Cuckoo", score, 1, 0.3, clip)


@given(st.dictionaries(st.integers(0, 30), st.integers(0, 40), max_size=12), st.integers(0, 200), st.integers(0, 99))
@settings(deadline=None)
def test_a_draw_has_as_many_as_were_asked_for_and_each_once(sizes: dict[int, int], many: int, seed: int) -> None:
    """And expects as many: the probabilities of all add up to the size of the draw."""
    frame = {
        Stratum(f"s{code}", code % 5): [1000 * code + item for item in range(size)] for code, size in sizes.items()
    }
    drawn = draw(frame, many, seed)
    wanted = min(many, sum(sizes.values()))
    assert len(drawn) == len({one.detection for one in drawn}) == wanted
    chance = probabilities({stratum: len(items) for stratum, items in frame.items()}, many)
    assert sum(chance[stratum] * len(frame[stratum]) for stratum in chance) == pytest.approx(wanted)
    for one in drawn:
        assert one.detection in frame[one.stratum]
        assert 0 < one.probability <= 1
        assert (one.probability, one.size) == (chance[one.stratum], len(frame[one.stratum]))


@pytest.mark.parametrize("many", [3, 7, 40])
def test_the_precision_of_all_is_estimated_without_bias(many: int) -> None:
    """Over many draws the weighted share of right ones is that of all, though rare species are drawn far more often.

    The unweighted share is not: that is why each review has its probability.
    """
    random = np.random.default_rng(0)
    frame = {
        Stratum(f"s{n}", n % 5): list(range(1000 * n, 1000 * n + size)) for n, size in enumerate((400, 60, 20, 5, 1))
    }
    right = {item: random.random() < (0.9 if items[0] == 0 else 0.2) for items in frame.values() for item in items}
    truth, total = sum(right.values()) / len(right), len(right)
    weighted, plain = [], []
    for seed in range(1500):
        drawn = draw(frame, many, seed)
        weighted.append(sum(right[one.detection] / one.probability for one in drawn) / total)
        plain.append(sum(right[one.detection] for one in drawn) / many)
    error = 4 * np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - truth) < error
    assert abs(np.mean(plain) - truth) > 0.1


def test_items_are_drawn_as_often_as_their_probability_says() -> None:
    frame = {Stratum("a", 0): list(range(50)), Stratum("b", 0): [100, 101, 102], Stratum("c", 1): [200]}
    counts: Counter[int] = Counter()
    for seed in range(4000):
        counts.update(one.detection for one in draw(frame, 6, seed))
    chance = probabilities({stratum: len(items) for stratum, items in frame.items()}, 6)
    for stratum, items in frame.items():
        for item in items:
            share = chance[stratum]
            assert counts[item] / 4000 == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5 + 1e-9)


@pytest.mark.parametrize(("score", "band"), [(0.0, 0), (0.19, 0), (0.2, 1), (0.79, 3), (0.8, 4), (1.0, 4)])
def test_scores_have_their_band(score: float, band: int) -> None:
    assert band_of(score) == band
    assert BANDS[band] <= score <= BANDS[band + 1]


@pytest.fixture
def store(tmp_path: Path) -> ReviewStore:
    return ReviewStore(tmp_path / "birds.db.reviews")


def drawn(*numbers: int) -> list[Drawn]:
    return [Drawn(number, Stratum("comcuc", 2), 8, 0.25) for number in numbers]


def test_a_queue_is_gone_through_in_its_order_and_then_over(store: ReviewStore) -> None:
    assert store.next_item() is None
    store.add_draw(FRAME, 7, drawn(5, 3, 9))
    seen = []
    while (item := store.next_item()) is not None:
        seen.append((item.detection, item.left, item.many))
        store.add(record(item.detection), Verdict("right"))
    assert seen == [(5, 3, 3), (3, 2, 3), (9, 1, 3)]
    store.undo(record(3))
    assert (again := store.next_item()) is not None
    assert again.detection == 3
    assert store.next_item(skip=[3]) is None


def test_a_review_has_how_likely_its_item_was_and_one_that_was_looked_up_has_not(store: ReviewStore) -> None:
    """Who looks up what looks odd would make an estimate worse, were it counted."""
    store.add_draw(FRAME, 7, drawn(5))
    store.add(record(5), Verdict("wrong", "gretit1", "me"))
    store.add(record(6), Verdict("unsure"))
    columns = "detection, verdict, species, reviewer, draw, stratum, stratum_size, probability, code, score"
    assert query(store.path, f"SELECT {columns} FROM reviews ORDER BY id") == [
        (5, "wrong", "gretit1", "me", 1, "comcuc 0.4-0.6", 8, 0.25, "comcuc", 0.5),
        (6, "unsure", None, None, None, None, None, None, "comcuc", 0.5),
    ]
    assert query(store.path, "SELECT seed, many, frame, unheard FROM draws") == [(7, 10, 30, 2)]


def test_the_last_review_of_a_detection_counts(store: ReviewStore) -> None:
    store.add(record(5), Verdict("right"))
    store.add(record(5), Verdict("wrong"))
    assert store.of([record(5), record(6)])[5]["verdict"] == "wrong"
    assert [one["detection"] for one in store.last("wrong")] == [5]
    assert store.last("right") == []


def test_reviews_are_not_of_what_has_their_numbers_in_a_new_database(store: ReviewStore) -> None:
    """Else a new year's birds would look verified, leave exports of the old one, and spoil estimates of its sample."""
    old, new = record(5), replace(record(5, score=0.9), time="2024-01-01T05:00:00.000+01:00")
    store.add(old, Verdict("right"))
    assert store.of([new]) == {}
    store.undo(new)
    store.add_draw(FRAME, 7, [Drawn(5, Stratum("comcuc", 4), 8, 0.5)])
    item = store.next_item()
    assert item is not None
    assert (item.is_of(new), item.is_of(old)) == (True, False)
    store.add_draw(FRAME, 8, drawn(5, 6))
    store.add(new, Verdict("right"))
    assert [one["detected"] for one in store.last("right")] == [old.time, new.time]
    assert [one["probability"] for one in store.last("right")] == [None, 0.5]
    assert (item := store.next_item()) is not None
    assert item.detection == 6


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    for act in (lambda: ReviewStore(path).add(record(1), Verdict("right")), lambda: ReviewStore(path).last()):
        with pytest.raises(DatabaseError, match="something else"):
            act()
    assert path.read_bytes() == before


def test_reading_makes_no_file(store: ReviewStore) -> None:
    assert store.last() == []
    assert not store.path.exists()


KNOWN = {"gretit1": ("Parus major", "Great Tit")}


def verified(number: int, verdict: str = "right", species: str | None = None, **more: Any) -> dict[str, Any]:
    one = record(number, clip=f"clips/garden/x{number}.flac")
    row = {name: getattr(one, name) for name in Record.__slots__}
    return {**row, "detected": one.time, "verdict": verdict, "species": species, **more}


def test_ebird_gets_one_line_for_each_species_and_hour() -> None:
    """Without headings and with 19 columns; counts are X, for two calls may be one bird."""
    rows = [verified(1), verified(1), verified(2, "wrong", "gretit1"), verified(3, "wrong", "=HYPERLINK(1)")]
    table = list(csv.reader(io.StringIO(ebird_records(rows, KNOWN, "my garden", (52.5, 13.4)))))
    assert [len(row) for row in table] == [19] * 3
    assert table[0][:4] == ["Common Cuckoo", "Cuculus", "canorus", "X"]
    assert table[0][5:10] == ["my garden", "52.500000", "13.400000", "05/02/2023", "05:00"]
    assert table[0][12:16] == ["stationary", "1", "60", "N"]
    assert table[1][:3] == ["Great Tit", "Parus", "major"]
    assert table[2][0] == "'=HYPERLINK(1)"


def test_ravens_table_has_clips_that_are_there_one_after_the_other(tmp_path: Path) -> None:
    import soundfile

    (tmp_path / "clips" / "garden").mkdir(parents=True)
    for number in (1, 2):
        soundfile.write(tmp_path / "clips" / "garden" / f"x{number}.flac", np.zeros(80_000, np.int16), 8000)
    text = raven_table([verified(1), verified(2, "wrong", "gretit1"), verified(3)], tmp_path / "clips")
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    assert [(row["Begin Time (s)"], row["End Time (s)"], row["Species Code"]) for row in rows] == [
        ("3.0", "7.0", "comcuc"), ("13.0", "17.0", "gretit1"),
    ]  # fmt: skip
    assert [row["Begin File"] for row in rows] == ["x1.flac", "x2.flac"]
