"""What is installed, and what of it can really run here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator

from edgebird import __version__
from edgebird.errors import RuntimeUnavailableError
from edgebird.machine import cpu_name, usable_cores
from edgebird.runtimes import RUNTIMES, probe

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
    yield ""
    for name, extra in _PACKAGES.items():
        missing = "not installed" if extra == "base" else f"not installed (pip install 'edgebird[{extra}]')"
        yield f"{name:<16} {versions[name] or missing}"
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


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
