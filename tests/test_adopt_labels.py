"""Lists of classes: every format that comes with a published model is read, and none is mistaken for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebird.errors import LabelError
from edgebird.export.adopt.labels import read_model_labels
from edgebird.types import Label

BLACKBIRD = Label("Turdus merula", "Turdus merula", "Eurasian Blackbird")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Turdus merula_Eurasian Blackbird\nDog_Dog\n", (BLACKBIRD, Label("Dog", "Dog", "Dog"))),
        ("\ufeffTurdus merula_Eurasian Blackbird\r\n\r\n", (BLACKBIRD,)),
        (
            "idx;id;sci_name;com_name;class;order\n0;3;Turdus merula;Eurasian Blackbird;Aves;Passeriformes\n",
            (BLACKBIRD,),
        ),
        (
            "inat2024_fsd50k\nTurdus merula\nHuman_voice\n",
            (
                Label("Turdus merula", "Turdus merula", "Turdus merula"),
                Label("Human_voice", "Human_voice", "Human voice"),
            ),
        ),
        ("ebird2021\neurbla\ngrtgri1\n", (Label("eurbla", "", "eurbla"), Label("grtgri1", "", "grtgri1"))),
        ("eurbla\ngretit1\n", (Label("eurbla", "", "eurbla"), Label("gretit1", "", "gretit1"))),
        (
            "code,scientific_name,common_name\neurbla,Turdus merula,Eurasian Blackbird\n",
            (Label("eurbla", "Turdus merula", "Eurasian Blackbird"),),
        ),
    ],
    ids=["v2.4", "v2.4 of Windows", "v3", "perch", "perch's eBird list", "codes", "edgebird's own"],
)
def test_each_format_is_read(text: str, labels: tuple[Label, ...], tmp_path: Path) -> None:
    (tmp_path / "labels").write_text(text, encoding="utf-8", newline="")
    assert read_model_labels(tmp_path / "labels") == labels


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "there is no class in it"),
        (b"\xff\xfe", "not a UTF-8 text"),
        (b"Dog_Dog\nDog_Hound\n", "1 classes come more than once: Dog"),
        (b"idx;sci_name;com_name\n1;A a;B\n0;C c;D\n", "row 1 has idx 1: the rows are not in the model's order"),
    ],
)
def test_a_list_that_would_misname_birds_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(LabelError, match=told):
        read_model_labels(tmp_path / "labels")


def test_a_list_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be read: No such file"):
        read_model_labels(tmp_path / "none.txt")
