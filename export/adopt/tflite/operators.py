"""Operators of TensorFlow Lite as ONNX has them: arithmetic and products; and what converts any operator is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from edgebird.errors import ExportError
from edgebird.export.adopt.tflite.folding import Array, Reckoned, Shape
from edgebird.export.adopt.tflite.network import Data, Linear, Network, Transform

Value: TypeAlias = Data | Reckoned | Transform
_SMALLEST = float(np.finfo(np.float32).tiny)
# Number of a fused activation -> ONNX's operator, and its bounds if it is a Clip.
_FUSED: dict[int, tuple[str, float, float] | None] = {
    0: None,
    1: ("Relu", 0, 0),
    2: ("Clip", -1, 1),
    3: ("Clip", 0, 6),
    4: ("Tanh", 0, 0),
}


@dataclass(slots=True, eq=False)
class Conversion:
    """One operation of the file, as it is converted. name: for what it makes. fixed: see `reshaped`."""

    net: Network
    options: Mapping[str, Any]
    inputs: list[Value | None]
    name: str
    fixed: bool

    def data(self, index: int = 0) -> Data:
        """An input that depends on the audio; one that does not becomes a constant of the graph."""
        value = self.inputs[index]
        if isinstance(value, Reckoned):
            array = value.constant
            return Data(self.net.constant(array, f"{self.name}/constant"), (array.shape, array.shape))
        if not isinstance(value, Data):
            raise ExportError("a Fourier transform whose complex numbers are reckoned with")
        return value

    def constant(self, index: int) -> Array:
        """An input that must be known."""
        value = self.inputs[index]
        if not isinstance(value, Reckoned):
            raise ExportError("an input depends on the audio that is a constant in the models that are known")
        return value.constant

    def axes(self, index: int, rank: int) -> list[int]:
        """Axes from 0 on."""
        return [int(axis) % rank for axis in np.atleast_1d(self.constant(index))]

    def activated(self, made: Data) -> Data:
        """With the activation that is fused into the operation. Raises ExportError for one that is not known."""
        number = int(self.options.get("fusedActivationFunction", 0) or 0)
        if number not in _FUSED:
            raise ExportError(f"a fused activation with the number {number}")
        if (fused := _FUSED[number]) is None:
            return made
        operator, low, high = fused
        bounds = [] if operator != "Clip" else [np.float32(low), np.float32(high)]
        constants = [self.net.constant(np.asarray(bound), f"{self.name}/bound") for bound in bounds]
        output = self.net.node(operator, [made.name, *constants], f"{self.name}/activation")
        return Data(output, made.shapes, made.first, positive=number in (1, 3))


Emit: TypeAlias = Callable[[Conversion], Data | Transform]


# ----------------------------------------------------------------------------------------------------------- arithmetic
def _unary(operator: str, positive: bool = False) -> Emit:
    def emit(call: Conversion) -> Data:
        data = call.data()
        return Data(call.net.node(operator, [data.name], call.name), data.shapes, data.first, positive=positive)

    return emit


def binary(call: Conversion, operator: str) -> Data:
    """An operator of two tensors, the smaller one repeated."""
    one, other = call.inputs[0], call.inputs[1]
    parts = [value for value in (one, other) if isinstance(value, Data)]
    first = any(part.first for part in parts) and all(len(part.shapes[0]) == 4 for part in parts)
    names = [_operand(call, index, first) for index in range(2)]
    every = [value.shapes if isinstance(value, Data) else _shapes(value) for value in (one, other)]
    shapes = tuple(np.broadcast_shapes(every[0][probe], every[1][probe]) for probe in range(2))
    square = operator == "Mul" and one is other
    made = Data(call.net.node(operator, names, call.name), (shapes[0], shapes[1]), first, positive=square)
    if operator == "Mul" and isinstance(one, Data) and isinstance(other, Reckoned) and not first:
        made.linear = _scaled(one, other)
    return call.activated(made)


def _operand(call: Conversion, index: int, first: bool) -> str:
    value = call.inputs[index]
    if isinstance(value, Reckoned):
        array = value.constant
        if first and array.ndim:
            array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 3, 1, 2)
        return call.net.constant(array, f"{call.name}/constant")
    data = call.data(index)
    return call.net.channels_first(data) if first else call.net.last(data)


def _shapes(value: Value | None) -> tuple[Shape, Shape]:
    if not isinstance(value, Reckoned):
        raise ExportError("a Fourier transform whose complex numbers are reckoned with")
    one, other = value.values
    return one.shape, other.shape


def _scaled(data: Data, known: Reckoned) -> Linear | None:
    """How a tensor times a vector along its last axis is made; None where it is another product."""
    factor = known.values[0]
    if not data.shapes[0] or factor.size != data.shapes[0][-1] or factor.shape[-1:] != (factor.size,):
        return None
    vector = factor.reshape(-1).astype(np.float64)
    if data.linear is None:
        return Linear(data, vector)
    before = data.linear
    return Linear(before.source, before.factor * vector)


def _power(call: Conversion) -> Data:
    """Of what is never below 0 by logarithms, which engines have fast ones of."""
    data, net = call.data(), call.net
    exponent = call.constant(1)
    if exponent.size != 1 or not data.positive or exponent.item() <= 0:
        return binary(call, "Pow")
    floor = net.constant(np.float32(_SMALLEST), f"{call.name}/floor")
    level = net.node("Log", [net.node("Max", [data.name, floor], f"{call.name}/above")], f"{call.name}/log")
    raised = net.node("Mul", [level, net.constant(exponent.reshape(()), f"{call.name}/exponent")], f"{call.name}/times")
    return Data(net.node("Exp", [raised], call.name), data.shapes, data.first, positive=True)


def _select(call: Conversion) -> Data:
    names = [call.net.last(call.data(index)) for index in range(3)]
    shapes = [call.data(index).shapes for index in range(3)]
    both = tuple(np.broadcast_shapes(*(shape[probe] for shape in shapes)) for probe in range(2))
    return Data(call.net.node("Where", names, call.name), (both[0], both[1]))


def _reduce(operator: str) -> Emit:
    def emit(call: Conversion) -> Data:
        data, net = call.data(), call.net
        axes, keep = call.axes(1, len(data.shapes[0])), bool(call.options.get("keepDims"))
        shapes = tuple(_without(shape, axes, keep) for shape in data.shapes)
        spatial = data.first and sorted(axes) == [1, 2]  # then both orders come to the same, but for the kept axes
        name, over = (data.name, [2, 3]) if spatial else (net.last(data), axes)
        made = net.node(operator, [name, net.indices(over, "axes")], call.name, keepdims=int(keep))
        return Data(made, (shapes[0], shapes[1]), first=spatial and keep, positive=data.positive)

    return emit


def _without(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    if keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


# ------------------------------------------------------------------------------------------------------------- products
def _fully_connected(call: Conversion) -> Data:
    """Its weights are [outputs, inputs]."""
    data, weights, net = call.data(), call.constant(1), call.net
    width = weights.shape[1]
    if not call.options.get("keepNumDims") and len(data.shapes[0]) != 2:
        rows = tuple((int(np.prod(shape)) // width, width) for shape in data.shapes)
        data = net.reshape(data, (rows[0], rows[1]), f"{call.name}/rows")
    has_bias = len(call.inputs) > 2 and call.inputs[2] is not None
    made = net.product(data, weights.T.astype(np.float64), f"{call.name}/product" if has_bias else call.name)
    if has_bias:
        bias = net.constant(call.constant(2), f"{call.name}/bias")
        made = Data(net.node("Add", [made.name, bias], call.name), made.shapes)
    return call.activated(made)


def _softmax(call: Conversion) -> Data:
    data = call.data()
    if call.options.get("beta", 1.0) != 1.0:
        raise ExportError(f"a SOFTMAX with beta {call.options['beta']}")
    return Data(call.net.node("Softmax", [call.net.last(data)], call.name, axis=-1), data.shapes, positive=True)


OPERATORS: dict[str, Emit] = {
    "ADD": partial(binary, operator="Add"),
    "SUB": partial(binary, operator="Sub"),
    "MUL": partial(binary, operator="Mul"),
    "DIV": partial(binary, operator="Div"),
    "MAXIMUM": partial(binary, operator="Max"),
    "MINIMUM": partial(binary, operator="Min"),
    "GREATER": partial(binary, operator="Greater"),
    "GREATER_EQUAL": partial(binary, operator="GreaterOrEqual"),
    "LESS": partial(binary, operator="Less"),
    "LESS_EQUAL": partial(binary, operator="LessOrEqual"),
    "POW": _power,
    "SELECT": _select,
    "SELECT_V2": _select,
    "LOGISTIC": _unary("Sigmoid", positive=True),
    "TANH": _unary("Tanh"),
    "RELU": _unary("Relu", positive=True),
    "EXP": _unary("Exp", positive=True),
    "LOG": _unary("Log"),
    "SQRT": _unary("Sqrt", positive=True),
    "ABS": _unary("Abs", positive=True),
    "NEG": _unary("Neg"),
    "SIN": _unary("Sin"),
    "COS": _unary("Cos"),
    "MEAN": _reduce("ReduceMean"),
    "SUM": _reduce("ReduceSum"),
    "REDUCE_MAX": _reduce("ReduceMax"),
    "REDUCE_MIN": _reduce("ReduceMin"),
    "FULLY_CONNECTED": _fully_connected,
    "SOFTMAX": _softmax,
}
