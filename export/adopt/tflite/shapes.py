"""Operators of TensorFlow Lite that move values and change none, as ONNX has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgebird.errors import ExportError
from edgebird.export.adopt.tflite.folding import PROBES, Array, Reckoned, Shape, reshaped, slices
from edgebird.export.adopt.tflite.network import Data, Transform
from edgebird.export.adopt.tflite.operators import Conversion, Emit

_LARGEST = np.iinfo(np.int64).max


def _reshape(call: Conversion) -> Data | Transform:
    wanted = call.inputs[1] if len(call.inputs) > 1 else None
    if isinstance(wanted, Reckoned):
        targets: Sequence[Any] = [np.atleast_1d(value) for value in wanted.values]
    else:
        targets = [call.options["newShape"]] * 2
    value = call.inputs[0]
    if isinstance(value, Transform):
        return _respectrum(call, lambda shape, probe: _target(call, shape, targets[probe], probe))
    data = call.data()
    one, other = (_target(call, data.shapes[probe], targets[probe], probe) for probe in range(2))
    return call.net.reshape(data, (one, other), call.name)


def _target(call: Conversion, shape: Shape, target: Sequence[int], probe: int) -> Shape:
    return reshaped(int(np.prod(shape)), target, PROBES[probe], call.fixed)


def _expand(call: Conversion) -> Data | Transform:
    axis = int(call.constant(1))
    return _reformed(call, lambda shape: np.expand_dims(np.empty(shape, np.bool_), axis).shape)


def _squeeze(call: Conversion) -> Data | Transform:
    given = call.options.get("squeezeDims")
    axes = None if given is None or not len(given) else tuple(map(int, given))
    return _reformed(call, lambda shape: np.squeeze(np.empty(shape, np.bool_), axes).shape)


def _reformed(call: Conversion, form: Callable[[Shape], Shape]) -> Data | Transform:
    if isinstance(call.inputs[0], Transform):
        return _respectrum(call, lambda shape, _probe: form(shape))
    data = call.data()
    return call.net.reshape(data, (form(data.shapes[0]), form(data.shapes[1])), call.name)


def _respectrum(call: Conversion, form: Callable[[Shape, int], Shape]) -> Transform:
    spectrum = call.inputs[0]
    assert isinstance(spectrum, Transform)
    return Transform(spectrum.frames, spectrum.size, (form(spectrum.shapes[0], 0), form(spectrum.shapes[1], 1)))


def _transpose(call: Conversion) -> Data:
    data, order = call.data(), [int(axis) for axis in call.constant(1)]
    shapes = tuple(tuple(shape[axis] for axis in order) for shape in data.shapes)
    made = call.net.node("Transpose", [call.net.last(data)], call.name, perm=order)
    return Data(made, (shapes[0], shapes[1]), positive=data.positive)


def _reverse(call: Conversion) -> Data:
    data, net = call.data(), call.net
    name = net.last(data)
    for axis in call.axes(1, len(data.shapes[0])):
        size = data.shape[axis]
        name = net.node("Gather", [name, net.indices(range(size - 1, -1, -1), "reversed")], call.name, axis=axis)
    return Data(name, data.shapes, positive=data.positive)


def _gather(call: Conversion) -> Data:
    data, indices = call.data(), call.constant(1)
    if call.options.get("batchDims"):
        raise ExportError("a GATHER with batch dimensions")
    axis = int(call.options.get("axis", 0)) % len(data.shapes[0])
    shapes = tuple((*shape[:axis], *indices.shape, *shape[axis + 1 :]) for shape in data.shapes)
    named = call.net.constant(indices.astype(np.int64), f"{call.name}/indices")
    made = call.net.node("Gather", [call.net.last(data), named], call.name, axis=axis)
    return Data(made, (shapes[0], shapes[1]), positive=data.positive)


def _concatenation(call: Conversion) -> Data:
    parts, net = [call.data(index) for index in range(len(call.inputs))], call.net
    rank = len(parts[0].shapes[0])
    axis = int(call.options.get("axis", 0)) % rank
    # Images of one channel or channels first already: then they stay so.
    first = rank == 4 and any(part.first or part.shapes[0][3] == 1 for part in parts)
    names = [net.channels_first(part) if first else net.last(part) for part in parts]
    lengths = [sum(part.shapes[probe][axis] for part in parts) for probe in range(2)]
    shapes = tuple(
        tuple(length if place == axis else size for place, size in enumerate(shape))
        for length, shape in zip(lengths, parts[0].shapes, strict=True)
    )
    made = net.node("Concat", names, call.name, axis=(0, 2, 3, 1)[axis] if first else axis)
    return call.activated(Data(made, (shapes[0], shapes[1]), first, positive=all(part.positive for part in parts)))


def _strided_slice(call: Conversion) -> Data:
    data, net = call.data(), call.net
    steps: list[tuple[int, slice]] = []
    gone: list[int] = []
    shapes = []
    for probe, shape in enumerate(data.shapes):
        begin, end, strides = (_at(call, index, probe) for index in (1, 2, 3))
        taken = slices(call.options, begin, end, strides)
        if call.fixed and isinstance(taken[0], slice) and taken[0].indices(1) == (0, 1, 1):
            taken = (slice(None), *taken[1:])  # all of one window is all of every window
        shapes.append(np.empty(shape, np.bool_)[taken].shape)
        steps, gone = [], []
        for axis, part in enumerate(taken):
            if isinstance(part, int):
                gone.append(axis)
                part = slice(part, part + 1 if part != -1 else None, 1)
            if part.indices(shape[axis]) != (0, shape[axis], 1):
                steps.append((axis, part))
    name = net.last(data)
    if steps:
        begins = [part.start or 0 for _, part in steps]
        ends = [_LARGEST if part.stop is None else part.stop for _, part in steps]
        given = (begins, ends, [axis for axis, _ in steps], [part.step or 1 for _, part in steps])
        name = net.node("Slice", [name, *(net.indices(values, "slice") for values in given)], f"{call.name}/slice")
    if gone:
        name = net.node("Squeeze", [name, net.indices(gone, "axes")], call.name)
    return Data(name, (shapes[0], shapes[1]), positive=data.positive)


def _at(call: Conversion, index: int, probe: int) -> Array:
    value = call.inputs[index]
    if not isinstance(value, Reckoned):
        raise ExportError("a STRIDED_SLICE whose bounds depend on the audio")
    return value.values[probe]


SHAPES: dict[str, Emit] = {
    "RESHAPE": _reshape,
    "EXPAND_DIMS": _expand,
    "SQUEEZE": _squeeze,
    "TRANSPOSE": _transpose,
    "REVERSE_V2": _reverse,
    "GATHER": _gather,
    "CONCATENATION": _concatenation,
    "STRIDED_SLICE": _strided_slice,
}
