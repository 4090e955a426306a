"""Rounding to INT8: all levels are used, and a convolution's output stays what it was."""

from __future__ import annotations

from typing import Any

from tests.conftest import require

torch = require("torch")
require("onnx")


from edgebird.export.precisions.rounding import Range, choose_range, round_kernel  # noqa: E402
from edgebird.export.precisions.stepwise import Geometry  # noqa: E402


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
    how, fine = Geometry(1, 1, 1), Range(0.0, 1e-6 + float(values.abs().max()) / 127)
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
    weight, bias, how = torch.ones(2, 4, 1, 1), torch.zeros(2), Geometry(1, 0, 2)
    weight = weight[:, :2]
    made = round_kernel(weight, bias, values, Range(0.0, 1.0), how)
    rounded = torch.nn.functional.conv2d(Range(0.0, 1.0).rounded(values), made.values(), made.bias, groups=2)
    torch.testing.assert_close(rounded, torch.nn.functional.conv2d(values, weight, bias, groups=2))
