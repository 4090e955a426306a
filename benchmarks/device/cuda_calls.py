"""CUDA's own calls with the real driver, as TensorRT's runtime makes them: memory, copies, marks, graphs, errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from edgebird.benchmarks.device.attempts import Finding, attempt
from edgebird.runtimes.trt.gpu import Buffer, Cuda, CudaError, Stopwatch, open_cuda

_ROWS, _COLUMNS = 4, 160_000
_TOO_MUCH = 1 << 46  # bytes: 64 TiB


def calls() -> Iterator[Finding]:
    """What CUDA says, copies, marks, records and refuses."""
    cuda = open_cuda("check")
    gpu = cuda.gpu()
    yield {"gpu": str(gpu), **asdict(gpu)}
    stream = cuda("cudaStreamCreate")
    buffer = Buffer(cuda, (_ROWS, _COLUMNS), gpu.integrated)
    for name, part in (
        ("copies", _copies),
        ("graph", _graph),
        ("a capture that fails", _broken_capture),
        ("too much memory", _too_much),
        ("another thread", _another_thread),
    ):
        yield from attempt(name, partial(part, cuda, buffer, stream))
    buffer.free()
    cuda("cudaStreamDestroy", stream)


def _copies(cuda: Cuda, buffer: Buffer, stream: Any) -> Iterator[Finding]:
    counted = np.arange(_ROWS * _COLUMNS, dtype=np.float32).reshape(_ROWS, _COLUMNS)
    buffer.host[:] = counted
    buffer.upload(_ROWS, stream)
    cuda("cudaStreamSynchronize", stream)
    buffer.host[:] = counted if cuda.gpu().integrated else -1
    buffer.download(_ROWS - 1, stream)
    cuda("cudaStreamSynchronize", stream)
    yield _told("rows come back", bool((buffer.host[: _ROWS - 1] == counted[: _ROWS - 1]).all()))
    watch = Stopwatch(cuda, stream)
    watch.mark()
    for _ in range(20):
        buffer.upload(_ROWS, stream)
        watch.mark()
    cuda("cudaStreamSynchronize", stream)
    yield {"h2d_ms_of_4": round(float(np.median(watch.milliseconds())), 4)}
    watch.free()


def _graph(cuda: Cuda, buffer: Buffer, stream: Any) -> Iterator[Finding]:
    cuda("cudaStreamBeginCapture", stream, _mode(cuda))
    buffer.upload(_ROWS, stream)
    buffer.download(_ROWS, stream)
    graph = cuda("cudaStreamEndCapture", stream)
    executable = cuda("cudaGraphInstantiate", graph, 0)
    cuda("cudaGraphDestroy", graph)
    buffer.host[:] = 7
    cuda("cudaGraphLaunch", executable, stream)
    cuda("cudaStreamSynchronize", stream)
    yield _told("a graph copies there and back", bool((buffer.host == 7).all()))
    cuda("cudaGraphExecDestroy", executable)


def _broken_capture(cuda: Cuda, buffer: Buffer, stream: Any) -> Iterator[Finding]:
    """TensorRT's runtime goes on without a graph then: the stream must work again."""
    told = []
    cuda("cudaStreamBeginCapture", stream, _mode(cuda))
    for function in ("cudaStreamSynchronize", "cudaStreamEndCapture"):
        try:
            cuda(function, stream)
        except CudaError as error:
            told.append(str(error))
    cuda.forget_error()
    buffer.upload(1, stream)
    cuda("cudaStreamSynchronize", stream)
    yield {"goes_on": True, "told": told}


def _too_much(cuda: Cuda, buffer: Buffer, stream: Any) -> Iterator[Finding]:
    try:
        cuda("cudaMalloc", _TOO_MUCH)
    except CudaError as error:
        yield {"told": str(error)}
    else:
        yield _told("64 TiB are refused", False)
    cuda.forget_error()
    buffer.upload(1, stream)
    cuda("cudaStreamSynchronize", stream)


def _another_thread(cuda: Cuda, buffer: Buffer, stream: Any) -> Iterator[Finding]:
    problems: list[str] = []

    def work() -> None:
        try:
            buffer.upload(_ROWS, stream)
            cuda("cudaStreamSynchronize", stream)
        except CudaError as error:
            problems.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    yield _told("works from another thread", not problems) | {"problems": problems}


def _mode(cuda: Cuda) -> Any:
    return cuda.constant("cudaStreamCaptureModeThreadLocal", "cudaStreamCaptureMode")


def _told(what: str, right: bool) -> dict[str, Any]:
    return {"what": what, "right": right} | ({} if right else {"failed": f"not so: {what}"})
