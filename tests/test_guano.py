"""GUANO: what a clip says of itself is read back as it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edgebird.errors import AudioError
from edgebird.sinks.guano import guano_text, parse_guano, read_guano, with_guano
from tests.sinking import RATE

NAMES = st.text("abc|XY", min_size=1)


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40).map(str.strip)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_guano_gives_back_what_it_was_given(fields: dict[str, str]) -> None:
    wav = with_guano(b"RIFF\4\0\0\0WAVE", guano_text(fields))
    assert len(wav) % 2 == 0
    assert parse_guano(wav[20:].decode()) == {"GUANO|Version": "1.0", **fields}


def test_a_line_break_in_a_name_does_not_make_a_field() -> None:
    text = guano_text({"edgebird|Source": "garden\r\nLoc Position: 0 0\u2028x"})
    assert parse_guano(text) == {"GUANO|Version": "1.0", "edgebird|Source": "garden Loc Position: 0 0 x"}


def test_reading_guano_of_what_has_none_or_is_no_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "plain.wav", np.zeros(10), RATE)
    soundfile.write(tmp_path / "plain.flac", np.zeros(10), RATE)
    (tmp_path / "text.wav").write_text("no sound")
    assert read_guano(tmp_path / "plain.wav") == read_guano(tmp_path / "plain.flac") == {}
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(AudioError, match=f"^cannot read .*{name}: "):
            read_guano(tmp_path / name)
