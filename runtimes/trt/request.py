"""What engine to build: the options of `edgebird build`, and whether they fit together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from edgebird.errors import RuntimeUnavailableError, UsageError
from edgebird.runtimes.trt.bindings import MODULES, title
from edgebird.runtimes.trt.sidecar import Sidecar

HARDWARE = ("same-compute-capability", "ampere-plus")
JETSONS = {"sm72": "Jetson Xavier", "sm87": "Jetson Orin", "sm110": "Jetson Thor"}
# TensorRT-RTX names it, and says after minutes of compiling that it has no FP32 matrix product there, which every
# frontend needs.
_TURING = "sm75"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What to build.

    capabilities: GPUs to compile for ahead of time, such as `sm86`; none: for the GPU that is here. out: where engines
    compiled ahead of time go. max_batch: windows that the engine takes at once. workspace_mib: memory that a layer may
    take to work in. optimization_level: 0 to 5, how long to search for fast kernels. hardware: one of HARDWARE, to let
    other GPUs load it; version_compatible: to let newer TensorRTs of the same major version; both cost speed.
    rebuild: build although there is an engine that fits.
    """

    runtime: str = "tensorrt"
    precision: str = "fp32"
    capabilities: tuple[str, ...] = ()
    out: Path | None = None
    max_batch: int = 4
    workspace_mib: int = 1024
    optimization_level: int = 3
    hardware: str | None = None
    version_compatible: bool = False
    rebuild: bool = False


def check_request(request: EngineRequest) -> None:
    """Raise UsageError for options that do not fit together."""
    if request.runtime not in MODULES:
        raise UsageError(f"--runtime {request.runtime}: engines are built for {' or '.join(MODULES)}")
    for capability in request.capabilities:
        if not re.fullmatch(r"sm\d{2,3}", capability):
            raise UsageError(f"--for {capability}: wanted a compute capability such as sm86")
    if request.capabilities and request.runtime != "tensorrt-rtx":
        raise UsageError("--for needs --runtime tensorrt-rtx: TensorRT builds for the GPU that is here, and no other")
    if bool(request.capabilities) != bool(request.out):
        raise UsageError("--for and --out DIR go together: engines for other GPUs do not belong into the bundle")
    if request.runtime != "tensorrt" and (request.hardware or request.version_compatible):
        raise UsageError(f"{request.runtime} has no compatibility options: name the GPUs with --for")
    if request.hardware not in (None, *HARDWARE):
        raise UsageError(f"--hardware-compatible {request.hardware}: wanted {' or '.join(HARDWARE)}")
    if not 0 <= request.optimization_level <= 5:
        raise UsageError(f"--optimization-level {request.optimization_level}: wanted 0 to 5")


def check_capabilities(trt: ModuleType, request: EngineRequest) -> None:
    """Raise RuntimeUnavailableError for GPUs that TensorRT-RTX does not compile for."""
    if not request.capabilities:
        return
    known = {name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM")} - {_TURING}
    for capability in request.capabilities:
        if capability not in known:
            names = ", ".join(sorted(known, key=lambda name: int(name[2:])))
            refused = f"{title(trt)} compiles for {names}, not for {capability}"
            if capability in JETSONS:
                refused += f" ({JETSONS[capability]}): its engine is built on it, with --runtime tensorrt"
            if capability == _TURING:
                refused += " (Turing), where it has no FP32 matrix product: build on that GPU, with --runtime tensorrt"
            raise RuntimeUnavailableError(refused)


def as_requested(sidecar: Sidecar, request: EngineRequest) -> bool:
    """Whether an engine was built as it is asked for now."""
    return (
        (sidecar.profiles[-1]["max"][0] if sidecar.profiles else request.max_batch) == request.max_batch
        and sidecar.optimization_level == request.optimization_level
        and sidecar.workspace_bytes == request.workspace_mib * MIB
        and sidecar.hardware_compatibility == hardware_name(request)
        and ("VERSION_COMPATIBLE" in sidecar.flags) == request.version_compatible
    )


def hardware_name(request: EngineRequest) -> str:
    """The member of TensorRT's HardwareCompatibilityLevel that a request means."""
    return request.hardware.replace("-", "_").upper() if request.hardware else "NONE"
