"""INT8: as much of the backbone as the scores bear, symmetric so that every engine takes it, and refused when wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle
from edgebird.errors import BundleError, ParityError, RuntimeUnavailableError
from edgebird.parity import TOLERANCES, Tolerance
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.verification import verify
from tests import gpu_wheels
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from onnx import TensorProto, numpy_helper  # noqa: E402

from edgebird import demo  # noqa: E402
from edgebird.export.exporter import ExportRequest, export_bundle  # noqa: E402
from edgebird.export.families.folds.family import FOLDS  # noqa: E402
from edgebird.export.precisions import int8  # noqa: E402
from edgebird.export.precisions.audio import Windows, read_calibration, varied  # noqa: E402
from edgebird.export.precisions.backbone import low_share  # noqa: E402
from edgebird.export.precisions.gate import Known  # noqa: E402
from edgebird.export.precisions.lower import Recordings, lower, nothing_made  # noqa: E402
from edgebird.export.precisions.rounding import Kernel, Range, choose_range, round_kernel  # noqa: E402
from edgebird.export.precisions.stepwise import Stepwise  # noqa: E402
from edgebird.export.precisions.trial import Trial  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402

SEEN, ROUND, CHOOSE = int8._SEEN, int8._ROUND, int8._CHOOSE


@pytest.fixture(scope="module", autouse=True)
def _fewer_windows() -> Iterator[None]:
    """To round and to choose with: a choice among narrow networks takes a minute otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "_SEEN", (12, 24))
        patch.setattr(int8, "_ROUND", (5, 3))
        patch.setattr(int8, "_CHOOSE", (5, 3))
        yield


@pytest.fixture(scope="module")
def made(in_int8: tuple[Bundle, list[str]]) -> Bundle:
    """An ensemble of both kinds of frontend with an INT8 graph."""
    return in_int8[0]


@pytest.fixture(scope="module")
def graph(made: Bundle) -> Any:
    return onnx.load(made.model("int8"))


def quantized_convolutions(graph: Any) -> list[Any]:
    """Those whose weights come out of a DequantizeLinear."""
    sources = {node.output[0]: node.op_type for node in graph.graph.node}
    return [n for n in graph.graph.node if n.op_type == "Conv" and sources.get(n.input[1]) == "DequantizeLinear"]


# ------------------------------------------------------------------------------------------------------------ the graph
def test_the_graph_is_symmetric_and_touches_convolutions_of_the_backbone_alone(made: Bundle, graph: Any) -> None:
    """TensorRT refuses a zero point, and an engine computes what the graph says, the frontend too."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    backbone = fp32_graph(onnx.load(made.model())).backbone
    readers = {name: node for node in graph.graph.node for name in node.input}
    pairs = [node for node in graph.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
        if node.op_type == "DequantizeLinear":
            assert readers[node.output[0]].op_type == "Conv"
            assert readers[node.output[0]].name in backbone
    for node in quantized_convolutions(graph):
        weight = next(other for other in pairs if other.output[0] == node.input[1])
        assert constants[weight.input[0]].dtype == np.int8
        assert constants[weight.input[1]].shape == (len(constants[weight.input[0]]),), "a scale for each output"
    types = [value.type.tensor_type.elem_type for value in (*graph.graph.input, *graph.graph.output)]
    assert types == [TensorProto.FLOAT] * 2


def test_the_card_tells_what_was_kept_and_what_every_choice_cost(made: Bundle, graph: Any) -> None:
    precision = made.card.precisions["int8"]
    low = {node.name for node in quantized_convolutions(graph)}
    assert low == precision.costs.keys()
    convolutions = {node.name for node in Stepwise(fp32_graph(onnx.load(made.model()))).convolutions}
    assert low | precision.kept.keys() == convolutions
    assert not low & precision.kept.keys()
    assert all(cost > 0 for cost in precision.costs.values())
    assert all("alone it moves scores by" in reason for reason in precision.kept.values())
    assert precision.share == pytest.approx(low_share(onnx.load(made.model()), low), abs=1e-4)
    refused = {engine: set(reasons.values()) for engine, reasons in precision.lint.items() if reasons}
    assert refused == {"ONNX Runtime WebGPU 0.4.0": {"no kernel for QuantizeLinear"}}
    assert {"golden, quantized", "held out, quantized"} <= set(precision.proofs)
    for proof in precision.proofs.values():
        assert (proof["windows"], proof["recordings"]) in ((12, 5), (75, 13))
        assert proof["beyond_bound"] >= 0.03, "of few windows little follows for others"
    assert {entry.key: entry.value for entry in graph.metadata_props}["precision"] == "int8"


def test_every_gpu_wheel_of_onnx_runtime_takes_the_graph(made: Bundle, tmp_path: Path) -> None:
    gpu_wheels.assert_opens_on_gpu_wheels(tmp_path, made.model("int8"))


def test_it_verifies_in_engines_that_compute_it_and_in_one_that_does_not(made: Bundle) -> None:
    require("openvino")
    for runtime in ("ort-cpu", "openvino"):
        (result,) = verify(made, runtime, "int8")
        assert result.passed, result
        assert result.parity.max_abs > 1e-5, "this is the FP32 graph"


def test_openvino_computes_those_convolutions_in_int8_and_no_other(made: Bundle, graph: Any) -> None:
    """A Q/DQ pair in the wrong place is computed in float, slower than without."""
    require("openvino")
    runtime: Any = open_runtime(made, "openvino", RuntimeOptions("int8", threads=1))
    info = [n.get_rt_info() for n in runtime._chains[0][0].get_compiled_model().get_runtime_model().get_ops()]
    runtime.close()
    kinds = [str(i["runtimePrecision"].astype(str)) for i in info if str(i["layerType"].astype(str)) == "Convolution"]
    assert sum(kind in ("u8", "i8") for kind in kinds) == len(quantized_convolutions(graph))


def test_tensorrt_takes_the_graph(made: Bundle) -> None:
    """NVIDIA's own importer and compiler; only the importer sees what a Jetson would refuse."""
    trt = require("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(made.model("int8"))), parser.get_error(0).desc()
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    assert any(layer.get_output(0).dtype == trt.int8 for layer in layers)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("audio", (1, 160000), (1, 160000), (4, 160000))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert builder.build_serialized_network(network, config) is not None


# -------------------------------------------------------------------------------------------------- choice and the gate
def test_what_is_made_of_recordings_is_the_same_every_time_and_ends_in_silence() -> None:
    audio = read_calibration([], FOLDS)[0].audio
    made = varied(audio, 5, seed=3)
    np.testing.assert_array_equal(made, varied(audio, 5, seed=3))
    assert not np.array_equal(made, varied(audio, 5, seed=4))
    assert (made.shape, made.dtype) == ((5, audio.shape[1]), np.float32)
    assert np.abs(made).max() <= 1
    np.testing.assert_array_equal(made * 32768, np.round(made * 32768))
    assert not made[-1].any()


def test_what_is_made_of_recordings_has_every_kind_whatever_was_drawn() -> None:
    """By chance it had nothing quiet to round with, and nothing clipped to choose with."""
    real = np.random.default_rng(0).uniform(-0.1, 0.1, (4, 160000)).astype(np.float32)
    for seed in range(3):
        silent, quiet, clipped, left, _ = varied(real, 5, seed)
        assert (silent == 0).mean() > 2 * (left == 0).mean()
        assert 0 < np.abs(quiet).max() < np.abs(left).max()
        assert (np.abs(clipped) > 0.9999).mean() > 0.001


def test_a_convolution_that_ruins_scores_stays_in_fp32(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(weight: Any, bias: Any, *arguments: Any) -> Kernel:
        kernel = round_kernel(weight, bias, *arguments)
        return Kernel(-kernel.weights, kernel.scales, kernel.bias) if weight.shape == broken_shape else kernel

    model = onnx.load(exported / "model.fp32.onnx")
    broken_shape = next(tuple(t.dims) for t in model.graph.initializer if t.name == "final_conv.weight")
    monkeypatch.setattr(int8, "round_kernel", broken)
    told: list[str] = []
    candidate = next(int8.to_int8(fp32_graph(model), read_calibration([], FOLDS)[0].audio[:1], told.append))
    assert "final_conv" in candidate.kept
    assert candidate.costs
    assert any("convolutions rounded" in line for line in told)


def test_nothing_is_written_when_a_scale_is_wrong(
    narrow_folds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice was wrong about it; the proof is not."""

    def coarse(*arguments: Any) -> Range:
        found = choose_range(*arguments)
        return Range(found.shift, found.scale * 50)

    monkeypatch.setattr(int8, "choose_range", coarse)
    monkeypatch.setattr(Trial, "most", lambda _self, ordered, _margin, _tell: tuple(ordered))
    with pytest.raises(
        ParityError, match=r"int8 \(quantized\) is not written: .*, worst golden window .*; suspected: "
    ):
        export_bundle(ExportRequest((narrow_folds["exp105"],), tmp_path / "out", precisions=("int8",)))
    assert not list(tmp_path.iterdir())


def test_a_network_that_bears_no_int8_at_all_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "MARGINS", (0.0,))
    calibration, held_out = read_calibration([], FOLDS)
    recordings = Recordings(Windows(calibration.audio[:1], calibration.names[:1], 1), held_out, 5.0)
    fp32 = fp32_graph(onnx.load(bundle.model()))
    known = [Known("golden", bundle.golden(), 1)]
    with pytest.raises(ParityError, match="int8 is not written: none of its nodes"):
        lower("int8", fp32, known, recordings, lambda _line: None, nothing_made)


def test_what_is_refused_is_tried_again_with_fewer_convolutions(
    narrow_folds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows it was chosen with may be easier than those that prove."""
    most = Trial.most

    def bold(self: Any, ordered: Any, margin: float, tell: Any) -> tuple[str, ...]:
        return most(self, ordered, 1000.0 if margin == int8.MARGINS[0] else margin, tell)

    monkeypatch.setattr(Trial, "most", bold)
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(3e-3, 9e-3))
    told: list[str] = []
    request = ExportRequest((narrow_folds["exp105"],), tmp_path / "out", precisions=("int8",))
    precision = export_bundle(request, told.append).card.precisions["int8"]
    refused = [line for line in told if line.startswith("int8      refused: ")]
    assert len(refused) == precision.refused > 0
    assert precision.costs
    assert precision.kept


def test_windows_that_share_a_floor_are_calibrated_together(narrow_folds: dict[str, Path], tmp_path: Path) -> None:
    """Of db_floor `batch`: a quiet window beside loud ones has another image than alone, also when nothing is heard."""
    request = ExportRequest((narrow_folds["exp108"],), tmp_path / "out", db_floor="batch", precisions=("int8",))
    made = export_bundle(request)
    (result,) = verify(made, "ort-cpu", "int8")
    assert result.passed
    audio = made.golden().windows()[4:8]  # the second is 50 dB down
    (together,) = Stepwise(fp32_graph(onnx.load(made.model()), 4)).images(audio).values()
    (alone,) = Stepwise(fp32_graph(onnx.load(made.model()))).images(audio).values()
    assert (together[1] - alone[1]).abs().max() > 0.1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A really trained fold with an INT8 graph, rounded and chosen with as many windows as users' are."""
    folds, out = (demo.FOLDS / "exp105",), tmp_path_factory.mktemp("trained") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "_SEEN", SEEN)
        patch.setattr(int8, "_ROUND", ROUND)
        patch.setattr(int8, "_CHOOSE", CHOOSE)
        return export_bundle(ExportRequest(folds, out, demo.LABELS, precisions=("int8",)))


@pytest.mark.soak
def test_a_trained_fold_agrees_in_int8(trained: Bundle) -> None:
    assert trained.model("int8").stat().st_size < trained.model().stat().st_size
    assert (trained.card.precisions["int8"].share or 0) > 0.05, "0.06 to 0.22 were seen: machines choose differently"
    assert all(
        proof["beyond"] == 0 for name, proof in trained.card.precisions["int8"].proofs.items() if "bf16" not in name
    )
    (result,) = verify(trained, "ort-cpu", "int8")
    assert result.passed
    proven = trained.card.precisions["int8"].proofs["golden, quantized"]
    assert result.parity.p99 == pytest.approx(proven["p99"], abs=1e-4), "the gate and `verify` judge alike"


@pytest.mark.soak
def test_what_is_not_in_int8_can_be_in_bf16(trained: Bundle) -> None:
    """The fastest on a CPU: what is in INT8 stays so. What its own proof refuses at the export is not opened."""
    require("openvino")
    graph = trained.card.precisions["int8"]
    allowed = Bundle(trained.path, replace(trained.card, precisions={"int8": replace(graph, refuses={})}))
    try:
        runtime: Any = open_runtime(allowed, "auto", RuntimeOptions("int8+bf16", threads=1))
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    ((_, backbone, _),) = runtime._chains
    info = [node.get_rt_info() for node in backbone.get_compiled_model().get_runtime_model().get_ops()]
    layers = {(str(i["layerType"].astype(str)), str(i["runtimePrecision"].astype(str))) for i in info}
    assert ("Convolution", "bf16") in layers
    assert {("Convolution", "u8"), ("Convolution", "i8")} & layers
    runtime.close()
    assert any(name.endswith("int8+bf16") for name in graph.proofs), "a CPU that makes it proves it"
    if graph.refuses:
        with pytest.raises(BundleError, match=r"int8\+bf16 was refused when it was exported"):
            open_runtime(trained, "openvino", RuntimeOptions("int8+bf16"))
    else:
        (result,) = verify(trained, "openvino", "int8+bf16")
        assert result.passed


@pytest.mark.soak
def test_a_full_size_fold_is_in_int8_as_far_as_its_scores_bear_it(tmp_path: Path) -> None:
    """Seeded weights, whose head amplifies every error: plain INT8 of all convolutions is 0.27 to 0.86 off. It takes
    minutes: by hand.
    """
    from tests.seeded import save_checkpoint, seeded_model

    fold = save_checkpoint(tmp_path / "exp105_eca_nfnet_l0" / "fold_0_model.bin", seeded_model("exp105"))
    made = export_bundle(ExportRequest((fold,), tmp_path / "out", precisions=("int8",)))
    precision = made.card.precisions["int8"]
    assert (precision.share or 0) > 0.4
    assert max(proof["p99"] for proof in precision.proofs.values()) <= TOLERANCES["int8"].p99
