"""Rounding to INT8: all levels are used, and a convolution's output stays what it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import require

torch = require("torch")
require("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgebird.export.precisions.nodes import Geometry  # noqa: E402
from edgebird.export.precisions.rounding import PERIOD, Range, choose_range, round_kernel  # noqa: E402
from edgebird.runtimes.ov_device import _one_core  # noqa: E402


def test_the_range_of_a_one_sided_tensor_uses_all_levels() -> None:
    """After SiLU nothing is below -0.28: a range around zero would give half of its levels away."""
    values = torch.nn.functional.silu(torch.linspace(-6, 6, 20000)).reshape(1, 1, 100, 200)
    found = choose_range(values)
    steps = ((values - found.shift) / found.scale).round()
    assert -127 <= float(steps.min()) < -110
    assert 100 < float(steps.max()) < 120, "some are left for what is louder than all that was heard"


def test_rounding_knows_the_input() -> None:
    """Each weight rounded to the nearest step is worse where inputs depend on each other."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(16, 16, generator=generator)
    values = torch.einsum("ij,njhw->nihw", mixing, torch.rand(2, 16, 20, 20, generator=generator))
    weight, bias = torch.randn(8, 16, 3, 3, generator=generator) ** 3, torch.zeros(8)
    how, fine = Geometry((1, 1), (1, 1, 1, 1)), Range(0.0, 1e-6 + float(values.abs().max()) / 127)
    made = round_kernel(weight, bias, values, fine, how)
    full = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    nearest = (weight / full).round() * full

    def error(kernel: Any, offset: Any) -> float:
        exact = torch.nn.functional.conv2d(values, weight, padding=1)
        return float(
            (torch.nn.functional.conv2d(fine.rounded(values), kernel, offset, padding=1) - exact).square().mean()
        )

    assert made.weights.dtype == torch.int8
    assert error(made.values(), made.bias) < 0.9 * error(nearest, bias)


def test_the_bias_takes_up_what_rounding_does_to_the_mean() -> None:
    values = torch.full((2, 4, 5, 5), 0.4) + torch.arange(4)[None, :, None, None]
    weight, bias, how = torch.ones(2, 4, 1, 1), torch.zeros(2), Geometry(groups=2)
    weight = weight[:, :2]
    made = round_kernel(weight, bias, values, Range(0.0, 1.0), how)
    rounded = torch.nn.functional.conv2d(Range(0.0, 1.0).rounded(values), made.values(), made.bias, groups=2)
    torch.testing.assert_close(rounded, torch.nn.functional.conv2d(values, weight, bias, groups=2))


@pytest.mark.parametrize("level", [0.0, 0.13, 0.31, 0.4999])
def test_where_it_is_silent_rounding_errors_average_out_too(level: float) -> None:
    """A padded window is constant there: without dither its error was the same everywhere, and scores were 0.2 off."""
    values, chosen = torch.full((1, 1, 64, 157), level), Range(0.07, 0.1)
    error = chosen.rounded(values) - values
    assert error.abs().max() <= 0.1
    assert abs(float(error.mean())) < 0.1 / PERIOD
    for row in (0, 1):
        for column in (0, 1):  # what one weight of a convolution of stride 2 reads
            assert abs(float(error[:, :, row::2, column::2].mean())) < 0.1 / PERIOD * 2
    small = torch.full((1, 1, 8, 20), level)
    assert float((chosen.rounded(small) - small).std()) < 1e-6, "a small map has nothing to average over"


def test_dither_does_not_make_rounding_coarser() -> None:
    values = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    error = Range(0.5, 0.01).rounded(values) - values
    assert error.abs().max() <= 0.0051
    assert float(error.std()) == pytest.approx(0.01 / 12**0.5, rel=0.05)


def heavy(inputs: int) -> tuple[Any, Any, Any]:
    """Weights [8, inputs, 3, 3] whose largest stand beside each other, zero biases, and values [1, inputs, 12, 12]."""
    weight = torch.randn(8, inputs, 3, 3, generator=torch.Generator().manual_seed(1))
    weight[:7, :2] = 3.0
    weight[1, 2:4] = -3.0
    return weight, torch.zeros(8), torch.rand(1, inputs, 12, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("inputs", [8, 5, 1])
def test_no_two_products_are_more_than_a_cpu_without_vnni_adds(inputs: int) -> None:
    """It adds the products of two neighbours in 16 bits: what was beyond was cut off in silence, and scores with it."""
    made = round_kernel(*heavy(inputs), Range(0.0, 1 / 127), Geometry((1, 1), (1, 1, 1, 1)))
    weights = made.weights.int()
    for sign in (1, -1):
        parts = (sign * weights).clamp(min=0)
        two = parts[:, 0 : inputs - 1 : 2] + parts[:, 1::2]
        assert not two.numel() or 255 * int(two.max()) <= 32767
    assert int(weights.abs().max()) > 64, "a pair shares what there is: a bit less for each weight loses more"


def test_openvino_adds_up_what_was_rounded_exactly_on_this_cpu() -> None:
    """The largest inputs that there are. Sums of unlimited weights were 93 % too small without VNNI."""
    ov = require("openvino")
    made = round_kernel(*heavy(8), Range(0.0, 1 / 127), Geometry((1, 1), (1, 1, 1, 1)))
    constants = {
        "scale": np.float32(1),
        "zero": np.int8(0),
        "weights": made.weights.numpy(),
        "steps": np.ones(8, np.float32),
        "zeros": np.zeros(8, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["read"]),
        helper.make_node("DequantizeLinear", ["weights", "steps", "zeros"], ["kernel"], axis=0),
        helper.make_node("Conv", ["read", "kernel"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 12, 12]) for name in ("x", "y")]
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "sum", ports[:1], ports[1:], initial), opset_imports=[helper.make_opsetid("", 18)]
    )
    core = _one_core(ov.Core)
    # As edgebird asks for it: by itself a CPU with bf16 would give sums in bf16.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    values = torch.full((1, 8, 12, 12), 127.0)
    (found,) = compiled.create_infer_request().infer([values.numpy()]).values()
    np.testing.assert_array_equal(found, torch.nn.functional.conv2d(values, made.weights.float(), padding=1).numpy())
