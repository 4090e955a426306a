"""Which ONNX operators the engines on a device take, as far as that can be told without one.

TensorRT: "Supported ONNX Operators" of onnx-tensorrt, release/10.1-GA, docs/operators.md (Apache-2.0): the oldest
TensorRT edgebird builds for is 10.3 (JetPack 6), and no later version takes fewer.
ONNX Runtime's GPU providers: data/kernels.json, read from the wheels by `python -m tests.read_kernels`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, defs, numpy_helper

from edgebird.card import OLDEST_TENSORRT
from edgebird.export.precisions.backbone import element_types

TENSORRT = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil
    Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace
    DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
    GroupNormalization GRU HardSigmoid HardSwish Hardmax Identity If ImageScaler InstanceNormalization IsInf
    IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool
    MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot
    Or Pad ParametricSoftplus Pow PRelu QuantizeLinear RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RNN RoiAlign Round
    ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Upsample Where Xor
    """.split()
)


_OPSETS = range(9, 21)  # that the same page documents
# Other types are refused, or (float64) computed as another.
_TYPES = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4,
    TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL,
}  # fmt: skip


_KERNELS = Path(__file__).parent / "data" / "kernels.json"


def lint(model: ModelProto) -> dict[str, dict[str, str]]:
    """Engine -> node -> why it does not take the node; empty for an engine that takes the graph.

    Engines are TensorRT and, by version, ONNX Runtime's GPU providers; versions that answer alike are one entry. Shapes
    must be inferred. An opset that is too new for TensorRT is told of the graph, by its name. A node that cannot be
    judged counts as not taken, with that reason: an entry that is empty is a promise.
    """
    found = {OLDEST_TENSORRT: _tensorrt(model)}
    for engine, about in _kernel_tables().items():
        refused = [(version, _Kernels(model, about, version).missing()) for version in about["versions"]]
        for answer, alike in groupby(refused, key=lambda entry: entry[1]):
            versions = [version for version, _answer in alike]
            span = versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
            found[f"{engine} {span}"] = answer
    return found


# ------------------------------------------------------------------------------------------------------------- TensorRT
def _tensorrt(model: ModelProto) -> dict[str, str]:
    types = element_types(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version not in _OPSETS:
            found[model.graph.name] = f"opset {entry.version}, wanted {_OPSETS[0]} to {_OPSETS[-1]}"
    for node in model.graph.node:
        if reason := _refusal(node, types, constants):
            found[node.name] = reason
    return found


def _refusal(node: NodeProto, types: Mapping[str, int], constants: Mapping[str, TensorProto]) -> str:
    """Why TensorRT does not take a node, `` if it does."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in TENSORRT:
        return f"operator {f'{node.domain}.' if node.domain else ''}{node.op_type}"
    for name in (*node.input, *node.output):
        if name and types.get(name, TensorProto.FLOAT) not in _TYPES:
            return f"{name} is {TensorProto.DataType.Name(types[name]).lower()}"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
        zero_point = constants.get(node.input[2])
        if zero_point is None or numpy_helper.to_array(zero_point).any():
            return "its zero point is not a constant 0: only symmetric quantization is taken"
    return ""


# --------------------------------------------------------------------------------------- ONNX Runtime's GPU providers
@cache
def _kernel_tables() -> dict[str, Any]:
    """Engine -> package, versions that were read, and its kernels by operator."""
    content: dict[str, Any] = json.loads(_KERNELS.read_text(encoding="utf-8"))
    return content


class _Kernels:
    """The kernels of one version of an engine, for the nodes of one model."""

    def __init__(self, model: ModelProto, about: Mapping[str, Any], version: str) -> None:
        self._nodes, self._types, self._opset = model.graph.node, element_types(model), _opset(model)
        self._tried: set[str] | None = set(about["tried"]) if "tried" in about else None
        kernels: Mapping[str, Any] = about["kernels"]
        self._rows = {name: [row for row in rows if version in row["versions"]] for name, rows in kernels.items()}

    def missing(self) -> dict[str, str]:
        """Node -> why there is no kernel for it."""
        return {node.name: reason for node in self._nodes if (reason := self._reason(node))}

    def _reason(self, node: NodeProto) -> str:
        operator = node.op_type
        if node.domain not in ("", "ai.onnx"):
            return f"{node.domain}.{operator} is not of ONNX: its kernels are not known"
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return f"{operator} holds a graph of its own, which nobody looked into"
        if operator == "Constant" or not defs.has(operator):
            return "" if operator == "Constant" else f"ONNX has no operator {operator}"
        schema = defs.get_schema(operator, self._opset)
        rows = self._rows.get(operator, [])
        fitting = [row for row in rows if _covers(row["opsets"], schema.since_version)]
        if not fitting:
            return "" if self._expands(schema) else self._absence(operator, schema.since_version, rows)
        if any(_takes(row["types"], _kernel_types(node, schema, self._types)) for row in fitting):
            return ""
        return f"no kernel of {operator} for its types"

    def _absence(self, operator: str, since: int, rows: Sequence[Mapping[str, Any]]) -> str:
        if rows:
            return f"{operator} of opset {since}, kernels are of {', '.join(_spans(rows))}"
        if self._tried is not None and operator not in self._tried:
            return f"{operator} was not tried"
        return f"no kernel for {operator}"

    def _expands(self, schema: Any) -> bool:
        """Whether ONNX Runtime can put the operator's definition in its place: a function of others with kernels."""
        if not schema.has_function:
            return False
        body = [
            defs.get_schema(node.op_type, self._opset)
            for node in schema.function_body.node
            if node.op_type != "Constant"
        ]
        known = [(self._rows.get(inner.name, []), inner.since_version) for inner in body]
        return all(any(_covers(row["opsets"], since) for row in rows) for rows, since in known)


def _spans(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The opsets that kernels are of, such as `13 to 17`, `18`."""
    spans = sorted({(row["opsets"][0], row["opsets"][1] or row["opsets"][0]) for row in rows})
    return [f"{first}" if first == last else f"{first} to {last}" for first, last in spans]


def _covers(opsets: Sequence[int | None], since: int) -> bool:
    """Whether a kernel of these opsets serves an operator whose definition is of opset `since`.

    As ONNX Runtime's kernel registry does: a range without an end serves the definition it begins with and no later.
    """
    first, last = opsets
    assert first is not None
    return first == since or (last is not None and first < since <= last)


def _takes(constraints: Mapping[str, Sequence[str]], types: Mapping[str, set[str]]) -> bool:
    return all(found <= set(constraints.get(name, found)) for name, found in types.items())


def _opset(model: ModelProto) -> int:
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def since_version(node: NodeProto, model: ModelProto) -> int:
    """The opset that a node's definition is of, in the model it is part of."""
    return int(defs.get_schema(node.op_type, _opset(model)).since_version)


def kernel_types(node: NodeProto, model: ModelProto) -> dict[str, set[str]]:
    """Type parameter of a node's definition, such as `T`, -> the types it has there, such as `float16`."""
    return _kernel_types(node, defs.get_schema(node.op_type, _opset(model)), element_types(model))


def _kernel_types(node: NodeProto, schema: Any, types: Mapping[str, int]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for formals, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
        for index, name in enumerate(names):
            formal = formals[min(index, len(formals) - 1)]  # the last may stand for any number
            if name in types and "(" not in formal.type_str:  # else it has one type only, such as `tensor(int64)`
                found.setdefault(formal.type_str, set()).add(TensorProto.DataType.Name(types[name]).lower())
    return found
