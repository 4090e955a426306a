"""CUDA's runtime library as ONNX Runtime loads it, called without cuda-python: by `ctypes`, from that very library.

`Cuda` of `trt.gpu` takes it in cuda-python's place. Only functions are here that CUDA 12 and 13 have alike.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

_POINTER, _SIZE, _INT, _UINT, _FLOAT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint, ctypes.c_float
_FLAGS = ctypes.c_ulonglong

# Function -> the results that it writes, which come first, and its arguments.
_CALLS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "cudaSetDevice": ((), (_INT,)),
    "cudaDeviceGetAttribute": ((_INT,), (_INT, _INT)),
    "cudaMemGetInfo": ((_SIZE, _SIZE), ()),
    "cudaMalloc": ((_POINTER,), (_SIZE,)),
    "cudaFree": ((), (_POINTER,)),
    "cudaHostAlloc": ((_POINTER,), (_SIZE, _UINT)),
    "cudaHostGetDevicePointer": ((_POINTER,), (_POINTER, _UINT)),
    "cudaFreeHost": ((), (_POINTER,)),
    "cudaMemcpyAsync": ((), (_POINTER, _POINTER, _SIZE, _INT, _POINTER)),
    "cudaStreamCreateWithFlags": ((_POINTER,), (_UINT,)),
    "cudaStreamDestroy": ((), (_POINTER,)),
    "cudaStreamSynchronize": ((), (_POINTER,)),
    "cudaStreamWaitEvent": ((), (_POINTER, _POINTER, _UINT)),
    "cudaStreamBeginCapture": ((), (_POINTER, _INT)),
    "cudaEventCreate": ((_POINTER,), ()),
    "cudaEventCreateWithFlags": ((_POINTER,), (_UINT,)),
    "cudaEventRecord": ((), (_POINTER, _POINTER)),
    "cudaEventElapsedTime": ((_FLOAT,), (_POINTER, _POINTER)),
    "cudaEventDestroy": ((), (_POINTER,)),
    "cudaGraphMemcpyNodeSetParams1D": ((), (_POINTER, _POINTER, _POINTER, _SIZE, _INT)),
    "cudaGraphInstantiate": ((_POINTER,), (_POINTER, _FLAGS)),
    "cudaGraphLaunch": ((), (_POINTER, _POINTER)),
    "cudaGraphExecDestroy": ((), (_POINTER,)),
    "cudaGraphDestroy": ((), (_POINTER,)),
}
FUNCTIONS = (*_CALLS, "cudaStreamEndCapture", "cudaGraphGetNodes", "cudaGraphNodeGetType", "cudaGetErrorName")
FUNCTIONS += ("cudaGetErrorString", "cudaGetLastError", "cudaGraphMemcpyNodeGetParams")
_COPY = ctypes.c_uint64 * 20  # a cudaMemcpy3DParms, and where in it are
_SOURCE, _TARGET, _EXTENT, _KIND = 4, 12, slice(16, 19), 19


@dataclass(frozen=True, slots=True)
class Code:
    """What a function returned."""

    value: int
    name: str = field(compare=False)


class Cudart:
    """Functions that return the error and then the results, and constants, as cuda-python has them.

    name: the library's, such as `libcudart.so.13`. Raises OSError where it is not.
    """

    cudaError_t = SimpleNamespace(  # noqa: N815
        cudaSuccess=Code(0, "cudaSuccess"),
        cudaErrorMemoryAllocation=Code(2, "cudaErrorMemoryAllocation"),
        cudaErrorInsufficientDriver=Code(35, "cudaErrorInsufficientDriver"),
        cudaErrorNoDevice=Code(100, "cudaErrorNoDevice"),
    )
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrIntegrated=18, cudaDevAttrCanMapHostMemory=19)  # noqa: N815
    cudaGraphNodeType = SimpleNamespace(cudaGraphNodeTypeMemcpy=1, cudaGraphNodeTypeHost=3)  # noqa: N815
    cudaHostAllocDefault, cudaHostAllocMapped = 0, 2  # noqa: N815
    cudaStreamNonBlocking, cudaEventDisableTiming = 1, 2  # noqa: N815

    def __init__(self, name: str) -> None:
        self._library = ctypes.CDLL(name)
        for function, (results, arguments) in _CALLS.items():
            setattr(self, function, self._function(function, results, arguments))
        for function in ("cudaGetErrorName", "cudaGetErrorString"):
            getattr(self._library, function).restype = ctypes.c_char_p
        self._library.cudaStreamEndCapture.argtypes = (_POINTER, ctypes.POINTER(_POINTER))
        self._library.cudaGraphGetNodes.argtypes = (_POINTER, _POINTER, ctypes.POINTER(_SIZE))
        self._library.cudaGraphNodeGetType.argtypes = (_POINTER, ctypes.POINTER(_INT))
        self._library.cudaGraphMemcpyNodeGetParams.argtypes = (_POINTER, ctypes.POINTER(_COPY))

    def _function(self, name: str, results: Sequence[Any], arguments: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
        function, success = getattr(self._library, name), self.cudaError_t.cudaSuccess
        function.argtypes = (*map(ctypes.POINTER, results), *arguments)

        def call(*given: Any) -> tuple[Any, ...]:
            written = [result() for result in results]
            code = function(*written, *given)  # ctypes passes what it points to by reference
            return (success if code == 0 else self._code(code), *(result.value for result in written))

        return call

    def _code(self, code: int) -> Code:
        return Code(code, self._library.cudaGetErrorName(code).decode())

    def cudaGetErrorString(self, error: Code) -> tuple[Code, bytes]:  # noqa: N802
        """What an error means."""
        return self.cudaError_t.cudaSuccess, self._library.cudaGetErrorString(error.value)

    def cudaGetLastError(self) -> tuple[Code]:  # noqa: N802
        """The last error, which is forgotten."""
        return (self._code(self._library.cudaGetLastError()),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Code, int | None]:  # noqa: N802
        """What was captured."""
        graph = _POINTER()
        return self._code(self._library.cudaStreamEndCapture(stream, graph)), graph.value

    def cudaGraphGetNodes(self, graph: int) -> tuple[Code, list[int | None]]:  # noqa: N802
        """All nodes of a graph."""
        count = _SIZE()
        code = self._library.cudaGraphGetNodes(graph, None, count)
        nodes = (_POINTER * count.value)()
        code = code or self._library.cudaGraphGetNodes(graph, ctypes.cast(nodes, _POINTER), count)
        return self._code(code), list(nodes)

    def cudaGraphNodeGetType(self, node: int) -> tuple[Code, int]:  # noqa: N802
        """What kind of node it is."""
        kind = _INT()
        return self._code(self._library.cudaGraphNodeGetType(node, kind)), kind.value

    def cudaGraphMemcpyNodeGetParams(self, node: int) -> tuple[Code, int, int, int, int]:  # noqa: N802
        """Source, target, bytes and kind of a node that copies; other than cuda-python."""
        copy = _COPY()
        code = self._library.cudaGraphMemcpyNodeGetParams(node, copy)
        width, height, depth = copy[_EXTENT]
        return self._code(code), copy[_SOURCE], copy[_TARGET], width * height * depth, copy[_KIND] & 0xFFFFFFFF
