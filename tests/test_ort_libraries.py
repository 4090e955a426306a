"""The libraries of GPU providers: found in pip's packages, or named with what brings them."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgebird.runtimes import ort_libraries
from edgebird.runtimes.ort_libraries import missing_library, preload


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("libcublasLt.so.13", "ONNX Runtime 1.31.1 needs CUDA 13 and cuDNN 9: pip install 'edgebird[gpu,cuda13]'"),
        ("libcuda.so.1", "install the NVIDIA driver; in a container start it with --gpus all"),
    ],
)
def test_a_missing_library_is_named_with_what_brings_it(
    missing: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: str, mode: int = 0) -> None:
        if path.endswith("cuda.so"):
            raise OSError(f"{missing}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("ctypes.CDLL", load)
    module: Any = SimpleNamespace(__file__="/x/onnxruntime/__init__.py", __version__="1.31.1", cuda_version="13.0")
    assert (missing_library(module, "ort-cuda") or "").startswith(f"{missing} is missing: {told}")


def test_a_provider_that_can_be_loaded_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("ctypes.CDLL", lambda path, mode=0: loaded.append(Path(path).name))
    module: Any = SimpleNamespace(__file__="/x/onnxruntime/__init__.py", __version__="1.31.1", cuda_version="13.0")
    assert missing_library(module, "ort-tensorrt") is None
    assert loaded == ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_tensorrt.so"]


def test_tensorrt_that_is_missing_is_not_told_as_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of pip that edgebird names brings it."""

    def load(path: str, mode: int = 0) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("ctypes.CDLL", load)
    module: Any = SimpleNamespace(__file__="/x/onnxruntime/__init__.py", __version__="1.31.1", cuda_version="13.0")
    assert missing_library(module, "ort-tensorrt") == (
        "libnvinfer.so.10 is missing: ONNX Runtime 1.31.1 needs TensorRT 10 on the library path (docs/gpu.md)"
    )


@pytest.mark.parametrize(("version", "major"), [("13.0", "13"), ("12.8.1", "12"), ("", "?"), (None, "?")])
def test_the_cuda_of_a_build_is_its_major_version(version: str | None, major: str) -> None:
    """It is a part of the command that the user is to run: `edgebird[gpu,cuda13]`."""
    module: Any = SimpleNamespace(cuda_version=version)
    assert ort_libraries.cuda_major(module) == major
    assert ort_libraries.cuda_major(cast(Any, SimpleNamespace())) == "?"


def test_what_onnx_runtime_prints_of_missing_libraries_is_not_on_stdout(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """There are events on stdout, and a program that reads them."""

    def preload_dlls(directory: str) -> None:
        assert directory == ""
        print("Failed to load libcudnn.so.9")
        warnings.warn("no CUDA", stacklevel=1)  # an error in these tests, unless it is hushed

    caplog.set_level("DEBUG", "edgebird.runtimes.ort_libraries")
    preload(cast(Any, SimpleNamespace(preload_dlls=preload_dlls)))
    assert capsys.readouterr().out == ""
    assert "ONNX Runtime: Failed to load libcudnn.so.9" in caplog.text
