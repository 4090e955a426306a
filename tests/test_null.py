"""The runtime without an engine: it measures all else, so it must behave as an engine does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgebird.bundle import Bundle, open_bundle
from edgebird.demo import BUNDLE
from edgebird.errors import EdgebirdError, RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions, null


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


def test_it_scores_every_window_zero_and_hears_nothing(bundle: Bundle) -> None:
    runtime = null.open_runtime(bundle, "null", RuntimeOptions())
    windows = np.ones((3, bundle.card.window_samples), np.float32)
    scores = runtime.infer(windows)
    assert (scores.shape, scores.dtype) == ((3, len(bundle.card.labels)), np.float32)
    assert not scores.any()
    assert (runtime.name, runtime.provider, runtime.card) == ("null", "none", bundle.card)


def test_it_takes_no_graph_and_runs_everywhere(bundle: Bundle, tmp_path: Path) -> None:
    """What edgebird itself costs can be measured where no engine is installed."""
    assert null.probe("null") == "no engine, scores 0"
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    (tmp_path / "bundle" / "model.fp32.onnx").write_bytes(b"")  # nobody opens it
    null.open_runtime(Bundle(tmp_path / "bundle", bundle.card), "null", RuntimeOptions()).close()


def test_it_is_as_strict_as_an_engine(bundle: Bundle) -> None:
    """A slip in what windows are made of must not be found by an engine only, on somebody's device."""
    runtime = null.open_runtime(bundle, "null", RuntimeOptions())
    with pytest.raises(ValueError, match="wanted float32"):
        runtime.infer(np.ones((1, 5), np.float32))
    with pytest.raises(ValueError, match="float64"):
        runtime.infer(np.ones((1, bundle.card.window_samples)))  # type: ignore[arg-type]
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeUnavailableError, match="null: the runtime is closed"):
        runtime.infer(np.ones((1, bundle.card.window_samples), np.float32))


def test_a_precision_that_the_bundle_lacks_is_told(bundle: Bundle) -> None:
    """`verify --runtime null` of a precision that is not there must not look like one that failed."""
    with pytest.raises(EdgebirdError, match="no fp16 graph in this bundle"):
        null.open_runtime(bundle, "null", RuntimeOptions("fp16"))
