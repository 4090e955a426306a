"""The graph with convolutions in INT8: Q/DQ pairs on their inputs and weights, symmetric, and nowhere else.

    x -> Sub shift -> QuantizeLinear -> DequantizeLinear -> Conv (weights int8, a scale for each output) -> Add border

Outputs stay float: an engine fuses a convolution with the SiLU, the sum and the Q behind it, and computes these in
float. TensorRT takes no zero point but 0, so what is one-sided is shifted before it is rounded. A convolution is
linear: the shift comes back as a constant, which is in the bias, and differs only at the borders, where part of the
kernel reads padding, and where the shift is dithered (rounding.py). For these a constant map is added. It is kept small
in the file: all rows but the outer ones repeat after the dither's period, and so do columns. Engines unfold it once,
when they load the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from edgebird.export import graph
from edgebird.export.precisions.nodes import convolve, geometry
from edgebird.export.precisions.rounding import PERIOD, Kernel, Range, is_dithered

_ZERO = "zero_point"


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """A convolution in INT8: how its input is rounded, and its weights."""

    input: Range
    kernel: Kernel

    def compute(self, node: NodeProto, values: Tensor) -> Tensor:
        """Its output as an engine computes it, but for float rounding."""
        return convolve(node, [self.input.rounded(values), self.kernel.values(), self.kernel.bias])


def quantized_graph(model: ModelProto, quantized: Mapping[str, Quantized]) -> ModelProto:
    """The finished FP32 graph with the convolutions of these names in INT8. All readers of a tensor share its Q/DQ."""
    writer = _Writer(model)
    for node in model.graph.node:
        if node.name in quantized:
            writer.convolution(node, quantized[node.name])
        else:
            writer.nodes.append(node)
    return writer.finished()


def border_nodes(node: NodeProto) -> frozenset[str]:
    """Names of the nodes that may stand behind a convolution in INT8 and are part of it, float as it is."""
    output = node.output[0]
    return frozenset({f"{output}/Add", f"{output}/border/rows/Gather", f"{output}/border/Gather"})


class _Writer:
    """The nodes and constants of the new graph, in order."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes: list[NodeProto] = []
        self._model = model
        self._sizes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][2:]
            for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        }
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._rounded: set[str] = set()

    def convolution(self, node: NodeProto, made: Quantized) -> None:
        """A Conv, with what stands before and behind it."""
        values, weight = node.input[0], f"{node.name}.weight/int8"
        height, width = self._sizes[values]
        if values not in self._rounded:
            self._rounded.add(values)
            self._round(values, made.input, made.input.shifts(height, width))
        inside, border = _shift_constant(node, made, height, width)
        bias = self._constant(f"{node.name}.bias/int8", (made.kernel.bias + inside).numpy())
        inputs = [
            self._constant(weight, made.kernel.weights.numpy()),
            self._constant(f"{weight}/scale", made.kernel.scales.numpy()),
            self._constant(f"{weight}/{_ZERO}", np.zeros(len(made.kernel.scales), np.int8)),
        ]
        self._node("DequantizeLinear", inputs, f"{weight}/dequantized")
        self.nodes[-1].attribute.append(helper.make_attribute("axis", 0))
        new = NodeProto()
        new.CopyFrom(node)
        new.input[:] = [f"{values}/dequantized", f"{weight}/dequantized", bias]
        self.nodes.append(new)
        if border is not None:
            new.output[0] = f"{node.output[0]}/inside"
            walks = _walks(node, made, (height, width))
            added = self._unfolded(f"{node.output[0]}/border", border, walks, is_dithered(height, width))
            self._node("Add", [new.output[0], added], node.output[0])

    def _round(self, values: str, how: Range, shifts: Tensor) -> None:
        """The Q/DQ pair of a tensor."""
        shift = self._constant(f"{values}/shift", shifts.numpy() if shifts.ndim == 0 else shifts[None, None].numpy())
        scale = [self._constant(f"{values}/scale", np.float32(how.scale)), self._constant(_ZERO, np.int8(0))]
        self._node("Sub", [values, shift], f"{values}/shifted")
        self._node("QuantizeLinear", [f"{values}/shifted", *scale], f"{values}/quantized")
        self._node("DequantizeLinear", [f"{values}/quantized", *scale], f"{values}/dequantized")

    def _unfolded(self, name: str, border: Tensor, walks: Sequence[_Walk], dithered: bool) -> str:
        """A map [1, outputs, h, w] of the rows and columns that differ; its name. walks: down, and across."""
        for axis in (2, 3):
            first, places = _repetition(border.shape[axis], walks[axis - 2], dithered)
            border = border.index_select(axis, torch.tensor(first))
            self._constant(f"{name}:{axis}", np.array(places, np.int64))
        self._constant(f"{name}:outer", border.numpy())
        for axis, source, output in ((2, f"{name}:outer", f"{name}/rows"), (3, f"{name}/rows", name)):
            self._node("Gather", [source, f"{name}:{axis}"], output)
            self.nodes[-1].attribute.append(helper.make_attribute("axis", axis))
        return name

    def _constant(self, name: str, values: NDArray[np.generic] | np.generic) -> str:
        """Keep a constant; its name."""
        self._constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, name: str = "") -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name or f"{output}/{kind}"))

    def finished(self) -> ModelProto:
        """The new graph, checked; constants that nobody reads any more are left out."""
        read = {name for node in self.nodes for name in node.input}
        new = ModelProto()
        new.CopyFrom(self._model)
        constants = [tensor for name, tensor in self._constants.items() if name in read]
        for part, content in ((new.graph.node, self.nodes), (new.graph.initializer, constants)):
            del part[:]
            part.extend(content)
        del new.graph.value_info[:]
        metadata = {entry.key: entry.value for entry in self._model.metadata_props} | {"precision": "int8"}
        del new.metadata_props[:]
        return graph.finish(new, metadata)


def _shift_constant(node: NodeProto, made: Quantized, height: int, width: int) -> tuple[Tensor, Tensor | None]:
    """What the shift of the input, [*, height, width], is in the output: [outputs], and where it is more, as padding is
    read or the shift is dithered: [1, outputs, h, w].
    """
    weight = made.kernel.values()
    inside = weight.sum(dim=(1, 2, 3)) * made.input.shift
    how = geometry(node)
    if not any(how.pads) and not is_dithered(height, width):
        return inside, None
    level = made.input.shifts(height, width).double().expand(1, weight.shape[1] * how.groups, height, width)
    return inside, (convolve(node, [level, weight.double()]) - inside[:, None, None]).float()


@dataclass(frozen=True, slots=True)
class _Walk:
    """A convolution in one direction. inputs: rows that there are. before: rows of padding before the first."""

    inputs: int
    kernel: int
    stride: int
    before: int


def _walks(node: NodeProto, made: Quantized, size: Sequence[int]) -> list[_Walk]:
    """Down and across. size: of the input's map."""
    how, kernel = geometry(node), made.kernel.weights.shape[2:]
    return [_Walk(*its) for its in zip(size, kernel, how.strides, how.pads[:2], strict=True)]


def _repetition(outputs: int, walk: _Walk, dithered: bool) -> tuple[list[int], list[int]]:
    """Of rows (or columns) of a constant map: the first of each that are equal, and for every row which of them it is.

    outputs: how many rows the map has. Rows that read no padding are equal where the dither is.
    """
    first: dict[tuple[str, int], int] = {}
    places = []
    for row in range(outputs):
        start = row * walk.stride - walk.before
        if 0 <= start <= walk.inputs - walk.kernel:
            key = ("inside", start % PERIOD if dithered else 0)
        else:
            key = ("border", row)
        places.append(first.setdefault(key, row))
    kept = list(first.values())
    order = {row: index for index, row in enumerate(kept)}
    return kept, [order[row] for row in places]
