"""The libraries that ONNX Runtime's GPU providers load: found in pip's packages, or named where they are missing."""

from __future__ import annotations

import ctypes
import io
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

log = logging.getLogger(__name__)

LIBRARIES = {
    "ort-cuda": "libonnxruntime_providers_cuda.so",
    "ort-tensorrt": "libonnxruntime_providers_tensorrt.so",
}
_DRIVER = "libcuda.so"
_TENSORRT = ("libnvinfer", "libnvonnxparser")


def preload(ort: ModuleType) -> None:
    """Load CUDA and cuDNN from NVIDIA's pip packages, if they are installed; else the library path is searched later.

    ONNX Runtime knows where its version of them is. It prints what it does not find; that is not for stdout.
    """
    said = io.StringIO()
    with redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ort.preload_dlls(directory="")  # pip's packages before those that torch brought
    for line in said.getvalue().splitlines():
        log.debug("ONNX Runtime: %s", line)


def missing_library(ort: ModuleType, name: str) -> str | None:
    """Why the provider of runtime `name` cannot be loaded, and what helps; None if it can be loaded."""
    capi = Path(str(ort.__file__)).parent / "capi"
    try:
        ctypes.CDLL(str(capi / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(capi / LIBRARIES[name]))
    except OSError as error:
        missing = str(error).partition(":")[0]
        if missing.startswith(_DRIVER):
            return f"{missing} is missing: install the NVIDIA driver; in a container start it with --gpus all"
        needs = f"{missing} is missing: ONNX Runtime {ort.__version__} needs"
        if missing.startswith(_TENSORRT):
            return f"{needs} TensorRT 10 on the library path (docs/gpu.md)"
        major = cuda_major(ort)
        return f"{needs} CUDA {major} and cuDNN 9: pip install 'edgebird[gpu,cuda{major}]' (docs/gpu.md)"
    return None


def cuda_major(ort: ModuleType) -> str:
    """The CUDA that this build of ONNX Runtime is for, such as `13`."""
    return str(getattr(ort, "cuda_version", "") or "").partition(".")[0] or "?"
