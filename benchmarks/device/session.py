"""ONNX Runtime's session on the device as the runtime feeds it, with other options of its provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgebird.benchmarks.device.attempts import Run
from edgebird.bundle import Bundle
from edgebird.runtimes.ort_bound import BoundRuns
from edgebird.runtimes.ort_gpu import GpuRuns, open_stream
from edgebird.runtimes.ort_session import cuda_options, session_of
from edgebird.runtimes.outputs import Outputs
from edgebird.runtimes.trt.gpu import CudaError
from edgebird.types import FloatArray


@contextmanager
def device_run(
    bundle: Bundle,
    precision: str,
    runtime: str,
    sizes: Sequence[int],
    options: Mapping[str, str] | None = None,
    graphs: bool = True,
) -> Iterator[Run]:
    """What scores windows, as many at once as one of `sizes` says. graphs: with CUDA graphs; raises where they fail.

    runtime: `ort-cuda`, or `ort-cpu`, which takes none of the options. options: of its provider, in place of
    edgebird's own.
    """
    if runtime != "ort-cuda":
        bound = BoundRuns(session_of(bundle.model(precision), runtime), Outputs(bundle.card), (), "cpu")
        yield bound.run
        bound.close()
        return
    import onnxruntime as ort

    stream = open_stream(ort, runtime)
    session = session_of(
        bundle.model(precision), runtime, None, {**cuda_options(precision), **(options or {}), **stream.given}
    )
    runs = GpuRuns(stream, session, Outputs(bundle.card), sizes, graphs)
    del session

    def run(windows: FloatArray) -> FloatArray:
        scores = runs.run([windows])
        if graphs and not runs.has_graph(len(windows)):
            raise CudaError(f"{runtime}: no CUDA graph of {len(windows)} windows")
        return scores

    try:
        yield run
    finally:
        runs.close()
