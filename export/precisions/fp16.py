"""FP16: the backbone's weights and activations as float16, all else float32, with casts where the two meet.

The graph is strongly typed: each node has inputs of one type, so that an engine needs no choice of its own. Graph
inputs and outputs stay float32. Of the backbone, nodes stay float32 whose values real audio brings near FP16's
largest, or whose values are too small for it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgebird.export import graph
from edgebird.export.essentials import edges_of
from edgebird.export.precisions.backbone import Fp32Graph, element_types, low_share
from edgebird.export.precisions.gate import Candidate
from edgebird.runtimes.ort_session import session_of
from edgebird.types import FloatArray

LARGEST = float(np.finfo(np.float16).max)  # 65504
MARGIN = 4.0  # how far below it values must stay: audio that was not analysed may be louder
# Rounding of normal numbers costs at most 2^-11 of a tensor's norm; twice that means that small values are lost.
MAX_ROUNDING = 2.0**-10

_Array = NDArray[np.floating]


def to_fp16(fp32: Fp32Graph, calibration: FloatArray, golden: FloatArray) -> Candidate:
    """Convert the finished FP32 graph. calibration, golden: real audio, float32 [windows, samples], run in groups.

    The golden windows (loud, quiet, clipped, silent ones among them) may widen the ranges: nothing is fitted to them.
    """
    model = fp32.model
    kept = unfit_nodes(fp32, np.concatenate([golden, calibration]))
    low = fp32.backbone.keys() - kept.keys()
    mixed = mixed_graph(model, low)
    return Candidate(
        precision="fp16",
        model=mixed,
        ways={"computed in FP32": mixed, "rounded": rounded_graph(mixed)},
        blocks=fp32.backbone,
        restored=lambda nodes: rounded_graph(mixed_graph(model, low - nodes)),
        kept=kept,
        share=low_share(model, low),
    )


# ------------------------------------------------------------------------------------------------------ range analysis
def unfit_nodes(fp32: Fp32Graph, calibration: FloatArray) -> dict[str, str]:
    """Backbone nodes that FP16 would harm -> why: one of the tensors they read or write does not fit."""
    faults = _weight_faults(fp32) | _activation_faults(fp32, calibration)
    kept = {}
    for node in fp32.model.graph.node:
        if node.name in fp32.backbone:
            reasons = [f"{name} {faults[name]}" for name in (*node.output, *node.input) if name in faults]
            if reasons:
                kept[node.name] = reasons[0]
    return kept


def _weight_faults(fp32: Fp32Graph) -> dict[str, str]:
    """Weights of the backbone that do not fit, output channel by output channel: each is a sum of its own."""
    graph = fp32.model.graph
    read = {name for node in graph.node if node.name in fp32.backbone for name in node.input}
    faults = {}
    for tensor in graph.initializer:
        if tensor.name in read and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            rows = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(1, -1)
            if fault := _fault(float(np.abs(values).max()), _rounding(rows)):
                faults[tensor.name] = fault
    return faults


def _activation_faults(fp32: Fp32Graph, calibration: FloatArray) -> dict[str, str]:
    """Tensors that the backbone reads or writes and that do not fit, window by window: quiet ones count as loud ones.

    Of what a mean is taken the sum counts: an engine may add before it divides.
    """
    model, group, edges = fp32.model, fp32.group, edges_of(fp32.model)
    nodes = [node for node in model.graph.node if node.name in fp32.backbone]
    weights = {tensor.name for tensor in model.graph.initializer}
    names = list(dict.fromkeys(name for node in nodes for name in (*node.input, *node.output) if name not in weights))
    averaged = {node.input[0] for node in nodes if node.op_type in ("ReduceMean", "GlobalAveragePool")}
    peak, rounding = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    session = session_of(_with_outputs(model, names).SerializeToString())
    for start in range(0, len(calibration), group):
        found = session.run(names, {edges.input: edges.taken(calibration[start : start + group])})
        for name, values in zip(names, found, strict=True):
            largest = np.abs(values).sum(axis=(2, 3)).max() if name in averaged else np.abs(values).max()
            peak[name] = max(peak[name], float(largest))
            rounding[name] = max(rounding[name], _rounding(values.reshape(len(values), -1)))
    return {name: fault for name in names if (fault := _fault(peak[name], rounding[name]))}


def _with_outputs(model: ModelProto, names: list[str]) -> ModelProto:
    """The graph with more tensors as outputs."""
    wide = ModelProto()
    wide.CopyFrom(model)
    known = {value.name: value for value in model.graph.value_info}
    wide.graph.output.extend(known[name] for name in names if name in known)  # the others are outputs already
    return wide


def _rounding(rows: _Array) -> float:
    """What rounding to FP16 costs the worst row of [rows, values]: the norm of the error by the norm of the row."""
    values = torch.tensor(rows)  # it rounds some times as fast as NumPy
    error, norm = (values - values.half().float()).norm(dim=1), values.norm(dim=1)
    return float((error / torch.where(norm > 0, norm, 1.0)).max())


def _fault(peak: float, rounding: float) -> str:
    """Why a tensor does not fit into FP16, `` if it does."""
    if not peak <= LARGEST / MARGIN:
        return f"reaches {peak:.3g}, more than a quarter of FP16's {LARGEST:.0f}"
    if not rounding <= MAX_ROUNDING:
        return f"loses {rounding:.2g} of itself by rounding, more than {MAX_ROUNDING:.2g}: too small for FP16"
    return ""


# ---------------------------------------------------------------------------------------------------------- conversion
def mixed_graph(model: ModelProto, low: Container[str], precision: str = "fp16") -> ModelProto:
    """The graph with the nodes named `low` in float16: their weights converted, casts at the borders.

    precision: what the graph says of itself.
    """
    types = element_types(model)
    made_by = {output: node.name for node in model.graph.node for output in node.output}
    weights = _Weights(model, low)
    nodes: list[NodeProto] = []
    cast: dict[tuple[str, bool], str] = {}
    for original in model.graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        is_low = node.name in low
        for index, name in enumerate(node.input):
            if types.get(name) != TensorProto.FLOAT:
                continue
            if name in weights.found:
                node.input[index] = weights.name(name, is_low)
            elif (made_by.get(name) in low) != is_low:
                if (name, is_low) not in cast:
                    cast[name, is_low] = f"{name}/to_{'float16' if is_low else 'float32'}"
                    nodes.append(_cast(name, cast[name, is_low], is_low))
                node.input[index] = cast[name, is_low]
        nodes.append(node)
    return _rebuilt(model, nodes, list(weights.needed()), precision)


class _Weights:
    """The initializers of a graph, of which some are needed as float16, some as float32, and some as both."""

    def __init__(self, model: ModelProto, low: Container[str]) -> None:
        self.found = {tensor.name: tensor for tensor in model.graph.initializer}
        readers: dict[str, set[bool]] = {}
        for node in model.graph.node:
            for name in node.input:
                readers.setdefault(name, set()).add(node.name in low)
        self._both = {name for name, kinds in readers.items() if len(kinds) > 1}
        self._needed: dict[str, TensorProto] = {}

    def name(self, name: str, is_low: bool) -> str:
        """What the initializer is called for a node that is low, or not; remembers that it is needed."""
        new = f"{name}/float16" if is_low and name in self._both else name
        if is_low and new not in self._needed:
            values = numpy_helper.to_array(self.found[name])
            self._needed[new] = numpy_helper.from_array(values.astype(np.float16), new)
        return new

    def needed(self) -> Iterator[TensorProto]:
        """All initializers of the new graph."""
        for name, tensor in self.found.items():
            yield self._needed.pop(name, tensor)
        yield from self._needed.values()


def _cast(name: str, output: str, is_low: bool) -> NodeProto:
    to = TensorProto.FLOAT16 if is_low else TensorProto.FLOAT
    return helper.make_node("Cast", [name], [output], name=f"{output}/Cast", to=to)


def _rebuilt(model: ModelProto, nodes: list[NodeProto], weights: list[TensorProto], precision: str) -> ModelProto:
    """The model with other nodes and weights, shapes and types inferred anew and checked."""
    new = ModelProto()
    new.CopyFrom(model)
    for part, content in ((new.graph.node, nodes), (new.graph.initializer, weights), (new.graph.value_info, [])):
        del part[:]
        part.extend(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props} | {"precision": precision}
    del new.metadata_props[:]
    return graph.finish(new, metadata)


# ----------------------------------------------------------------------------------------------------------- emulation
def rounded_graph(mixed: ModelProto) -> ModelProto:
    """A mixed graph as a CPU can run it and still round: each float16 node computes in float32 between casts.

    Every activation is rounded to float16 where an engine would write it to memory. An engine that fuses nodes rounds
    less often; one that also adds up in float16 is not shown (TensorRT's convolutions add up in float32).
    """
    types = element_types(mixed)
    weights = {tensor.name for tensor in mixed.graph.initializer}
    nodes: list[NodeProto] = []
    raised: set[str] = set()
    for original in mixed.graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        if node.op_type != "Cast" and types[node.output[0]] == TensorProto.FLOAT16:
            for index, name in enumerate(node.input):
                if types.get(name) != TensorProto.FLOAT16:
                    continue
                node.input[index] = name if name in weights else f"{name}/raised"
                if name not in weights and name not in raised:
                    raised.add(name)
                    nodes.append(_cast(name, f"{name}/raised", is_low=False))
            exact = f"{node.output[0]}/exact"
            nodes.extend((node, _cast(exact, node.output[0], is_low=True)))
            node.output[0] = exact
        else:
            nodes.append(node)
    return _rebuilt(mixed, nodes, [_float32(tensor) for tensor in mixed.graph.initializer], "fp16, rounded")


def _float32(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT16:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
