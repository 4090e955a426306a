"""CUDA and cuDNN of ONNX Runtime's GPU providers: found, or named with what brings them."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

from edgebird.runtimes import ort_libraries

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            "libcublasLt.so.13: cannot open shared object file: No such file or directory",
            "libcublasLt.so.13 is missing: ONNX Runtime 1.31.1 needs CUDA 13 and cuDNN 9: "
            "pip install 'edgebird[gpu,cuda13]' (docs/gpu.md)",
        ),
        (
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            "libcuda.so.1 is missing: install the NVIDIA driver; in a container start it with --gpus all",
        ),
        (
            "libnvinfer.so.10: cannot open shared object file: No such file or directory",
            "libnvinfer.so.10 is missing: ONNX Runtime 1.31.1 needs TensorRT 10 on the library path (docs/gpu.md)",
        ),
        (
            "/x/libonnxruntime_providers_cuda.so: undefined symbol: cudnnNew",
            "libonnxruntime_providers_cuda.so cannot be loaded: undefined symbol: cudnnNew (docs/gpu.md)",
        ),
    ],
)
def test_a_library_that_cannot_be_loaded_is_named_with_what_helps(
    error: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: str, mode: int = 0) -> None:
        if path.endswith("cuda.so"):
            raise OSError(error)

    monkeypatch.setattr("ctypes.CDLL", load)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    module: Any = SimpleNamespace(__file__="/x/onnxruntime/__init__.py", __version__="1.31.1", cuda_version="13.0")
    assert ort_libraries.missing_library(module, "ort-cuda") == told


@pytest.mark.parametrize(
    ("machine", "version", "cuda", "command"),
    [
        ("x86_64", (3, 12), "", "pip install 'edgebird[gpu,cuda13]' (cuda12 for a driver of CUDA 12)"),
        ("x86_64", (3, 10), "", "pip install 'edgebird[gpu,cuda12]'"),
        ("aarch64", (3, 12), "", "pip install 'edgebird[gpu,cuda13]'"),
        ("aarch64", (3, 10), "", ""),
        ("aarch64", (3, 12), "12", ""),
        ("x86_64", (3, 12), "11", ""),
    ],
)
def test_only_wheels_that_exist_are_recommended(
    machine: str, version: tuple[int, int], cuda: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sys.version_info", version)
    assert ort_libraries.how_to_install(cuda) == command


def test_an_onnx_runtime_without_preloading_is_used_as_it_is() -> None:
    """Builds by hand and old versions: `auto` and `doctor` go on."""
    ort_libraries.preload(SimpleNamespace(__version__="1.18"))  # type: ignore[arg-type]


def test_what_onnx_runtime_prints_of_missing_libraries_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """stdout is for results: a line there breaks whoever reads JSON lines."""
    module: Any = type(pytest)("onnxruntime_of_a_test")
    module.__version__ = "1.99"
    exec("def preload_dlls(directory):\n    print('Failed to load libcublas')", vars(module))
    ort_libraries.preload(module)
    assert capsys.readouterr().out == ""
    assert "print" not in vars(module)


def test_no_extra_takes_an_onnx_runtime_whose_kernels_nobody_has_read() -> None:
    """CUDA becomes a plugin of ONNX Runtime, which is asked for in another way: pip would bring a version that finds no
    GPU. The lint knows the kernels of those up to the bound.
    """
    content = json.loads((ROOT / "export" / "data" / "kernels.json").read_text(encoding="utf-8"))
    newest = content["ONNX Runtime CUDA"]["versions"][-1]
    major, minor, _ = map(int, newest.split("."))
    extras = importlib.metadata.requires("edgebird") or []
    bounds = [found.specifier for found in map(Requirement, extras) if found.name == "onnxruntime-gpu"]
    assert len(bounds) == 3  # gpu, cuda12, cuda13
    assert any(newest in bound for bound in bounds)
    assert not [bound for bound in bounds if f"{major}.{minor + 1}.0" in bound]
