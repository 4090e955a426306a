"""The backbone: what may lose precision is found by name, in an ensemble too, and its share of the work is counted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

require("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgebird.export.precisions.backbone import (  # noqa: E402
    backbone_nodes,
    block_of,
    element_types,
    low_share,
    map_tensors,
)
from tests.toy_graph import toy  # noqa: E402

BLOCK = re.compile(r"(?:stem|stages\.\d+\.\d+|final_conv)\b")


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("stages.2.10.conv2b", "stages.2.10"),
        ("stages.2.1.act/Mul", "stages.2.1"),
        ("fold.12/stages.0.0.conv1", "fold.12/stages.0.0"),
        ("final_conv", "final_conv"),
        ("final_convolution", None),
        ("frontend/0/stem.conv1", None),
        ("pool/ReduceMean", None),
        ("fold.1/head/linear", None),
        ("head/stages.0.0", None),
    ],
)
def test_a_node_is_of_the_backbone_by_the_start_of_its_name_alone(name: str, block: str | None) -> None:
    """A frontend in FP16 makes infinities of loud birds: no node of it may pass for one of the backbone."""
    assert block_of(helper.make_node("Relu", ["a"], ["b"], name), BLOCK) == block


def test_the_backbone_ends_where_the_pooling_begins() -> None:
    model = toy(1, 1)
    found = backbone_nodes(model, BLOCK)
    assert found == {"stem.conv1": "stem", "stem.conv2": "stem", "final_conv": "final_conv"}
    assert map_tensors(model, found) == ("map",)


def test_every_tensor_has_its_type() -> None:
    """What has none would be taken for float32, and a cast left out."""
    types = element_types(toy(1, 1))
    assert types["shape"] == TensorProto.INT64
    assert {types[name] for name in ("audio", "image", "a", "w1", "map", "scores")} == {TensorProto.FLOAT}


def product(kind: str, shape: tuple[int, ...], weight: tuple[int, ...], **attributes: Any) -> Any:
    """A graph of a 1x1 convolution of 2 -> 3 channels on 4x4, and another product beside it."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["map"], "conv"),
            helper.make_node(kind, ["input", "matrix"], ["output"], "product", **attributes),
        ],
        "work",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2, 4, 4]),
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape]),
        ],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 3, 4, 4]),
            helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *shape[:-1], weight[-1]]),
        ],
        [
            numpy_helper.from_array(np.zeros((3, 2, 1, 1), np.float32), "w"),
            numpy_helper.from_array(np.zeros(weight, np.float32), "matrix"),
        ],
    )
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("kind", "shape", "weight", "work"), [("MatMul", (5, 7), (7, 9), 5 * 7 * 9), ("Gemm", (7,), (7, 9), 7 * 9)]
)
def test_the_share_is_that_of_the_multiplications(
    kind: str, shape: tuple[int, ...], weight: tuple[int, ...], work: int
) -> None:
    """The card tells how much of the work is fast: nodes are no measure, the first convolutions do most."""
    model, convolution = product(kind, shape, weight), 3 * 4 * 4 * 2
    assert low_share(model, {"conv"}) == pytest.approx(convolution / (convolution + work))
    assert low_share(model, {"conv", "product", "anything"}) == 1.0
    assert low_share(model, ()) == 0.0
