"""The graph with convolutions in INT8: what engines compute of it is what was chosen, at the borders too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.runtimes.ort import session_of
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from onnx import numpy_helper  # noqa: E402

from edgebird.export.families.folds.family import FOLDS  # noqa: E402
from edgebird.export.precisions.audio import read_calibration  # noqa: E402
from edgebird.export.precisions.qdq import Quantized, quantized_graph  # noqa: E402
from edgebird.export.precisions.rounding import Kernel, Range  # noqa: E402
from edgebird.export.precisions.stepwise import Stepwise  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402


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


def test_a_shift_comes_back_at_the_borders_too(network: Stepwise, exported: Path) -> None:
    """A kernel that reads padding sees zeros of the shifted map: there another constant is missing."""
    model = onnx.load(exported / "model.fp32.onnx")
    convolution = next(node for node in network.convolutions if node.name == "stages.1.0.conv2")
    quantized = at_rest(convolution, network)
    low = quantized_graph(model, {convolution.name: quantized})
    (output,) = convolution.output
    low.graph.output.append(next(value for value in low.graph.value_info if value.name == output))
    audio = read_calibration([], FOLDS)[0].audio[:2]
    found = session_of(low.SerializeToString()).run([output], {"audio": audio})[0]
    with torch.inference_mode():
        values = network.walk(network.images(audio), keep_all=True)
        expected = quantized.compute(convolution, values[convolution.input[0]]).numpy()
    outer = next(t for t in low.graph.initializer if t.name == f"{output}/border:outer")
    assert np.abs(numpy_helper.to_array(outer)).max() > 0.1
    off = np.abs(found - expected) > 1e-4  # where float32 tips a value to the next step
    assert off.mean() < 0.001
    assert np.abs(expected - values[output].numpy()).max() > 1e-2, "nothing was rounded"
