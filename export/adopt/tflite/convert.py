"""The walk through a .tflite file: what is known is reckoned, the rest becomes nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from edgebird.card import OPSET
from edgebird.errors import ExportError
from edgebird.export.adopt.tflite.flat import FlatGraph, FlatOperation, read_tflite
from edgebird.export.adopt.tflite.folding import PROBES, Reckoned, Shape, fold
from edgebird.export.adopt.tflite.images import IMAGES
from edgebird.export.adopt.tflite.network import Data, Network
from edgebird.export.adopt.tflite.operators import OPERATORS, Conversion, Emit, Value
from edgebird.export.adopt.tflite.shapes import SHAPES
from edgebird.export.adopt.tflite.spectra import SPECTRA

BATCH = "batch"
_EMITTERS: Mapping[str, Emit] = {**OPERATORS, **SHAPES, **IMAGES, **SPECTRA}


def convert(path: Path, further: Sequence[str] = ()) -> ModelProto:
    """A .tflite file as an ONNX graph of opset OPSET, its batch free; inputs and outputs have the file's names.

    further: tensors within, by their names in the file, that become outputs too, if they are there.
    Raises ExportError naming the operation that is not converted.
    """
    flat = read_tflite(path)
    net = Network()
    if len(flat.inputs) != 1:
        raise ExportError(f"{path}: {len(flat.inputs)} inputs, wanted 1")
    values = _walked(flat, net, path)
    wanted = [*flat.outputs]
    wanted += [index for name in further for index, tensor in enumerate(flat.tensors) if tensor.name == name]
    outputs = {}
    for index in dict.fromkeys(wanted):
        data = values[index]
        if not isinstance(data, Data):
            raise ExportError(f"{path}: the output {flat.tensors[index].name!r} does not depend on the audio")
        outputs[flat.tensors[index].name] = data
    source = flat.tensors[flat.inputs[0]]
    return _model(net, (source.name, source.shape), outputs)


def _walked(flat: FlatGraph, net: Network, path: Path) -> dict[int, Value]:
    """Every tensor of the file, by its number."""
    source = flat.tensors[flat.inputs[0]]
    fixed = source.shape[:1] == (1,)
    one, other = ((batch, *source.shape[1:]) for batch in PROBES)
    if len(source.shape) < 2 or -1 in source.shape[1:] or source.shape[0] not in (1, -1):
        raise ExportError(f"{path}: an input of {list(source.shape)}, wanted [1, ...] or [-1, ...]")
    values: dict[int, Value] = {flat.inputs[0]: Data(net.unique(source.name), (one, other))}
    for index, tensor in enumerate(flat.tensors):
        if tensor.value is not None:
            values[index] = Reckoned((tensor.value, tensor.value))
    for operation in flat.operations:
        name = flat.tensors[operation.outputs[0]].name
        inputs = [None if index < 0 else values[index] for index in operation.inputs]
        try:
            made = _made(net, operation, inputs, name, fixed)
        except ExportError as error:
            raise ExportError(f"{path}: {operation.kind} {name!r}: {error}") from error
        values.update(zip(operation.outputs, made, strict=True))
    return values


def _made(
    net: Network, operation: FlatOperation, inputs: list[Value | None], name: str, fixed: bool
) -> Sequence[Value]:
    known = [value for value in inputs if isinstance(value, Reckoned)]
    if operation.kind == "SHAPE" and inputs[0] is not None and not isinstance(inputs[0], Reckoned):
        one, other = (np.array(shape, np.int32) for shape in inputs[0].shapes)
        return [Reckoned((one, other))]
    if len(known) == len([value for value in inputs if value is not None]):
        return fold(operation.kind, operation.options, known)
    if operation.kind not in _EMITTERS:
        raise ExportError("no such operator is converted")
    return [_EMITTERS[operation.kind](Conversion(net, operation.options, inputs, short(name), fixed))]


def short(name: str) -> str:
    """A tensor's name without what every one of a file has: the last of several that were joined, without `model/`."""
    return name.rsplit(";", 1)[-1].removeprefix("model/")


def _model(net: Network, source: tuple[str, Shape], outputs: Mapping[str, Data]) -> ModelProto:
    made = {net.last(data): name for name, data in outputs.items()}
    nodes = net.pruned(list(made))
    # An output has the file's name, and whoever had it, another.
    renamed = {name: f"{name}/inner" for name in made.values()} | made
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    name, shape = source
    graph = helper.make_graph(
        nodes,
        "edgebird",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *shape[1:]])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [BATCH, *data.shape[1:]])
            for name, data in outputs.items()
        ],
        list(net.constants.values()),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10, producer_name="edgebird"
    )
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the converted graph is not valid ONNX: {str(error).splitlines()[0]}") from error
    return model
