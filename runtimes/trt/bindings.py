"""TensorRT's Python bindings: which module, which versions, what it says, and its names for types and shapes."""

from __future__ import annotations

import importlib
import logging
import platform
import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.machine import l4t

log = logging.getLogger(__name__)

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # runtime -> Python module
_OLDEST = (10, 3)  # of TensorRT: strongly typed networks with all that these graphs have


def import_tensorrt(name: str) -> ModuleType:
    """The Python module of a runtime. Raises RuntimeUnavailableError saying which is needed and how to get it."""
    try:
        trt = importlib.import_module(MODULES[name])
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == MODULES[name]  # else its libraries are
        kind = NotInstalledError if missing else RuntimeUnavailableError
        raise kind(f"{name} needs TensorRT: {how_to_install(name)} ({error})") from error
    version = tuple(int(number) for number in re.findall(r"\d+", trt.__version__)[:2])
    if name == "tensorrt" and version < _OLDEST:
        raise RuntimeUnavailableError(
            f"{name} needs TensorRT 10.3 or newer (on a Jetson JetPack 6.1), here is {trt.__version__}"
        )
    return trt


def how_to_install(name: str) -> str:
    """The command that brings the TensorRT of a runtime."""
    if name == "tensorrt-rtx":
        return "pip install 'edgebird[tensorrt-rtx]'"
    if l4t():
        return "sudo apt install python3-libnvinfer, in a venv with --system-site-packages"
    if platform.machine() == "x86_64":
        return "pip install 'edgebird[tensorrt]', for a driver of CUDA 12 pip install tensorrt-cu12 (docs/gpu.md)"
    return "pip install tensorrt, for a driver of CUDA 12 pip install tensorrt-cu12"


def title(trt: ModuleType) -> str:
    """What the user calls it: `TensorRT 10.3.0`."""
    return f"{'TensorRT-RTX' if trt.__name__ == MODULES['tensorrt-rtx'] else 'TensorRT'} {trt.__version__}"


@dataclass(slots=True)
class TrtLog:
    """What TensorRT said: everything of weight goes to the log as it comes; problems and memory figures are kept."""

    problems: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)

    def take(self, level: str, message: str) -> None:
        """Take a message of level VERBOSE, INFO, WARNING, ERROR or INTERNAL_ERROR."""
        if level == "VERBOSE":
            return  # thousands of lines
        if level in ("ERROR", "INTERNAL_ERROR"):
            self.problems.append(message)
        if "Peak memory usage" in message:
            self.memory.append(message)
        log.debug("TensorRT %s: %s", level.lower(), message)

    def explain(self, otherwise: str) -> str:
        """One line: the last problem and how many there were before it; `otherwise` if it told none.

        The last is what ended it: kernels that were tried and skipped are told as errors, too.
        """
        if not self.problems:
            return otherwise
        more = len(self.problems) - 1
        return " ".join(self.problems[-1].split())[:400] + (f" (and {more} more: see -v)" if more else "")


def make_logger(trt: ModuleType, to: TrtLog) -> Any:
    """A TensorRT logger that tells `to`; it must live as long as what is made with it."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            to.take(severity.name, msg)

    return Logger()


def make_loader(trt: ModuleType, trt_log: TrtLog) -> Any:
    """What loads engines, a Runtime as TensorRT calls it. Raises RuntimeUnavailableError where it cannot start."""
    try:
        return trt.Runtime(make_logger(trt, trt_log))
    except TypeError as error:  # factory function returned nullptr
        raise cannot_start(trt, trt_log) from error


def cannot_start(trt: ModuleType, trt_log: TrtLog) -> RuntimeUnavailableError:
    """The error for a TensorRT that gives neither a Builder nor a Runtime."""
    reason = trt_log.explain("no NVIDIA GPU or driver here, or its build is for a newer CUDA than the driver's")
    return RuntimeUnavailableError(f"{title(trt)} cannot start: {reason}")


def dtype_name(dtype: Any) -> str:
    """`DataType.FLOAT` -> `float32`; others as TensorRT calls them."""
    return "float32" if dtype.name == "FLOAT" else str(dtype.name).lower()


def free_batch(shape: Any) -> tuple[int | str, ...]:
    """A shape as cards have it: -1, a dimension that is free, gets a name."""
    return tuple("batch" if size == -1 else int(size) for size in shape)
