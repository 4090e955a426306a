"""Sessions of ONNX Runtime: on one provider and on no other, with the reason where it does not open.

The GPU wheel lists its providers where none can run and then falls back to the CPU in silence; here that is an error.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.machine import usable_cores
from edgebird.runtimes.ort_bound import DEVICE
from edgebird.runtimes.ort_libraries import how_to_install, missing_library, preload

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Provider:
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


PROVIDERS = {
    "ort-cpu": Provider("CPUExecutionProvider"),
    "ort-cuda": Provider("CUDAExecutionProvider", (1, 2, 4, 8)),  # chosen without a GPU at hand
    # Its profile: what `verify` and groups that share a floor use.
    "ort-tensorrt": Provider("TensorrtExecutionProvider", (1, 2, 4)),
}
_GPU_FAILURE = re.compile(r"(CUDA|CUDNN|CUDNN_FE|CUBLAS|CUFFT|CURAND) failure \d+: [^;\n]+")
# y = x + x, float32 [1], opset 13: the smallest model that computes, so that a build without kernels for a GPU shows.
TINY = base64.b64decode("CAg6NQoOCgF4CgF4EgF5IgNBZGQSAWdaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAN")


class LeftToCpuError(RuntimeUnavailableError):
    """Nodes of the graph would run on the CPU instead."""


_LEFT_TO_CPU = "fallback to CPU EP has been explicitly disabled"  # what ONNX Runtime says


def session_of(
    model: bytes | Path,
    name: str = "ort-cpu",
    threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    frugal: bool = False,
    optimised: bool = True,
) -> Any:
    """An InferenceSession of the file or bytes of a graph, on the provider of runtime `name` and on no other.

    threads: None for all cores. provider_options: of the provider. frugal: threads that wait for work sleep, and memory
    goes back after each inference (25 MB of exp105), which is a little slower where there is always more to do.
    optimised: False runs the operators one by one as they stand in the file. Raises RuntimeUnavailableError if ONNX
    Runtime is missing or refuses, or if another provider would run.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise NotInstalledError(f"{name} needs ONNX Runtime: {_install(name)} ({error})") from error
    provider = PROVIDERS[name]
    wanted = provider.name
    if wanted not in ort.get_available_providers():
        raise NotInstalledError(f"{name}: this build of ONNX Runtime has no {wanted}: {_install(name)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(not frugal)))
    options.enable_cpu_mem_arena = provider.on_gpu or not frugal
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
        raise (LeftToCpuError if left else RuntimeUnavailableError)(told) from error
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


def cuda_options(precision: str) -> dict[str, str]:
    """What the CUDA provider is told. On an H200 the fastest of what was tried; see docs/gpu.md."""
    channels_last = "fp16" in precision  # as tensor cores take images
    return {
        "device_id": str(DEVICE),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",  # a search finds slower ones, and takes time at each start
        "prefer_nhwc": str(int(channels_last)),
    }
