"""What is in a .tflite file. Its layout is read with the code that LiteRT's own package has for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ExportError, NotInstalledError

# Number of a type in the file -> NumPy's name of it; others hold nothing that is converted.
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64"}
_TYPES |= {9: "int8", 10: "float64"}


@dataclass(frozen=True, slots=True, eq=False)
class FlatTensor:
    """shape: with what stands for a free dimension, -1, if the file says which. value: of a constant."""

    name: str
    shape: tuple[int, ...]
    value: NDArray[Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class FlatOperation:
    """kind: such as `CONV_2D`. inputs, outputs: numbers of tensors, -1 for one that was left out. options: by name."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class FlatGraph:
    """A file's one graph; operations in the order in which they run."""

    tensors: tuple[FlatTensor, ...]
    operations: tuple[FlatOperation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: Path) -> FlatGraph:
    """Read a file. Raises ExportError for one that is none, or has several graphs."""
    schema = _schema()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from error
    if content[4:8] != b"TFL3":
        raise ExportError(f"{path}: not a .tflite file")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}
        codes = [kinds[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
        if len(model.subgraphs) != 1:
            raise ExportError(f"{path}: {len(model.subgraphs)} graphs in one file, wanted 1")
        (graph,) = model.subgraphs
        return FlatGraph(
            tuple(_tensor(tensor, model.buffers) for tensor in graph.tensors),
            tuple(_operation(operation, codes) for operation in graph.operators),
            tuple(map(int, graph.inputs)),
            tuple(map(int, graph.outputs)),
        )
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:  # whatever a damaged file leads to
        raise ExportError(f"{path}: damaged: {type(error).__name__}: {error}") from error
    except Exception as error:  # struct.error and those of flatbuffers
        if type(error).__module__.partition(".")[0] in ("struct", "flatbuffers"):
            raise ExportError(f"{path}: damaged: {error}") from error
        raise


def _schema() -> ModuleType:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise NotInstalledError(f"a .tflite file needs LiteRT: pip install 'edgebird[adopt]' ({error})") from error
    schema: ModuleType = schema_py_generated
    return schema


def _tensor(tensor: Any, buffers: Any) -> FlatTensor:
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    signature = shape if tensor.shapeSignature is None else tuple(map(int, tensor.shapeSignature))
    data, value = buffers[tensor.buffer].data, None
    if data is not None and len(data) and tensor.type in _TYPES:
        value = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _TYPES[tensor.type]).reshape(shape)
    elif tensor.buffer == 0 or data is None or 0 not in shape:
        value = None
    if 0 in shape and tensor.type in _TYPES:  # a constant of nothing, such as the shape of a scalar
        value = np.zeros(shape, _TYPES[tensor.type])
    return FlatTensor(tensor.name.decode(), signature if len(signature) == len(shape) else shape, value)


def _operation(operation: Any, codes: list[str]) -> FlatOperation:
    given = operation.builtinOptions
    inputs = () if operation.inputs is None else tuple(map(int, operation.inputs))
    return FlatOperation(
        codes[operation.opcodeIndex],
        inputs,
        tuple(map(int, operation.outputs)),
        {} if given is None else dict(vars(given)),
    )
