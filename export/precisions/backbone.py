"""The backbone: the part of a graph that may lose precision. Frontend, pooling and head never do."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto, NodeProto

_FOLD = re.compile(r"(?:fold\.\d+/)?")  # before the names of an ensemble, see graph.py


@dataclass(frozen=True, slots=True, eq=False)
class Fp32Graph:
    """The finished FP32 graph, which the others are made of.

    backbone: node -> its block, of those that may lose precision. group: windows that are scored at once. shared: what
    one precision found out of it and another uses again, by name.
    """

    model: ModelProto
    backbone: Mapping[str, str]
    group: int
    shared: dict[str, Any] = field(default_factory=dict)


def block_of(node: NodeProto, block: re.Pattern[str]) -> str | None:
    """The block a node is in, `stages.2.3` (with its fold before it in an ensemble); None outside the backbone.

    block: as in `Family`.
    """
    fold = _FOLD.match(node.name)
    found = block.match(node.name, fold.end() if fold else 0)
    return node.name[: found.end()] if found else None


def backbone_nodes(model: ModelProto, block: re.Pattern[str]) -> dict[str, str]:
    """Node -> its block, for every node from the images to the last convolution; in order. block: as in `Family`."""
    return {node.name: found for node in model.graph.node if (found := block_of(node, block))}


def image_tensors(model: ModelProto, backbone: Container[str]) -> tuple[str, ...]:
    """Names of the tensors that hold the images: what the backbone takes that is neither its own nor a constant."""
    known = {tensor.name for tensor in model.graph.initializer}
    known |= {name for node in model.graph.node if node.name in backbone for name in node.output}
    taken = (name for node in model.graph.node if node.name in backbone for name in node.input)
    return tuple(dict.fromkeys(name for name in taken if name and name not in known))


def map_tensors(model: ModelProto, backbone: Container[str]) -> tuple[str, ...]:
    """Names of the tensors that hold the feature maps, [batch, features, h, w]: what the pooling takes."""
    outside = {name for node in model.graph.node if node.name not in backbone for name in node.input}
    return tuple(name for node in model.graph.node if node.name in backbone for name in node.output if name in outside)


def element_types(model: ModelProto) -> dict[str, int]:
    """Tensor -> ONNX element type, for all of a graph whose shapes are inferred."""
    graph = model.graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def low_share(model: ModelProto, low: Container[str]) -> float:
    """Share of a window's multiplications in products (Conv, Gemm, MatMul) that the nodes named `low` do."""
    work = multiplications(model)
    return sum(count for name, count in work.items() if name in low) / sum(work.values())


def multiplications(model: ModelProto) -> dict[str, int]:
    """Node -> multiplications for one window, for every product of the graph."""
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    work = {}
    for node in graph.node:
        if node.op_type == "Conv":
            summed = shapes[node.input[1]][1:]  # a kernel
        elif node.op_type in ("Gemm", "MatMul"):
            summed = shapes[node.input[0]][-1:]
        else:
            continue
        work[node.name] = math.prod(shapes[node.output[0]]) * math.prod(summed)
    return work
