"""One node of a backbone, computed by torch as an engine computes it: what the folds and adopted networks are made of.

A further operator is an entry in `_OPERATORS`, and a row in its test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from onnx import NodeProto, helper
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a convolution, or a pooling, walks over its input.

    strides: of each direction, down and across. pads: what is put around, before the first of each direction, then
    behind the last, as ONNX has it: top, left, bottom, right.
    """

    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    groups: int = 1

    def padded(self, values: Tensor, padding: float = 0.0) -> Tensor:
        """Values [windows, channels, ...] with what is put around."""
        if not any(self.pads):
            return values
        count = len(self.strides)
        both = zip(reversed(self.pads[:count]), reversed(self.pads[count:]), strict=True)
        return F.pad(values, [size for pair in both for size in pair], value=padding)  # torch begins with the last


def geometry(node: NodeProto, directions: int = 2) -> Geometry:
    """Geometry of a Conv or a pooling without dilation."""
    found = _attributes(node)
    strides, pads = found.get("strides", [1] * directions), found.get("pads", [0] * 2 * directions)
    return Geometry(tuple(strides), tuple(pads), found.get("group", 1))


def unknown(node: NodeProto) -> str:
    """What of a node cannot be computed here, such as its operator; "" if all can."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
        return node.op_type
    found = _attributes(node)
    if set(found.get("dilations", (1,))) != {1}:
        return f"a {node.op_type} with dilation"
    if found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return f"a {node.op_type} whose padding is not in numbers"
    if found.get("ceil_mode", 0) and any(found.get("pads", ())):
        return f"a {node.op_type} with padding and ceil_mode"
    return ""


def compute(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    """The first output of a node. inputs: tensors in the node's order, None for one that is left out."""
    return _OPERATORS[node.op_type](node, inputs)


def convolve(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    """A Conv: input, weight, and bias if it has one."""
    values, weight, *bias = inputs
    directions = weight.ndim - 2
    how = geometry(node, directions)
    before, behind = how.pads[:directions], how.pads[directions:]
    convolution: Callable[..., Tensor] = F.conv2d if directions == 2 else F.conv1d
    if before == behind:
        return convolution(values, weight, *bias, stride=how.strides, padding=before, groups=how.groups)
    return convolution(how.padded(values), weight, *bias, stride=how.strides, groups=how.groups)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _average(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    """An AveragePool; what is put around counts where it says so alone."""
    found, how = _attributes(node), geometry(node)
    kernel, ceil = found["kernel_shape"], bool(found.get("ceil_mode", 0))

    def pooled(values: Tensor) -> Tensor:
        return F.avg_pool2d(how.padded(values), kernel, how.strides, ceil_mode=ceil, count_include_pad=False)

    means = pooled(inputs[0])
    if any(how.pads) and not found.get("count_include_pad", 0):
        means = means / pooled(torch.ones_like(inputs[0][:1, :1]))
    return means


def _largest(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    found, how = _attributes(node), geometry(node)
    values = how.padded(inputs[0], -torch.inf)
    return F.max_pool2d(values, found["kernel_shape"], how.strides, ceil_mode=bool(found.get("ceil_mode", 0)))


def _axes(node: NodeProto, inputs: Sequence[Any]) -> list[int]:
    """Those of a node that has them as an input, or as an attribute, as older opsets have."""
    given = inputs[1].tolist() if len(inputs) > 1 else _attributes(node)["axes"]
    return [given] if isinstance(given, int) else list(given)


def _mean(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    values: Tensor = inputs[0]
    return values.mean(_axes(node, inputs), keepdim=bool(_attributes(node).get("keepdims", 1)))


def _reshape(_node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    """Of each window; how many there are does not change."""
    values: Tensor = inputs[0]
    sizes = inputs[1].tolist()
    kept = (values.shape[index] if size == 0 else size for index, size in enumerate(sizes))
    return values.reshape(len(values), *list(kept)[1:])


def _unsqueezed(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    values: Tensor = inputs[0]
    axes = _axes(node, inputs)
    rank = values.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        values = values.unsqueeze(axis)
    return values


def _clipped(_node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    """A Clip, whose limits are inputs from opset 11 on."""
    values: Tensor = inputs[0]
    low, high = (*inputs[1:], None, None)[:2]
    return values.clamp(low, high)


def _normalised(node: NodeProto, inputs: Sequence[Any]) -> Tensor:
    values, scale, offset, mean, variance = inputs
    return F.batch_norm(values, mean, variance, scale, offset, eps=_attributes(node).get("epsilon", 1e-5))


_OPERATORS: dict[str, Callable[[NodeProto, Sequence[Any]], Tensor]] = {
    "Add": lambda _node, inputs: inputs[0] + inputs[1],
    "AveragePool": _average,
    "BatchNormalization": _normalised,
    "Clip": _clipped,
    "Concat": lambda node, inputs: torch.cat(list(inputs), _attributes(node)["axis"]),
    "Conv": convolve,
    "Div": lambda _node, inputs: inputs[0] / inputs[1],
    "GlobalAveragePool": lambda _node, inputs: inputs[0].mean((2, 3), keepdim=True),
    "Identity": lambda _node, inputs: inputs[0],
    "MaxPool": _largest,
    "Mul": lambda _node, inputs: inputs[0] * inputs[1],
    "ReduceMean": _mean,
    "Relu": lambda _node, inputs: inputs[0].relu(),
    "Reshape": _reshape,
    "Sigmoid": lambda _node, inputs: inputs[0].sigmoid(),
    "Squeeze": lambda node, inputs: inputs[0].squeeze(tuple(_axes(node, inputs))),
    "Sub": lambda _node, inputs: inputs[0] - inputs[1],
    "Transpose": lambda node, inputs: inputs[0].permute(_attributes(node)["perm"]),
    "Unsqueeze": _unsqueezed,
}
