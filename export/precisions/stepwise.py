"""The FP32 graph, computed step by step: frontend and head by ONNX Runtime, the backbone node by node by torch.

So one node's output can be replaced, and only what depends on it computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, numpy_helper
from onnx.utils import Extractor
from torch import Tensor

from edgebird.errors import ExportError
from edgebird.export.essentials import edges_of, scorer
from edgebird.export.precisions import nodes
from edgebird.export.precisions.backbone import Fp32Graph, image_tensors, map_tensors
from edgebird.runtimes.ort_session import session_of
from edgebird.types import FloatArray

Values = dict[str, Tensor]  # by the names of the graph's tensors
_SAME = 1e-3  # scores step by step, by torch, and in one go, by ONNX Runtime: far less than a rounding does
Replacement = Callable[[NodeProto, Values], Tensor | None]


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """Nodes of the backbone, in order, that share no tensor with the others: of an ensemble, those of one network.

    convolutions: those of its nodes. maps: what it gives to the pooling, by name.
    """

    nodes: list[NodeProto]
    convolutions: list[NodeProto]
    maps: tuple[str, ...]


class Stepwise:
    """A finished FP32 graph. Raises ExportError for a backbone with an operator that is not known here."""

    def __init__(self, fp32: Fp32Graph) -> None:
        self._model = model = fp32.model
        self.weights = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
        self.nodes = [node for node in model.graph.node if node.name in fp32.backbone]
        for node in self.nodes:
            if what := nodes.unknown(node):
                raise ExportError(f"int8: {node.name}: a backbone with {what} cannot be measured")
        self.convolutions = [n for n in self.nodes if n.op_type == "Conv" and self.weights[n.input[1]].ndim == 4]
        self._maps, self._group = map_tensors(model, fp32.backbone), fp32.group
        self._images, self._edges = image_tensors(model, fp32.backbone), edges_of(model)
        self._last_reader = {name: node.name for node in self.nodes for name in node.input}
        extractor = Extractor(model)
        self._frontend = _session(extractor, [self._edges.input], self._images)
        self._tail = _session(extractor, self._maps, [self._edges.output])

    def require_same(self, audio: FloatArray) -> None:
        """Raise ExportError unless windows [windows, samples] have the same scores step by step as in one go.

        What each rounding does to the scores is measured here: a mistake of the walk itself would be told as its.
        """
        with torch.inference_mode():
            found = self.scores(self.walk(self.images(audio)))
        off = float(np.abs(found - scorer(self._model)(audio)).max())
        if not off <= _SAME:
            raise ExportError(f"int8: step by step the network scores otherwise, by {off:.1e}: it cannot be measured")

    def kernel(self, node: NodeProto) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs, h, w] and bias [outputs] of a convolution."""
        weight = self.weights[node.input[1]]
        return weight, self.weights[node.input[2]] if len(node.input) > 2 else torch.zeros(len(weight))

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

    def parts(self) -> list[Component]:
        """The backbone's, each computed without the others."""
        made_by = {name: node for node in self.nodes for name in node.output}
        number: dict[str, int] = {}  # of a node's part
        for index, node in enumerate(self.nodes):
            met = {number[made_by[name].name] for name in node.input if name in made_by}
            number = {name: index if its in met else its for name, its in number.items()}
            number[node.name] = index
        found = []
        for part in sorted(set(number.values())):
            members = [node for node in self.nodes if number[node.name] == part]
            outputs = {name for node in members for name in node.output}
            convolutions = [node for node in self.convolutions if number[node.name] == part]
            found.append(Component(members, convolutions, tuple(name for name in self._maps if name in outputs)))
        return found

    def walk(
        self,
        values: Values,
        replace: Replacement | None = None,
        keep_all: bool = False,
        part: Component | None = None,
    ) -> Values:
        """All nodes in order, from the images on; `replace` gives an output for a node, or None.

        keep_all: every tensor, to go on from; else the maps alone. part: its nodes alone.
        """
        values = dict(values)
        for node in part.nodes if part else self.nodes:
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
        return nodes.compute(node, [values.get(name, self.weights.get(name)) for name in node.input])


def _session(extractor: Extractor, inputs: Iterable[str], outputs: Iterable[str]) -> Any:
    return session_of(extractor.extract_model(list(inputs), list(outputs)).SerializeToString())
