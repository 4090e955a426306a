"""What is installed, and what of it can really run here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator

from edgebird import __version__
from edgebird.errors import RuntimeUnavailableError
from edgebird.machine import cpu_name, l4t, power_mode, usable_cores
from edgebird.runtimes import RUNTIMES, probe
from edgebird.runtimes.gpu import open_cuda

_JETPACKS = {"35": "5", "36": "6", "38": "7"}  # by the first number of L4T

# Distribution -> the extra of edgebird that brings it.
_PACKAGES = {
    "numpy": "base",
    "soundfile": "base",
    "soxr": "base",
    "typer": "base",
    "sounddevice": "mic",
    "av": "stream",
    "onnxruntime": "cpu",
    "onnxruntime-gpu": "gpu",
    "cuda-python": "tensorrt",
    "tensorrt-rtx-cu12": "tensorrt-rtx",
    "openvino": "openvino",
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "safetensors": "export",
}


def examine() -> Iterator[str]:
    """The report, line by line."""
    versions = {name: _version(name) for name in _PACKAGES}
    yield f"edgebird {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"CPU: {cpu_name()}, {usable_cores()} of {os.cpu_count()} cores usable"
    yield from _graphics()
    yield ""
    for name, extra in _PACKAGES.items():
        missing = "not installed" if extra == "base" else f"not installed (pip install 'edgebird[{extra}]')"
        yield f"{name:<17} {versions[name] or missing}"
    if versions["onnxruntime"] and versions["onnxruntime-gpu"]:
        yield (
            "conflict: onnxruntime and onnxruntime-gpu are two builds of one module and overwrite each other: "
            "pip uninstall both, then install edgebird[cpu] or edgebird[gpu]"
        )
    yield ""
    for name in RUNTIMES:
        try:
            yield f"{name:<16} runs: {probe(name)}"
        except RuntimeUnavailableError as error:
            yield f"{name:<16} cannot run: {error}"


def _graphics() -> Iterator[str]:
    """The GPU and, on a Jetson, its system and power mode."""
    try:
        gpu = open_cuda("CUDA").gpu()
        yield f"GPU: {gpu}, driver for CUDA {gpu.driver}"
    except RuntimeUnavailableError as error:
        yield f"GPU: {_told_by_driver() or 'no NVIDIA GPU seen'}; {error}"
    if release := l4t():
        jetpack = _JETPACKS.get(release.partition(".")[0], "unknown to this edgebird")
        yield f"Jetson: L4T {release}, JetPack {jetpack}, {power_mode() or 'power mode unknown: sudo nvpmodel -q'}"


def _told_by_driver() -> str | None:
    """Name, compute capability and driver as nvidia-smi tells them."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(told.split("\n")).strip("; ") or None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
