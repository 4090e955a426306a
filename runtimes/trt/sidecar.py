"""The sidecar of a TensorRT engine: a JSON file that says what it was built from, where, how, and what was proven.

An engine fits one version of TensorRT and one GPU, and a wrong one may give wrong birds in silence: nothing is loaded
before its sidecar agrees. docs/gpu.md describes the fields.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgebird.bundle import Bundle
from edgebird.card import Tensor
from edgebird.errors import RuntimeUnavailableError
from edgebird.files import atomic_path
from edgebird.runtimes.trt.gpu import Gpu

FORMAT = 1
UNPROVEN = "unproven"
ENGINES = "engines"  # the folder of a bundle for engines that were built from it: a cache, not in its card


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known of an engine.

    engine, engine_sha256, engine_bytes: the file. onnx_sha256, opset: the graph. version: of TensorRT, exact.
    gpu: where it was built, None for one compiled ahead of time for `capabilities` (`sm86`).
    kept_fp32: nodes that stay FP32 in a graph of lower precision. flags: the builder's, by name.
    profiles: least, best and largest input shape of each. peak_memory: bytes of this process, and as TensorRT reports.
    tactic_dram_bytes: what the build was allowed of memory that the GPU shares with the CPU, None for no limit of ours.
    parity: `unproven`, or the parity with golden data and, as `proof_place` has it, where it was found.
    """

    runtime: str
    version: str
    precision: str
    engine: str
    engine_sha256: str
    engine_bytes: int
    onnx_sha256: str
    opset: int
    platform: str
    l4t: str | None
    gpu: Mapping[str, Any] | None
    capabilities: tuple[str, ...]
    kept_fp32: tuple[str, ...]
    flags: tuple[str, ...]
    tf32: bool
    hardware_compatibility: str
    optimization_level: int
    workspace_bytes: int
    profiles: tuple[Mapping[str, tuple[int, ...]], ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dtypes: Mapping[str, str]
    timing_cache: str | None
    build_seconds: float
    peak_memory: Mapping[str, int]
    edgebird: str
    created: str
    parity: str | Mapping[str, Any] = field(default=UNPROVEN)
    tactic_dram_bytes: int | None = None
    format: int = FORMAT

    def proven_on(self, gpu: Gpu, version: str) -> bool:
        """Whether golden data went through it on such a GPU, with this version of TensorRT."""
        place = proof_place(self.runtime, gpu, version)
        return not isinstance(self.parity, str) and place.items() <= self.parity.items()

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all. Raises OutputError."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def proof_place(runtime: str, gpu: Gpu, version: str) -> dict[str, Any]:
    """What a proof holds for; elsewhere other code may run, and the engine is proven anew.

    Of the driver only for TensorRT-RTX, which makes its kernels when the engine is opened.
    """
    place = {"gpu": gpu.name, "multiprocessors": gpu.multiprocessors, "version": version}
    return place | ({"driver": gpu.driver_release or gpu.driver} if runtime == "tensorrt-rtx" else {})


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar. Raises ValueError saying what is wrong with it, OSError."""
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"sidecar format {content['format']!r}, this edgebird reads {FORMAT}")
        for name in ("capabilities", "kept_fp32", "flags", "profiles"):
            content[name] = tuple(content[name])
        for name in ("inputs", "outputs"):
            content[name] = tuple(Tensor(tensor["name"], tuple(tensor["shape"])) for tensor in content[name])
        return Sidecar(**content)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a sidecar: {error}") from error


def engine_path(folder: Path, runtime: str, precision: str) -> Path:
    """Where the engine of a runtime and precision is; its sidecar is beside it, `.json` instead of `.engine`."""
    return folder / f"model.{precision}.{runtime}.engine"


def build_command(bundle: Bundle, runtime: str, precision: str, rebuild: bool = False) -> str:
    """The command that builds the engine."""
    options = f"--runtime {runtime} --precision {precision}" + (" --rebuild" if rebuild else "")
    return f"edgebird build {shlex.quote(str(bundle.path))} {options}"


def require_engine(bundle: Bundle, runtime: str, precision: str, folder: Path) -> Path:
    """Where the engine of a bundle is in `folder`. Raises RuntimeUnavailableError, with the command, if it is not."""
    path = engine_path(folder, runtime, precision)
    if not path.is_file() or not path.with_suffix(".json").is_file():
        command = build_command(bundle, runtime, precision)
        raise RuntimeUnavailableError(f"{runtime} has no {precision} engine for this bundle: {command}")
    return path


@dataclass(frozen=True, slots=True, eq=False)
class FoundEngine:
    """An engine that fits. content: of its file, as it was held to the sidecar's SHA-256."""

    path: Path
    sidecar: Sidecar
    content: bytes


def find_engine(bundle: Bundle, runtime: str, precision: str, version: str, gpu: Gpu, folder: Path) -> FoundEngine:
    """The engine of a bundle in `folder` that fits this TensorRT and this GPU. Its file is read once.

    Raises RuntimeUnavailableError, with the command that builds the engine, if it is missing or does not fit.
    """
    path = require_engine(bundle, runtime, precision, folder)
    try:
        sidecar = read_sidecar(path.with_suffix(".json"))
        found = FoundEngine(path, sidecar, path.read_bytes())
        problem = mismatch(found, bundle, version, gpu)
    except (OSError, ValueError) as error:
        problem = f"its sidecar cannot be read: {error}"
    if problem:
        command = build_command(bundle, runtime, precision, rebuild=True)
        raise RuntimeUnavailableError(f"{path}: {problem}; build it again: {command}")
    return found


def mismatch(found: FoundEngine, bundle: Bundle, version: str, gpu: Gpu) -> str | None:
    """What keeps the engine from being loaded here: one clause, or None."""
    sidecar = found.sidecar
    if sidecar.engine != found.path.name:
        return f"its sidecar is that of {sidecar.engine}"
    if hashlib.sha256(found.content).hexdigest() != sidecar.engine_sha256:
        return "the engine is damaged or not the one of its sidecar (another SHA-256)"
    graph = bundle.card.precisions.get(sidecar.precision)
    if graph is None or graph.sha256 != sidecar.onnx_sha256:
        return "built from another graph than the bundle has now"
    if not _version_fits(sidecar, version):
        return f"built with TensorRT {sidecar.version}, here is {version}"
    return _gpu_mismatch(sidecar, gpu)


def _version_fits(sidecar: Sidecar, version: str) -> bool:
    if "VERSION_COMPATIBLE" in sidecar.flags:
        return sidecar.version.split(".")[0] == version.split(".")[0]
    return sidecar.version == version


def _gpu_mismatch(sidecar: Sidecar, gpu: Gpu) -> str | None:
    if sidecar.gpu is None:
        fits = gpu.capability in sidecar.capabilities
        return None if fits else f"compiled for {', '.join(sidecar.capabilities)}, this GPU is {gpu.capability}"
    built_on, here = _kind(sidecar.gpu), _kind(asdict(gpu))
    match sidecar.hardware_compatibility:
        case "AMPERE_PLUS":
            fits = int(gpu.capability[2:]) >= 80
        case "SAME_COMPUTE_CAPABILITY":
            fits = gpu.capability == sidecar.gpu["capability"]
        case _:
            fits = built_on == here
    return None if fits else f"built on {built_on}, this GPU is {here}"


def _kind(gpu: Mapping[str, Any]) -> str:
    """What GPUs that take the same engine have in common; every Orin has the same name and capability."""
    return f"{gpu['name']} ({gpu['capability']}, {gpu.get('multiprocessors', 'unknown')} multiprocessors)"
