"""Small .tflite files, written operation by operation, as TensorFlow's converter writes those of BirdNET."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conftest import require

_NUMBERS = {"float32": 0, "float16": 1, "int32": 2, "int64": 4, "complex64": 8, "int8": 9, "bool": 6}
# Operator -> the class of its options in the schema, and their number there.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions", "FULLY_CONNECTED": "FullyConnectedOptions", "GATHER": "GatherOptions",
    "STRIDED_SLICE": "StridedSliceOptions", "PACK": "PackOptions", "CONCATENATION": "ConcatenationOptions",
    "MEAN": "ReducerOptions", "REDUCE_MIN": "ReducerOptions", "REDUCE_MAX": "ReducerOptions", "SUM": "ReducerOptions",
    "SQUEEZE": "SqueezeOptions", "ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions", "DIV": "DivOptions",
    "SHAPE": "ShapeOptions", "SOFTMAX": "SoftmaxOptions", "CAST": "CastOptions", "TRANSPOSE": "TransposeOptions",
    "RFFT2D": "Rfft2dOptions", "EXPAND_DIMS": "ExpandDimsOptions", "PAD": "PadOptions", "POW": "PowOptions",
    "DEQUANTIZE": "DequantizeOptions", "SIN": "", "REVERSE_V2": "ReverseV2Options", "SELECT_V2": "SelectV2Options",
    "GREATER": "GreaterOptions", "MAXIMUM": "MaximumMinimumOptions",
}  # fmt: skip


class FlatModel:
    """Adds tensors and operations; a tensor is its number. Shapes of what operations make, LiteRT finds by itself."""

    def __init__(self) -> None:
        require("ai_edge_litert")
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.buffers = [schema.BufferT()]
        self.codes: list[str] = []

    def tensor(
        self, name: str, shape: tuple[int, ...], signature: tuple[int, ...] | None = None, kind: str = "float32"
    ) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), _NUMBERS[kind], 0
        if signature:
            made.shapeSignature = list(signature)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, value: Any, kind: str = "float32", name: str = "") -> int:
        array = np.asarray(value, kind)
        index = self.tensor(name or f"constant{len(self.graph.tensors)}", array.shape, kind=kind)
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.buffers.append(buffer)
        self.graph.tensors[index].buffer = len(self.buffers) - 1
        return index

    def add(self, kind: str, inputs: list[int], name: str, made: str = "float32", **options: Any) -> int:
        """An operation with one output; `made` is that one's type."""
        output = self.tensor(name, (), kind=made)
        operation = self.schema.OperatorT()
        if kind not in self.codes:
            self.codes.append(kind)
        operation.opcodeIndex = self.codes.index(kind)
        operation.inputs, operation.outputs = inputs, [output]
        if _OPTIONS.get(kind):
            given = getattr(self.schema, f"{_OPTIONS[kind]}T")()
            for key, value in options.items():
                assert hasattr(given, key), key
                setattr(given, key, value)
            operation.builtinOptions = given
            operation.builtinOptionsType = getattr(self.schema.BuiltinOptions, _OPTIONS[kind])
        self.graph.operators.append(operation)
        return output

    def integers(self, *values: int) -> int:
        return self.constant(values, "int32")

    def scalar(self, value: int) -> int:
        return self.constant(value, "int32")

    def save(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        import flatbuffers

        self.graph.inputs, self.graph.outputs = inputs, outputs
        model = self.schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [self.graph], self.buffers
        model.operatorCodes = []
        for kind in self.codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            # Opened for dynamic shapes: the second version of an operator is the one that takes them.
            code.version = {"FULLY_CONNECTED": 1, "GATHER": 1, "STRIDED_SLICE": 1, "SELECT_V2": 1}.get(kind, 1)
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def litert(path: Path, windows: NDArray[np.float32], output: int = 0) -> NDArray[np.float32]:
    """What LiteRT gives, one window at a time."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[output]["index"]
    every = []
    for window in windows:
        interpreter.set_tensor(source, window[None])
        interpreter.invoke()
        every.append(interpreter.get_tensor(made).copy())
    return np.concatenate(every)


BIRDNET_SAMPLES, BIRDNET_CLASSES = 144_000, 6522
_FRAME, _STEP, _MELS = 512, 480, 12


def birdnet_like(path: Path, fixed: bool = False, classes: int = BIRDNET_CLASSES) -> Path:
    """A graph with BirdNET v2.4's signature and its kinds of operations, in a few small layers.

    fixed: made for one window alone: shapes are constants that say 1.
    """
    flat, random = FlatModel(), np.random.default_rng(24)

    def weights(*shape: int, scale: float = 1.0) -> int:
        return flat.constant(random.standard_normal(shape) * scale / np.sqrt(np.prod(shape[1:])))

    sound = flat.tensor("INPUT", (1, BIRDNET_SAMPLES), None if fixed else (-1, BIRDNET_SAMPLES))
    one = flat.integers(1)
    low = flat.add("SUB", [sound, flat.add("REDUCE_MIN", [sound, one], "model/Min", keepDims=True)], "model/Sub")
    high = flat.add("REDUCE_MAX", [low, one], "model/Max", keepDims=True)
    level = flat.add("DIV", [low, flat.add("ADD", [high, flat.constant(1e-6)], "model/add")], "model/truediv")
    level = flat.add(
        "MUL", [flat.add("SUB", [level, flat.constant(0.5)], "model/Sub_1"), flat.constant(2.0)], "model/Mul"
    )
    mel = _spectrogram(flat, level, weights, fixed)
    image = flat.add("EXPAND_DIMS", [mel, flat.scalar(-1)], "model/ExpandDims")
    image = flat.add("CONCATENATION", [image, image], "model/concat", axis=3)
    x = flat.add(
        "CONV_2D", [image, weights(4, 3, 5, 2), weights(4)], "model/CONV", padding=0, strideH=2, strideW=4,
        dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1,
    )  # fmt: skip
    pooled = [
        flat.add(
            f"{kind}_POOL_2D", [x], f"model/{kind}", padding=1, strideH=1, strideW=2, filterHeight=1, filterWidth=2
        )
        for kind in ("AVERAGE", "MAX")
    ]
    x = flat.add("CONCATENATION", pooled, "model/POOLS", axis=3)
    x = flat.add("MUL", [x, flat.add("LOGISTIC", [x], "model/Sigmoid")], "model/swish")
    padded = flat.add("PAD", [x, flat.constant([[0, 0], [1, 1], [1, 1], [0, 0]], "int32")], "model/PAD")
    kernel = flat.constant(random.standard_normal((1, 3, 3, 8)) / 3)
    x = flat.add(
        "DEPTHWISE_CONV_2D", [padded, kernel, weights(8)], "model/DEPTH",
        padding=1, strideH=2, strideW=2, depthMultiplier=1, dilationHFactor=1, dilationWFactor=1,
    )  # fmt: skip
    x = flat.add("MUL", [x, _excited(flat, x, weights, fixed)], "model/EXCITED")
    x = flat.add("ADD", [flat.add("MUL", [x, weights(8)], "model/BN"), weights(8)], "model/BN_1")
    x = flat.add(
        "CONV_2D", [x, weights(16, 3, 3, 8), weights(16)], "model/POST_CONV", padding=1, strideH=1, strideW=1,
        dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=1,
    )  # fmt: skip
    mean = flat.add("MEAN", [x, flat.integers(1, 2)], "model/GLOBAL_AVG_POOL/Mean", keepDims=False)
    logits = flat.add("FULLY_CONNECTED", [mean, weights(classes, 16, scale=6), weights(classes)], "Identity")
    return flat.save(path, [sound], [logits])


def _spectrogram(flat: FlatModel, level: int, weights: Any, fixed: bool) -> int:
    """As TensorFlow's `signal.stft` is written: frames of pieces, a window, a transform, its real part, mel bands."""
    frames = (BIRDNET_SAMPLES - _FRAME) // _STEP + 1
    piece = int(np.gcd(_FRAME, _STEP))
    count = BIRDNET_SAMPLES // piece
    if fixed:
        batch, shape = [1], lambda *sizes: flat.integers(1, *sizes)
    else:
        size = flat.add("SHAPE", [level], "model/Shape", "int32", outType=2)
        batch = [
            flat.add(
                "STRIDED_SLICE", [size, flat.integers(0), flat.integers(1), flat.integers(1)], "model/batch", "int32",
                shrinkAxisMask=1,
            )
        ]  # fmt: skip

        def shape(*sizes: int) -> int:
            parts = [batch[0], *(flat.scalar(n) for n in sizes)]
            return flat.add(
                "PACK", parts, f"model/stack{len(flat.graph.tensors)}", "int32", valuesCount=len(parts), axis=0
            )

    end = shape(count * piece)
    cut = flat.add("STRIDED_SLICE", [level, flat.integers(0, 0), end, flat.integers(1, 1)], "model/StridedSlice")
    pieces = flat.add("RESHAPE", [cut, shape(count, piece)], "model/Reshape")
    starts = np.arange(frames)[:, None] * (_STEP // piece) + np.arange(_FRAME // piece)
    taken = flat.add("GATHER", [pieces, flat.constant(starts, "int32")], "model/GatherV2", axis=1)
    framed = flat.add("RESHAPE", [taken, shape(frames, _FRAME)], "model/frames")
    framed = flat.add("MUL", [framed, flat.constant(np.hanning(_FRAME))], "model/windowed")
    column = flat.add("EXPAND_DIMS", [framed, flat.scalar(-2)], "model/rfft2")
    complex_ = flat.add("RFFT2D", [column, flat.integers(1, _FRAME)], "model/rfft", "complex64")
    complex_ = flat.add("SQUEEZE", [complex_], "model/rfft4", "complex64", squeezeDims=[-2])
    real = flat.add("CAST", [complex_], "model/Cast", inDataType=8, outDataType=0)
    rows = flat.add("RESHAPE", [real, flat.integers(frames if fixed else -1, _FRAME // 2 + 1)], "model/rows")
    bands = flat.add("FULLY_CONNECTED", [rows, weights(_MELS, _FRAME // 2 + 1), -1], "model/Tensordot/MatMul")
    bands = flat.add("RESHAPE", [bands, shape(frames, _MELS)], "model/Tensordot")
    power = flat.add("POW", [flat.add("MUL", [bands, bands], "model/Pow"), flat.constant(0.4)], "model/Pow_1")
    power = flat.add("REVERSE_V2", [power, flat.integers(2)], "model/ReverseV2")
    return flat.add("TRANSPOSE", [power, flat.integers(0, 2, 1)], "model/transpose")


def _excited(flat: FlatModel, x: int, weights: Any, fixed: bool) -> int:
    """How much each channel counts: a mean, two small layers; the shape between them is reckoned while it runs."""
    mean = flat.add("MEAN", [x, flat.integers(1, 2)], "model/SE_Mean", keepDims=False)
    if fixed:
        shape = flat.integers(1, 1, 1, 8)
    else:
        size = flat.add("SHAPE", [mean], "model/SE_Shape", "int32", outType=2)
        cut = [size, flat.integers(0), flat.integers(1), flat.integers(1)]
        batch = flat.add("STRIDED_SLICE", cut, "model/SE_slice", "int32", shrinkAxisMask=1)
        parts = [batch, flat.scalar(1), flat.scalar(1), flat.scalar(8)]
        shape = flat.add("PACK", parts, "model/SE_stack", "int32", valuesCount=4, axis=0)
    x = flat.add("RESHAPE", [mean, shape], "model/SE_Reshape")
    how = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    x = flat.add("CONV_2D", [x, weights(2, 1, 1, 8), weights(2)], "model/SE_CONV_1", **how)
    x = flat.add("MUL", [x, flat.add("LOGISTIC", [x], "model/SE_Sigmoid")], "model/SE_mul")
    return flat.add(
        "LOGISTIC", [flat.add("CONV_2D", [x, weights(8, 1, 1, 2), weights(8)], "model/SE_CONV_2", **how)], "model/SE"
    )
