"""What is installed, and what of it can really run here."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.errors import EdgebirdError
from edgebird.machine import cpu_name, installed_version, l4t, power_mode, usable_cores
from edgebird.runtimes import RUNTIMES, apart, probe_apart
from edgebird.runtimes.trt.bindings import how_to_install
from edgebird.runtimes.trt.gpu import open_cuda

# The first that the release of L4T begins with; JetPack 6.0 and older have a TensorRT that is too old.
_JETPACKS = {"35.": "5", "36.2.": "6.0", "36.3.": "6.0", "36.4.0": "6.1", "36.": "6.2", "38.2.": "7.0", "38.": "7.1"}

# Distribution -> the extra of edgebird that brings it; TensorRT comes from NVIDIA.
_PACKAGES = {
    "numpy": "base",
    "soundfile": "base",
    "soxr": "base",
    "typer": "base",
    "sounddevice": "mic",
    "av": "stream",
    "onnxruntime": "cpu",
    "onnxruntime-gpu": "gpu",
    "onnxruntime-ep-webgpu": "webgpu",
    "onnxruntime-ep-nv-tensorrt-rtx": "rtx",
    "nvidia-ml-py": "gpu",
    "cuda-python": "tensorrt",
    "tensorrt": "NVIDIA",
    "tensorrt-rtx-cu12": "tensorrt-rtx",
    "openvino": "openvino",
    "ai-edge-litert": "adopt",
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "safetensors": "export",
}


def examine() -> Iterator[str]:
    """The report, line by line."""
    versions = {name: installed_version(name) for name in _PACKAGES}
    yield f"edgebird {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"CPU: {cpu_name()}, {usable_cores()} of {os.cpu_count()} cores usable"
    yield from _graphics()
    yield ""
    for name, extra in _PACKAGES.items():
        yield f"{name:<{max(map(len, _PACKAGES))}} {versions[name] or f'not installed{_how(extra)}'}"
    if versions["onnxruntime"] and versions["onnxruntime-gpu"]:
        yield (
            "conflict: onnxruntime and onnxruntime-gpu are two builds of one module and overwrite each other: "
            "pip uninstall both, then install edgebird[cpu] or edgebird[gpu]"
        )
    yield ""
    for name, answer in probe_apart(tuple(RUNTIMES)):
        yield f"{name:<16} {'runs' if isinstance(answer, str) else 'cannot run'}: {answer}"


def describe(bundle: Bundle) -> Iterator[str]:
    """What a bundle is, line by line, then an empty one: its model, precisions, proof; where its weights are from."""
    card = bundle.card
    heard = f"{card.window_samples / card.sample_rate:g} s at {card.sample_rate} Hz" if card.sample_rate else "places"
    yield f"{bundle.path}: {len(card.labels)} classes, {heard}, {', '.join(card.precisions)}"
    yield f"  proven against {card.reference or 'the original network in float64'}" if card.golden else "  not proven"
    if card.golden and (told := card.golden.told_silence(card.reference)):
        yield f"  {told}"
    for fold in card.folds:
        yield f"  {fold.experiment} {fold.file}"
    if its := card.provenance:
        yield f"  {its.family or 'adopted'}: {its.file}, SHA-256 {its.sha256}"
        yield f"  licence of the weights: {its.licence or 'nobody said'}; source: {its.source or 'nobody said'}"
    if card.cascade:
        yield f"  cascade for scores of {card.cascade.threshold:g} and more, by {card.cascade.evidence}"
        yield from (f"    {name}: {bound.told()}" for name, bound in card.cascade.bounds.items())
    if card.not_birds:
        yield f"  no birds: {', '.join(f'{code} ({what})' for code, what in card.not_birds.items())}"
    yield ""


def _graphics() -> Iterator[str]:
    """The GPU and, on a Jetson, its system and power mode."""
    if apart.to_be_asked("cuda"):
        (answer,) = apart.ask("edgebird.doctor:gpu", ["CUDA"])
    else:
        try:
            answer = gpu("CUDA")
        except EdgebirdError as error:
            answer = error
    if isinstance(answer, str):
        yield f"GPU: {answer}"
    else:
        yield f"GPU: {_told_by_driver() or 'no NVIDIA GPU seen'}; {answer}"
    if release := l4t():
        jetpack = next((told for first, told in _JETPACKS.items() if release.startswith(first)), "unknown to edgebird")
        yield f"Jetson: L4T {release}, JetPack {jetpack}, {power_mode() or 'power mode unknown: sudo nvpmodel -q'}"


def gpu(wanted_by: str) -> str:
    """The GPU and the newest CUDA that its driver knows. Raises RuntimeUnavailableError naming who wants it."""
    found = open_cuda(wanted_by).gpu()
    return f"{found}, driver for CUDA {found.driver}"


def _told_by_driver() -> str | None:
    """Name, compute capability and driver as nvidia-smi tells them."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(told.split("\n")).strip("; ") or None


def _how(extra: str) -> str:
    if extra == "base":
        return ""
    return f" ({how_to_install('tensorrt')})" if extra == "NVIDIA" else f" (pip install 'edgebird[{extra}]')"
