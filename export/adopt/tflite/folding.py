"""What is known without audio. Shapes are reckoned at two batch sizes, so that the batch shows by its difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ExportError

PROBES = (2, 3)  # batch sizes; no dimension of a network is likely to be another in proportion
Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Reckoned:
    """A value that is known before there is audio, at each of the PROBES."""

    values: tuple[Array, Array]

    @property
    def constant(self) -> Array:
        """The value, which must not depend on the batch. Raises ExportError."""
        one, other = self.values
        if one.shape != other.shape or not np.array_equal(one, other):
            raise ExportError(
                f"a constant is wanted where the graph has {one} for {PROBES[0]} windows, {other} for more"
            )
        return one


def free_dimension(shapes: tuple[Shape, Shape]) -> tuple[int, ...]:
    """A shape for ONNX's Reshape, -1 where it depends on the batch. Raises ExportError if several dimensions do."""
    one, other = shapes
    free = [axis for axis, sizes in enumerate(zip(one, other, strict=True)) if sizes[0] != sizes[1]]
    if len(free) > 1:
        raise ExportError(f"several dimensions of {list(one)} depend on the batch")
    return tuple(-1 if axis in free else size for axis, size in enumerate(one))


def reshaped(size: int, wanted: Sequence[int], batch: int, fixed: bool) -> Shape:
    """The shape that a reshape of so many values leads to.

    fixed: the file was made for one window, so that its constants say 1 for the batch, or what is one window's: the
    first dimension grows with the batch then.
    """
    elements = size // batch if fixed and size % batch == 0 else size
    shape = [int(length) for length in wanted]
    if -1 in shape:
        rest = math.prod(length for length in shape if length != -1)
        shape[shape.index(-1)] = elements // rest if rest else 0
    if math.prod(shape) == elements and elements != size and shape:
        shape[0] *= batch
    if math.prod(shape) != size:
        raise ExportError(f"{size} values cannot be {list(wanted)}")
    return tuple(shape)


def slices(options: Mapping[str, Any], begin: Array, end: Array, strides: Array) -> tuple[slice | int, ...]:
    """What a STRIDED_SLICE takes of each axis; a number for an axis that goes away. Raises ExportError."""
    if options.get("ellipsisMask") or options.get("newAxisMask") or options.get("offset"):
        raise ExportError("a STRIDED_SLICE with an ellipsis, a new axis or an offset")
    found: list[slice | int] = []
    for axis, (start, stop, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        bit = 1 << axis
        if options.get("shrinkAxisMask", 0) & bit:
            found.append(start)
            continue
        first = None if options.get("beginMask", 0) & bit else start
        last = None if options.get("endMask", 0) & bit else stop
        found.append(slice(first, last, step))
    return tuple(found)


def _split(options: Mapping[str, Any], values: Sequence[Array]) -> list[Array]:
    data, sizes, axis = values
    return np.split(data, np.cumsum(sizes)[:-1], int(axis))


def _reduced(reduce: Callable[..., Array]) -> Callable[[Mapping[str, Any], Sequence[Array]], list[Array]]:
    def run(options: Mapping[str, Any], values: Sequence[Array]) -> list[Array]:
        data, axes = values
        axis = tuple(int(a) for a in np.atleast_1d(axes))
        return [np.asarray(reduce(data, axis=axis, keepdims=bool(options.get("keepDims"))), data.dtype)]

    return run


def _binary(compute: Callable[[Array, Array], Array]) -> Callable[[Mapping[str, Any], Sequence[Array]], list[Array]]:
    return lambda _options, values: [np.asarray(compute(values[0], values[1]))]


def _squeezed(options: Mapping[str, Any], values: Sequence[Array]) -> list[Array]:
    axes = options.get("squeezeDims")
    return [np.squeeze(values[0], None if axes is None or not len(axes) else tuple(map(int, axes)))]


# Operator -> options and inputs -> outputs. What is not here has no constant inputs alone in the models that are known.
_FOLDS: dict[str, Callable[[Mapping[str, Any], Sequence[Array]], list[Array]]] = {
    "ADD": _binary(np.add),
    "SUB": _binary(np.subtract),
    "MUL": _binary(np.multiply),
    "DIV": _binary(lambda a, b: a / b if a.dtype.kind == "f" else (a / b).astype(a.dtype)),
    "FLOOR_DIV": _binary(np.floor_divide),
    "FLOOR_MOD": _binary(np.mod),
    "MAXIMUM": _binary(np.maximum),
    "MINIMUM": _binary(np.minimum),
    "POW": _binary(np.power),
    "RESHAPE": lambda _o, v: [v[0].reshape(np.atleast_1d(v[1]).astype(int) if v[1].size else ())],
    "PACK": lambda o, v: [np.stack(list(v), int(o.get("axis", 0)))],
    "UNPACK": lambda o, v: list(np.moveaxis(v[0], int(o.get("axis", 0)), 0)),
    "CONCATENATION": lambda o, v: [np.concatenate(list(v), int(o.get("axis", 0)))],
    "GATHER": lambda o, v: [np.take(v[0], v[1], int(o.get("axis", 0)))],
    "RANGE": lambda _o, v: [np.arange(v[0].item(), v[1].item(), v[2].item()).astype(v[0].dtype)],
    "EXPAND_DIMS": lambda _o, v: [np.expand_dims(v[0], int(v[1]))],
    "SQUEEZE": _squeezed,
    "TRANSPOSE": lambda _o, v: [np.transpose(v[0], v[1])],
    "REVERSE_V2": lambda _o, v: [np.flip(v[0], tuple(map(int, np.atleast_1d(v[1]))))],
    "CAST": lambda _o, v: [v[0]],
    "DEQUANTIZE": lambda _o, v: [v[0].astype(np.float32)],
    "FILL": lambda _o, v: [np.full(v[0], v[1])],
    "SPLIT_V": _split,
    "STRIDED_SLICE": lambda o, v: [np.asarray(v[0][slices(o, v[1], v[2], v[3])])],
    "REDUCE_PROD": _reduced(np.prod),
    "REDUCE_MAX": _reduced(np.max),
    "REDUCE_MIN": _reduced(np.min),
    "SUM": _reduced(np.sum),
}


def fold(kind: str, options: Mapping[str, Any], inputs: Sequence[Reckoned]) -> list[Reckoned]:
    """The outputs of an operation whose inputs are all known. Raises ExportError for one that is not reckoned here."""
    if kind not in _FOLDS:
        raise ExportError(f"{kind} of constants is not converted")
    if kind == "DEQUANTIZE" and inputs[0].values[0].dtype.kind != "f":
        raise ExportError("weights in whole numbers: adopt the model's FP32 or FP16 file")
    one, other = (_FOLDS[kind](options, [known.values[probe] for known in inputs]) for probe in range(2))
    return [Reckoned(pair) for pair in zip(one, other, strict=True)]
