"""A cascade misses no more than it promises: stages are the model's own, a bound is one, and a fall is told."""

# ruff: noqa: E402  what follows needs packages that a device has not
from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.testing

from tests.conftest import needs_bf16, require

torch, onnx = require("torch"), require("onnx")

from edgebird.bundle import CARD_FILE, Bundle, open_bundle
from edgebird.cascade import (
    FOLD,
    GATE,
    RECORDINGS,
    STOPPED,
    Cascade,
    CascadeUse,
    JudgedWindows,
    StageFile,
    bound_of,
    most_missed,
    pairs_wanted,
    stage_of,
    sure_of,
)
from edgebird.cascade_proof import prove_cascade
from edgebird.cli.app import make_app
from edgebird.drift import DriftTest, miss_probability, pairs_until_told
from edgebird.errors import BundleError, ExportError, ParityError, RuntimeUnavailableError, ScoreError
from edgebird.export.cascade import gate, head
from edgebird.export.cascade.choosing import (
    ChoosingWindows,
    Costs,
    JudgingSize,
    PassingThresholds,
    _bandwidth,
    _worth,
    choose,
)
from edgebird.export.cascade.gate import Gate, GateNetwork
from edgebird.export.cascade.head import HeadNetwork, fit_head
from edgebird.export.cascade.making import JUDGE_FILES, make_cascade, write_stages
from edgebird.export.cascade.material import JUDGE, CascadeMaterial
from edgebird.export.exporter import ExportRequest, export_bundle
from edgebird.export.graph import OUTPUT
from edgebird.files import file_sha256
from edgebird.kept import kept_of
from edgebird.parity import BF16_OF
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.runtimes.cascade import CascadeRuntime, StageChain, Stages, in_full
from edgebird.types import FloatArray, Window


# ----------------------------------------------------------------------------------------------------------- the bound
def judged(pairs: int, missed: int, recordings: int) -> JudgedWindows:
    """Windows with one label, heard in each; the missed ones are the first."""
    stages = np.where(np.arange(pairs) < missed, GATE, 0)
    return JudgedWindows(np.full((pairs, 1), 0.9, np.float32), stages, np.arange(pairs) % recordings)


@pytest.mark.parametrize(("missed", "least"), [(0, 299), (1, 473)])
def test_as_many_pairs_as_the_binomial_bound_needs_are_needed(missed: int, least: int) -> None:
    assert pairs_wanted(missed) == least
    assert bound_of(judged(least, missed, least), 0.3).holds
    assert not bound_of(judged(least - 1, missed, least), 0.3).holds


def test_how_many_may_be_missed_is_what_is_wanted_the_other_way_round() -> None:
    for missed in (-1, 0, 1, 5, 40):
        pairs = pairs_wanted(missed + 1)
        assert most_missed(pairs) == missed + 1
        assert most_missed(pairs - 1) == missed
    assert most_missed(0) == -1
    assert most_missed(60_000) > 500  # at once


def test_misses_of_one_recording_weigh_more_than_misses_of_many() -> None:
    """Forty pairs of one night are not forty nights: a bound that forgets it promises too much."""
    count = 2000
    scores, recordings = np.full((count, 1), 0.9, np.float32), np.arange(count) // 100
    in_one, spread = np.zeros(count, int), np.zeros(count, int)
    in_one[:10], spread[::200] = GATE, GATE
    assert bound_of(JudgedWindows(scores, spread, recordings), 0.3).kept_least > 0.99
    assert bound_of(JudgedWindows(scores, in_one, recordings), 0.3).kept_least < 0.99


def test_many_pairs_of_a_few_recordings_are_no_bound() -> None:
    """A thousand calls of seven nights say nothing of the eighth."""
    assert not bound_of(judged(1000, 0, RECORDINGS - 1), 0.3).holds
    assert bound_of(judged(1000, 0, RECORDINGS), 0.3).holds


def test_a_window_below_the_threshold_is_no_miss_and_a_detection_that_is_lost_is_told() -> None:
    scores = np.array([[0.9], [0.2], [0.9], [0.1]], np.float32)
    spans = np.array([[0, 10], [10, 20], [30, 40], [40, 50]])
    bound = kept_of(JudgedWindows(scores, np.array([0, GATE, FOLD, GATE]), np.zeros(4, int)), spans, 0.3, 1000)
    assert (bound.pairs, bound.missed, bound.detections, bound.detections_kept) == (2, 1, 2, 1)
    assert bound.stopped == {"gate": 2, "fold": 1}


def test_nothing_heard_is_no_bound() -> None:
    assert (
        bound_of(JudgedWindows(np.zeros((500, 3), np.float32), np.zeros(500, int), np.arange(500)), 0.3).kept_least == 0
    )


# ---------------------------------------------------------------------------------------------------------- the choice
JUDGING = JudgingSize(60, 2400)


def heard_of(rng: np.random.Generator, recordings: int, apart: float = 6.0) -> ChoosingWindows:
    """Windows of recordings, a bird in one of four; some recordings are harder. apart: logits between them."""
    recording = np.repeat(np.arange(recordings), 40)
    hits = (rng.random(len(recording)) < 0.25).astype(int)
    ease = rng.normal(0, 0.5, recordings)[recording] * hits
    logits = [(rng.normal(0, 1, len(recording)) + apart * hits + ease).astype(np.float32)[:, None] for _ in range(2)]
    return ChoosingWindows(logits[0], logits[1], np.zeros(len(hits), bool), hits, recording.astype(str))


def test_windows_that_are_far_apart_end_early_and_none_with_a_bird() -> None:
    heard = heard_of(np.random.default_rng(0), 30, 12.0)
    choice = choose(heard, Costs(1, 10, 30), JUDGING)
    stages = choice.stages(heard.gate, heard.head, heard.sure)
    assert not stages[heard.hits > 0].any()
    assert (stages[heard.hits == 0] > 0).mean() > 0.95
    assert choice.cost < 0.35
    alone = choose(replace(heard, head=heard.head[:, :0]), Costs(1, 10, 0), JUDGING)
    assert alone.head_least is None
    assert set(alone.stages(heard.gate, heard.head, heard.sure)) == {0, GATE}


def test_thresholds_are_chosen_so_that_other_recordings_mostly_find_the_bound() -> None:
    """An export hears recordings for an hour before it judges: it may not fail then for a threshold on the edge.

    Thresholds at the weakest window with a bird, and none below, would hold in about half of the sites.
    """
    rng, held, stopped = np.random.default_rng(7), [], []
    for _ in range(60):
        heard, others = heard_of(rng, 30), heard_of(rng, 60)
        stages = choose(heard, Costs(1, 10, 30), JUDGING).stages(others.gate, others.head, others.sure)
        scores, numbers = others.hits.astype(np.float32)[:, None], others.recordings.astype(int)
        held.append(bound_of(JudgedWindows(scores, stages, numbers), 0.5).holds)
        stopped.append((stages[others.hits == 0] > 0).mean())
    assert np.mean(held) > 0.75
    assert min(stopped) > 0.9


def test_what_the_first_fold_is_sure_of_is_lost_at_no_threshold() -> None:
    heard = heard_of(np.random.default_rng(0), 30)
    sure = heard.hits > 0
    choice = choose(replace(heard, sure=sure, head=-heard.head), Costs(1, 10, 30), JUDGING)
    stages = choice.stages(heard.gate, -heard.head, sure)
    assert not (stages[sure] == FOLD).any()
    assert (stages[~sure] > 0).mean() > 0.95


def test_where_nothing_is_heard_all_pass() -> None:
    heard = replace(heard_of(np.random.default_rng(0), 8), hits=np.zeros(320, int))
    choice = choose(heard, Costs(1, 10, 30), JUDGING)
    assert not choice.stages(heard.gate, heard.head, heard.sure).any()
    assert choice.cost == 1


@pytest.mark.parametrize("lengths", [[400] * 60, [20] * 99 + [17_280], [3, 1], [50_000]])
def test_as_many_windows_judge_as_thresholds_were_chosen_for(lengths: list[int]) -> None:
    """Of more windows more may be missed: a count that is too high makes an export fail after its hour of hearing."""
    counts = {f"{number}.flac": length for number, length in enumerate(lengths)}

    def windows(name: str) -> Iterator[Window]:
        return (Window(np.empty(0, np.float32), number, number + 1) for number in range(counts[name]))

    material = CascadeMaterial(dict.fromkeys(counts, JUDGE), windows, counts.__getitem__, "")
    assert material.size(JUDGE) == (len(lengths), len(list(material.of(JUDGE))))


def test_a_gate_learns_loud_from_empty_images_and_its_graph_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "LEAST_STEPS", 60)
    monkeypatch.setattr(gate, "EPOCHS", 1)
    rng = np.random.default_rng(0)
    images = 0.3 * rng.random((200, 1, 64, 96)).astype(np.float32)
    best = (np.arange(200) % 4 == 0).astype(np.float32)
    images[best > 0, :, 20:30, 30:50] = 1
    fitted = gate.fit(images.astype(np.float16), np.stack([best, 0 * best], axis=1), fold=10**9)
    logits = computed(fitted.to_onnx(64, 96), tmp_path, image=images)
    assert logits[best > 0].min() > logits[best == 0].max()
    np.testing.assert_allclose(logits[:8], fitted.network(torch.from_numpy(images[:8])).detach(), atol=1e-4)


def test_a_head_learns_whose_scores_rise_without_a_bird_and_its_graph_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The label that rain lifts is told from one that is never wrong; the highest score of both is the same."""
    monkeypatch.setattr(head, "STEPS", 400)
    rng = np.random.default_rng(0)
    best = (np.arange(400) % 4 == 0).astype(np.float32)
    first = rng.uniform(0, 0.05, (400, 3)).astype(np.float32)
    first[best > 0, 1] = rng.uniform(0.2, 0.4, 100)
    first[best == 0, 0] = rng.uniform(0.2, 0.4, 300)
    first[:2] = [[0, 1, 0], [1, 0, 1]]  # no logit of these is finite
    fitted = fit_head(first, best)
    logits = computed(fitted.to_onnx(), tmp_path, scores=first)
    assert logits[best > 0].min() > logits[best == 0].max()
    np.testing.assert_allclose(logits, fitted(torch.from_numpy(first)).detach(), atol=1e-4)


def test_a_head_knows_nothing_of_a_bird_that_was_not_heard_and_lets_it_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vagrant, or whoever comes back in spring: a label that was silent while the head was fitted."""
    monkeypatch.setattr(head, "STEPS", 400)
    rng = np.random.default_rng(0)
    best = (rng.random(600) < 0.3).astype(np.float32)
    first = rng.uniform(0, 0.05, (600, 12)).astype(np.float32)
    first[np.arange(600), rng.integers(0, 8, 600)] = np.where(best > 0, 0.9, first[:, 0])
    first[:, 8:] = 1e-6
    fitted = fit_head(first, best)
    later = rng.uniform(0, 0.05, (400, 12)).astype(np.float32)
    later[np.arange(400), rng.integers(8, 12, 400)] = 0.95
    with torch.no_grad():
        empty, new = (fitted(torch.from_numpy(each)).numpy() for each in (first[best == 0], later))
    assert new.min() > empty.min() - 5, "far less than of an empty window"
    assert sure_of(later, 0.4).all()
    assert not sure_of(first[best == 0], 0.4).any()


def computed(model: onnx.ModelProto, folder: Path, **inputs: FloatArray) -> FloatArray:
    """What ONNX Runtime gives for a graph."""
    path = folder / "judge.onnx"
    path.write_bytes(model.SerializeToString())
    session = require("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: FloatArray = session.run(None, inputs)[0]
    return found


def test_a_gate_that_would_cost_too_much_is_refused() -> None:
    images = np.zeros((4, 1, 64, 96), np.float32)
    with pytest.raises(ExportError, match="not worth it"):
        gate.fit(images, np.zeros((4, 2), np.float32), fold=10_000)


# ---------------------------------------------------------------------------------------------------------- the stages
def with_cascade(folder: Path, height: int = 128, width: int = 313) -> Bundle:
    """A bundle in a folder that may be changed, now with stages and a gate of this image; it fits nothing."""
    bundle = open_bundle(folder)
    cuts, stages = write_stages(folder, bundle.card)
    network = GateNetwork((2, 2, 2, 2), 0.5, 2.0)
    models = {"gate": Gate(network, 0.01).to_onnx(height, width)}
    if cuts.first != OUTPUT:  # there is a rest
        models["head"] = HeadNetwork(len(bundle.card.labels)).to_onnx()
    judges = dict[str, StageFile]()
    for part, model in models.items():
        path = folder / JUDGE_FILES[part]
        path.write_bytes(model.SerializeToString())
        judges[part] = StageFile(path.name, file_sha256(path))
    stages |= {made: stages[name] for made, name in BF16_OF.items() if name in stages}
    files = {
        name: {part: StageFile(path.name, file_sha256(path)) for part, path in parts.items()}
        for name, parts in stages.items()
    }
    cascade = Cascade(judges["gate"], judges.get("head"), files, cuts.image, cuts.first, 0.3, -99.0, -99.0, 0.01, "")
    (folder / CARD_FILE).write_bytes(replace(bundle.card, cascade=cascade).to_bytes())
    return open_bundle(folder)


@pytest.fixture(scope="module")
def cascaded(in_int8: tuple[Bundle, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The narrow ensemble with a cascade whose thresholds a test sets: its weights are seeded, so no gate can be
    fitted.
    """
    return with_cascade(Path(shutil.copytree(in_int8[0].path, tmp_path_factory.mktemp("cascade") / "bundle")))


def with_thresholds(bundle: Bundle, gate: float, fold: float) -> Bundle:
    assert bundle.card.cascade is not None
    cascade = replace(bundle.card.cascade, gate_least=gate, head_least=fold)
    return Bundle(bundle.path, replace(bundle.card, cascade=cascade))


def opened(bundle: Bundle, name: str = "ort-cpu", audit: float = 0.0, precision: str = "fp32") -> CascadeRuntime:
    runtime = open_runtime(bundle, name, RuntimeOptions(precision, 1, cascade=CascadeUse(audit)))
    assert isinstance(runtime, CascadeRuntime)
    return runtime


def windows(bundle: Bundle, count: int = 3) -> FloatArray:
    return bundle.golden().windows()[:count]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("ort-cpu", "fp32"), ("openvino", "fp32"), ("ort-cpu", "int8")])
def test_what_reaches_the_end_has_the_full_models_scores(cascaded: Bundle, name: str, precision: str) -> None:
    require("openvino" if name == "openvino" else "onnxruntime")
    scores_alike(cascaded, name, precision)


def scores_alike(bundle: Bundle, name: str, precision: str) -> None:
    """Hold the stages to the full model in the same engine and precision."""
    full = open_runtime(bundle, name, RuntimeOptions(precision, 1))
    staged = opened(bundle, name, precision=precision)
    try:
        np.testing.assert_allclose(staged.infer(windows(bundle)), full.infer(windows(bundle)), atol=1e-6)
    finally:
        full.close()
        staged.close()


def cut_as_for_bf16(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have OpenVINO cut graphs as for bf16, on any CPU, and compute all in float32; what each part was asked for."""
    require("openvino")
    from edgebird.runtimes import ov, ov_device, ov_stages

    hints = list[str]()

    def as_float32(core: Any, model: Any, name: str, settings: dict[str, Any]) -> Any:
        hints.append(settings["INFERENCE_PRECISION_HINT"])
        return ov_device.compiled_for(core, model, name, settings | {"INFERENCE_PRECISION_HINT": "f32"})

    for module in (ov, ov_stages):
        monkeypatch.setattr(module, "compiled_for", as_float32)
        monkeypatch.setattr(module, "check_bf16", lambda *_: None)
    return hints


def cut_for_bf16_scores_alike(bundle: Bundle, parts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    hints = cut_as_for_bf16(monkeypatch)
    staged = opened(bundle, "openvino", precision="bf16")
    assert hints == [hint for part in parts for hint in part]
    full = open_runtime(bundle, "openvino", RuntimeOptions("fp32", 1))
    np.testing.assert_allclose(staged.infer(windows(bundle)), full.infer(windows(bundle)), atol=1e-6)
    staged.close()
    full.close()


@pytest.mark.slow
def test_one_fold_is_cut_for_bf16_without_a_rest(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_for_bf16_scores_alike(with_cascade(bundle_copy), [["f32"], ["bf16", "f32"], ["f32"]], monkeypatch)


@pytest.mark.slow
def test_folds_that_see_one_image_are_cut_for_bf16_with_one_spectrogram(
    narrow_folds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is given the first fold's image, and has no spectrogram of its own."""
    folds = (narrow_folds["exp105"], narrow_folds["exp106"])
    bundle = with_cascade(export_bundle(ExportRequest(folds, tmp_path / "bundle")).path)
    parts = [["f32"], ["bf16", "f32"], ["bf16", "f32"], ["f32"], ["f32"]]  # the last two judge
    cut_for_bf16_scores_alike(bundle, parts, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "int8+bf16"])
def test_backbones_of_stages_are_in_bf16_and_all_else_in_float32(
    cascaded: Bundle, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """A frontend in bf16 would be another model."""
    hints = cut_as_for_bf16(monkeypatch)
    full = open_runtime(cascaded, "openvino", RuntimeOptions(precision, 1))
    assert hints == ["f32", "bf16", "f32"]
    hints.clear()
    staged = opened(cascaded, "auto", precision=precision)
    front, first, rest, gate, fold = ["f32"], ["bf16", "f32"], ["f32", "bf16", "f32"], ["f32"], ["f32"]
    assert hints == [*front, *first, *rest, *gate, *fold]
    try:
        sound = windows(cascaded)
        np.testing.assert_allclose(staged.infer(sound), full.infer(sound), atol=1e-6)
    finally:
        full.close()
        staged.close()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "int8+bf16"])
def test_stages_in_bf16_score_as_the_full_model_in_bf16(cascaded: Bundle, precision: str) -> None:
    needs_bf16()
    scores_alike(cascaded, "openvino", precision)
    with pytest.raises(RuntimeUnavailableError, match=f"ort-cpu does not make {re.escape(precision)}"):
        opened(cascaded, "ort-cpu", precision=precision)


def test_the_stages_hold_no_second_copy_of_the_weights(cascaded: Bundle) -> None:
    assert cascaded.card.cascade is not None
    model = (cascaded.path / cascaded.card.precisions["fp32"].file).stat().st_size
    for stage in cascaded.card.cascade.stages["fp32"].values():
        file = cascaded.path / stage.file
        assert file.stat().st_size < 0.3 * model
        tensors = onnx.load(str(file), load_external_data=False).graph.initializer
        assert all(len(tensor.raw_data) < 1024 for tensor in tensors)


def test_a_stage_file_that_was_changed_is_found(cascaded: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(cascaded.path, tmp_path / "bundle"))
    with (copy / "cascade.gate.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="damaged or replaced"):
        open_bundle(copy)


def test_windows_end_where_a_stage_stops_them_and_audited_ones_are_scored_all_the_same(cascaded: Bundle) -> None:
    sound = windows(cascaded)
    full = opened(cascaded)
    whole = full.in_full(sound)
    full.close()
    for least, fold, stage in ((99.0, -99.0, GATE), (-99.0, 99.0, FOLD)):
        bundle = with_thresholds(cascaded, least, fold)
        runtime, audited = opened(bundle), opened(bundle, audit=1.0)
        stopped = runtime.infer(sound)
        assert (stopped == STOPPED[stage]).all()
        assert [stage_of(row) for row in stopped] == [stage] * len(sound)
        np.testing.assert_allclose(audited.infer(sound), whole, atol=1e-6)
        np.testing.assert_allclose(in_full(runtime)(sound), whole, atol=1e-6)
        status = audited.drift.status()
        assert status.windows == status.audited == len(sound)
        assert status.missed == status.pairs == (whole >= 0.3).any(axis=1).sum()
        for one in (runtime, audited):
            one.close()


def test_an_image_that_is_not_finite_is_no_quiet_night(cascaded: Bundle) -> None:
    """The engine's fault is told as one; a gate that compares it with a number finds no bird."""
    runtime = opened(with_thresholds(cascaded, 0.0, -99.0))
    sound = windows(cascaded, 1).copy()
    sound[0, 5] = np.nan
    with pytest.raises(ScoreError, match="not finite"):
        runtime.infer(sound)
    runtime.close()


def test_scores_that_are_not_finite_are_no_quiet_night_whatever_a_head_makes_of_them(cascaded: Bundle) -> None:
    """OpenVINO's Clip takes what is not a number for its lower end, and the head then for an empty window."""
    classes, cascade = len(cascaded.card.labels), cascaded.card.cascade
    assert cascade is not None

    def part(value: float, *shape: int) -> Callable[..., FloatArray]:
        return lambda *given: np.full((len(given[0]), *shape), value, np.float32)

    chain = StageChain(part(0, 1, 4, 4), part(0, 1), part(np.nan, classes), part(-999, 1), part(0.5, classes))
    with pytest.raises(ScoreError, match="not finite"):
        Stages(cascade, classes, 0.0).run(chain, np.zeros((2, 8), np.float32))
    chain = replace(chain, first=part(0.1, classes))
    assert Stages(cascade, classes, 0.0).run(chain, np.zeros((2, 8), np.float32))[:, -1].tolist() == [-FOLD, -FOLD]
    chain = replace(chain, first=part(0.9, classes))  # the fold is sure
    assert Stages(cascade, classes, 0.0).run(chain, np.zeros((2, 8), np.float32))[:, -1].tolist() == [0, 0]


def test_a_cascade_is_refused_where_it_is_not_or_cannot_run(bundle: Bundle, cascaded: Bundle) -> None:
    with pytest.raises(BundleError, match="has no cascade"):
        opened(bundle)
    with pytest.raises(RuntimeUnavailableError, match="runs on CPUs"):
        opened(cascaded, "null")
    with pytest.raises(BundleError, match="none at fp16"):
        opened(cascaded, precision="fp16")


def test_detect_tells_where_windows_ended_and_refuses_what_nothing_is_promised_of(
    cascaded: Bundle, tmp_path: Path
) -> None:
    """A summary without it would say that all was scored in full; a lower threshold would miss without a bound."""
    assert cascaded.card.cascade is not None
    (cascaded.path / CARD_FILE).write_bytes(with_thresholds(cascaded, 99.0, 0.0).card.to_bytes())
    audio = tmp_path / "a.wav"
    soundfile.write(audio, windows(cascaded, 2).reshape(-1), 32000)
    common = ["detect", str(audio), "--bundle", str(cascaded.path), "--runtime", "ort-cpu", "--cascade"]
    common += ["--cascade-audit", "0", "--hop", "5", "--format", "jsonl"]
    invoke = typer.testing.CliRunner().invoke
    told = invoke(make_app(), [*common, "--explain"])
    assert told.exit_code == 0, told.output
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert [event["stage"] for event in events if event["event"] == "stopped"] == ["gate", "gate"]
    assert (events[-1]["stopped_gate"], events[-1]["stopped_fold"]) == (2, 0)
    assert "100% stopped by the gate" in told.stderr
    refused = invoke(make_app(), [*common, "--threshold", "0.2"])
    assert "the cascade's bound is for scores of 0.3" in refused.stderr + str(refused.exception)
    assert refused.exit_code != 0


def test_verify_proves_the_bound_again_on_any_audio(cascaded: Bundle, tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    soundfile.write(audio, windows(cascaded, 3).reshape(-1), 32000)
    ((precision, engine, bound),) = prove_cascade(with_thresholds(cascaded, 99.0, 0.0), [audio], "ort-cpu", "fp32", 1)
    assert (precision, engine, bound.windows) == ("fp32", "ort-cpu", 3)
    assert bound.missed == bound.pairs > 0
    assert not bound.holds
    ((_, _, bound),) = prove_cascade(with_thresholds(cascaded, -99.0, -99.0), [audio], "ort-cpu", "fp32", 1)
    assert bound.missed == 0
    with pytest.raises(RuntimeUnavailableError, match="runs on CPUs"):
        list(prove_cascade(cascaded, [audio], "null"))


def test_bench_opens_a_cascade_beside_the_engine_in_full_and_names_both(cascaded: Bundle) -> None:
    """Two rows of one name say nothing, and a name that no engine has ended the command."""
    from edgebird.benchmarks.subjects import Wanted, open_subjects

    wanted = Wanted(("ort-cpu",), ("fp32",), 1, cascade=True)
    with open_subjects(cascaded, wanted, lambda _line: None) as (subjects, refused):
        assert [subject.name for subject in subjects] == ["ort-cpu fp32", "ort-cpu cascade fp32"]
        assert [subject.facts()["runtime"] for subject in subjects] == ["ort-cpu", "ort-cpu cascade"]
    assert refused == []


# ---------------------------------------------------------------------------------------------------------- the export
@pytest.fixture(scope="module")
def site(in_int8: tuple[Bundle, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty recordings of ten seconds: golden windows, each begun elsewhere and louder than in the others."""
    folder = tmp_path_factory.mktemp("site")
    sound = in_int8[0].golden().windows()
    for number in range(20):
        two = np.roll(sound[[number % 12, (number + 5) % 12]].reshape(-1), 7919 * number) * (0.3 + 0.03 * number)
        soundfile.write(folder / f"night_{number:02}.wav", two, 32000, "FLOAT")
    return folder


@pytest.fixture
def made(
    in_int8: tuple[Bundle, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Path]], tuple[Bundle, list[str]]]:
    """Makes the cascade of the narrow ensemble, with a gate that has learned next to nothing."""
    monkeypatch.setattr(gate, "LEAST_STEPS", 20)
    monkeypatch.setattr(gate, "EPOCHS", 1)
    monkeypatch.setattr(gate, "MOST_SHARE", 0.5)  # of a narrow fold even the smallest gate is much
    folder = Path(shutil.copytree(in_int8[0].path, tmp_path / "made"))

    def make(recordings: list[Path]) -> tuple[Bundle, list[str]]:
        told: list[str] = []
        card = in_int8[0].card
        card = replace(card, precisions={"fp32": card.precisions["fp32"]})
        cascade = make_cascade(folder, card, in_int8[0].golden(), recordings, 0.1, told.append)
        (folder / CARD_FILE).write_bytes(replace(card, cascade=cascade).to_bytes())
        return open_bundle(folder), told

    return make


@pytest.mark.slow
def test_a_cascade_is_made_with_a_bound_that_verify_finds_again(
    made: Callable[[list[Path]], tuple[Bundle, list[str]]], site: Path
) -> None:
    """The whole of `export --cascade`: fitted, chosen and judged on recordings of which each is for one use."""
    bundle, told = made([site])
    cascade = bundle.card.cascade
    assert cascade is not None
    assert cascade.evidence == "20 recordings"
    assert (cascade.bounds["fp32"].recordings, cascade.bounds["fp32"].windows) == (8, 16)
    for name, bound in cascade.bounds.items():
        assert bound.holds, name
        assert bound.pairs >= pairs_wanted(bound.missed)
        assert set(cascade.stages[name]) == {"front", "first", "rest"}
    assert 0 < cascade.share < 0.5
    assert any("at least 9" in line for line in told)
    ((_, _, again),) = prove_cascade(bundle, sorted(site.glob("*.wav")), "ort-cpu", "fp32", 1)
    assert again.windows == 40
    if "bf16" not in cascade.bounds:
        assert any(line.startswith("cascade   none at bf16: ") for line in told), "nobody knows why"


@pytest.mark.slow
def test_a_cascade_without_enough_to_judge_it_or_that_misses_is_not_written(
    made: Callable[[list[Path]], tuple[Bundle, list[str]]], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = r"^the cascade is not written: at fp32 the full model hears \d+ pairs .* in \d of the recordings that judge"
    with pytest.raises(ExportError, match=few):
        made(sorted(site.glob("*.wav"))[:6])
    passing = PassingThresholds(99.0, 0.0, 0.1)
    monkeypatch.setattr("edgebird.export.cascade.making.choose", lambda *_: passing)
    with pytest.raises(
        ParityError, match=r"^the cascade is not written: at fp32 it keeps 0.00% at least, 99% are promised"
    ):
        made([site])


# ----------------------------------------------------------------------------------------------------------- the drift
def told_after(kept: float, audit: float, most: int, seed: int) -> int | None:
    """After how many pairs that are seen a fall is told, with a share of all pairs kept."""
    now = [0.0]
    random, test = np.random.default_rng(seed), DriftTest(audit, 60, lambda: now[0])
    for count in range(1, most + 1):
        missed = random.random() < miss_probability(kept, audit)
        test.take(GATE if missed else 0, [0])
        now[0] += 60
        if test.status().fallen:
            return count
    return None


def test_a_fall_to_ninety_percent_is_told_and_what_was_promised_is_not() -> None:
    """A station that misses one bird in ten says so; one that keeps its promise does not cry wolf."""
    audit = 0.05
    expected = pairs_until_told(audit)
    found = [told_after(0.90, audit, 20_000, seed) for seed in range(30)]
    assert all(found)
    assert 0.5 * expected < np.median([count for count in found if count]) < 2 * expected
    assert all(told_after(0.995, audit, 2000, seed) is None for seed in range(20))


def test_one_song_is_one_pair_at_a_station_and_the_days_follow_the_rate() -> None:
    now = [0.0]
    test = DriftTest(0.05, song_s=60, clock=lambda: now[0])
    for _ in range(10):
        test.take(0, [7])
        now[0] += 10
    assert test.status().pairs == 2
    now[0] = 86400.0
    days = test.status().to_tell_days
    assert days == pytest.approx(pairs_until_told(0.05) / 2)


def test_windows_are_worth_as_many_as_they_are_unlike_those_of_their_recording() -> None:
    """Of a night with one bird, a hundred windows tell nothing more of the next night than one."""
    random, recordings = np.random.default_rng(0), np.repeat([f"night {number}" for number in range(20)], 50)
    unlike = random.normal(size=1000).astype(np.float32)
    alike = np.repeat(random.normal(size=20), 50).astype(np.float32)
    assert 450 < _worth(unlike, recordings) <= 1000
    assert _worth(alike, recordings) == pytest.approx(20)
    assert 20 < _worth(alike + unlike, recordings) < 100
    assert _worth(unlike, np.repeat("one", 1000)) == 1
    assert _worth(unlike, np.arange(1000).astype(str)) == 1000
    assert _worth(np.zeros(1000, np.float32), recordings) == 20
    shuffled = _bandwidth(alike + unlike, random.permutation(recordings))
    assert _bandwidth(alike + unlike, recordings) > 1.4 * shuffled, "where nights are unlike, others may be far away"


@pytest.mark.parametrize("sizes", [(99, 1), (50,) * 10 + (1,) * 20, (200, 100, 50, 20, 10, 5, 2, 1), (2, 1)])
def test_one_long_night_is_not_worth_many(sizes: tuple[int, ...]) -> None:
    total, each = sum(sizes), np.random.default_rng(0).normal(size=len(sizes))
    recordings = np.repeat(np.arange(len(sizes)).astype(str), sizes)
    alike = np.repeat(each, sizes).astype(np.float32)
    assert _worth(alike, recordings) == pytest.approx(total**2 / sum(size**2 for size in sizes), rel=1e-3)


def test_many_labels_of_one_window_are_one_miss() -> None:
    """A dawn chorus in one window that was missed by chance is no fall."""
    test = DriftTest(0.05, song_s=60, clock=lambda: 0.0)
    test.take(GATE, list(range(20)))
    assert (test.status().pairs, test.status().missed, test.status().fallen) == (1, 1, False)


def test_a_stopped_window_that_nobody_scored_is_no_pair() -> None:
    test = DriftTest(0.05)
    test.take(GATE, None)
    status = test.status()
    assert (status.windows, status.stopped["gate"], status.audited, status.pairs, status.kept) == (1, 1, 0, 0, None)
