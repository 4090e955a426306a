"""The lint: each engine's refusal of a node is known before anybody builds for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

require("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgebird.export.operators import lint  # noqa: E402
from tests.toy_graph import toy  # noqa: E402

JETSON = "TensorRT 10.3 (JetPack 6)"


def opset_21(model: Any) -> None:
    model.opset_import[0].version = 21


def unknown_operator(model: Any) -> None:
    model.graph.node[2].op_type = "STFT"


def own_domain(model: Any) -> None:
    model.graph.node[2].domain = "com.microsoft"


def float64(model: Any) -> None:
    model.graph.value_info[1].type.tensor_type.elem_type = TensorProto.DOUBLE


def asymmetric(model: Any) -> None:
    model.graph.node[2].CopyFrom(helper.make_node("QuantizeLinear", ["a", "w2", "zero"], ["b"], "stem.conv2"))
    model.graph.initializer.append(numpy_helper.from_array(np.int8([3]), "zero"))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (opset_21, {"toy": "opset 21, wanted 9 to 20"}),
        (unknown_operator, {"stem.conv2": "operator STFT"}),
        (own_domain, {"stem.conv2": "operator com.microsoft.Conv"}),
        (float64, {"stem.conv1": "a is double", "stem.conv2": "a is double"}),
        (asymmetric, {"stem.conv2": "its zero point is not a constant 0: only symmetric quantization is taken"}),
    ],
)
def test_the_lint_names_what_a_jetson_would_refuse_and_why(
    change: Callable[[Any], None], found: dict[str, str]
) -> None:
    model = toy(1, 1)
    assert lint(model)[JETSON] == {}
    change(model)
    assert lint(model)[JETSON] == found


def reduced(opset: int, element: int = TensorProto.FLOAT) -> Any:
    """The loudest sample of each window, in a definition of an opset."""
    values = [helper.make_tensor_value_info(name, element, ["batch", 8]) for name in ("audio", "most")]
    values[1].type.tensor_type.shape.dim[1].dim_value = 1
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["audio", "axis"], ["most"], "peak")], "toy", values[:1], values[1:], [axis]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_the_lint_knows_the_kernels_of_onnx_runtime_by_version() -> None:
    """With a graph of opset 20 nobody below 1.27 could use a GPU, and nothing said so."""
    cuda = {engine: found for engine, found in lint(reduced(20)).items() if "CUDA" in engine}
    reason = "ReduceMax of opset 20, kernels are of 1 to 17, 18"  # from 18 on without an end: of that definition alone
    assert cuda == {
        "ONNX Runtime CUDA 1.23.2 to 1.26.0": {"peak": reason},
        "ONNX Runtime CUDA 1.27.0 to 1.31.1": {},
    }
    assert not any(lint(reduced(18)).values())
    (found,) = [found for engine, found in lint(reduced(18, TensorProto.BOOL)).items() if "CUDA" in engine]
    assert found == {"peak": "no kernel of ReduceMax for its types"}
    (found,) = [found for engine, found in lint(reduced(20)).items() if "WebGPU" in engine]
    assert found == {"peak": "ReduceMax of opset 20, kernels are of 18"}


def test_a_node_without_any_kernel_is_named_for_each_engine() -> None:
    model = toy(1, 1)
    unknown_operator(model)
    reasons = {engine: found.get("stem.conv2") for engine, found in lint(model).items() if engine != JETSON}
    assert reasons == {
        "ONNX Runtime CUDA 1.23.2 to 1.31.1": "no kernel for STFT",
        "ONNX Runtime WebGPU 0.4.0": "STFT was not tried",
    }


def celu(model: Any) -> None:
    model.graph.node[1].CopyFrom(helper.make_node("Celu", ["a"], ["b"], "unit"))


def mish(model: Any) -> None:
    model.graph.node[1].CopyFrom(helper.make_node("Mish", ["a"], ["b"], "unit"))


def branching(model: Any) -> None:
    inner = helper.make_graph(
        [helper.make_node("Acos", ["a"], ["c"])], "inner", [], [helper.make_tensor_value_info("c", 1, None)]
    )
    model.graph.node[1].CopyFrom(helper.make_node("If", ["yes"], ["b"], "unit", then_branch=inner, else_branch=inner))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (celu, "no kernel for Celu"),
        (mish, None),  # there is no kernel, but ONNX Runtime puts its definition in its place
        (branching, "If holds a graph of its own, which nobody looked into"),
    ],
)
def test_an_empty_answer_of_the_lint_is_a_promise(change: Callable[[Any], None], reason: str | None) -> None:
    """ONNX Runtime 1.31.1 was asked: it takes Mish on CUDA, and refuses Celu and this branch."""
    model = toy(1, 1)
    change(model)
    (found,) = [found for engine, found in lint(model).items() if "CUDA" in engine]
    assert found.get("unit") == reason
