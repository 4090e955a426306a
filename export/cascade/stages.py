"""Graphs of the stages, cut from a model at named tensors; their weights stay in the model's file.

A tensor of a stage names that file, an offset and a length, as ONNX has it for external data: no weight is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from edgebird.errors import ExportError
from edgebird.export.graph import BATCH, INPUT, OUTPUT

_INSIDE = 1024  # bytes of a tensor that is in the stage's own file


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where a graph is cut: the image that the first fold takes, and that fold's scores; `first` is OUTPUT for one
    alone.
    """

    image: str
    first: str

    @property
    def parts(self) -> dict[str, tuple[tuple[str, ...], str]]:
        """Part -> the tensors that it takes, and the one that it gives."""
        parts: dict[str, tuple[tuple[str, ...], str]] = {
            "front": ((INPUT,), self.image),
            "first": ((self.image,), self.first),
        }
        return parts if self.first == OUTPUT else parts | {"rest": ((INPUT, self.image, self.first), OUTPUT)}


def cuts_of(model: ModelProto, images: Sequence[str]) -> Cuts:
    """Raise ExportError for a graph whose first fold has no scores of its own."""
    made = {output: node for node in model.graph.node for output in node.output}
    sigmoids = [output for output, node in made.items() if node.op_type == "Sigmoid" and "head/" in node.name]
    if not images or not sigmoids:
        raise ExportError("a cascade needs a graph with images, and folds that end in scores")
    first = sigmoids[0]
    if len(sigmoids) == 1:
        first = OUTPUT
    image = next(name for name in images if _reaches(model, (name,), first))
    return Cuts(image, first)


def cut(model: ModelProto, weights: Path, inputs: Sequence[str], output: str) -> ModelProto:
    """The nodes between some tensors and another. weights: the file that `model` was read from, beside the new one."""
    needed = between(model, inputs, output)
    nodes = [node for node in model.graph.node if node.output[0] in needed]
    read = {name for node in nodes for name in node.input}
    values = {value.name: value for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    data, at, tensors = weights.read_bytes(), 0, []
    for tensor in model.graph.initializer:
        at = data.index(tensor.raw_data, at) if len(tensor.raw_data) >= _INSIDE else at  # they stand in this order
        if tensor.name in read:
            tensors.append(_elsewhere(tensor, weights.name, at) if len(tensor.raw_data) >= _INSIDE else tensor)
    graph = onnx.helper.make_graph(nodes, "edgebird", [values[name] for name in inputs], [values[output]], tensors)
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="edgebird"
    )


def _elsewhere(tensor: TensorProto, file: str, offset: int) -> TensorProto:
    """The same tensor, its bytes in a file."""
    told = TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": file, "offset": offset, "length": len(tensor.raw_data)}.items():
        told.external_data.add(key=key, value=str(value))
    return told


def between(model: ModelProto, inputs: Sequence[str], output: str) -> set[str]:
    """First outputs of the nodes that are needed for `output`, given `inputs`."""
    made = {name: node for node in model.graph.node for name in node.output}
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in inputs or name not in made or made[name].output[0] in needed:
            continue
        needed.add(made[name].output[0])
        waiting += [given for given in made[name].input if given]
    return needed


def _reaches(model: ModelProto, inputs: Sequence[str], output: str) -> bool:
    """Whether `output` needs these and no audio."""
    needed = between(model, inputs, output)
    read = {name for node in model.graph.node if node.output[0] in needed for name in node.input}
    return INPUT not in read and all(name in read for name in inputs)


def with_free_batch(model: ModelProto) -> ModelProto:
    """Name the batch dimension of what it takes and gives."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return model
