"""What is said of samples: no sample is left out, unsteadiness is told, and a ratio knows how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from edgebird.benchmarks import figures
from edgebird.benchmarks.method import ROUNDS


def test_statistics_leave_no_sample_out() -> None:
    """A tail that is clipped as an outlier is the very audio that a station loses."""
    told = figures.statistics([*range(1, 100), 10_000])
    assert (told["min"], told["p50"], told["max"], told["mean"]) == (1.0, 50.5, 10_000.0, 149.5)
    assert told["p90"] < told["p95"] < told["p99"] < told["p999"] < told["max"]
    assert told["cv"] > 6


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ([10.0, 10.2] * 50, []),
        ([10.0] * 50 + [10.4] * 50, []),
        ([10.0] * 50 + [10.7] * 50, ["the second half is +7.0% off the first"]),
        ([10.0] * 95 + [20.0] * 5, ["samples vary by 20.8%"]),
        ([10.0], []),
    ],
    ids=["steady", "a little drift", "drift", "outliers", "one"],
)
def test_what_is_not_steady_is_said(samples: list[float], told: list[str]) -> None:
    assert figures.unsteady(samples) == told


def test_a_ratio_of_rounds_that_took_turns_is_sure_where_the_machine_was_not() -> None:
    """Something else slowed the second half of the rounds threefold: both subjects alike."""
    noise = np.random.default_rng(1)
    load = np.repeat([1.0, 3.0], ROUNDS // 2)
    fast = [list(10 * factor * (1 + 0.01 * noise.random(5))) for factor in load]
    slow = [list(12 * factor * (1 + 0.01 * noise.random(5))) for factor in load]
    paired, unpaired = figures.ratio(slow, fast, paired=True), figures.ratio(slow, fast, paired=False)
    assert 1.18 < paired.low < paired.value < paired.high < 1.22
    assert unpaired.high - unpaired.low > 10 * (paired.high - paired.low)
    assert figures.ratio(slow, fast, paired=True) == paired  # seeded
