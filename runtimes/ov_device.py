"""OpenVINO's core, its devices, and what a device is asked for and must say that it took."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.machine import usable_cores
from edgebird.runtimes import RuntimeOptions
from edgebird.runtimes.contract import engine_errors

DEVICES = {"openvino": "CPU", "openvino-gpu": "GPU", "openvino-npu": "NPU"}
_DRIVERS = {
    "CPU": "this CPU is not one that OpenVINO runs on",
    "GPU": "install Intel's GPU driver (Debian: intel-opencl-icd), join the group `render`",
    "NPU": "install Intel's NPU driver (github.com/intel/linux-npu-driver), join the group `render`",
}
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # any of them; without, bf16 is emulated and slow
ARM = ("aarch64", "arm64")
_BF16_NEEDS = dict.fromkeys(ARM, "the BF16 of Armv8.6")  # elsewhere x86's
REFUSED = "OpenVINO refuses the model"
_LOCK = threading.Lock()  # two threads that open their first engine at once


def core_of(name: str) -> tuple[Any, str]:
    """OpenVINO and the device of runtime `name`. Raises RuntimeUnavailableError if either is not there."""
    try:
        import openvino as ov
    except ImportError as error:
        raise NotInstalledError(f"{name} needs OpenVINO: pip install 'edgebird[openvino]' ({error})") from error
    with _LOCK:
        _first_array()
        core, device = _one_core(ov.Core), DEVICES[name]
    found = core.available_devices
    if not any(known.partition(".")[0] == device for known in found):  # the second GPU is GPU.1
        raise RuntimeUnavailableError(f"{name}: OpenVINO sees no {device} here, only {found}: {_DRIVERS[device]}")
    return core, device


@cache
def _first_array() -> None:
    """Read a tensor's data, once in the life of the process and on one thread.

    OpenVINO 2026.4.1 prepares something there when it is first asked for, and waits in it for Python's lock: two
    threads that each began with that waited for each other, for ever.
    """
    import openvino as ov

    _ = ov.Tensor(np.zeros(1, np.float32)).data


@cache
def _one_core(make: Callable[[], Any]) -> Any:
    """OpenVINO's core, one for the life of the process.

    Its CPU plugin gives the thread an alternate signal stack and takes it away with the core: with two cores, one gone,
    the next Ctrl-C ran on memory that was freed, and ended the process (OpenVINO 2026.4).
    """
    return make()


def abilities(core: Any, device: str) -> list[str]:
    """What the device computes in, as OpenVINO says it: `FP32`, `BF16` and so on."""
    return list(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))


def check_bf16(core: Any, device: str, name: str) -> None:
    """Raise RuntimeUnavailableError unless the device computes in bf16 by itself."""
    flags = Path("/proc/cpuinfo")
    emulated = device == "CPU" and flags.exists() and not _BF16_FLAGS & set(flags.read_text(encoding="utf-8").split())
    if "BF16" not in abilities(core, device) or emulated:
        needs = _BF16_NEEDS.get(platform.machine(), "AVX512-BF16 or AMX-BF16")
        raise RuntimeUnavailableError(
            f"{name}: this {device} has no bf16 of its own (a CPU needs {needs}): use --precision fp32"
        )


def settings_of(device: str, options: RuntimeOptions) -> dict[str, Any]:
    """A CPU has a stream for each thread where throughput counts; other devices choose."""
    hint = {"PERFORMANCE_HINT": "THROUGHPUT" if options.throughput else "LATENCY"}
    if device != "CPU":
        return hint
    threads = options.threads or usable_cores()
    streams = {"NUM_STREAMS": threads} if options.throughput else {}
    return {**hint, **streams, "INFERENCE_NUM_THREADS": threads}


def compiled_for(core: Any, model: Any, name: str, settings: dict[str, Any]) -> Any:
    """A compiled model. Raises RuntimeUnavailableError if the device or precision is not what was asked for."""
    device, wanted = DEVICES[name], settings["INFERENCE_PRECISION_HINT"]
    with engine_errors(name, REFUSED, reason):
        compiled = core.compile_model(model, device, settings)
        runs = [str(where).partition(".")[0] for where in compiled.get_property("EXECUTION_DEVICES")]
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if (runs, precision) != ([device], wanted):
        raise RuntimeUnavailableError(
            f"{name}: asked for {wanted} on {device}, OpenVINO took {precision} on {', '.join(runs)}"
        )
    return compiled


def reason(error: Exception) -> str:
    """The last line: those before it say where in OpenVINO's source it happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


def version() -> str:
    """OpenVINO's, without its build number."""
    import openvino as ov

    return str(ov.__version__.partition("-")[0])
