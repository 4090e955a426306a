"""Runtimes: every engine keeps the same contract, and none is used that cannot be trusted or that nobody asked for.

A new engine is a name in `NEEDS`; all of this then holds for it, where it is installed.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from edgebird import demo
from edgebird.bundle import Bundle, open_bundle, seal
from edgebird.card import Card, Tensor
from edgebird.errors import BundleError, EdgebirdError, ParityError, RuntimeUnavailableError, ScoreError, UsageError
from edgebird.machine import usable_cores
from edgebird.runtimes import AUTO, AUTO_BY_PRECISION, RUNTIMES, Runtime, RuntimeOptions, open_runtime, probe
from edgebird.runtimes.contract import ParallelRuns, engine_errors
from edgebird.runtimes.ort_session import TINY, session_of
from edgebird.types import FloatArray, Label
from edgebird.verification import Verification, verify
from tests.conftest import SUMS, require
from tests.foreign import LABELS, RATE, WINDOW_S, amplitudes, scene, tone_bundle

NEEDS = {  # runtime -> the module without which it cannot run
    "ort-cpu": "onnxruntime",
    "ort-cuda": "onnxruntime",
    "ort-tensorrt": "onnxruntime",
    "ort-webgpu": "onnxruntime_ep_webgpu",
    "ort-rtx": "onnxruntime_ep_nv_tensorrt_rtx",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
    "null": "numpy",
    "openvino": "openvino",
    "openvino-gpu": "openvino",
    "openvino-npu": "openvino",
}
ENGINES = [name for name in NEEDS if name != "null"]  # those that run the graph
TENSORRT = ("tensorrt", "tensorrt-rtx")  # which run engines that were built before
NEED_A_GPU = ("ort-cuda", "ort-tensorrt", "ort-webgpu", "ort-rtx", "openvino-gpu", "openvino-npu", *TENSORRT)
WINDOW = WINDOW_S * RATE


def require_runtime(name: str) -> None:
    """Skip if it cannot run here; EDGEBIRD_REQUIRE promises one that needs a GPU by its own name."""
    require(NEEDS[name])
    if name in NEED_A_GPU:
        try:
            probe(name)
        except RuntimeUnavailableError as error:
            if name in os.environ.get("EDGEBIRD_REQUIRE", "").split(","):
                pytest.fail(f"{name} was promised by EDGEBIRD_REQUIRE: {error}")
            pytest.skip(str(error))


def opened(bundle: Bundle, name: str, options: RuntimeOptions | None = None) -> Runtime:
    """Open a runtime, with an engine built for it first where it needs one."""
    if name in TENSORRT:
        from edgebird.runtimes.trt.build import build_engine
        from edgebird.runtimes.trt.request import EngineRequest

        build_engine(bundle, EngineRequest(name))
    return open_runtime(bundle, name, options)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tone_bundle(tmp_path_factory.mktemp("runtimes") / "tones")


@pytest.fixture(params=NEEDS)
def runtime(request: pytest.FixtureRequest, tones: Bundle) -> Iterator[Runtime]:
    """Every runtime in turn, with the tone model in it."""
    require_runtime(request.param)
    runtime = opened(tones, request.param, RuntimeOptions(threads=1, batches=(1, 5)))
    yield runtime
    runtime.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Every runtime that runs the graph, by name."""
    require_runtime(request.param)
    return str(request.param)


def windows(count: int) -> FloatArray:
    """Mixtures of the tones with some noise, no two alike: [count, WINDOW]."""
    noise = np.random.default_rng(3)
    mixtures = [
        scene(WINDOW_S, [(label, loud, 0, WINDOW_S) for label, loud in enumerate(noise.uniform(0, 0.3, 3))])
        for _ in range(count)
    ]
    return (np.stack(mixtures) + noise.normal(0, 0.01, (count, WINDOW))).astype(np.float32)


def test_every_runtime_is_held_to_the_contract() -> None:
    assert set(NEEDS) == set(RUNTIMES)
    tried = {*AUTO, *itertools.chain(*AUTO_BY_PRECISION.values())}
    assert tried <= set(ENGINES), "`auto` must never choose a runtime that hears nothing"


def test_a_runtime_says_what_it_is(runtime: Runtime, tones: Bundle) -> None:
    assert RUNTIMES[runtime.name]
    assert runtime.card == tones.card
    assert probe(runtime.name)


def test_scores_of_a_batch_are_those_of_its_windows(runtime: Runtime) -> None:
    """Else a detection would depend on what happened to be scored beside it."""
    batch = windows(5)
    scores = runtime.infer(batch)
    assert scores.shape == (5, len(LABELS))
    assert scores.dtype == np.float32
    for window, row in zip(batch, scores, strict=True):
        np.testing.assert_allclose(runtime.infer(window[None])[0], row, rtol=0, atol=SUMS)


def test_a_batch_size_that_was_not_announced_gives_right_scores(engine: str, tones: Bundle) -> None:
    """Some engines return unfilled memory at the first use of a new shape."""
    runtime = opened(tones, engine, RuntimeOptions(batches=(4,)))
    for size in (3, 1, 4, 2):
        batch = windows(size)
        np.testing.assert_allclose(runtime.infer(batch), amplitudes(batch), rtol=0, atol=SUMS)


@pytest.mark.parametrize("size", [None, 2])
def test_for_throughput_too_every_window_gets_its_own_scores(engine: str, tmp_path: Path, size: int | None) -> None:
    """Windows are scored at the same time, and some are through before others."""
    bundle = tone_bundle(tmp_path / "bundle", batch=size)
    runtime = opened(bundle, engine, RuntimeOptions(threads=3, throughput=True))
    assert runtime.batch_size >= {"ort-cpu": 3, "openvino": 2}.get(engine, 1)  # OpenVINO has no more streams than cores
    for count in (1, 2, runtime.batch_size, runtime.batch_size + 1):
        batch = windows(count)
        np.testing.assert_allclose(runtime.infer(batch), amplitudes(batch), rtol=0, atol=SUMS)
    batches = [windows(1 + index % 5) * np.float32(0.9**index) for index in range(12)]
    with ThreadPoolExecutor(runtime.concurrency) as callers:
        for batch, scores in zip(batches, callers.map(runtime.infer, batches), strict=True):
            np.testing.assert_allclose(scores, amplitudes(batch), rtol=0, atol=SUMS)
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        runtime.infer(windows(1))


@pytest.fixture(scope="module")
def sharing(narrow_folds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose windows share a floor in groups of four."""
    require("torch"), require("onnx")
    from edgebird.export.exporter import ExportRequest, export_bundle

    out = tmp_path_factory.mktemp("sharing") / "bundle"
    return export_bundle(ExportRequest((narrow_folds["exp105"],), out, db_floor="batch")).path


def test_windows_that_share_a_floor_are_scored_in_their_groups(engine: str, sharing: Path, tmp_path: Path) -> None:
    """The graph takes the floor of all windows it is given: in groups of eight they would have other scores, and nobody
    would see it.
    """
    bundle = open_bundle(shutil.copytree(sharing, tmp_path / "bundle"))
    audio = np.tile(bundle.golden().windows(), (2, 1))[:23]
    runtime = opened(bundle, engine, RuntimeOptions(threads=2, throughput=True))
    wanted = np.concatenate([runtime.infer(audio[i : i + 4]) for i in range(0, len(audio), 4)])
    assert runtime.batch_size % 4 == 0
    np.testing.assert_allclose(runtime.infer(audio), wanted, rtol=0, atol=SUMS)
    runtime.close()
    alone = opened(bundle, engine, RuntimeOptions(threads=2))
    np.testing.assert_allclose(alone.infer(audio), wanted, rtol=0, atol=SUMS)


def test_what_fails_in_a_stream_is_told(tones: Bundle) -> None:
    """A window without a score must never look like one without birds."""

    def broken(piece: FloatArray) -> FloatArray:
        if piece[0, 0] == 7:
            raise RuntimeUnavailableError("the engine broke")
        return amplitudes(piece)

    streams, batch = ParallelRuns([broken, broken], tones.card), windows(9)
    batch[6, 0] = 7
    with pytest.raises(RuntimeUnavailableError, match="broke"):
        streams.run(batch)
    np.testing.assert_allclose(streams.run(batch[:6]), amplitudes(batch[:6]), rtol=0, atol=1e-6)
    streams.close()


def test_scores_belong_to_the_caller(runtime: Runtime) -> None:
    """An engine's output buffer is used again: scores that are kept must not change under their owner."""
    batch = windows(2)
    first = runtime.infer(batch)
    kept = first.copy()
    runtime.infer(batch[::-1].copy())
    np.testing.assert_array_equal(first, kept)
    first += 1  # nor may the owner be kept from changing them
    np.testing.assert_array_equal(runtime.infer(batch), kept)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (np.zeros((1, WINDOW - 1), np.float32), rf"float32 \[1, {WINDOW - 1}\]"),
        (np.zeros((1, WINDOW), np.float64), rf"float64 \[1, {WINDOW}\]"),
        (np.zeros((1, WINDOW), np.int16), rf"int16 \[1, {WINDOW}\]"),
        (np.zeros(WINDOW, np.float32), rf"float32 \[{WINDOW}\]"),
        (np.zeros((1, 1, WINDOW), np.float32), rf"float32 \[1, 1, {WINDOW}\]"),
        (np.zeros((0, WINDOW), np.float32), rf"float32 \[0, {WINDOW}\]"),
    ],
    ids=["too short", "float64", "int16", "no batch", "three dimensions", "no windows"],
)
def test_wrong_windows_are_refused_with_what_was_got_and_wanted(runtime: Runtime, wrong: FloatArray, got: str) -> None:
    """int16 samples taken for floats would be heard as a very loud bird."""
    with pytest.raises(ValueError, match=rf"{got}, wanted float32 \[batch, {WINDOW}\]"):
        runtime.infer(wrong)


def test_closing_twice_is_harmless_and_a_closed_runtime_is_an_error(runtime: Runtime) -> None:
    """A closed engine's memory is freed: scores from it would be rubbish."""
    runtime.close()
    runtime.close()
    with pytest.raises(EdgebirdError, match="closed"):
        runtime.infer(windows(1))


def test_scores_that_are_not_finite_are_an_error_never_a_score(engine: str, tmp_path: Path) -> None:
    """NaN once passed a threshold and filled a disk with birds; here silence makes it, in the second window."""
    runtime = opened(tone_bundle(tmp_path / "bundle", normalise=True, golden=None), engine)
    batch = windows(3)
    batch[1] = 0
    with pytest.raises(ScoreError, match=r"3 of 9 scores are not finite \(first: window 1, label 0, nan\)"):
        runtime.infer(batch)
    assert np.isfinite(runtime.infer(batch[[0, 2]])).all()  # it is not broken for good


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_model_of_fixed_batch_takes_any_number_of_windows(engine: str, tmp_path: Path, count: int) -> None:
    runtime = opened(tone_bundle(tmp_path / "bundle", batch=2), engine, RuntimeOptions(batches=(1, count)))
    np.testing.assert_allclose(runtime.infer(windows(count)), amplitudes(windows(count)), rtol=0, atol=SUMS)


def test_the_cards_activation_is_applied_once_and_without_overflow(engine: str, tmp_path: Path) -> None:
    """Logits far beyond what exp can hold, as quiet recordings give them, are still scores of 0 and 1."""
    runtime = opened(tone_bundle(tmp_path / "bundle", activation="sigmoid", golden=None), engine)
    batch = np.stack([scene(WINDOW_S, [(0, loud, 0, WINDOW_S)]) for loud in (0, 0.3, 20)])
    scores = runtime.infer(batch)
    np.testing.assert_allclose(scores[:, 0], [1 / (1 + np.exp(6)), 0.5, 1], rtol=0, atol=SUMS)
    assert scores.max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"input": Tensor("audio", ("batch", WINDOW))},
        {"output": Tensor("scores", ("batch", len(LABELS)))},
        {"input": Tensor("sound", ("batch", WINDOW // 2)), "window_samples": WINDOW // 2},
        {"labels": LABELS[:2], "output": Tensor("birds", ("batch", 2))},
        {"labels": (*LABELS, Label("a", "b", "c")), "output": Tensor("birds", ("batch", 4))},
    ],
    ids=["input name", "output name", "window", "too few labels", "too many labels"],
)
def test_a_card_that_does_not_fit_its_graph_is_told_when_the_runtime_opens(
    engine: str, tones: Bundle, tmp_path: Path, change: dict[str, object]
) -> None:
    """The most likely slip in a hand-written card: one line, no traceback, and before the first recording."""
    bundle = Bundle(tones.path, replace(tones.card, **change))  # type: ignore[arg-type]
    with pytest.raises(EdgebirdError):
        opened(bundle, engine)


def test_threads_are_those_that_were_asked_for() -> None:
    """A station that does other work too gives one core; by default all that this process may use are used."""
    require("onnxruntime")
    for asked, given in ((1, 1), (3, 3), (None, usable_cores())):
        assert session_of(TINY, threads=asked).get_session_options().intra_op_num_threads == given


@pytest.mark.parametrize("frugal", [False, True])
def test_a_station_does_not_keep_what_a_window_needed(frugal: bool) -> None:
    """25 MB of a Raspberry Pi's memory, for the two seconds until the next window."""
    require("onnxruntime")
    options = session_of(TINY, frugal=frugal).get_session_options()
    assert options.enable_cpu_mem_arena != frugal
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(not frugal))


def test_a_graph_the_engine_refuses_is_one_line(engine: str, tones: Bundle, tmp_path: Path) -> None:
    (tmp_path / "model.fp32.onnx").write_bytes(b"\x08\x08 not a graph")
    (tmp_path / "card.json").write_text(json.dumps(asdict(replace(tones.card, golden=None))))
    with pytest.raises(RuntimeUnavailableError, match="refuses the model") as caught:
        opened(seal(tmp_path), engine)
    assert "\n" not in str(caught.value)


def test_a_precision_the_bundle_lacks_is_told_by_every_runtime(tones: Bundle) -> None:
    """Also by `null`, so that a dry run finds the slip."""
    for name in NEEDS:
        with pytest.raises(BundleError, match="no fp16 graph in this bundle, it has fp32"):
            open_runtime(tones, name, RuntimeOptions("fp16"))


def test_every_engine_scores_the_trained_folds_as_the_original_network_did(engine: str) -> None:
    """Real networks on real birds: seeded weights may hide what a trained one shows."""
    for result in verify(open_bundle(demo.BUNDLE), engine, "fp32"):
        assert result.passed
        assert result.parity.top1_windows >= 4, "a network that hears nothing proves nothing"


def test_an_unknown_runtime_is_wrong_usage_and_the_known_ones_are_listed(tones: Bundle) -> None:
    with pytest.raises(UsageError, match="'ort-gpu': use auto, ort-cpu, ort-cuda, "):
        open_runtime(tones, "ort-gpu")


def test_auto_tells_what_it_took_and_why_nothing_before(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    require("onnxruntime")
    told: list[str] = []
    monkeypatch.setattr("edgebird.runtimes.AUTO", ("ort-cpu", "null"))
    assert open_runtime(tones, tell=told.append).name == "ort-cpu"
    assert told == ["runtime ort-cpu"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    told.clear()
    assert open_runtime(tones, tell=told.append).name == "null"
    assert told == ["runtime null"], "what is not installed is no news to who did not ask for it"


def test_auto_tells_why_an_installed_engine_cannot_run(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    require("onnxruntime")
    told: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeUnavailableError("ort-cpu: ONNX Runtime refuses the model: no reason")

    monkeypatch.setattr("edgebird.runtimes.AUTO", ("ort-cpu", "null"))
    monkeypatch.setattr("edgebird.runtimes.ort.session_of", refuse)
    assert open_runtime(tones, tell=told.append).name == "null"
    assert told == ["runtime null", "  not ort-cpu: ONNX Runtime refuses the model: no reason"]


@pytest.mark.parametrize("name", ["ort-cpu", "auto"])
def test_without_onnx_runtime_the_error_says_what_to_install(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An engine that was asked for is never replaced by another in silence."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # `import onnxruntime` now raises ImportError
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'edgebird\[cpu\]'"):
        open_runtime(tones, name)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'edgebird\[cpu\]'"):
        probe("ort-cpu")


def verified(bundle: Bundle, runtime: str) -> Verification:
    if runtime in TENSORRT:
        opened(bundle, runtime).close()
    (result,) = verify(bundle, runtime)
    return result


def test_an_intact_export_passes_in_every_engine(engine: str, bundle_copy: Path) -> None:
    result = verified(open_bundle(bundle_copy), engine)
    assert result.passed
    assert (result.runtime, result.precision) == (engine, "fp32")
    assert result.parity.max_abs <= result.tolerance.max
    assert result.parity.top1_windows > 0, "no window has a top label, so agreement is not checked"


def test_null_never_passes(bundle: Bundle) -> None:
    """Else `verify` would prove nothing."""
    assert not verified(bundle, "null").passed


def test_changed_weights_are_found_though_every_hash_fits(engine: str, bundle_copy: Path) -> None:
    """Hashes show damage; only parity shows a wrong model. The head's weights are off by 2 %."""
    onnx = require("onnx")
    path = bundle_copy / "model.fp32.onnx"
    model = onnx.load(path)
    (weight,) = [tensor for tensor in model.graph.initializer if 264 in tensor.dims and len(tensor.dims) == 2]
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.02)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(model, path)
    if engine in TENSORRT:
        with pytest.raises(ParityError, match="was deleted: the engine does not score as the original"):
            opened(seal(bundle_copy), engine)
        return
    result = verified(seal(bundle_copy), engine)
    assert not result.passed
    assert result.parity.max_abs > result.tolerance.max
    assert result.worst in open_bundle(bundle_copy).golden().names


class Coupled:
    """A runtime that is right at a batch of one and returns stale rows at others."""

    name, provider, concurrency = "coupled", "a test", 1

    def __init__(self, card: Card) -> None:
        self.card = card
        self.batch_size = 1

    def infer(self, windows: FloatArray) -> FloatArray:
        scores = amplitudes(windows).astype(np.float32)
        scores[1:] = scores[0]
        return scores

    def close(self) -> None:
        pass


def test_verify_tries_every_batch_size_that_detection_uses(tones: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is right for single windows only would pass and then hear the wrong birds."""
    monkeypatch.setattr("edgebird.verification.open_runtime", lambda bundle, *_: Coupled(bundle.card))
    assert not verified(tones, "coupled").passed


@pytest.mark.parametrize("error", [RuntimeError("out of memory\nat line 3"), TypeError("no such type"), MemoryError()])
def test_whatever_an_engine_raises_is_one_line_with_its_name(error: Exception) -> None:
    """A station knows how to go on after an EdgebirdError; after a TypeError of some engine it would end."""
    with (
        pytest.raises(RuntimeUnavailableError, match=r"^x: the engine failed: (out of memory|no such type|)$"),
        engine_errors("x", "the engine failed", lambda error: str(error).partition("\n")[0]),
    ):
        raise error
    with pytest.raises(ScoreError, match="nan"), engine_errors("x", "the engine failed", str):
        raise ScoreError("nan")
