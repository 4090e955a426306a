"""The graph step by step: each node as an engine computes it, and a change of one reaches all that depend on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgebird.errors import ExportError
from edgebird.runtimes.ort_session import session_of
from tests.conftest import require

torch = require("torch")
require("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgebird.export.precisions import nodes  # noqa: E402
from edgebird.export.precisions.nodes import Geometry, geometry  # noqa: E402
from edgebird.export.precisions.stepwise import Stepwise  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402
from tests.toy_graph import levels, toy  # noqa: E402


@pytest.fixture
def network() -> Stepwise:
    return Stepwise(fp32_graph(toy(2.0, 3.0, offset=0.5)))


def test_step_by_step_it_scores_as_the_whole_graph(network: Stepwise) -> None:
    """What INT8 costs is measured here: an error of the walk itself would be told as the rounding's."""
    audio = levels(0.1, -0.4, 0.9)
    (whole,) = session_of(toy(2.0, 3.0, offset=0.5).SerializeToString()).run(["scores"], {"audio": audio})
    np.testing.assert_allclose(network.scores(network.walk(network.images(audio))), whole, atol=1e-6)


def test_memory_is_given_back_as_the_walk_goes_on(network: Stepwise) -> None:
    """A full network's tensors of all windows at once do not fit into a computer."""
    images = network.images(levels(0.1))
    assert network.walk(images).keys() == {"map"}
    assert network.walk(images, keep_all=True).keys() == {"image", "a", "b", "map"}
    assert images.keys() == {"image"}, "the caller's values were changed"


def test_one_node_is_replaced_and_the_others_are_computed_from_it(network: Stepwise) -> None:
    def doubled(node: Any, values: Any) -> Any:
        return 2 * network.compute(node, values) if node.name == "stem.conv1" else None

    images = network.images(levels(0.1))
    plain, changed = network.walk(images, keep_all=True), network.walk(images, doubled, keep_all=True)
    torch.testing.assert_close(changed["a"], 2 * plain["a"])
    torch.testing.assert_close(changed["map"], 3 * (2 * plain["a"] - 0.5))


def test_only_what_depends_on_a_node_is_computed_again(network: Stepwise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of hundreds of convolutions is tried: all of the network for each would take hours."""
    values = network.walk(network.images(levels(0.1)), keep_all=True)
    computed: list[str] = []
    compute = network.compute

    def noting(node: Any, values: Any) -> Any:
        computed.append(node.name)
        return compute(node, values)

    monkeypatch.setattr(network, "compute", noting)
    changed = network.with_output(values, network.nodes[1], values["b"] + 1)
    assert computed == ["final_conv"]
    torch.testing.assert_close(changed["map"], values["map"] + 1)
    assert changed["a"] is values["a"]


def test_windows_that_share_a_floor_are_given_to_the_frontend_together() -> None:
    """A quiet window beside loud ones has another image than alone."""
    network = Stepwise(fp32_graph(toy(1.0, 1.0), 4))
    sizes: list[int] = []

    class Frontend:
        def run(self, names: Any, given: Any) -> Any:
            sizes.append(len(given["audio"]))
            return [given["audio"].reshape(-1, 1, 4, 4)]

    network._frontend = Frontend()
    (image,) = network.images(levels(*range(10))).values()
    assert sizes == [4, 4, 2]
    np.testing.assert_array_equal(image[:, 0, 0, 0], range(10))


OPERATORS = [
    ("AveragePool", (1, 2, 5, 5), [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", (1, 2, 4, 4), [], {"kernel_shape": [2, 2]}),
    ("ReduceMean", (2, 3, 4, 4), [np.array([2, 3])], {"keepdims": 0}),
    ("ReduceMean", (2, 3, 4, 4), [np.array([2, 3])], {}),
    ("Reshape", (2, 3, 1, 1), [np.array([-1, 3, 1])], {}),
    ("Unsqueeze", (2, 3), [np.array([1])], {}),
    ("Conv", (1, 4, 6, 6), [np.ones((4, 2, 3, 3), np.float32)], {"group": 2, "pads": [1] * 4, "strides": [2, 2]}),
    ("Conv", (2, 1, 8), [np.ones((1, 1, 5), np.float32)], {"pads": [2, 2]}),
    ("Sigmoid", (1, 3), [], {}),
    ("Conv", (1, 2, 9, 11), [np.ones((3, 2, 4, 8), np.float32)], {"pads": [1, 3, 1, 4], "strides": [2, 3]}),
    ("AveragePool", (1, 2, 5, 6), [], {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [0, 1, 1, 1]}),
    ("AveragePool", (1, 2, 5, 6), [], {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    ("MaxPool", (1, 2, 5, 6), [], {"kernel_shape": [1, 2], "strides": [1, 2]}),
    ("MaxPool", (1, 2, 5, 6), [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("MaxPool", (1, 2, 5, 5), [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("GlobalAveragePool", (2, 3, 4, 5), [], {}),
    ("Relu", (2, 3), [], {}),
    ("Clip", (2, 3), [np.float32(0), np.float32(0.5)], {}),
    ("Clip", (2, 3), [np.float32(0.1)], {}),
    ("Concat", (2, 3, 2, 2), [np.ones((2, 1, 2, 2), np.float32)], {"axis": 1}),
    ("BatchNormalization", (2, 2, 3, 3), [np.array([1, 2], np.float32)] * 4, {"epsilon": 1e-3}),
    ("Reshape", (2, 3, 4), [np.array([0, 0, 2, 2])], {}),
    ("Squeeze", (2, 3, 1, 1), [np.array([2, 3])], {}),
    ("Unsqueeze", (2, 3), [np.array([2, 3])], {}),
    ("Transpose", (2, 3, 4, 5), [], {"perm": [0, 3, 1, 2]}),
    ("Sub", (2, 3), [np.ones((3,), np.float32)], {}),
    ("Div", (2, 3), [np.full((3,), 2, np.float32)], {}),
]


@pytest.mark.parametrize(
    ("kind", "shape", "constants", "attributes"),
    OPERATORS,
    ids=[f"{row[0]}-{i}" for i, row in enumerate(OPERATORS)],
)
def test_each_operator_is_computed_as_onnx_runtime_does(
    network: Stepwise, kind: str, shape: tuple[int, ...], constants: list[Any], attributes: dict[str, Any]
) -> None:
    values = np.random.default_rng(1).standard_normal(shape, np.float32)
    names = [f"constant{i}" for i in range(len(constants))]
    node = helper.make_node(kind, ["x", *names], ["y"], "node", **attributes)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True)]
    infos[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], "one", infos[:1], infos[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (wanted,) = session_of(model.SerializeToString()).run(None, {"x": values})
    given = {"x": torch.from_numpy(values), **{n: torch.tensor(c) for n, c in zip(names, constants, strict=True)}}
    found = network.compute(node, given).numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_convolution_without_attributes_walks_by_one_and_reads_no_padding() -> None:
    assert geometry(helper.make_node("Conv", ["x", "w"], ["y"])) == Geometry((1, 1), (0, 0, 0, 0), 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda node: setattr(node, "op_type", "ConvTranspose"), "ConvTranspose"),
        (lambda node: node.attribute.append(helper.make_attribute("dilations", [2, 2])), "a Conv with dilation"),
        (
            lambda node: node.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER")),
            "a Conv whose padding is not in numbers",
        ),
    ],
    ids=["operator", "dilation", "padding"],
)
def test_a_backbone_that_cannot_be_computed_is_told_by_its_node(change: Any, told: str) -> None:
    """Before hours of rounding, not in the middle of them."""
    model = toy(1.0, 1.0)
    change(model.graph.node[2])
    with pytest.raises(ExportError, match=rf"stem\.conv2: a backbone with {told} cannot be measured"):
        Stepwise(fp32_graph(model))


def test_a_network_that_scores_otherwise_step_by_step_is_refused(
    network: Stepwise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that is computed otherwise here would be told as the effect of a rounding."""
    network.require_same(levels(0.1, 0.2))
    monkeypatch.setitem(nodes._OPERATORS, "Conv", lambda node, inputs: 2 * nodes.convolve(node, inputs))
    with pytest.raises(ExportError, match=r"step by step the network scores otherwise, by \d"):
        network.require_same(levels(0.1, 0.2))
