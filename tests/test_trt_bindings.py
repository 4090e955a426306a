"""TensorRT's Python bindings: what is missing is told with what brings it, and what TensorRT says in one line."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.runtimes.trt import bindings
from edgebird.runtimes.trt.bindings import TrtLog, cannot_start, dtype_name, free_batch, import_tensorrt, title


def module(name: str, version: str) -> ModuleType:
    made = ModuleType(name)
    made.__version__ = version  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.0.0.114"])
def test_a_tensorrt_that_is_new_enough_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """10.16 is newer than 10.3, though its text is less."""
    trt = module("tensorrt", version)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    assert import_tensorrt("tensorrt") is trt
    assert title(trt) == f"TensorRT {version}"


@pytest.mark.parametrize("version", ["8.6.2", "10.0.1"])
def test_one_that_is_too_old_is_told_with_what_brings_a_newer(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", module("tensorrt", version))
    with pytest.raises(RuntimeUnavailableError, match=rf"10\.3 or newer .*JetPack 6\.1\), here is {version}"):
        import_tensorrt("tensorrt")


def test_versions_of_tensorrt_rtx_are_counted_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.7 of TensorRT-RTX is not older than 10.3 of TensorRT."""
    trt = module("tensorrt_rtx", "1.7.1")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", trt)
    assert title(import_tensorrt("tensorrt-rtx")) == "TensorRT-RTX 1.7.1"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"), NotInstalledError),
        (ModuleNotFoundError("No module named 'tensorrt_libs'", name="tensorrt_libs"), RuntimeUnavailableError),
        (ImportError("libnvinfer.so.10: cannot open shared object file"), RuntimeUnavailableError),
    ],
    ids=["not installed", "part of it", "without its libraries"],
)
def test_what_is_not_installed_is_told_from_what_cannot_be_loaded(
    error: ImportError, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` passes over what nobody installed without a word, but not over an installation that is broken."""

    def fail(_name: str) -> None:
        raise error

    monkeypatch.setattr(bindings.importlib, "import_module", fail)
    with pytest.raises(RuntimeUnavailableError, match="tensorrt needs TensorRT: ") as caught:
        import_tensorrt("tensorrt")
    assert type(caught.value) is kind
    assert str(error) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "l4t", "told"),
    [
        (
            "tensorrt",
            None,
            "pip install 'edgebird[tensorrt]', for a driver of CUDA 12 pip install tensorrt-cu12 (docs/gpu.md)",
        ),
        ("tensorrt", "36.4.3", "sudo apt install python3-libnvinfer, in a venv with --system-site-packages"),
        ("tensorrt-rtx", "36.4.3", "pip install 'edgebird[tensorrt-rtx]'"),
    ],
)
def test_the_command_that_installs_it_is_that_of_the_machine(
    name: str, l4t: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Jetson pip has none that fits."""
    monkeypatch.setattr(bindings, "l4t", lambda: l4t)
    assert bindings.how_to_install(name) == told


def test_the_last_problem_is_the_one_that_is_told() -> None:
    """Kernels that were tried and skipped are told as errors before it."""
    said = TrtLog()
    assert said.explain("no reason given") == "no reason given"
    said.take("ERROR", "skipped tactic 1")
    said.take("WARNING", "slow")
    said.take("INTERNAL_ERROR", "no implementation\n  for node X")
    assert said.explain("no reason given") == "no implementation for node X (and 1 more: see -v)"
    said.take("ERROR", "x" * 1000)
    assert len(said.explain("")) < 450
    assert "\n" not in said.explain("")


def test_memory_figures_are_kept_and_details_are_not() -> None:
    """A build says thousands of verbose lines: all of them would fill a Jetson's memory."""
    said = TrtLog()
    said.take("VERBOSE", "Peak memory usage of a layer")
    said.take("INFO", "[MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 1 MiB, GPU 2 MiB")
    assert len(said.memory) == 1
    assert said.problems == []


def test_one_that_cannot_start_is_told_with_its_words_or_the_usual_cause() -> None:
    trt, said = module("tensorrt", "10.3.0"), TrtLog()
    assert "TensorRT 10.3.0 cannot start: no NVIDIA GPU or driver here" in str(cannot_start(trt, said))
    said.take("ERROR", "CUDA initialization failure with error: 35")
    assert str(cannot_start(trt, said)) == "TensorRT 10.3.0 cannot start: CUDA initialization failure with error: 35"


def test_types_and_shapes_are_named_as_cards_name_them() -> None:
    """Else every graph would seem to be another than its card's."""
    kinds: list[Any] = [SimpleNamespace(name=name) for name in ("FLOAT", "HALF", "INT8")]
    assert [dtype_name(kind) for kind in kinds] == ["float32", "half", "int8"]
    assert free_batch((-1, 40000)) == ("batch", 40000)
    assert free_batch((2, 40000)) == (2, 40000)
