"""The graph as it is written: nothing but the outputs that the card names, its batch called so, its parts known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgebird.errors import ExportError

BATCH = "batch"
PLACES = "edgebird/place"  # the one input of a geographic model that had three


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a network's images begin and its feature maps end; see `Card`. backbone: node -> its block.

    All empty where no such cut can be made: then no lower precision can be made of it.
    """

    backbone: Mapping[str, str]
    images: tuple[str, ...]
    maps: tuple[str, ...]


def fitted(model: ModelProto, outputs: Sequence[str], samples: int) -> ModelProto:
    """A copy with these outputs alone, in this order, `samples` a window, every node with a name.

    Raises ExportError for a graph that is not valid then.
    """
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    found = {value.name: value for value in graph.output}
    del graph.output[:]
    graph.output.extend(found[name] for name in outputs)
    _prune(graph)
    _keep_constants_as_weights(graph)
    _name_nodes(graph)
    del graph.value_info[:]
    constants = {tensor.name for tensor in graph.initializer}
    (source,) = [value for value in graph.input if value.name not in constants]
    for value in (source, *graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if not (batch.HasField("dim_value") and batch.dim_value > 0):
            batch.dim_param = BATCH
    source.type.tensor_type.shape.dim[1].dim_value = samples
    return checked(made)


def checked(model: ModelProto) -> ModelProto:
    """With all shapes that can be inferred. Raises ExportError for what is not valid ONNX."""
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ExportError(f"the graph is not valid ONNX: {str(error).strip().splitlines()[0]}") from error
    return model


def with_one_input(model: ModelProto, inputs: Sequence[str]) -> ModelProto:
    """A copy that takes [batch, 3] in place of three inputs, in the order given."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    shapes = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.input}
    apart = [f"{PLACES}/{index}" for index in range(len(inputs))]
    sizes = helper.make_tensor(f"{PLACES}/sizes", onnx.TensorProto.INT64, [len(inputs)], [1] * len(inputs))
    flat = helper.make_tensor(f"{PLACES}/flat", onnx.TensorProto.INT64, [1], [-1])
    nodes = [helper.make_node("Split", [PLACES, sizes.name], apart, f"{PLACES}/Split", axis=1)]
    for name, part in zip(inputs, apart, strict=True):
        given = [part, flat.name] if shapes[name] == 1 else [part]
        nodes.append(helper.make_node("Reshape" if shapes[name] == 1 else "Identity", given, [name], f"{name}/taken"))
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *old])
    graph.initializer.extend([sizes, flat])
    del graph.input[:]
    shape: list[str | int | None] = [BATCH, len(inputs)]
    graph.input.append(helper.make_tensor_value_info(PLACES, onnx.TensorProto.FLOAT, shape))
    return made


def parts_of(model: ModelProto) -> Parts:
    """The part between the first and the last convolution of images, and what goes into it and comes out."""
    graph = model.graph
    kernels = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 4}
    nodes = list(graph.node)
    makers = {output: index for index, node in enumerate(nodes) for output in node.output}
    convolutions = {i for i, node in enumerate(nodes) if node.op_type == "Conv" and set(node.input) & kernels}
    after, before = set(convolutions), set(convolutions)
    for index, node in enumerate(nodes):  # in the order of their work
        if any(makers.get(name) in after for name in node.input):
            after.add(index)
    for index in reversed(range(len(nodes))):
        if index in before:
            before |= {makers[name] for name in nodes[index].input if name in makers}
    inside = after & before
    constants = {tensor.name for tensor in graph.initializer}
    made = {output for index in inside for output in nodes[index].output}
    taken = [name for index in sorted(inside) for name in nodes[index].input]
    images = tuple(dict.fromkeys(name for name in taken if name and name not in made and name not in constants))
    outside = [node for index, node in enumerate(nodes) if index not in inside]
    needed = {name for node in outside for name in node.input} | {value.name for value in graph.output}
    maps = tuple(output for index in sorted(inside) for output in nodes[index].output if output in needed)
    behind = [node for index, node in enumerate(nodes) if index in after - inside]
    inputs = {value.name for value in graph.input}
    beside = {name for node in behind for name in node.input} - set(maps) - constants
    if not inside or inputs & set(images) or beside & (set(images) | inputs | _made(nodes, makers, after)):
        return Parts({}, (), ())
    backbone = {nodes[index].name: nodes[index].name.partition("/")[0] for index in sorted(inside)}
    return Parts(backbone, images, maps)


def _made(nodes: Sequence[NodeProto], makers: Mapping[str, int], after: set[int]) -> set[str]:
    """Tensors that are made before the backbone."""
    return {name for name, index in makers.items() if index not in after and nodes[index].op_type != "Constant"}


def _prune(graph: GraphProto) -> None:
    needed, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(_uses(node))
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:]
    graph.node.extend(nodes)
    kept_weights = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in weights]
    del graph.initializer[:]
    graph.initializer.extend(kept_weights)


def _keep_constants_as_weights(graph: GraphProto) -> None:
    """Some exporters write a node for each constant; as weights they are no part of the backbone's inputs."""
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and (values := _constant(node)) is not None:
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)


def _constant(node: NodeProto) -> NDArray[Any] | None:
    """The numbers of a Constant; None for what is no array of numbers."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return np.array(value, kinds[attribute.name]) if attribute.name in kinds else None


def _uses(node: NodeProto) -> Iterator[str]:
    """The tensors that a node takes, those of graphs within it too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from (value.name for value in inner.output)
            for nested in inner.node:
                yield from _uses(nested)


def _name_nodes(graph: GraphProto) -> None:
    """Names for nodes that have none, or one that another has: findings are told by name."""
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{index}"
        taken.add(node.name)
