"""ONNX Runtime: on the CPU, and on a GPU through its CUDA and TensorRT providers; its sessions are of ort_session."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import Card, floor_group
from edgebird.errors import RuntimeUnavailableError
from edgebird.machine import usable_cores
from edgebird.runtimes import Runtime, RuntimeOptions, open_apart
from edgebird.runtimes.contract import (
    ParallelRuns,
    check_graph,
    check_open,
    cut,
    engine_errors,
    preferred_batch,
    prepared,
    run_in_batches,
    warm_up,
    warm_up_windows,
)
from edgebird.runtimes.flight import SLOTS
from edgebird.runtimes.group import GROUPS, fastest_group
from edgebird.runtimes.ort_bound import DEVICE, BoundRuns
from edgebird.runtimes.ort_gpu import GpuRuns, Stream, open_stream
from edgebird.runtimes.ort_libraries import engine_cache
from edgebird.runtimes.ort_placement import explained
from edgebird.runtimes.ort_session import (
    PROVIDERS,
    TINY,
    LeftToCpuError,
    cuda_options,
    dtype_of,
    first_line,
    session_of,
)
from edgebird.runtimes.outputs import Outputs
from edgebird.runtimes.trt.gpu import CudaError
from edgebird.types import FloatArray

log = logging.getLogger(__name__)


_FAILED = "ONNX Runtime failed"


class OrtRuntime:
    """See `Runtime`. A graph with a fixed batch dimension is fed in pieces of that size, the last filled with zeros.

    On a GPU no sizes are run but those of its provider; see `BoundRuns`.
    streams: how many windows are scored at the same time, for a session of one thread; 1: with all threads on each.
    on: the stream that the session was opened with; see `GpuRuns`.
    """

    def __init__(
        self,
        session: Any,
        name: str,
        card: Card,
        streams: int = 1,
        on: Stream | None = None,
        further: Sequence[str] = (),
    ) -> None:
        self.name, self.card, self._outputs = name, card, Outputs(card, further)
        self._session = session
        self.streams = ParallelRuns([self._run] * streams, card) if streams > 1 else None
        self.sizes = PROVIDERS[name].sizes if card.fixed_batch is None else ()
        self.batch_size = self.streams.batch_size if self.streams else preferred_batch(card, max(self.sizes, default=1))
        self.concurrency = self.streams.concurrency if self.streams else 1
        self._bound = BoundRuns(session, self._outputs, self.sizes) if PROVIDERS[name].on_gpu and on is None else None
        self._gpu: GpuRuns | None = None
        if on is not None:
            self.concurrency = SLOTS
            self._gpu = GpuRuns(on, session, self._outputs, self.sizes or (card.fixed_batch or 1,))
        self.provider: str = session.get_providers()[0]

    def find_group(self) -> None:
        """Have as many windows scored at once as is fastest here, where they may be scored together as one likes."""
        if self._gpu is None or not self.sizes or floor_group(self.card.db_floor) > 1:
            return
        gpu, (windows,) = self._gpu.with_sizes(GROUPS), warm_up_windows((max(GROUPS),), self.card)
        self._gpu = gpu

        def score(size: int, times: int) -> None:
            with engine_errors(self.name, _FAILED, first_line):
                gpu.run([windows[:size]] * times)

        self.batch_size = fastest_group(self.name, max(self.sizes), score, gpu.free_memory)
        self.sizes = tuple(size for size in GROUPS if size <= self.batch_size)

    def includes(self, batch: int) -> str:
        """What a time of `infer` has in it, for the bench."""
        if not PROVIDERS[self.name].on_gpu:
            return "all in the CPU's memory, no copies to a device"
        graphs = self._gpu is not None and self._gpu.has_graph(min(batch, self.batch_size))
        return f"copies to and from the GPU; {'a CUDA graph' if graphs else 'no CUDA graph'}"

    def split(self, windows: FloatArray) -> dict[str, float]:
        """Milliseconds of the parts of an inference, for the bench; see `GpuRuns`. Empty where they are unknown."""
        few = windows[: self.batch_size]
        return self._gpu.split(lambda: self.infer(few)) if self._gpu else {}

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        return self._outputs.scores(self._score(windows), len(windows))

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """See `Runtime`."""
        return self._outputs.named(self._score(windows), len(windows))

    def _score(self, windows: FloatArray) -> FloatArray:
        check_open(self.name, self._session is not None)
        windows = prepared(windows, self.card)
        if self.streams:
            return self.streams.run(windows)
        largest = max(self.sizes, default=None)
        if self._gpu is None:
            return run_in_batches(self._run, windows, self.card, largest)
        with engine_errors(self.name, _FAILED, first_line):
            return self._gpu.run(cut(windows, self.card, largest))[: len(windows)]

    def _run(self, windows: FloatArray) -> FloatArray:
        with engine_errors(self.name, _FAILED, first_line):
            if self._bound:
                return self._bound.run(windows)
            values = self._session.run(self._outputs.names, {self.card.input.name: windows})
        return self._outputs.joined(dict(zip(self._outputs.names, values, strict=True)))

    def close(self) -> None:
        """Free the session."""
        if self.streams:
            self.streams.close()
        if self._bound:
            self._bound.close()
        self._session = None
        if self._gpu:
            self._gpu.close()


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Open a graph of the bundle on the provider of runtime `name`, warmed up."""
    bundle.model(options.precision)
    open_apart(bundle, name, options)
    settings = _provider_options(bundle, name, options.precision)
    on = _stream(name) if name == "ort-cuda" else None
    try:
        runtime = _warmed(bundle, name, options, settings | (on.given if on else {}), on)
    except BaseException:
        if on:
            on.close()
        raise
    if name == "ort-cuda" and on is None:
        log.warning("ort-cuda copies slowly and without CUDA graphs here: its CUDA library cannot be found")
    return runtime


def _stream(name: str) -> Stream | None:
    """None where CUDA refuses: ONNX Runtime has the words for it."""
    try:
        import onnxruntime as ort

        return open_stream(ort, name)
    except (ImportError, OSError, CudaError) as error:
        log.debug("%s has no stream of its own: %s", name, error)
        return None


def _warmed(
    bundle: Bundle, name: str, options: RuntimeOptions, settings: dict[str, str], on: Stream | None
) -> OrtRuntime:
    """The runtime of a session with these settings of its provider, checked against the card and warmed up."""
    model, precision = bundle.model(options.precision), options.precision
    frugal = name != "ort-cpu" or not options.throughput
    streams = 1 if frugal else (options.threads or usable_cores())
    try:
        session = session_of(model, name, 1 if streams > 1 else options.threads, settings, frugal=frugal)
    except LeftToCpuError as error:
        told = explained(error, name, PROVIDERS[name].name, bundle, precision, settings)
        raise RuntimeUnavailableError(told) from error
    found = {t.name: (dtype_of(t.type), t.shape) for t in (*session.get_inputs(), *session.get_outputs())}
    check_graph(str(model), found, bundle.card)
    runtime = OrtRuntime(session, name, bundle.card, streams, on, options.outputs)
    try:
        if options.measure:
            runtime.find_group()
        warm_up(runtime, options, runtime.sizes)
    except BaseException:
        del session
        runtime.close()
        raise
    return runtime


def _provider_options(bundle: Bundle, name: str, precision: str) -> dict[str, str]:
    """What the provider of a runtime is told; see `ort_libraries.engine_cache` for the TensorRT provider."""
    if name == "ort-cuda":
        return cuda_options(precision)
    if name != "ort-tensorrt":
        return {}
    card = bundle.card
    # No trt_fp16_enable: without it the network is strongly typed and precision comes from the graph.
    given = {"device_id": str(DEVICE)}
    if cache := engine_cache():
        given |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_engine_cache_prefix": f"{precision}.{card.precisions[precision].sha256[:12]}",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    if card.fixed_batch is None:
        for key, batch in (("min", 1), ("opt", 1), ("max", max(PROVIDERS[name].sizes))):
            given[f"trt_profile_{key}_shapes"] = f"{card.input.name}:{batch}x{card.window_samples}"
    return given


def probe(name: str) -> str:
    """Run a tiny model; the version of ONNX Runtime and the provider."""
    session = session_of(TINY, name, threads=1)
    with engine_errors(name, _FAILED, first_line):
        session.run(None, {"x": np.zeros(1, np.float32)})
    import onnxruntime as ort

    return f"ONNX Runtime {ort.__version__}, {session.get_providers()[0]}"
