"""The libraries that ONNX Runtime's GPU providers load: found in pip's packages, or named where they are missing."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from edgebird.files import cache_folder

log = logging.getLogger(__name__)

LIBRARIES = {
    "ort-cuda": "libonnxruntime_providers_cuda.so",
    "ort-tensorrt": "libonnxruntime_providers_tensorrt.so",
}
_DRIVER = "libcuda.so"
_DRIVER_FILES = Path("/proc/driver/nvidia")
_TENSORRT = ("libnvinfer", "libnvonnxparser")
_ABSENT = "cannot open shared object file"
_lock = threading.Lock()
_preloaded: set[str] = set()  # versions of ONNX Runtime; a process has one


def preload(ort: ModuleType) -> None:
    """Load CUDA and cuDNN from NVIDIA's pip packages, if they are installed; else the library path is searched later.

    ONNX Runtime knows where its version of them is. It prints what it does not find; that goes to the log, for stdout
    is for results.
    """
    with _lock:
        if ort.__version__ in _preloaded or not hasattr(ort, "preload_dlls"):
            return
        _preloaded.add(ort.__version__)
        vars(ort)["print"] = lambda *told, **_: log.debug("ONNX Runtime: %s", " ".join(map(str, told)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ort.preload_dlls(directory="")  # pip's packages before those that torch brought
        finally:
            del vars(ort)["print"]


def missing_library(ort: ModuleType, name: str) -> str | None:
    """Why the provider of runtime `name` cannot be loaded, and what helps; None if it can be loaded."""
    capi = Path(str(ort.__file__)).parent / "capi"
    try:
        ctypes.CDLL(str(capi / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(capi / LIBRARIES[name]))
    except OSError as error:
        missing, _, reason = str(error).partition(":")
        if _ABSENT not in reason:
            return f"{Path(missing).name} cannot be loaded: {reason.strip()} (docs/gpu.md)"
        if missing.startswith(_DRIVER):
            return f"{missing} is missing: install the NVIDIA driver; in a container start it with --gpus all"
        needs = f"{missing} is missing: ONNX Runtime {ort.__version__} needs"
        if missing.startswith(_TENSORRT):
            return f"{needs} TensorRT 10 on the library path (docs/gpu.md)"
        major = str(getattr(ort, "cuda_version", "") or "").partition(".")[0]
        command = how_to_install(major)
        return f"{needs} CUDA {major} and cuDNN 9{command and f': {command}'} (docs/gpu.md)"
    return None


def tensorrt_version() -> str:
    """Of the TensorRT that ONNX Runtime's provider loads, such as `10.13.3`; `none` where there is none."""
    try:
        number = int(ctypes.CDLL("libnvinfer.so.10").getInferLibVersion())
    except (OSError, AttributeError):
        return "none"
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def gpus_here() -> str:
    """A name for the GPUs and the driver that a process has, 8 hex digits: what was built for others is not for these.

    Read from the driver's files, as nothing of CUDA need be installed for Python.
    """
    told = [os.environ.get("CUDA_VISIBLE_DEVICES", "")]
    for file in (_DRIVER_FILES / "version", *sorted(_DRIVER_FILES.glob("gpus/*/information"))):
        with suppress(OSError):  # other lines of a GPU's file change with each boot
            told += re.findall(r"Model:.*|.*Kernel Module.*", file.read_text(encoding="utf-8", errors="replace"))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def how_to_install(cuda_major: str = "") -> str:
    """The command that brings onnxruntime-gpu and CUDA of a major version, or whatever there is for this machine.

    Empty where PyPI has none.
    """
    is_old, is_arm = sys.version_info < (3, 11), platform.machine() == "aarch64"
    if cuda_major not in ("", "12", "13") or (is_old and is_arm) or (is_arm and cuda_major == "12"):
        return ""
    if cuda_major:
        return f"pip install 'edgebird[gpu,cuda{cuda_major}]'"
    if is_old:
        return "pip install 'edgebird[gpu,cuda12]'"
    return "pip install 'edgebird[gpu,cuda13]'" + ("" if is_arm else " (cuda12 for a driver of CUDA 12)")


def engine_cache() -> Path | None:
    """Where the TensorRT provider keeps engines: of this user, for these versions and GPUs, never in a bundle.

    The provider loads what it finds there unchecked, and refuses what another version wrote. None, with a warning, if
    nothing can be kept.
    """
    import onnxruntime as ort

    cache = cache_folder() / "ort-tensorrt" / f"{ort.__version__}-{tensorrt_version()}-{gpus_here()}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("engines are built at each start: cannot write %s: %s", cache, error.strerror)
        return None
    return cache
