"""Species lists: lists written for other tools work as they are, and a list that cannot work is said to be so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgebird.errors import LabelError
from edgebird.species import allowed_labels
from edgebird.types import Label

LABELS = [
    Label("comcuc", "Cuculus canorus", "Common Cuckoo"),
    Label("barswa", "Hirundo rustica", "Barn Swallow"),
    Label("eurjac", "Corvus monedula", "Eurasian Jackdaw"),
    Label("noise", "", ""),
]


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "species_list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "entry",
    [
        "Hirundo rustica_Barn Swallow",
        "barswa",
        "Hirundo rustica",
        "Barn Swallow",
        "BARN  swallow ",
        "Hirundo rustica_Rauchschwalbe",  # a list in another language
        "Hirundo erythrogaster_Barn Swallow",  # a list of another taxonomy
    ],
)
def test_every_way_to_name_a_species(tmp_path: Path, entry: str) -> None:
    assert allowed_labels(write(tmp_path, entry), LABELS).tolist() == [False, True, False, False]


def test_lists_saved_on_windows_with_comments(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfcomcuc\r\n\r\n# spring\r\n  eurjac  \r\n")
    assert allowed_labels(path, LABELS).tolist() == [True, False, True, False]


def test_all_labels_of_a_species_are_meant(tmp_path: Path) -> None:
    labels = [Label("song", "Cuculus canorus", "Cuckoo song"), Label("call", "Cuculus canorus", "Cuckoo call")]
    assert allowed_labels(write(tmp_path, "Cuculus canorus"), labels).tolist() == [True, True]


def test_foreign_species_are_normal_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "comcuc\nHuman vocal\nDog\nEngine\nSiren\n")
    with caplog.at_level(logging.WARNING, logger="edgebird.species"):
        assert allowed_labels(path, LABELS).tolist() == [True, False, False, False]
    assert [record.getMessage() for record in caplog.records] == [
        f"species list {path}: 4 of 5 entries are no label of this model (Human vocal, Dog, Engine, ...)"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Dog\nEngine\n", r"none of its 2 entries is a label of this model \(Dog, Engine\); expected"),
        (b"# nothing yet\n", "none of its 0 entries is a label"),  # else every bird would be rejected in silence
        (b"Corvus monedula_T\xfcrkendohle\n", "is not UTF-8 text"),
    ],
)
def test_a_list_that_cannot_work_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        allowed_labels(write(tmp_path, content), LABELS)
    assert "\n" not in str(caught.value)


def test_a_list_that_several_sources_share_is_read_once_and_again_when_it_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "comcuc\nDog\n")
    first, second = allowed_labels(path, LABELS), allowed_labels(path, LABELS)
    assert first is second
    assert len(caplog.records) == 1
    write(tmp_path, "comcuc\nDog\nbarswa\n")
    assert allowed_labels(path, LABELS).tolist() == [True, True, False, False]


def test_a_missing_list_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"cannot read species list .*none\.txt: No such file"):
        allowed_labels(tmp_path / "none.txt", LABELS)
