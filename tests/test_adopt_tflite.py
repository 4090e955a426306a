"""A .tflite file becomes an ONNX graph: each operator as LiteRT computes it, for one window and for many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import require

require("onnx")
require("onnxruntime")
require("ai_edge_litert")

from edgebird.card import OPSET  # noqa: E402
from edgebird.errors import ExportError  # noqa: E402
from edgebird.export.adopt.tflite.convert import convert  # noqa: E402
from edgebird.export.operators import TENSORRT  # noqa: E402
from edgebird.runtimes.ort_session import session_of  # noqa: E402
from tests.flat_models import BIRDNET_CLASSES, BIRDNET_SAMPLES, FlatModel, birdnet_like, litert  # noqa: E402

Make = Callable[[FlatModel, int], int]
HOW = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
RANDOM = np.random.default_rng(0)


def sound(windows: int, samples: int) -> NDArray[np.float32]:
    return (np.random.default_rng(1).standard_normal((windows, samples)) * 0.1).astype(np.float32)


def weights(*shape: int) -> NDArray[np.float32]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def computed(path: Path, windows: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """By the converted graph, `size` windows at once."""
    model = convert(path)
    session = session_of(model.SerializeToString(), threads=1)
    source, output = model.graph.input[0].name, model.graph.output[0].name
    pieces = [windows[start : start + size] for start in range(0, len(windows), size)]
    return np.concatenate([session.run([output], {source: piece})[0] for piece in pieces])


@pytest.fixture(scope="module", params=[False, True], ids=["free", "fixed"])
def birdnet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with BirdNET v2.4's signature and operations; made for any number of windows, or for one."""
    return birdnet_like(tmp_path_factory.mktemp("birdnet") / "model.tflite", request.param)


def test_every_batch_size_scores_as_litert_scores_one_by_one(birdnet: Path) -> None:
    """The file is made for one window; a converted graph whose batch is free by name only gives other scores."""
    windows = sound(8, BIRDNET_SAMPLES)
    wanted = litert(birdnet, windows)
    for size in (1, 2, 3, 4, 8):
        np.testing.assert_allclose(computed(birdnet, windows, size), wanted, atol=1e-4)


def test_a_converted_graph_has_nothing_that_engines_do_not_take(birdnet: Path) -> None:
    """No complex numbers, no shapes that are reckoned while it runs, no operator that TensorRT 10.3 lacks."""
    model = convert(birdnet)
    found = {node.op_type for node in model.graph.node}
    assert found <= TENSORRT
    assert not found & {"Shape", "DFT", "STFT", "Loop", "If"}
    assert [entry.version for entry in model.opset_import] == [OPSET]
    (source,), (output,) = model.graph.input, model.graph.output
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (source, output)]
    assert shapes == [["batch", BIRDNET_SAMPLES], ["batch", BIRDNET_CLASSES]]


def test_the_spectrogram_is_one_product(birdnet: Path) -> None:
    """Window, transform and filters are one matrix: apart, they are ten times the work."""
    model = convert(birdnet)
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    products = [shapes[node.input[1]] for node in model.graph.node if node.op_type == "MatMul"]
    assert products == [[512, 12], [16, BIRDNET_CLASSES]]


def test_layers_are_not_transposed_one_by_one(birdnet: Path) -> None:
    """Images stay channels first from the first convolution to the last."""
    nodes = list(convert(birdnet).graph.node)
    first = next(index for index, node in enumerate(nodes) if node.op_type == "Conv")
    assert "Transpose" not in [node.op_type for node in nodes[first:]]


def test_a_tensor_within_becomes_an_output_where_it_is_asked_for(birdnet: Path) -> None:
    """BirdNET's embeddings are no output of its file."""
    model = convert(birdnet, ["model/GLOBAL_AVG_POOL/Mean", "not there"])
    assert [value.name for value in model.graph.output] == ["Identity", "model/GLOBAL_AVG_POOL/Mean"]


def image(flat: FlatModel, source: int, height: int, width: int, channels: int) -> int:
    return flat.add("RESHAPE", [source, flat.integers(-1, height, width, channels)], "image")


def convolved(padding: int, stride: tuple[int, int], kernel: tuple[int, int], dilation: int = 1) -> Make:
    def make(flat: FlatModel, source: int) -> int:
        how = {"padding": padding, "strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": 3}
        how |= {"dilationHFactor": dilation, "dilationWFactor": dilation}
        given = [image(flat, source, 7, 9, 2), flat.constant(weights(5, *kernel, 2)), flat.constant(weights(5))]
        return flat.add("CONV_2D", given, "out", **how)

    return make


def depthwise(flat: FlatModel, source: int) -> int:
    given = [image(flat, source, 7, 9, 2), flat.constant(weights(1, 3, 3, 6)), flat.constant(weights(6))]
    return flat.add(
        "DEPTHWISE_CONV_2D", given, "out", padding=0, depthMultiplier=3, **{**HOW, "strideH": 2, "strideW": 2}
    )


def pooled(kind: str) -> Make:
    def make(flat: FlatModel, source: int) -> int:
        how = {"padding": 0, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 2}
        return flat.add(kind, [image(flat, source, 7, 9, 2)], "out", **how)

    return make


def padded(flat: FlatModel, source: int) -> int:
    around = flat.constant([[0, 0], [1, 0], [0, 2], [0, 0]], "int32")
    x = flat.add("PAD", [image(flat, source, 7, 9, 2), around], "padded")
    return flat.add(
        "CONV_2D", [x, flat.constant(weights(3, 3, 3, 2)), flat.constant(weights(3))], "out", padding=1, **HOW
    )


def padded_elsewhere(flat: FlatModel, source: int) -> int:
    around = flat.constant([[0, 0], [0, 0], [0, 0], [1, 2]], "int32")
    return flat.add("PAD", [image(flat, source, 7, 9, 2), around], "out")


def mixed_layouts(flat: FlatModel, source: int) -> int:
    """A convolution's result with what was never one: the channels' order must not be mistaken."""
    x = image(flat, source, 7, 9, 2)
    y = flat.add("CONV_2D", [x, flat.constant(weights(2, 1, 1, 2)), flat.constant(weights(2))], "y", padding=0, **HOW)
    z = flat.add("ADD", [flat.add("MUL", [x, y], "xy"), flat.constant(weights(2))], "z")
    return flat.add("RESHAPE", [z, flat.integers(-1, 126)], "out")


def squeezed(flat: FlatModel, source: int) -> int:
    """As the geographic model reads its input."""
    cut = [source, flat.integers(0, 5), flat.integers(0, 6), flat.integers(1, 1)]
    x = flat.add("STRIDED_SLICE", cut, "x", beginMask=1, endMask=1, shrinkAxisMask=2)
    x = flat.add("EXPAND_DIMS", [x, flat.scalar(-1)], "column")
    x = flat.add("SIN", [flat.add("MUL", [x, flat.constant(weights(4))], "angles")], "sines")
    chosen = flat.add("GREATER", [x, flat.constant(0.01)], "chosen", "bool")
    return flat.add("SELECT_V2", [chosen, x, flat.constant(0.5)], "out")


def half_weights(flat: FlatModel, source: int) -> int:
    """FP16 files keep weights in half precision, and make them float32 before they are used."""
    kernel = flat.add("DEQUANTIZE", [flat.constant(weights(3, 126), "float16")], "kernel")
    return flat.add("FULLY_CONNECTED", [source, kernel, -1], "out", fusedActivationFunction=1)


def sliced(flat: FlatModel, source: int) -> int:
    return flat.add(
        "STRIDED_SLICE",
        [source, flat.integers(0, 3), flat.integers(0, 99), flat.integers(1, 4)],
        "out",
        beginMask=1,
        endMask=1,
    )


def summed(flat: FlatModel, source: int) -> int:
    x = flat.add("SUM", [image(flat, source, 7, 9, 2), flat.integers(2, 3)], "sum", keepDims=True)
    return flat.add("RESHAPE", [x, flat.integers(-1, 7)], "out")


@pytest.mark.parametrize(
    "make",
    [
        convolved(0, (2, 3), (3, 3)),
        convolved(1, (1, 2), (3, 2)),
        convolved(0, (1, 1), (3, 3), 2),
        depthwise,
        pooled("AVERAGE_POOL_2D"),
        pooled("MAX_POOL_2D"),
        padded,
        padded_elsewhere,
        mixed_layouts,
        squeezed,
        half_weights,
        sliced,
        summed,
        lambda flat, source: flat.add("SOFTMAX", [source], "out", beta=1.0),
        lambda flat, source: flat.add("POW", [flat.add("MUL", [source, source], "square"), flat.constant(0.3)], "out"),
    ],
    ids=lambda make: getattr(make, "__name__", "?"),
)
def test_an_operator_is_what_litert_makes_of_it(make: Make, tmp_path: Path) -> None:
    flat = FlatModel()
    source = flat.tensor("INPUT", (1, 126), (-1, 126))
    path = flat.save(tmp_path / "model.tflite", [source], [make(flat, source)])
    windows = sound(3, 126)
    np.testing.assert_allclose(computed(path, windows, 3), litert(path, windows), atol=1e-5)


def test_an_operator_that_is_not_converted_is_named(tmp_path: Path) -> None:
    """And not left out: a graph without it would score something."""
    flat = FlatModel()
    source = flat.tensor("INPUT", (1, 8), (-1, 8))
    path = flat.save(tmp_path / "model.tflite", [source], [flat.add("LOG_SOFTMAX", [source], "model/strange")])
    with pytest.raises(ExportError, match="LOG_SOFTMAX 'model/strange': no such operator is converted"):
        convert(path)


def test_weights_in_whole_numbers_are_refused(tmp_path: Path) -> None:
    """They are not what the float32 file says: an INT8 of edgebird's own is proven."""
    flat = FlatModel()
    source = flat.tensor("INPUT", (1, 8), (-1, 8))
    kernel = flat.add("DEQUANTIZE", [flat.constant(np.ones((3, 8)), "int8")], "kernel")
    path = flat.save(tmp_path / "m.tflite", [source], [flat.add("FULLY_CONNECTED", [source, kernel, -1], "out")])
    with pytest.raises(ExportError, match="weights in whole numbers: adopt the model's FP32 or FP16 file"):
        convert(path)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:100], lambda data: b"\0" * len(data), lambda data: b"not a model"]
)
def test_a_file_that_is_none_is_one_line(damage: Callable[[bytes], bytes], birdnet: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(damage(birdnet.read_bytes()))
    with pytest.raises(ExportError, match=r"model\.tflite: (damaged|not a \.tflite file)"):
        convert(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be read: No such file"):
        convert(tmp_path / "none.tflite")


def folded(kind: str, *values: Any, **options: Any) -> list[Any]:
    from edgebird.export.adopt.tflite.folding import Reckoned, fold

    return fold(kind, options, [Reckoned((np.asarray(v), np.asarray(v))) for v in values])


def test_what_differs_between_batch_sizes_is_the_batch() -> None:
    """Two dimensions that both depend on it cannot be one -1."""
    from edgebird.export.adopt.tflite.folding import Reckoned, free_dimension

    assert free_dimension(((2, 96, 5), (3, 96, 5))) == (-1, 96, 5)
    assert free_dimension(((10, 5), (15, 5))) == (-1, 5)
    with pytest.raises(ExportError, match="several dimensions"):
        free_dimension(((2, 4), (3, 6)))
    with pytest.raises(ExportError, match="a constant is wanted"):
        Reckoned((np.array([2]), np.array([3]))).constant  # noqa: B018
    assert folded("RANGE", 0, 6, 2)[0].constant.tolist() == [0, 2, 4]
