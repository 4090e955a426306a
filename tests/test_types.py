"""The values that flow through edgebird: they cannot be changed behind a reader's back, and know where they end."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from edgebird import types
from edgebird.types import AudioBlock, Detection, Gap, Label, Origin, Rejected, Stopped, Summary, Window

VALUES: list[Any] = [
    Label("a", "b", "c"),
    Origin("x.wav"),
    AudioBlock(np.zeros(3, np.float32), 5),
    Gap(0, 5, "damaged"),
    Window(np.zeros(3, np.float32), 5, 7),
    Detection(0, 0.5, 0, 5, 1, 1),
    Rejected(Detection(0, 0.5, 0, 5, 1, 1), "below_min_windows"),
    Stopped(1, 2, "gate"),
    Summary(1, 2, 3, 4, 5, 6.0),
]


def test_every_type_is_here() -> None:
    assert {type(value) for value in VALUES} == {value for value in vars(types).values() if is_dataclass(value)}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_cannot_be_changed_nor_get_fields_of_its_own(value: Any) -> None:
    """They go from thread to thread: a sink that changed one would change it for the next."""
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)
    assert not hasattr(value, "__dict__"), "a misspelt field would be kept in silence"


def test_a_block_ends_where_the_next_begins() -> None:
    assert AudioBlock(np.zeros(3, np.float32), 5).end == 8
    assert AudioBlock(np.zeros(0, np.float32), 5).end == 5


def test_blocks_and_windows_are_the_same_only_if_they_are_one() -> None:
    """Compared by their samples, an array in place of a truth would end the program."""
    samples = np.zeros(3, np.float32)
    assert AudioBlock(samples, 0) != AudioBlock(samples, 0)
    assert Window(samples, 0, 3) != Window(samples, 0, 3)
    assert len({AudioBlock(samples, 0), AudioBlock(samples, 0)}) == 2
