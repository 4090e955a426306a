"""ONNX Runtime: on the CPU, and on a GPU through its CUDA and TensorRT providers.

The GPU wheel lists its providers where none can run and then falls back to the CPU in silence; here that is an error.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import Card, floor_group
from edgebird.errors import NotInstalledError, RuntimeUnavailableError
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
from edgebird.runtimes.ort_libraries import engine_cache, how_to_install, missing_library, preload
from edgebird.runtimes.ort_placement import explained
from edgebird.runtimes.outputs import Outputs
from edgebird.runtimes.trt.gpu import CudaError
from edgebird.types import FloatArray

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Provider:
    """A provider as ONNX Runtime calls it.

    sizes: of the batches that it runs, in order; other numbers of windows are filled up to the next with zeros. Each is
    another graph for the GPU, measured or built when it is met first. Empty: any number as it comes.
    """

    name: str
    sizes: tuple[int, ...] = ()

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, with memory of its own."""
        return bool(self.sizes)


_PROVIDERS = {
    "ort-cpu": _Provider("CPUExecutionProvider"),
    "ort-cuda": _Provider("CUDAExecutionProvider", (1, 2, 4, 8)),  # chosen without a GPU at hand
    # Its profile: what `verify` and groups that share a floor use.
    "ort-tensorrt": _Provider("TensorrtExecutionProvider", (1, 2, 4)),
}
_GPU_FAILURE = re.compile(r"(CUDA|CUDNN|CUDNN_FE|CUBLAS|CUFFT|CURAND) failure \d+: [^;\n]+")
# y = x + x, float32 [1], opset 13: the smallest model that computes, so that a build without kernels for a GPU shows.
TINY = base64.b64decode("CAg6NQoOCgF4CgF4EgF5IgNBZGQSAWdaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAN")


_FAILED = "ONNX Runtime failed"


class _LeftToCpuError(RuntimeUnavailableError):
    """Nodes of the graph would run on the CPU instead."""


_LEFT_TO_CPU = "fallback to CPU EP has been explicitly disabled"  # what ONNX Runtime says


def session_of(
    model: bytes | Path,
    name: str = "ort-cpu",
    threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    spinning: bool = True,
    optimised: bool = True,
) -> Any:
    """An InferenceSession of the file or bytes of a graph, on the provider of runtime `name` and on no other.

    threads: None for all cores. provider_options: of the provider. spinning: whether threads that wait for work keep
    their cores busy, which is a little faster where there is always more. optimised: False runs the operators one by
    one as they stand in the file. Raises RuntimeUnavailableError if ONNX Runtime is missing or refuses, or if another
    provider would run.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise NotInstalledError(f"{name} needs ONNX Runtime: {_install(name)} ({error})") from error
    provider = _PROVIDERS[name]
    wanted = provider.name
    if wanted not in ort.get_available_providers():
        raise NotInstalledError(f"{name}: this build of ONNX Runtime has no {wanted}: {_install(name)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if provider.on_gpu:
        make_strict(ort, options)
        preload(ort)
    if name == "ort-cuda":  # it computes no convolution in INT8: so it dequantizes weights once, not at each inference
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=[wanted],
            provider_options=[dict(provider_options or {})],
            enable_fallback=0,
        )
    except Exception as error:
        reason = missing_library(ort, name) if provider.on_gpu else None
        told = f"{name}: {reason or _refusal(error)}"
        left = reason is None and _LEFT_TO_CPU in str(error)
        raise (_LeftToCpuError if left else RuntimeUnavailableError)(told) from error
    if session.get_providers()[:1] != [wanted]:
        raise RuntimeUnavailableError(f"{name}: asked for {wanted}, ONNX Runtime took {session.get_providers()}")
    log.debug("ONNX Runtime %s, %s, %d threads", ort.__version__, wanted, options.intra_op_num_threads)
    return session


def _install(name: str) -> str:
    if name == "ort-cpu":
        return "pip install 'edgebird[cpu]'"
    return f"{how_to_install() or 'onnxruntime-gpu'} in place of edgebird[cpu] (docs/gpu.md)"


def make_strict(ort: ModuleType, options: Any) -> None:
    """No node may run on the CPU instead, and FP32 is FP32: TF32 has 10 bits of mantissa."""
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # before the first session; the TensorRT provider has no option for it
    options.log_severity_level = 4
    ort.set_default_logger_severity(4)  # else lines about what is told in one line anyway


def dtype_of(text: str) -> str:
    """`tensor(float)` -> `float32`; others as ONNX Runtime calls them."""
    return "float32" if text == "tensor(float)" else text


def _refusal(error: Exception) -> str:
    """Why a session does not open: the GPU's fault, or the model's."""
    if failure := _GPU_FAILURE.search(str(error)):  # which ONNX Runtime tells after half a page of its own source
        return f"the GPU cannot be used: {failure[0].strip()} (docs/gpu.md)"
    return f"ONNX Runtime refuses the model: {first_line(error)}"


def first_line(error: Exception) -> str:
    """What an error of ONNX Runtime says first, or what the GPU said."""
    if failure := _GPU_FAILURE.search(str(error)):
        return failure[0].strip()
    return str(error).strip().partition("\n")[0][:300]


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
        self.sizes = _PROVIDERS[name].sizes if card.fixed_batch is None else ()
        self.batch_size = self.streams.batch_size if self.streams else preferred_batch(card, max(self.sizes, default=1))
        self.concurrency = self.streams.concurrency if self.streams else 1
        self._bound = BoundRuns(session, self._outputs, self.sizes) if _PROVIDERS[name].on_gpu and on is None else None
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
        if not _PROVIDERS[self.name].on_gpu:
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
    streams = (options.threads or usable_cores()) if name == "ort-cpu" and options.throughput else 1
    try:
        session = session_of(model, name, 1 if streams > 1 else options.threads, settings, spinning=False)
    except _LeftToCpuError as error:
        told = explained(error, name, _PROVIDERS[name].name, bundle, precision, settings)
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
        for key, batch in (("min", 1), ("opt", 1), ("max", max(_PROVIDERS[name].sizes))):
            given[f"trt_profile_{key}_shapes"] = f"{card.input.name}:{batch}x{card.window_samples}"
    return given


def cuda_options(precision: str) -> dict[str, str]:
    """What the CUDA provider is told. On an H200 the fastest of what was tried; see docs/gpu.md."""
    channels_last = "fp16" in precision  # as tensor cores take images
    return {
        "device_id": str(DEVICE),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",  # a search finds slower ones, and takes time at each start
        "prefer_nhwc": str(int(channels_last)),
    }


def probe(name: str) -> str:
    """Run a tiny model; the version of ONNX Runtime and the provider."""
    session = session_of(TINY, name, threads=1)
    with engine_errors(name, _FAILED, first_line):
        session.run(None, {"x": np.zeros(1, np.float32)})
    import onnxruntime as ort

    return f"ONNX Runtime {ort.__version__}, {session.get_providers()[0]}"
