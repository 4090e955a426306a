"""The ONNX graph that is being written: nodes, constants, and two kinds of tricks.

Images are held channels first, as ONNX's convolutions want them, as long as nobody asks for TensorFlow's order; so
there is no transposition between layers. And a product with a constant that follows another is one product: a window
function, the Fourier transform's real part and the mel filters are one matrix of 2048 by 96.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgebird.export.adopt.tflite.folding import Array, Shape, free_dimension

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclass(slots=True, eq=False)
class Linear:
    """How a tensor is made of another: its last axis times a vector, or times a matrix [before, after]; float64."""

    source: Data
    factor: NDArray[np.float64]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[before, after]."""
        return np.diag(self.factor) if self.factor.ndim == 1 else self.factor


@dataclass(slots=True, eq=False)
class Data:
    """A tensor that depends on the audio.

    name: in the graph. shapes: as TensorFlow has them, at each probe. first: the graph holds it channels first.
    positive: it is never below 0. root: what it is a reshape of. padded: of an image, what it is with zeros around:
    the image, and how many before and after on each of both axes.
    """

    name: str
    shapes: tuple[Shape, Shape]
    first: bool = False
    linear: Linear | None = None
    positive: bool = False
    root: Data | None = None
    padded: tuple[Data, tuple[int, int, int, int]] | None = None
    other: str = ""

    @property
    def shape(self) -> Shape:
        """With -1 for the dimension that depends on the batch."""
        return free_dimension(self.shapes)


@dataclass(slots=True, eq=False)
class Transform:
    """A Fourier transform that nobody has computed yet. frames: [..., size]; shapes: of the transform itself."""

    frames: Data
    size: int
    shapes: tuple[Shape, Shape]


class Network:
    """Nodes and constants, each with a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._taken: Counter[str] = Counter()

    def unique(self, name: str) -> str:
        """A name that nobody has."""
        name = name or "tensor"
        self._taken[name] += 1
        return name if self._taken[name] == 1 else self.unique(f"{name}_{self._taken[name]}")

    def constant(self, value: Array, name: str) -> str:
        """The name of a constant; equal ones are one."""
        value = np.ascontiguousarray(value)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = self.unique(name)
            self.constants[self._known[key]] = numpy_helper.from_array(value, self._known[key])
        return self._known[key]

    def indices(self, values: Sequence[int], name: str) -> str:
        """A constant int64 [n]."""
        return self.constant(np.array(values, np.int64), name)

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; the name of its output."""
        output = self.unique(name)
        self.nodes.append(helper.make_node(operator, list(inputs), [output], output, **attributes))
        return output

    # ------------------------------------------------------------------------------------------------------- layout
    def last(self, data: Data) -> str:
        """The tensor in TensorFlow's order, channels last."""
        if not data.first:
            return data.name
        if not data.other:
            data.other = self._moved(data, LAST, "last")
        return data.other

    def channels_first(self, data: Data) -> str:
        """An image [batch, h, w, channels] as [batch, channels, h, w]."""
        if data.first:
            return data.name
        if not data.other:
            data.other = self._moved(data, FIRST, "first")
        return data.other

    def _moved(self, data: Data, order: Sequence[int], name: str) -> str:
        """With its axes in another order: a reshape where that moves nothing."""
        _, height, width, channels = data.shape
        if channels == 1 or height == width == 1:
            shape = [data.shape[axis] for axis in order] if order is FIRST else list(data.shape)
            source = data.root.name if data.root and not data.root.first and not data.first else data.name
            return self.node("Reshape", [source, self.indices(shape, "shape")], f"{data.name}/{name}")
        return self.node("Transpose", [data.name], f"{data.name}/{name}", perm=list(order))

    def reshape(self, data: Data, shapes: tuple[Shape, Shape], name: str) -> Data:
        """A tensor in another shape, of what it was before it was reshaped the first time."""
        root = data.root if data.root is not None else data
        source = self.last(root)
        made = Data(
            self.node("Reshape", [source, self.indices(free_dimension(shapes), "shape")], name),
            shapes,
            positive=data.positive,
            root=root,
        )
        if data.linear is not None and shapes[0][-1:] == data.shapes[0][-1:] and shapes[0]:
            width = data.linear.source.shapes[0][-1]
            before = self.reshape(
                data.linear.source, ((*shapes[0][:-1], width), (*shapes[1][:-1], width)), f"{name}/before"
            )
            made.linear = Linear(before, data.linear.factor)
        return made

    # ----------------------------------------------------------------------------------------------------- products
    def product(self, data: Data, matrix: NDArray[np.float64], name: str) -> Data:
        """A tensor's last axis times a constant matrix [before, after].

        Together with a product before it, if that is no more work.
        """
        source, total = data, matrix
        if data.linear is not None:
            one = data.linear
            joined = one.factor[:, None] * matrix if one.factor.ndim == 1 else one.factor @ matrix
            apart = matrix.size + (one.factor.size if one.factor.ndim == 2 else 0)
            if joined.size <= apart:
                source, total = one.source, joined
        weights = self.constant(total.astype(np.float32), f"{name}/weights")
        shapes = tuple((*shape[:-1], matrix.shape[1]) for shape in data.shapes)
        made = self.node("MatMul", [self.last(source), weights], name)
        return Data(made, (shapes[0], shapes[1]), linear=Linear(source, total))

    def pruned(self, outputs: Sequence[str]) -> list[NodeProto]:
        """The nodes that the outputs need, in order; constants that nobody needs are dropped."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input)
        self.constants = {name: value for name, value in self.constants.items() if name in needed}
        return kept[::-1]
