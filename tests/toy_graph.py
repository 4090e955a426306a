"""A graph as small as can be, with a frontend, a backbone of three nodes and a pooling. Needs onnx, but not torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conftest import require

onnx = require("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def toy(first: float, second: float, offset: float = 0.0) -> Any:
    """audio [batch, 16] -> image -> stem: x * first + offset, then that * second - offset * second -> map -> scores."""
    weights = {
        "shape": np.array([0, 1, 4, 4]),
        "axes": np.array([2, 3]),
        "w1": np.full((1, 1, 1, 1), first, np.float32),
        "b1": np.array([offset], np.float32),
        "w2": np.full((1, 1, 1, 1), second, np.float32),
        "b2": np.array([-offset * second], np.float32),
        "w3": np.ones((1, 1, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["audio", "shape"], ["image"], "frontend/Reshape"),
        helper.make_node("Conv", ["image", "w1", "b1"], ["a"], "stem.conv1"),
        helper.make_node("Conv", ["a", "w2", "b2"], ["b"], "stem.conv2"),
        helper.make_node("Conv", ["b", "w3"], ["map"], "final_conv"),
        helper.make_node("ReduceMean", ["map", "axes"], ["scores"], "pool/ReduceMean", keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def levels(*values: float) -> Any:
    """A window of each value: float32 [values, 16]."""
    return np.repeat(np.array(values, np.float32)[:, None], 16, axis=1)
