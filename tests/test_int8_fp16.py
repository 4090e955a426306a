"""INT8 and FP16 together: convolutions stay as INT8 chose them, and nothing else of the backbone is left in FP32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgebird.bundle import Bundle
from edgebird.parity import TOLERANCES
from edgebird.runtimes import RuntimeOptions, open_runtime, ort_session
from edgebird.verification import verify
from tests import gpu_wheels
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from onnx import TensorProto  # noqa: E402

from edgebird.export.precisions import int8, int8_fp16  # noqa: E402
from edgebird.export.precisions.backbone import element_types, low_share  # noqa: E402
from edgebird.export.precisions.gate import scorer  # noqa: E402
from edgebird.export.precisions.int8 import Chosen  # noqa: E402
from edgebird.export.precisions.nodes import geometry  # noqa: E402
from edgebird.export.precisions.qdq import Quantized  # noqa: E402
from edgebird.export.precisions.rounding import choose_range, round_kernel  # noqa: E402
from edgebird.export.precisions.stepwise import Stepwise  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402
from tests.test_int8 import quantized_convolutions  # noqa: E402
from tests.toy_graph import levels, toy  # noqa: E402

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16
NAME = "int8+fp16"


@pytest.fixture(scope="module")
def made(in_int8: tuple[Bundle, list[str]]) -> Bundle:
    """An ensemble of both kinds of frontend with an INT8 graph, and one that is in FP16 beside."""
    return in_int8[0]


@pytest.fixture(scope="module")
def graph(made: Bundle) -> Any:
    return onnx.load(made.model(NAME))


def computed_in_int8(graph: Any) -> set[str]:
    """Convolutions whose input and weights come out of a DequantizeLinear, behind a cast."""
    source = {node.output[0]: node for node in graph.graph.node}

    def dequantized(name: str) -> bool:
        node = source.get(name)
        if node is not None and node.op_type == "Cast":
            node = source[node.input[0]]
        return node is not None and node.op_type == "DequantizeLinear"

    return {node.name for node in graph.graph.node if node.op_type == "Conv" and all(map(dequantized, node.input[:2]))}


def test_what_int8_chose_is_in_int8_and_the_rest_of_the_backbone_in_fp16(made: Bundle, graph: Any) -> None:
    """A convolution left in FP32 costs a GPU four times as long as in FP16, so INT8 alone was slower than FP16."""
    types, backbone = element_types(graph), fp32_graph(onnx.load(made.model())).backbone
    chosen = {node.name for node in quantized_convolutions(onnx.load(made.model("int8")))}
    assert chosen
    assert computed_in_int8(graph) == chosen
    for node in graph.graph.node:
        floating = {types[name] for name in (*node.input, *node.output) if types[name] in (FLOAT, FLOAT16)}
        behind = node.op_type in ("Add", "Gather") and "/border" in "".join(node.input)
        if node.op_type != "Cast":
            assert floating == {FLOAT16 if node.name in backbone or behind else FLOAT}, node.name
    assert {types["audio"], types["scores"]} == {FLOAT}
    assert made.model(NAME).name == "model.int8+fp16.onnx"
    assert made.model(NAME).stat().st_size < made.model("int8").stat().st_size


def test_the_card_tells_what_is_in_which_and_how_it_was_proven(made: Bundle, graph: Any) -> None:
    precision, alone = made.card.precisions[NAME], made.card.precisions["int8"]
    fp32 = fp32_graph(onnx.load(made.model()))
    assert precision.costs == alone.costs, "the same convolutions, for the same reasons"
    assert precision.share == pytest.approx(low_share(fp32.model, fp32.backbone), abs=1e-4)
    assert (precision.share or 0) >= (alone.share or 0), "the same where every convolution is in INT8"
    assert precision.kept == {}, "nothing is in FP32"
    assert set(precision.proofs) == {
        f"{known}, {way}" for known in ("golden", "held out") for way in ("computed in FP32", "rounded")
    }
    worst = max(proof["max_abs"] for proof in precision.proofs.values())
    assert 1e-4 < worst <= 0.8 * TOLERANCES[NAME].max
    refused = {engine: set(reasons.values()) for engine, reasons in precision.lint.items() if reasons}
    assert set(refused) == {"ONNX Runtime WebGPU 0.4.0"}
    assert {entry.key: entry.value for entry in graph.metadata_props}["precision"] == NAME


def test_int8_is_chosen_once_for_both(in_int8: tuple[Bundle, list[str]]) -> None:
    """It takes minutes for a fold of full size."""
    _bundle, told = in_int8
    assert sum("58 of 58 convolutions rounded" in line for line in told) == 1
    assert [line for line in told if line.startswith(f"{NAME} ") and "in INT8, the rest in FP16" in line]


def test_it_verifies_on_the_cpu(made: Bundle) -> None:
    require("openvino")
    for runtime in ("ort-cpu", "openvino"):
        (result,) = verify(made, runtime, NAME)
        assert result.passed, result
        assert result.parity.max_abs > 1e-5, "this is the FP32 graph"
    runtime = open_runtime(made, "auto", RuntimeOptions(NAME, threads=1))
    runtime.close()


def test_every_gpu_wheel_of_onnx_runtime_takes_the_graph(made: Bundle, tmp_path: Path) -> None:
    gpu_wheels.assert_opens_on_gpu_wheels(tmp_path, made.model(NAME))


def test_the_cuda_provider_dequantizes_weights_once(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no INT8 convolution: all weights would be made float anew at each inference, and INT8 be slower for it."""
    runtime = require("onnxruntime")
    monkeypatch.setitem(ort_session.PROVIDERS, "ort-cuda", ort_session.PROVIDERS["ort-cpu"])
    for name in ("int8", NAME):
        options = ort_session.session_of(made.model(name), "ort-cuda").get_session_options()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        runtime.InferenceSession(made.model(name), options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
        assert kinds["DequantizeLinear"] == kinds["QuantizeLinear"] > 0, "of activations alone"


def test_tensorrt_fuses_the_casts_and_computes_those_convolutions_in_int8(made: Bundle, graph: Any) -> None:
    """NVIDIA's own compiler says what each layer takes: a cast in the wrong place would leave it in float."""
    trt = require("tensorrt_rtx")
    lines: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def log(self, _severity: Any, message: str) -> None:
            lines.append(message)

    logger = Log()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(made.model(NAME))), parser.get_error(0).desc()
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("audio", (1, 160000), (1, 160000), (4, 160000))
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert builder.build_serialized_network(network, config) is not None
    layers = [line for text in lines for line in text.splitlines() if "LayerType: correlation" in line]
    kinds = [line.partition("Datatype: ")[2].partition(",")[0] for line in layers]
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    backbone = fp32_graph(onnx.load(made.model())).backbone
    outside = [node for node in convolutions if node.name not in backbone]
    assert kinds.count("Int8") == len(computed_in_int8(graph)), kinds
    assert kinds.count("Float") <= len(outside), "a convolution of the backbone is in FP32"


def test_a_convolution_in_int8_that_fp16_cannot_hold_gives_fp32() -> None:
    """Its output would be infinite; what it multiplies is INT8 all the same."""
    model = toy(15000, 0.001)
    fp32 = fp32_graph(model)
    network, windows = Stepwise(fp32), levels(5.0, 0.5, -3.0)
    values = network.walk(network.images(windows), keep_all=True)
    low = {}
    for node in network.convolutions[:2]:
        weight, bias = (network.weights[name] for name in node.input[1:])
        chosen = choose_range(values[node.input[0]])
        low[node.name] = Quantized(chosen, round_kernel(weight, bias, values[node.input[0]], chosen, geometry(node)))
    fp32.shared["int8"] = found = int8.Choices(fp32, windows, lambda _line: None)
    found._left = iter([Chosen(low, dict.fromkeys(low, 0.0), dict.fromkeys(low, 0.1))])
    (candidate,) = int8_fp16.to_int8_fp16(fp32, windows, levels(0.5))
    types = element_types(candidate.model)
    assert candidate.kept.keys() == {"stem.conv1", "stem.conv2"}
    assert [types[name] for name in ("a", "b", "map")] == [FLOAT, FLOAT, FLOAT16]
    assert computed_in_int8(candidate.model) == set(low)
    for way in candidate.ways.values():
        assert scorer(way)(levels(5.0))[0, 0] == pytest.approx(75.0, rel=0.05)
