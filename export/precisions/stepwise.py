"""The FP32 graph, computed step by step: frontend and head by ONNX Runtime, the backbone node by node by torch.

So one node's output can be replaced, and only what depends on it computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, helper, numpy_helper
from onnx.utils import Extractor
from torch import Tensor
from torch.nn import functional as F

from edgebird.errors import ExportError
from edgebird.export.essentials import edges_of
from edgebird.export.precisions.backbone import Fp32Graph, image_tensors, map_tensors
from edgebird.runtimes.ort import session_of
from edgebird.types import FloatArray

Values = dict[str, Tensor]  # by the names of the graph's tensors
Replacement = Callable[[NodeProto, Values], Tensor | None]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a convolution walks over its input, the same in both directions."""

    stride: int
    padding: int
    groups: int


def geometry(node: NodeProto) -> Geometry:
    """Geometry of a Conv, of which there are only those with square strides, equal padding and no dilation."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Geometry(found.get("strides", [1])[0], found.get("pads", [0])[0], found.get("group", 1))


def _is_even(node: NodeProto) -> bool:
    """Whether `geometry` says all of it."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    same = all(len(set(found.get(name, (1,)))) == 1 for name in ("strides", "pads", "kernel_shape"))
    return same and set(found.get("dilations", (1,))) == {1}


def kernel_size(node: NodeProto) -> int:
    """Rows, and columns, of a Conv's kernel."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return int(found["kernel_shape"][0])


class Stepwise:
    """A finished FP32 graph. Raises ExportError for a backbone with an operator that is not known here."""

    def __init__(self, fp32: Fp32Graph) -> None:
        model = fp32.model
        self.weights = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
        self.nodes = [node for node in model.graph.node if node.name in fp32.backbone]
        if unknown := [node for node in self.nodes if node.op_type not in _OPERATORS]:
            raise ExportError(f"int8: {unknown[0].name}: a backbone with {unknown[0].op_type} cannot be measured")
        self.convolutions = [n for n in self.nodes if n.op_type == "Conv" and self.weights[n.input[1]].ndim == 4]
        if uneven := [node for node in self.convolutions if not _is_even(node)]:
            raise ExportError(f"int8: {uneven[0].name}: a convolution that is uneven cannot be measured")
        self._maps, self._group = map_tensors(model, fp32.backbone), fp32.group
        self._images, self._edges = image_tensors(model, fp32.backbone), edges_of(model)
        self._last_reader = {name: node.name for node in self.nodes for name in node.input}
        extractor = Extractor(model)
        self._frontend = _session(extractor, [self._edges.input], self._images)
        self._tail = _session(extractor, self._maps, [self._edges.output])

    def images(self, audio: FloatArray) -> Values:
        """What the backbone takes, of windows [windows, samples]."""
        groups = (audio[start : start + self._group] for start in range(0, len(audio), self._group))
        taken = (self._edges.taken(windows) for windows in groups)
        found = [self._frontend.run(list(self._images), {self._edges.input: windows}) for windows in taken]
        return {
            name: torch.from_numpy(np.concatenate(parts))
            for name, parts in zip(self._images, zip(*found, strict=True), strict=True)
        }

    def scores(self, values: Values) -> FloatArray:
        """Scores [windows, classes] of the maps among the values."""
        maps = {name: values[name].numpy() for name in self._maps}
        return self._edges.scores(self._tail.run([self._edges.output], maps)[0])

    def walk(self, values: Values, replace: Replacement | None = None, keep_all: bool = False) -> Values:
        """All nodes in order, from the images on; `replace` gives an output for a node, or None.

        keep_all: every tensor, to go on from; else the maps alone.
        """
        values = dict(values)
        for node in self.nodes:
            output = replace(node, values) if replace else None
            values[node.output[0]] = self.compute(node, values) if output is None else output
            if not keep_all:
                for name in node.input:
                    if self._last_reader[name] == node.name:
                        values.pop(name, None)
        return values

    def with_output(self, values: Values, node: NodeProto, output: Tensor) -> Values:
        """All tensors, with those that depend on a node computed again for another output of it."""
        values = values | {node.output[0]: output}
        changed = {node.output[0]}
        for follower in self.nodes:
            if changed.intersection(follower.input):
                values[follower.output[0]] = self.compute(follower, values)
                changed.add(follower.output[0])
        return values

    def compute(self, node: NodeProto, values: Values) -> Tensor:
        """Output of one node."""
        return _OPERATORS[node.op_type](node, [values[n] if n in values else self.weights[n] for n in node.input])


def convolve(node: NodeProto, inputs: list[Tensor]) -> Tensor:
    """A Conv: input, weight, and bias if it has one."""
    how = geometry(node)
    values, weight, *bias = inputs
    convolution: Callable[..., Tensor] = F.conv2d if weight.ndim == 4 else F.conv1d
    return convolution(values, weight, *bias, stride=how.stride, padding=how.padding, groups=how.groups)


def _pool(node: NodeProto, inputs: list[Tensor]) -> Tensor:
    """An AveragePool without padding."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel, ceil = found["kernel_shape"], bool(found.get("ceil_mode", 0))
    return F.avg_pool2d(inputs[0], kernel, found.get("strides", 1), ceil_mode=ceil, count_include_pad=False)


def _mean(node: NodeProto, inputs: list[Tensor]) -> Tensor:
    keep = {attribute.name: attribute.i for attribute in node.attribute}.get("keepdims", 1)
    return inputs[0].mean(inputs[1].tolist(), keepdim=bool(keep))


def _reshape(_node: NodeProto, inputs: list[Tensor]) -> Tensor:
    """Of each window; how many there are does not change."""
    return inputs[0].reshape(len(inputs[0]), *inputs[1].tolist()[1:])


_OPERATORS: dict[str, Callable[[NodeProto, list[Tensor]], Tensor]] = {  # all that backbones are made of
    "Conv": convolve,
    "Sigmoid": lambda _node, inputs: torch.sigmoid(inputs[0]),
    "Mul": lambda _node, inputs: inputs[0] * inputs[1],
    "Add": lambda _node, inputs: inputs[0] + inputs[1],
    "AveragePool": _pool,
    "ReduceMean": _mean,
    "Unsqueeze": lambda _node, inputs: inputs[0].unsqueeze(int(inputs[1])),
    "Reshape": _reshape,
}


def _session(extractor: Extractor, inputs: Iterable[str], outputs: Iterable[str]) -> Any:
    return session_of(extractor.extract_model(list(inputs), list(outputs)).SerializeToString())
