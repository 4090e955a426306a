"""Latency of one engine, for programs: proven first, and timed as many windows at once as detection takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebird.benchmarks.latency import Duration, measure
from edgebird.bundle import Bundle
from edgebird.errors import ParityError
from edgebird.runtimes import RuntimeOptions, open_runtime
from tests.conftest import require
from tests.foreign import tone_bundle

SHORT = Duration(0.0, 10, 0.0, 1)


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


def test_a_right_engine_is_timed_with_its_parity(tones: Bundle) -> None:
    run = measure(open_runtime(tones, "ort-cpu", RuntimeOptions(threads=1)), tones, "fp32", SHORT)
    assert (run["runtime"], run["precision"], run["batch"]) == ("ort-cpu", "fp32", 1)
    assert sum(run["rounds"]) == len(run["samples_ms"]) >= 10
    assert run["parity"]["max_abs"] < 1e-4


def test_windows_that_share_a_floor_are_timed_in_their_group(tmp_path: Path) -> None:
    """One alone has other scores: the engine would be refused as wrong."""
    require("onnxruntime")
    bundle = tone_bundle(tmp_path / "floor", db_floor="batch")
    run = measure(open_runtime(bundle, "ort-cpu", RuntimeOptions(threads=1)), bundle, "fp32", SHORT)
    assert run["batch"] == 4
    assert run["window_ms"] == pytest.approx(run["latency_ms"]["p50"] / 4)


def test_a_wrong_engine_gets_no_figure(tones: Bundle) -> None:
    with pytest.raises(ParityError, match=r"scores differ by up to 0\.8"):
        measure(open_runtime(tones, "null"), tones, "fp32", SHORT)
