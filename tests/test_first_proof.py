"""What a station proves of its engine before it listens: one that scores wrongly is told, in two seconds."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from edgebird.bundle import Bundle, open_bundle
from edgebird.demo import BUNDLE
from edgebird.errors import ScoreError
from edgebird.live.first_proof import first_proof
from edgebird.runtimes import open_runtime
from edgebird.types import FloatArray
from tests.foreign import tone_bundle


class Oracle:
    """Scores golden windows as the original did, but for what a test adds. asked: how many windows it was given."""

    name = "oracle"

    def __init__(self, bundle: Bundle, off: float = 0.0) -> None:
        golden = bundle.golden()
        self.known = {one.tobytes(): row for one, row in zip(golden.windows(), golden.scores, strict=True)}
        self.off, self.asked = off, 0

    def infer(self, windows: FloatArray) -> FloatArray:
        self.asked += len(windows)
        if math.isnan(self.off):
            raise ScoreError("a score is not finite")
        scores = np.array([self.known[one.tobytes()] for one in windows], np.float32)
        scores[:, 0] += self.off
        return scores


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.mark.parametrize(
    ("off", "told"), [(0.0, ""), (0.02, "does not score as the original"), (math.nan, "not finite")]
)
def test_an_engine_that_scores_wrongly_is_told_before_it_listens(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, off: float, told: str
) -> None:
    """Such as one in half precision on a Raspberry Pi, which gives NaN or other birds and says nothing."""
    with caplog.at_level(logging.WARNING):
        proof = first_proof(bundle, Oracle(bundle, off), "fp32")  # type: ignore[arg-type]
    assert proof is not None
    assert proof.passed is not bool(told)
    assert told in caplog.text
    assert proof.parity.max_abs == (math.inf if math.isnan(off) else pytest.approx(off, abs=1e-6))


def test_a_slow_engine_scores_few_windows_and_a_fast_one_no_more_than_twelve(bundle: Bundle) -> None:
    slow, fast = Oracle(bundle), Oracle(bundle)
    first_proof(bundle, slow, "fp32", 0.0)  # type: ignore[arg-type]
    first_proof(bundle, fast, "fp32", 1000.0)  # type: ignore[arg-type]
    assert (slow.asked, fast.asked) == (1 + 1, 1 + 12)


def test_there_is_no_proof_without_golden_data_nor_of_the_runtime_that_computes_nothing(
    bundle: Bundle, tmp_path: Path
) -> None:
    runtime = open_runtime(bundle, "null")
    assert first_proof(bundle, runtime, "fp32") is None
    bare = tone_bundle(tmp_path / "tones", golden=None)
    assert first_proof(bare, Oracle(bundle), "fp32") is None  # type: ignore[arg-type]
