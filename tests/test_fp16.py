"""FP16: the graph loses precision only where it may, and is never written when it would hear other birds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edgebird.bundle import GOLDEN_FILE, Bundle, read_golden
from edgebird.errors import AudioError, ParityError, UsageError
from edgebird.parity import TOLERANCES
from edgebird.verification import verify
from tests import gpu_wheels
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from onnx import TensorProto, numpy_helper  # noqa: E402

from edgebird import demo  # noqa: E402
from edgebird.cli import export as command  # noqa: E402
from edgebird.export.essentials import scorer  # noqa: E402
from edgebird.export.exporter import ExportRequest, export_bundle  # noqa: E402
from edgebird.export.families.folds.family import FOLDS  # noqa: E402
from edgebird.export.precisions import audio, fp16, lower  # noqa: E402
from edgebird.export.precisions.audio import Windows  # noqa: E402
from edgebird.export.precisions.backbone import element_types, low_share  # noqa: E402
from edgebird.export.precisions.shipped import shipped  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402
from tests.toy_graph import levels, toy  # noqa: E402

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16


@pytest.fixture(scope="module")
def halved(narrow_folds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An ensemble of both kinds of frontend with an FP16 graph."""
    folds = (narrow_folds["exp105"], narrow_folds["exp107"])
    return export_bundle(ExportRequest(folds, tmp_path_factory.mktemp("fp16") / "bundle", precisions=("fp16",)))


@pytest.fixture(scope="module")
def mixed(halved: Bundle) -> Any:
    return onnx.load(halved.model("fp16"))


# ------------------------------------------------------------------------------------------------------------ the graph
def test_only_the_backbone_is_float16_and_casts_stand_at_its_borders_alone(halved: Bundle, mixed: Any) -> None:
    """TensorRT computes what the graph says: a frontend in FP16 would make infinities of loud birds."""
    types, backbone = element_types(mixed), fp32_graph(onnx.load(halved.model())).backbone
    assert {types[name] for name in ("audio", "scores")} == {FLOAT}
    for node in mixed.graph.node:
        floating = {types[name] for name in (*node.input, *node.output) if types[name] in (FLOAT, FLOAT16)}
        if node.op_type != "Cast":
            assert floating == {FLOAT16 if node.name in backbone else FLOAT}, node.name
    casts = [(node.input[0], types[node.output[0]]) for node in mixed.graph.node if node.op_type == "Cast"]
    card = halved.card
    assert sorted(casts) == sorted([(i, FLOAT16) for i in card.images] + [(m, FLOAT) for m in card.maps])
    assert (len(card.images), len(card.maps)) == (2, 2)


def test_what_is_written_is_smaller_and_the_card_says_what_was_done(halved: Bundle, mixed: Any) -> None:
    precision = halved.card.precisions["fp16"]
    assert halved.model("fp16").stat().st_size < halved.model().stat().st_size
    assert precision.share == pytest.approx(low_share(mixed, fp32_graph(mixed).backbone), abs=1e-4)
    assert 0.1 < (precision.share or 0) < 1
    assert precision.kept == {}
    assert {engine.rpartition(" ")[0] for engine in precision.lint} >= {"ONNX Runtime CUDA 1.23.2 to"}
    assert not any(precision.lint.values()), "an engine that edgebird names does not take the graph"
    assert set(precision.proofs) == {
        f"{known}, {way}" for known in ("golden", "held out") for way in ("computed in FP32", "rounded")
    }
    worst = max(precision.proofs[name]["max_abs"] for name in precision.proofs if "golden" in name)
    assert 0 < precision.parity["max_abs"] == worst <= TOLERANCES["fp16"].max
    assert {entry.key: entry.value for entry in mixed.metadata_props}["precision"] == "fp16"


def test_it_runs_and_verifies_where_there_is_no_fp16_arithmetic(halved: Bundle) -> None:
    (result,) = verify(halved, "ort-cpu", "fp16")
    assert result.passed
    assert result.parity.max_abs > 1e-6, "this is the FP32 graph"


def test_every_gpu_wheel_of_onnx_runtime_takes_the_graph(halved: Bundle, tmp_path: Path) -> None:
    gpu_wheels.assert_opens_on_gpu_wheels(tmp_path, halved.model("fp16"))


def test_tensorrt_takes_the_graph_and_computes_the_backbone_in_half(halved: Bundle) -> None:
    """NVIDIA's own importer, which refuses an operation on FP16 and FP32 at once."""
    trt = require("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(halved.model("fp16"))), parser.get_error(0).desc()
    kinds = {network.get_layer(i).name: network.get_layer(i).get_output(0).dtype for i in range(network.num_layers)}
    for name, kind in {"stem.conv1": trt.float16, "final_conv": trt.float16, "head/linear": trt.float32}.items():
        found = [value for layer, value in kinds.items() if layer.startswith(f"fold.1/{name}")]
        assert kind in found, (name, found)
    assert {network.get_input(0).dtype, network.get_output(0).dtype} == {trt.float32}


# --------------------------------------------------------------------------------------------------------- what is kept
@pytest.mark.parametrize(
    ("model", "window", "kept"),
    [
        (toy(1, 1), 0.5, {}),
        (toy(20000, 3e-6), 0.5, {"stem.conv1": "reaches", "stem.conv2": "too small"}),
        (toy(15000, 1), 5.0, {"stem.conv1": "a reaches", "stem.conv2": "b reaches", "final_conv": "map reaches"}),
        (toy(15000, 0.001), 5.0, {"stem.conv1": "a reaches", "stem.conv2": "a reaches"}),
        (toy(1, 1), 3e-7, {"stem.conv1": "a loses", "stem.conv2": "b loses", "final_conv": "map loses"}),
    ],
    ids=["fits", "weights", "large to the end", "large once", "small"],
)
def test_nodes_whose_values_do_not_fit_stay_in_fp32_with_the_reason(
    model: Any, window: float, kept: dict[str, str]
) -> None:
    """FP16 ends at 65504 and fades out below 6e-5; in between it is as good as needed."""
    found = fp16.unfit_nodes(fp32_graph(model), levels(0.1, window))
    assert found.keys() == kept.keys()
    assert all(kept[name] in reason for name, reason in found.items()), found


def test_a_sum_that_an_engine_forms_before_a_mean_counts_too() -> None:
    model = toy(1, 1)
    model.graph.node[-1].name = "stages.0.0.attn/ReduceMean"
    assert fp16.unfit_nodes(fp32_graph(model), levels(900.0)) == {}
    assert "map reaches 1.92e+04" in fp16.unfit_nodes(fp32_graph(model), levels(1200.0))["stages.0.0.attn/ReduceMean"]


def test_what_is_kept_gets_casts_of_its_own_and_scores_as_before() -> None:
    model = toy(15000, 0.001)
    candidate = fp16.to_fp16(fp32_graph(model), levels(5.0), levels(0.5))
    types = element_types(candidate.model)
    assert [types[name] for name in ("a", "b", "map")] == [FLOAT, FLOAT, FLOAT16]
    assert candidate.share == pytest.approx(1 / 3)
    for graph in (candidate.model, *candidate.ways.values()):
        np.testing.assert_allclose(scorer(graph)(levels(6.0)), [[90.0]], rtol=1e-3)


def test_the_emulation_rounds_every_activation_as_an_fp16_engine_would() -> None:
    """ONNX Runtime once removed such casts even with optimizations off; then the gate would see nothing."""
    model = toy(1, 1, offset=1000.0)
    candidate = fp16.to_fp16(fp32_graph(model), levels(0.1), levels(0.1))
    window = levels(0.1234, -0.3)
    plain, rounded = (scorer(graph)(window)[:, 0] for graph in candidate.ways.values())
    image = window[:, 0].astype(np.float16)
    np.testing.assert_allclose(plain, image.astype(np.float32), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(rounded, (image.astype(np.float32) + 1000).astype(np.float16) - np.float16(1000))
    assert np.isinf(scorer(candidate.ways["rounded"])(levels(1e5))).all()


# ------------------------------------------------------------------------------------------------------------- the gate


def test_nothing_is_written_when_it_fails(
    narrow_folds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fp32: Any, *arguments: Any) -> Any:
        for tensor in fp32.model.graph.initializer:
            if tensor.name == "stages.2.0.conv2.weight":
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        return [fp16.to_fp16(fp32, *arguments[:2])]

    monkeypatch.setitem(lower.CONVERTERS, "fp16", broken)
    with pytest.raises(ParityError, match="worst golden window"):
        export_bundle(ExportRequest((narrow_folds["exp105"],), tmp_path / "out", precisions=("fp16",)))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------ the audio
def record(path: Path, seconds: float) -> Path:
    """A recording whose samples tell the second they are from."""
    soundfile.write(path, np.repeat(np.arange(int(seconds)) / 1000, 32000), 32000, subtype="FLOAT")
    return path


def files(names: Sequence[str]) -> set[str]:
    """The files that windows are of."""
    return {name.partition(" at ")[0] for name in names}


def test_a_recording_that_proves_never_calibrates(tmp_path: Path) -> None:
    """Else a graph would be proven on what it was fitted to, or on the next five seconds of it."""
    mine = [record(tmp_path / f"{name}.wav", 12 + index) for index, name in enumerate("abcde")]
    used, held_out = audio.read_calibration(mine, FOLDS)
    assert files(used.names) == {"a.wav", "c.wav", "d.wav"}
    assert used.recordings == 3
    shipped_files = {part.file.name for part in shipped("held-out") if part.file}
    assert files(held_out.names) == {"b.wav", "e.wav"} | shipped_files
    without = audio.read_calibration([], FOLDS)
    assert not files(without[0].names) & files(without[1].names)


def test_parts_of_one_recording_stay_together_and_what_is_golden_calibrates_nothing(tmp_path: Path) -> None:
    """Songs that were cut out of one recording, or a recording in two encodings, would do both; the demo's recording,
    which is put together of golden ones among others, would do what none of them may.
    """
    songs = [part.file for part in shipped("calibration") if part.file and part.recording == "great-tit-B32-0415_05"]
    mine = [record(tmp_path / "a.wav", 12), *songs[:3], record(tmp_path / "z.wav", 13), demo.RECORDING]
    told: list[str] = []
    used, held_out = audio.read_calibration(mine, FOLDS, told.append)
    assert files(used.names) == {"a.wav", "z.wav"}
    assert files(held_out.names) > {song.name for song in songs[:3]}
    assert held_out.recordings == len({part.recording for part in shipped("held-out")}) + 1
    assert told == [f"left out  {demo.RECORDING}: golden windows are of this recording"]


def test_windows_are_those_of_detection_with_padded_quiet_and_clipped_ones_among_them(tmp_path: Path) -> None:
    """A graph that is right for full windows was wrong for the last one of every recording."""
    used, _ = audio.read_calibration([record(tmp_path / "mine.wav", 37)], FOLDS)
    assert used.names[:8] == (*(f"mine.wav at {s} s" for s in range(0, 35, 5)), "mine.wav at 35 s, its end")
    assert not used.audio[7][64000:].any()
    assert used.audio[7][:64000].any()
    assert used.names[8] == "mine.wav at 0 s, then silent"
    _, held_out = audio.read_calibration([], FOLDS)
    for kind in ("then silent", "silent before", "50 dB down", "DC offset", "its end"):
        assert any(kind in name for name in held_out.names), kind
    changed = {name.rpartition(", ")[2]: window for name, window in zip(held_out.names, held_out.audio, strict=True)}
    assert (np.abs(changed["its peak 12 dB above full scale"]) > 0.9999).mean() > 0.001, "it clips, as its name says"
    assert changed["silent before"][-1000:].any()
    assert not changed["silent altogether"].any()


def test_a_long_recording_is_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night of audio would take the memory and the hours of a computer."""
    monkeypatch.setattr(audio, "MOST_WINDOWS", 4)
    used, _ = audio.read_calibration([record(tmp_path / "night.wav", 60)], FOLDS)
    assert used.names[:3] == tuple(f"night.wav at {s} s" for s in (0, 20, 40))


def test_calibration_that_cannot_be_used_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav"):
        audio.read_calibration([tmp_path / "none.wav"], FOLDS)
    soundfile.write(tmp_path / "short.wav", np.full(8000, 0.1), 32000)
    with pytest.raises(AudioError, match="nothing to calibrate with"):
        audio.read_calibration([tmp_path / "short.wav"], FOLDS)


def test_no_recording_that_comes_with_edgebird_is_in_two_sets() -> None:
    """Songs cut out of one recording are one recording."""
    sets = {name: {part.recording for part in shipped(name)} for name in ("golden", "held-out", "calibration")}
    assert not sets["golden"] & sets["held-out"]
    assert not sets["calibration"] & (sets["golden"] | sets["held-out"])
    named = {part.recording for part in shipped("golden")}
    assert {*read_golden(demo.BUNDLE / GOLDEN_FILE).recordings} == named


def test_what_comes_with_edgebird_is_enough_to_prove() -> None:
    _, held_out = audio.read_calibration([], FOLDS)
    assert len(held_out.names) >= lower.ENOUGH
    golden = read_golden(demo.BUNDLE / GOLDEN_FILE)
    assert len(golden.names) >= 60
    assert len(set(golden.recordings)) >= 8
    padded = [not window[-16000:].any() and bool(window.any()) for window in golden.audio]
    assert sum(padded) >= 8


def test_what_proves_does_not_when_it_calibrates(tmp_path: Path) -> None:
    """Copied under another name it is the same recording; then too little is left, and the export says how much."""
    parts = [part for part in shipped("held-out") if part.file and "CHE_01" in part.recording]
    mine = tmp_path / "my garden.ogg"
    mine.write_bytes(parts[0].file.read_bytes())  # type: ignore[union-attr]
    used, held_out = audio.read_calibration([mine], FOLDS)
    assert files(used.names) == {mine.name}
    assert parts[0].file.name not in files(held_out.names)  # type: ignore[union-attr]
    few = lower.Recordings(used, Windows(held_out.audio[:50], held_out.names[:50], 9), 5.0)
    with pytest.raises(ParityError, match=r"int8 is not written: 50 windows .* give 3 more minutes of --calibration"):
        few.require_enough("int8")
    lower.Recordings(used, Windows(held_out.audio[:60], held_out.names[:60], 9), 5.0).require_enough("int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": ["fp8"]}, "--precision fp8: wanted fp32, fp16"),
        ({"precision": ["bf16"]}, "--runtime openvino"),
        ({"calibration": [Path("a.wav")]}, "--calibration is for lower precisions"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    usual = {
        "folds": [tmp_path],
        "out": tmp_path / "out",
        "db_floor": "window",
        "precision": ["fp32"],
        "calibration": None,
        "cascade": False,
    }
    with pytest.raises(UsageError, match=message):
        command.run(**(usual | options))


# ------------------------------------------------------------------------------------------------------- a trained fold


@pytest.mark.soak
def test_a_trained_fold_agrees_in_fp16(tmp_path: Path) -> None:
    folds = (demo.FOLDS / "exp107",)
    made = export_bundle(ExportRequest(folds, tmp_path / "out", demo.LABELS, precisions=("fp16",)))
    assert made.card.precisions["fp16"].proofs, "the emulated rounding is part of the proof"
    (result,) = verify(made, "ort-cpu", "fp16")
    assert result.passed
    assert result.parity.top1_agreement == 1
