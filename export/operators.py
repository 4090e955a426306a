"""Which ONNX operators the engines on a device take.

Source: "Supported ONNX Operators" of onnx-tensorrt, release/10.1-GA, docs/operators.md (Apache-2.0): the oldest
TensorRT edgebird builds for is 10.3 (JetPack 6), and no later version takes fewer.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

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


def lint(model: ModelProto) -> dict[str, str]:
    """Node -> why TensorRT 10.3 (JetPack 6) does not take it; empty when it takes the graph. Shapes must be inferred.

    An opset that is too new is told of the graph, by its name.
    """
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
    """Why a node is not taken, `` if it is."""
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
