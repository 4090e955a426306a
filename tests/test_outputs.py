"""Outputs: an engine's are read by the card's names, its activation and scaling are the card's, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebird import verification
from edgebird.bundle import Bundle
from edgebird.card import Scaling
from edgebird.errors import BundleError, ScoreError
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.runtimes.contract import prepared
from edgebird.runtimes.outputs import Outputs, activated
from edgebird.types import FloatArray
from edgebird.verification import verify
from tests.conftest import SUMS, require
from tests.heads import embeddings, golden_audio, heads_bundle, heads_card, logits

ENGINES = {"ort-cpu": "onnxruntime", "openvino": "openvino"}
AUDIO: FloatArray = golden_audio().astype(np.float32) / 32768


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("order", [("embeddings", "predictions"), ("predictions", "embeddings")])
@pytest.mark.parametrize("throughput", [False, True])
def test_outputs_are_read_by_name_in_whatever_order_a_graph_has_them(
    engine: str, order: tuple[str, str], throughput: bool, tmp_path: Path
) -> None:
    """Exports of one model differ in it: by order, an embedding would be taken for scores."""
    require(ENGINES[engine])
    bundle = heads_bundle(tmp_path / "heads", order)
    runtime = open_runtime(bundle, engine, RuntimeOptions(throughput=throughput, outputs=("embeddings",)))
    found = runtime.infer_outputs(AUDIO)
    scores = runtime.infer(AUDIO)
    runtime.close()
    assert list(found) == ["scores", "embeddings"]
    np.testing.assert_allclose(found["embeddings"], embeddings(AUDIO), atol=SUMS)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits(AUDIO))), atol=SUMS)
    np.testing.assert_array_equal(found["scores"], scores)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_but_scores_is_given_where_nothing_else_was_asked_for(engine: str, tmp_path: Path) -> None:
    require(ENGINES[engine])
    runtime = open_runtime(heads_bundle(tmp_path / "heads"), engine)
    assert list(runtime.infer_outputs(AUDIO[:2])) == ["scores"]
    runtime.close()


def test_an_output_that_the_card_does_not_name_is_refused(tmp_path: Path) -> None:
    bundle = heads_bundle(tmp_path / "heads")
    with pytest.raises(BundleError, match="no output 'spectrogram' beside its scores, it has embeddings"):
        open_runtime(bundle, "null", RuntimeOptions(outputs=("spectrogram",)))


def test_a_graph_without_the_output_of_its_card_is_refused(tmp_path: Path) -> None:
    require("onnxruntime")
    bundle = heads_bundle(tmp_path / "heads", ("predictions",))
    with pytest.raises(BundleError, match="no 'embeddings', only input, predictions"):
        open_runtime(bundle, "ort-cpu")


# ---------------------------------------------------------------------------------------------- activation and scaling
def test_a_softmax_is_over_the_classes_and_survives_large_logits() -> None:
    given = np.array([[1000.0, 1000.0, 0.0], [-1000.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(activated(given, "softmax"), [[0.5, 0.5, 0], [0, 0.5, 0.5]], atol=1e-6)


def test_a_sensitivity_steepens_the_sigmoid_as_birdnet_has_it() -> None:
    """1 / (1 + exp(-s x)), x cut off at -15 and 15: a user's scores must be those that BirdNET shows."""
    given = np.array([[-20.0, -1.0, 0.0, 2.0, 20.0]], np.float32)
    wanted = 1 / (1 + np.exp(-1.5 * given.astype(np.float64).clip(-15, 15)))
    np.testing.assert_allclose(activated(given, "sigmoid", 1.5), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("scaling", "wanted"),
    [
        (Scaling(remove_mean=True), lambda x: x - x.mean()),
        (Scaling(peak=0.25), lambda x: x * 0.25 / np.abs(x).max()),
        (Scaling(rms=0.1), lambda x: x * 0.1 / np.sqrt((x**2).mean())),
        (Scaling(True, 0.25), lambda x: (x - x.mean()) * 0.25 / np.abs(x - x.mean()).max()),
    ],
)
def test_windows_are_scaled_each_by_itself(scaling: Scaling, wanted: Callable[[FloatArray], FloatArray]) -> None:
    """Perch hears a quiet bird as it hears a loud one, whatever is in the window beside it."""
    card = replace(heads_card(), scaling=scaling)
    audio = AUDIO + np.float32(0.01)
    before = audio.copy()
    found = prepared(audio, card)
    np.testing.assert_allclose(found, np.stack([wanted(window) for window in audio.astype(np.float64)]), atol=1e-6)
    np.testing.assert_array_equal(audio, before)


def test_silence_stays_silence_when_it_is_scaled() -> None:
    """Its peak is 0: divided by it, it would be no number, and the engine would be blamed."""
    card = replace(heads_card(), scaling=Scaling(True, 0.25, 0.1))
    assert not prepared(np.zeros((2, card.window_samples), np.float32), card).any()


def test_an_engine_scales_before_it_scores(tmp_path: Path) -> None:
    require("onnxruntime")
    bundle = heads_bundle(tmp_path / "heads", scaling=Scaling(peak=0.25))
    runtime = open_runtime(bundle, "ort-cpu")
    np.testing.assert_allclose(runtime.infer(AUDIO[:1]), runtime.infer(AUDIO[:1] * np.float32(0.1)), atol=1e-6)
    runtime.close()


# -------------------------------------------------------------------------------------------------- what verify refuses
class Double:
    """An engine that makes one of the mistakes that engines and exports are known for."""

    name, provider, concurrency, batch_size = "double", "a test", 1, 1

    def __init__(self, bundle: Bundle, mistake: str) -> None:
        self.card, self._mistake = bundle.card, mistake
        self._last: FloatArray | None = None
        self._met: set[int] = set()

    def infer(self, windows: FloatArray) -> FloatArray:
        values = logits(windows).astype(np.float32)
        if self._mistake == "swaps":
            return Outputs(self.card).scores(embeddings(windows).astype(np.float32), len(windows))
        scores = Outputs(self.card).scores(values, len(windows))
        if self._mistake == "scales":
            return scores * np.float32(25)
        if self._mistake == "nan":
            return Outputs(self.card).scores(values * np.float32(np.nan), len(windows))
        if self._mistake == "stale" and len(windows) not in self._met and self._last is not None:
            self._met.add(len(windows))
            return np.resize(self._last, scores.shape)
        self._met.add(len(windows))
        self._last = scores
        return scores if self._mistake != "shuffled" else scores[:, ::-1]

    def close(self) -> None:
        pass


def verified(bundle: Bundle, mistake: str, monkeypatch: pytest.MonkeyPatch) -> verification.Verification:
    monkeypatch.setattr(verification, "open_runtime", lambda *_: Double(bundle, mistake))
    (found,) = verify(bundle, "double")
    return found


def test_a_double_without_a_mistake_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = verified(heads_bundle(tmp_path / "heads"), "", monkeypatch)
    assert found.passed
    assert found.tolerance.p99 == 5e-5
    assert not found.proof.cause


@pytest.mark.parametrize(
    ("mistake", "cause"),
    [
        ("scales", "every score is 25 times what it must be"),
        ("stale", "with the scores of 'window"),
        ("shuffled", "the same scores for other classes"),
    ],
)
def test_a_known_mistake_is_refused_with_its_reason(
    mistake: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number alone does not tell a user what to look for."""
    found = verified(heads_bundle(tmp_path / "heads"), mistake, monkeypatch)
    assert not found.passed
    assert cause in found.proof.cause
    assert cause in found.proof.explain()


def test_an_engine_that_swaps_outputs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match=r"gave \[1, 3\], wanted \[1, 4\]: its card does not fit it"):
        verified(heads_bundle(tmp_path / "heads"), "swaps", monkeypatch)


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScoreError, match="not finite"):
        verified(heads_bundle(tmp_path / "heads"), "nan", monkeypatch)


def test_logits_that_are_taken_for_scores_are_called_so(tmp_path: Path) -> None:
    """A card without the activation: what comes out is no score at all."""
    require("onnxruntime")
    bundle = heads_bundle(tmp_path / "heads", activation="none")
    (found,) = verify(bundle, "ort-cpu")
    assert "an activation that is missing" in found.proof.cause
