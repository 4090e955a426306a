"""A convolution in INT8: the range of its input, and its weights rounded so that its output stays what it was.

Rounding: E. Frantar et al., "GPTQ", arXiv:2210.17323: weights are rounded one after the other, and the error of each
is made up for by those that are left, as the second moments of the layer's input say. Tried and left out, as they
gained nothing on real audio: narrower ranges that cut off what is rare, ranges for each channel, and weights fitted to
make up for the rounding of activations, for all of them or where it is silent (docs/precision.md).

Dither: L. G. Roberts, "Picture coding using pseudo-random noise", IRE Trans. Inf. Theory 8 (1962). Where a recording is
silent, or padded, a map is constant, and so would be its rounding error: it would not average out over the map as it
does elsewhere. So what is subtracted before rounding, and comes back behind, is another part of a step at each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgebird.export.precisions.nodes import Geometry

LEVELS = 127  # -127 to 127; the range is symmetric
HEADROOM = 1.1  # of activations: rounding errors average out over a map, but those of values cut off add up
_DAMPING = 0.01  # of the mean second moment, added to all: it is known from few windows
# Of two weights of one sign that belong to neighbouring inputs. A CPU without VNNI adds their products with bytes, 0 to
# 255, in 16 bits, and cuts off what is beyond (oneDNN, "Nuances of int8 computations"): 255 * 128 is not.
_PAIR = 128
_POSITIONS = 8000  # of maps, over all windows, that moments are taken from
PERIOD = 16  # of the dither, in both directions, and its number of levels
_LATTICE = (7, 3)  # odd, so that a convolution of stride 2 sees levels of the whole step too
_LARGE = 1024  # positions of a map that is dithered: a smaller one has little to average over
_BLOCK = 64  # weights that are rounded before the rest is told
_SEED = 1


@dataclass(frozen=True, slots=True)
class Range:
    """How a tensor is rounded: x -> round((x - shift) / scale), -128 to 127. Values after SiLU are one-sided: without
    the shift, half of the levels would never be used. The dither of large maps is part of what is subtracted.
    """

    shift: float
    scale: float

    def shifts(self, height: int, width: int) -> Tensor:
        """What is subtracted at each place of a map before rounding, float32 [height, width], or one value for all."""
        if not is_dithered(height, width):
            return torch.tensor(self.shift)
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        levels = (rows * _LATTICE[0] + columns * _LATTICE[1]) % PERIOD
        return self.shift + self.scale * ((levels + 0.5) / PERIOD - 0.5)

    def rounded(self, values: Tensor) -> Tensor:
        """Values [windows, channels, h, w] as they are after quantization and back."""
        shifts = self.shifts(*values.shape[2:])
        steps = (values - shifts).div_(self.scale).round_().clamp_(-LEVELS - 1, LEVELS)
        return steps.mul_(self.scale).add_(shifts)


def is_dithered(height: int, width: int) -> bool:
    """Whether a map of this size is."""
    return height * width >= _LARGE


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """Weights of a convolution: int8 [outputs, inputs, h, w], the scale of each output, and its bias, [outputs]."""

    weights: Tensor
    scales: Tensor
    bias: Tensor

    def values(self) -> Tensor:
        """The weights as they count: float32 [outputs, inputs, h, w]."""
        return self.weights * self.scales[:, None, None, None]


def choose_range(values: Tensor) -> Range:
    """The range of what was seen, and a little more for what was not: values of any shape, or their ends."""
    low, high = HEADROOM * min(0.0, float(values.min())), HEADROOM * max(1e-6, float(values.max()))
    return Range((low + high) / 2, (high - low) / 2 / LEVELS)


def round_kernel(weight: Tensor, bias: Tensor, values: Tensor, chosen: Range, how: Geometry) -> Kernel:
    """Round weight [outputs, inputs, h, w] for inputs that are rounded; the bias takes up what the mean changes.

    values: float input [windows, channels, h, w].
    """
    kernels, biases = [], []
    weights, maps = weight.chunk(how.groups), values.chunk(how.groups, dim=1)
    for part, inputs, offset in zip(weights, maps, bias.chunk(how.groups), strict=True):
        exact = _patches(inputs, weight.shape[2:], how)
        seen = _patches(chosen.rounded(inputs), weight.shape[2:], how)
        mean, seen_mean = exact.mean(dim=1), seen.mean(dim=1)
        seen = seen - seen_mean[:, None]
        moments = (seen @ seen.T / seen.shape[1]).double()
        moments.diagonal().add_(_DAMPING * moments.diagonal().mean().clamp(min=1e-12))
        rows = part.flatten(1)
        steps, scales = _round_rows(rows.double(), moments, _neighbours(*part.shape[1:]))
        kernels.append((steps.reshape(part.shape).to(torch.int8), scales.float()))
        biases.append(offset + rows @ mean - (steps.float() * scales.float()[:, None]) @ seen_mean)
    return Kernel(torch.cat([k for k, _ in kernels]), torch.cat([s for _, s in kernels]), torch.cat(biases))


def _patches(values: Tensor, kernel: Sequence[int], how: Geometry) -> Tensor:
    """What a convolution multiplies at some positions of every window: [inputs * h * w of the kernel, positions]."""
    generator = torch.Generator().manual_seed(_SEED)  # the same positions in every call
    found = []
    for window in values:
        columns = F.unfold(how.padded(window[None]), tuple(kernel), stride=how.strides)[0]
        count = min(columns.shape[1], max(1, _POSITIONS // len(values)))
        found.append(columns[:, torch.randperm(columns.shape[1], generator=generator)[:count]])
    return torch.cat(found, dim=1)


def _neighbours(inputs: int, height: int, width: int) -> Tensor:
    """Of each weight of an output the one that a CPU multiplies together with it, [inputs * height * width]: the same
    place of the input beside it. The last of an odd number has none: it is its own.
    """
    channels = torch.arange(inputs)
    beside = torch.where(channels ^ 1 < inputs, channels ^ 1, channels)
    return (beside[:, None] * (height * width) + torch.arange(height * width)).flatten()


def _within(steps: Tensor, beside: Tensor) -> Tensor:
    """Whole steps that stay within a byte and, with those of the neighbours, within _PAIR."""
    low = (-_PAIR - beside.clamp(max=0)).clamp(min=-LEVELS)
    high = (_PAIR - beside.clamp(min=0)).clamp(max=LEVELS)
    return torch.minimum(torch.maximum(steps.round(), low), high)


def _round_rows(rows: Tensor, moments: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [outputs, inputs] as whole steps and the step of each; moments [inputs, inputs]. See GPTQ, algorithm 1."""
    weights = moments.diagonal()
    scales = _row_scales(rows, neighbours)[:, None]
    order = torch.argsort(weights, descending=True, stable=True)
    back = torch.argsort(order)
    beside = back[neighbours[order]].tolist()
    left, steps = rows[:, order].clone(), torch.zeros_like(rows)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
    for start in range(0, rows.shape[1], _BLOCK):
        end = min(start + _BLOCK, rows.shape[1])
        errors = torch.zeros_like(left[:, start:end])
        for column in range(start, end):
            step = _within(left[:, column, None] / scales, steps[:, beside[column], None])
            error = (left[:, column, None] - step * scales) / upper[column, column]
            left[:, column:end] -= error * upper[column, column:end]
            errors[:, column - start], steps[:, column] = error[:, 0], step[:, 0]
        left[:, end:] -= errors @ upper[start:end, end:]
    return steps[:, back], scales[:, 0]


def _row_scales(rows: Tensor, neighbours: Tensor) -> Tensor:
    """The smallest step for each row that holds every weight, and every two neighbours of one sign together.

    What GPTQ makes up for is rounding: weights that are cut off for finer steps cost more (docs/precision.md).
    """
    beside = rows[:, neighbours]
    two = torch.where(rows * beside > 0, (rows + beside).abs(), 0.0)
    two[:, neighbours == torch.arange(len(neighbours))] = 0.0
    return torch.maximum(rows.abs().amax(dim=1) / LEVELS, two.amax(dim=1) / _PAIR).clamp(min=1e-12)
