"""How many streams a machine carries: the number that is told was measured, and holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebird.benchmarks.material import read_material
from edgebird.benchmarks.scenarios import multi
from edgebird.benchmarks.scenarios.multi import largest
from edgebird.benchmarks.subjects import Subject
from edgebird.bundle import Bundle
from edgebird.types import FloatArray
from tests.conftest import require
from tests.foreign import tone_bundle


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 99, 100, 1000, 4096, 9999, 200_000, 2**20, 2**21])
@pytest.mark.parametrize("guess", [1, 100, 4096])
def test_the_largest_number_of_streams_is_found_from_any_guess(limit: int, guess: int) -> None:
    tried: list[int] = []

    def carries(number: int) -> bool:
        tried.append(number)
        return number <= limit

    found = largest(carries, guess)
    most = min(limit, 2**20)  # a large GPU carries more than 4096, and a figure that stops there says nothing of it
    assert 0.95 * most - 1 <= found <= most
    assert len(tried) == len(set(tried)) < 30
    assert found == 0 or found in tried  # what is told was measured


def test_a_number_of_streams_that_fails_later_is_stepped_down_from() -> None:
    """A station that misses one deadline of fifty loses audio every few minutes."""
    tried: list[int] = []

    def carries(number: int) -> bool:
        tried.append(number)
        return number <= 90

    assert multi.confirmed(carries, 100) == 90
    assert tried == [100, 95, 90]
    assert multi.confirmed(lambda number: False, 3) == 0


def test_a_number_of_streams_is_confirmed_with_many_queries_of_sizes_that_ran_before(tones: Bundle) -> None:
    """An engine's first run at a size is slow: it is no reason to say that a machine carries fewer streams."""
    sizes: list[int] = []

    class Engine:
        card, batch_size = tones.card, 4

        def infer(self, windows: FloatArray) -> FloatArray:
            sizes.append(len(windows))
            return np.zeros((len(windows), len(tones.card.labels)), np.float32)

    subject, now = Subject(Engine(), "fp32", None), [0.0]  # type: ignore[arg-type]

    def clock() -> float:
        if not now[0]:
            assert sorted(sizes) == [2, 4]  # both have run before the clock starts
        now[0] += 0.1
        return now[0]

    material = read_material((), tones.card, 2.5)
    probe = multi._try(subject, material, multi.Streams(6, 2.5), 50, clock)
    assert (len(probe.queries_ms), probe.carried) == (50, True)
    assert set(sizes) == {2, 4}
    now[0] = 0.0
    sizes.clear()
    few = multi._try(subject, material, multi.Streams(6, 2.5), 5000, clock)
    assert 60 / 0.7 < len(few.queries_ms) < 60 / 0.3  # no more than a minute's
