"""The graph with convolutions in INT8: what engines compute of it is what was chosen, at the borders too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.runtimes.ort_session import session_of
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from onnx import helper, numpy_helper  # noqa: E402

from edgebird.export.families.folds.family import FOLDS  # noqa: E402
from edgebird.export.precisions.audio import read_calibration  # noqa: E402
from edgebird.export.precisions.nodes import geometry  # noqa: E402
from edgebird.export.precisions.qdq import Quantized, quantized_graph  # noqa: E402
from edgebird.export.precisions.rounding import PERIOD, Kernel, Range, choose_range, round_kernel  # noqa: E402
from edgebird.export.precisions.stepwise import Stepwise  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402
from tests.toy_graph import levels, toy  # noqa: E402


def at_rest(convolution: Any, network: Stepwise, shift: float = 1.0) -> Quantized:
    """A convolution in INT8 with steps so fine that nothing but the shift could change its output."""
    weight, bias = (network.weights[name] for name in convolution.input[1:])
    scales = weight.abs().amax(dim=(1, 2, 3)) / 127
    steps = (weight / scales[:, None, None, None]).round().to(torch.int8)
    return Quantized(Range(shift, 0.05), Kernel(steps, scales, bias))


@pytest.fixture
def network(exported: Path) -> Stepwise:
    """The narrow exp105 fold, step by step."""
    return Stepwise(fp32_graph(onnx.load(exported / "model.fp32.onnx")))


@pytest.mark.parametrize(
    "name", ["stem.conv2", "stem.conv4", "stages.1.0.conv1", "stages.1.0.conv2", "stages.2.0.conv2"]
)
def test_a_shift_comes_back_at_the_borders_and_with_its_dither(network: Stepwise, exported: Path, name: str) -> None:
    """A kernel that reads padding sees zeros of the shifted map: there another constant is missing."""
    model = onnx.load(exported / "model.fp32.onnx")
    convolution = next(node for node in network.convolutions if node.name == name)
    quantized = at_rest(convolution, network)
    low = quantized_graph(model, {convolution.name: quantized})
    (output,) = convolution.output
    low.graph.output.append(next(value for value in low.graph.value_info if value.name == output))
    audio = read_calibration([], FOLDS)[0].audio[:2]
    found = session_of(low.SerializeToString()).run([output], {"audio": audio})[0]
    with torch.inference_mode():
        values = network.walk(network.images(audio), keep_all=True)
        expected = quantized.compute(convolution, values[convolution.input[0]]).numpy()
    outer = numpy_helper.to_array(next(t for t in low.graph.initializer if t.name == f"{output}/border:outer"))
    assert np.abs(outer).max() > 1e-4
    assert max(outer.shape[2:]) <= PERIOD + 2, "a constant map is in the file once for each period"
    off = np.abs(found - expected) > 1e-4  # where float32 tips a value to the next step
    assert off.mean() < 0.001
    assert np.abs(expected - values[output].numpy()).max() > 1e-2, "nothing was rounded"


def test_a_convolution_that_is_not_square_comes_back_at_its_borders_too() -> None:
    """BirdNET's first has a kernel of 4 by 8, and other padding before its map than behind."""
    random = np.random.default_rng(7)
    weight = random.standard_normal((3, 1, 2, 3)).astype(np.float32)
    how = {"pads": [0, 1, 1, 2], "strides": [1, 2]}
    model = toy(1.0, 1.0)
    nodes = model.graph.node
    del nodes[2:4]
    nodes[1].attribute.extend(helper.make_attribute(name, value) for name, value in how.items())
    nodes[1].output[0], nodes[1].input[2] = "map", ""
    del nodes[1].input[2]
    model.graph.initializer.append(numpy_helper.from_array(weight, "uneven"))
    nodes[1].input[1] = "uneven"
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    network = Stepwise(fp32_graph(model))
    (node,) = network.convolutions
    images = network.images(random.uniform(-1, 1, (2, 16)).astype(np.float32))
    with torch.inference_mode():
        taken = choose_range(images["image"])
        made = Quantized(taken, round_kernel(*network.kernel(node), images["image"], taken, geometry(node)))
        expected = network.scores({"map": made.compute(node, images["image"])})
        exact = network.scores(network.walk(images))
    low = quantized_graph(model, {node.name: made})
    audio = images["image"].reshape(2, 16).numpy()
    found = session_of(low.SerializeToString()).run(["scores"], {"audio": audio})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(exact - expected).max() < 0.02


def coarse(model: Any, name: str, shift: float = 0.0) -> Quantized:
    """A convolution of the toy: its input rounded to quarters."""
    weights = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    node = next(node for node in model.graph.node if node.name == name)
    weight, *bias = (weights[name] for name in node.input[1:])
    steps = torch.full(weight.shape, 100, dtype=torch.int8)
    return Quantized(Range(shift, 0.25), Kernel(steps, weight.flatten() / 100, bias[0] if bias else torch.zeros(1)))


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_an_engine_computes_what_was_chosen(shift: float) -> None:
    """Rounded to quarters around the shift, and no other convolution is touched."""
    model = toy(2.0, 3.0)
    low = quantized_graph(model, {"stem.conv1": coarse(model, "stem.conv1", shift)})
    (scores,) = session_of(low.SerializeToString()).run(["scores"], {"audio": levels(0.3, 0.4, -0.9)})
    wanted = [round((value - shift) / 0.25) * 0.25 + shift for value in (0.3, 0.4, -0.9)]
    np.testing.assert_allclose(scores[:, 0], [6 * value for value in wanted], atol=1e-5)


def test_readers_of_one_tensor_share_its_rounding() -> None:
    """A pair for each reader would be quantized twice, and some engines then fuse neither."""
    model = toy(1.0, 1.0)
    model.graph.node[2].input[0] = "image"  # stem.conv2 reads what stem.conv1 reads
    low = quantized_graph(model, {name: coarse(model, name) for name in ("stem.conv1", "stem.conv2")})
    assert [node.op_type for node in low.graph.node].count("QuantizeLinear") == 1
    readers = [node.name for node in low.graph.node if "image/dequantized" in node.input]
    assert readers == ["stem.conv1", "stem.conv2"]


def test_what_nobody_reads_any_more_is_not_in_the_file() -> None:
    """Else the graph in INT8 would be larger than the one it was made of."""
    model = toy(1.0, 1.0)
    low = quantized_graph(model, {"stem.conv1": coarse(model, "stem.conv1")})
    kept = {tensor.name for tensor in low.graph.initializer}
    assert not kept & {"w1", "b1"}
    assert {"w2", "b2", "w3"} <= kept
    assert kept == {name for node in low.graph.node for name in node.input if name in kept}
    assert {tensor.name for tensor in model.graph.initializer} >= {"w1", "b1"}, "the FP32 graph was changed"


def test_a_kernel_that_reads_no_padding_needs_no_border() -> None:
    """A constant map would be added for nothing, at every inference."""
    model = toy(1.0, 1.0)
    low = quantized_graph(model, {"stem.conv1": coarse(model, "stem.conv1", shift=0.5)})
    assert not {"Add", "Gather"} & {node.op_type for node in low.graph.node}
