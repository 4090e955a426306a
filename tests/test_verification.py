"""Verification: every precision of a bundle is held to the original's scores, and each engine is closed again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird import verification
from edgebird.bundle import Bundle, GoldenData
from edgebird.card import Card
from edgebird.errors import BundleError, ScoreError
from edgebird.parity import TOLERANCES
from edgebird.runtimes import RuntimeOptions
from edgebird.types import FloatArray
from edgebird.verification import verify
from tests.foreign import tone_bundle


class Engine:
    """Scores the tone model's windows in NumPy; off by an amount, or by NaN."""

    name, provider, concurrency, batch_size = "engine", "a test", 1, 1

    def __init__(self, card: Card, golden: GoldenData, off: float) -> None:
        self.card, self._off = card, off
        self._windows, self._scores = golden.windows(), golden.scores
        self.sizes: list[int] = []
        self.closed = 0

    def infer(self, windows: FloatArray) -> FloatArray:
        self.sizes.append(len(windows))
        places = [int(np.flatnonzero((self._windows == window).all(axis=1))[0]) for window in windows]
        return (self._scores[places] + self._off).astype(np.float32)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It says that it has two precisions."""
    bundle = tone_bundle(tmp_path_factory.mktemp("verify") / "tones")
    graph = bundle.card.precisions["fp32"]
    return Bundle(bundle.path, replace(bundle.card, precisions={"fp32": graph, "fp16": graph}))


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RuntimeOptions, Engine]]:
    """Those that were opened."""
    return given(monkeypatch, 0.0)


def given(monkeypatch: pytest.MonkeyPatch, off: float) -> list[tuple[RuntimeOptions, Engine]]:
    opened: list[tuple[RuntimeOptions, Engine]] = []

    def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions, tell: Any) -> Engine:
        tell(f"{name}: took engine")
        opened.append((options, Engine(bundle.card, bundle.golden(), off)))
        return opened[-1][1]

    monkeypatch.setattr(verification, "open_runtime", open_runtime)
    return opened


def test_every_precision_is_proven_with_its_own_tolerance(
    tones: Bundle, engines: list[tuple[RuntimeOptions, Engine]]
) -> None:
    told: list[str] = []
    results = list(verify(tones, "auto", threads=3, tell=told.append))
    assert [(r.precision, r.runtime, r.passed, r.tolerance) for r in results] == [
        ("fp32", "engine", True, TOLERANCES["fp32"]),
        ("fp16", "engine", True, TOLERANCES["fp16"]),
    ]
    assert told == ["auto: took engine"] * 2
    assert [(o.precision, o.threads, o.batches) for o, _ in engines] == [("fp32", 3, (1, 4)), ("fp16", 3, (1, 4))]
    assert [set(engine.sizes) for _, engine in engines] == [{1, 4}] * 2
    assert [engine.closed for _, engine in engines] == [1, 1]


def test_the_largest_batch_that_an_engine_takes_is_proven(
    tones: Bundle, engines: list[tuple[RuntimeOptions, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`detect` gives a GPU eight at once: other kernels may run there than for four."""
    monkeypatch.setattr(Engine, "batch_size", 8)
    list(verify(tones, precision="fp32"))
    assert set(engines[0][1].sizes) == {1, 4, 8}


def test_one_precision_is_opened_where_one_is_asked_for(
    tones: Bundle, engines: list[tuple[RuntimeOptions, Engine]]
) -> None:
    (result,) = verify(tones, precision="fp16")
    assert (result.precision, len(engines)) == ("fp16", 1)


def test_what_passes_in_one_precision_may_fail_in_another(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.005 is what FP16 costs; in FP32 it is a wrong graph."""
    given(monkeypatch, 0.005)
    fp32, fp16 = verify(tones)
    assert (fp32.passed, fp16.passed) == (False, True)
    assert fp32.parity.max_abs == pytest.approx(0.005, abs=1e-6)
    assert fp32.worst in tones.golden().names


def test_the_json_says_all_that_the_verdict_rests_on(
    tones: Bundle, engines: list[tuple[RuntimeOptions, Engine]]
) -> None:
    (result,) = verify(tones, precision="fp32")
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))
    verdict = {"precision", "runtime", "passed", "tolerance", "parity", "worst_window_name", "cause", "recordings"}
    assert told.keys() == verdict | {"worst_class"}
    assert told["worst_class"] in tones.card.codes
    assert told["tolerance"] == {"p99": 1e-5, "max": 1e-4}
    assert told["parity"].keys() >= {"windows", "max_abs", "p99", "top1_agreement"}
    assert (told["passed"], told["worst_window_name"]) == (True, result.worst)


def test_an_engine_that_fails_is_closed_all_the_same(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds of a GPU would be missing to the next."""
    opened = given(monkeypatch, float("nan"))
    with pytest.raises(ScoreError):
        list(verify(tones))
    assert [engine.closed for _, engine in opened] == [1]


def test_windows_that_share_a_floor_are_proven_in_their_groups(
    tones: Bundle, engines: list[tuple[RuntimeOptions, Engine]]
) -> None:
    (result,) = verify(Bundle(tones.path, replace(tones.card, db_floor="batch")), precision="fp32")
    assert set(engines[0][1].sizes) == {4}
    assert result.passed


def test_a_bundle_that_proves_nothing_opens_no_engine(
    tones: Bundle, engines: list[tuple[RuntimeOptions, Engine]], tmp_path: Path
) -> None:
    """`passed` of no window would be believed."""
    with pytest.raises(BundleError, match="no golden data"):
        list(verify(Bundle(tones.path, replace(tones.card, golden=None))))
    assert engines == []
