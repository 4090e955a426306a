"""Which ONNX operators the engines on a device take.

Source: "Supported ONNX Operators" of onnx-tensorrt, release/10.1-GA, docs/operators.md (Apache-2.0): the oldest
TensorRT edgebird builds for is 10.3 (JetPack 6), and no later version takes fewer.
"""

from __future__ import annotations

from onnx import ModelProto

from edgebird.errors import ExportError

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


def check_operators(model: ModelProto) -> None:
    """Raise ExportError naming the first node whose operator TensorRT 10.3 does not take, and how many there are."""
    refused = [node for node in model.graph.node if node.domain not in ("", "ai.onnx") or node.op_type not in TENSORRT]
    if refused:
        first = refused[0]
        raise ExportError(
            f"{len(refused)} nodes that TensorRT 10.3 does not take, the first {first.name} ({first.op_type})"
        )
