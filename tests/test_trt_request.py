"""What engine to build: options that do not fit together are told before minutes of building."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgebird.errors import RuntimeUnavailableError, UsageError
from edgebird.runtimes.trt.request import EngineRequest, check_capabilities, check_request, hardware_name


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"runtime": "ort-cpu"}, "engines are built for tensorrt or tensorrt-rtx"),
        ({"capabilities": ("sm86",), "out": Path("x")}, "--for needs --runtime tensorrt-rtx"),
        ({"runtime": "tensorrt-rtx", "capabilities": ("sm86",)}, "--for and --out DIR go together"),
        ({"runtime": "tensorrt-rtx", "out": Path("x")}, "--for and --out DIR go together"),
        ({"runtime": "tensorrt-rtx", "capabilities": ("ampere",), "out": Path("x")}, "--for ampere: wanted a compute"),
        ({"hardware": "any"}, "--hardware-compatible any: wanted same-compute-capability or ampere-plus"),
        ({"optimization_level": 6}, "--optimization-level 6: wanted 0 to 5"),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_usage(request_: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_request(EngineRequest(**request_))


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"hardware": "ampere-plus", "version_compatible": True, "optimization_level": 0},
        {"runtime": "tensorrt-rtx", "capabilities": ("sm86", "sm120"), "out": Path("x")},
    ],
)
def test_options_that_fit_together_are_taken(request_: dict[str, Any]) -> None:
    check_request(EngineRequest(**request_))


class Compiler:
    """As much of TensorRT-RTX as tells what it compiles for."""

    __name__, __version__ = "tensorrt_rtx", "1.7.1"

    class ComputeCapability:
        __members__: ClassVar = dict.fromkeys(["NONE", "CURRENT", "SM120", "SM86", "SM89"])


@pytest.mark.parametrize(
    ("capability", "told"),
    [
        ("sm90", r"^TensorRT-RTX 1\.7\.1 compiles for sm86, sm89, sm120, not for sm90$"),
        ("sm87", r"not for sm87 \(Jetson Orin\): its engine is built on it, with --runtime tensorrt$"),
    ],
)
def test_a_gpu_that_is_not_compiled_for_is_told_with_those_that_are(capability: str, told: str) -> None:
    trt: Any = Compiler()
    check_capabilities(trt, EngineRequest("tensorrt-rtx", capabilities=("sm86", "sm120")))
    check_capabilities(trt, EngineRequest("tensorrt-rtx"))
    with pytest.raises(RuntimeUnavailableError, match=told):
        check_capabilities(trt, EngineRequest("tensorrt-rtx", capabilities=("sm86", capability)))


@pytest.mark.parametrize(("hardware", "name"), [(None, "NONE"), ("ampere-plus", "AMPERE_PLUS")])
def test_levels_of_hardware_are_named_as_tensorrt_does(hardware: str | None, name: str) -> None:
    assert hardware_name(EngineRequest(hardware=hardware)) == name
