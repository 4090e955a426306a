"""The ONNX graph: what an engine, and whoever reads or quantizes it, may rely on."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle, GoldenData, open_bundle
from edgebird.errors import ParityError
from edgebird.types import FloatArray
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from edgebird.export import graph  # noqa: E402
from edgebird.export.exporter import ExportRequest, export_bundle  # noqa: E402
from edgebird.export.families.folds import load  # noqa: E402
from edgebird.export.families.folds import windows as golden  # noqa: E402
from edgebird.export.families.folds.experiments import WINDOW_SAMPLES  # noqa: E402
from edgebird.export.operators import TENSORRT  # noqa: E402
from edgebird.runtimes.ort_session import session_of  # noqa: E402
from edgebird.runtimes.trt.build import build_engine  # noqa: E402
from edgebird.runtimes.trt.request import EngineRequest  # noqa: E402
from tests.seeded import loaded  # noqa: E402

# Bundles of narrow folds, and how many frontends of each kind they need.
BUNDLES = {
    "exp105": (("exp105",), {"mel": 1, "pcen": 0}),
    "exp107": (("exp107",), {"mel": 0, "pcen": 1}),
    "ensemble": (("exp105", "exp106", "exp107"), {"mel": 1, "pcen": 1}),
}
SCALAR_POWERS = 2  # Mul by a constant: of GeM p and 1 / p, of PCEN -alpha and r


def few_golden_windows(patch: pytest.MonkeyPatch, count: int) -> None:
    """Fewer than there are: sooner, and enough for what is tested here."""
    every = golden.golden_windows()
    first = GoldenData(every.audio[:count], every.scores[:count], every.names[:count])
    patch.setattr(golden, "golden_windows", lambda: first)


@pytest.fixture(scope="session")
def bundles(
    narrow_folds: dict[str, Path], exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    opened = {"exp105": open_bundle(exported)}
    with pytest.MonkeyPatch.context() as patch:
        few_golden_windows(patch, 4)
        for name in BUNDLES.keys() - opened.keys():
            folds = tuple(narrow_folds[fold] for fold in BUNDLES[name][0])
            opened[name] = export_bundle(ExportRequest(folds, tmp_path_factory.mktemp("graphs") / name))
    return opened


@pytest.fixture(scope="session")
def models(bundles: dict[str, Bundle]) -> dict[str, Any]:
    return {name: onnx.load(bundle.model()) for name, bundle in bundles.items()}


@pytest.fixture(params=BUNDLES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, models: dict[str, Any]) -> Any:
    """An onnx.ModelProto; read only."""
    return models[name]


def windows(count: int) -> FloatArray:
    return golden.golden_audio()[:count].astype(np.float32) / 32768.0


def constants(model: Any) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


# --------------------------------------------------------------------------------------------------------- the contract
def test_audio_goes_in_and_scores_come_out_at_any_batch_size(model: Any) -> None:
    def told(values: Any) -> list[tuple[Any, ...]]:
        return [
            (v.name, v.type.tensor_type.elem_type, *(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim))
            for v in values
        ]

    assert told(model.graph.input) == [("audio", onnx.TensorProto.FLOAT, "batch", 160_000)]
    assert told(model.graph.output) == [("scores", onnx.TensorProto.FLOAT, "batch", 264)]


def test_every_shape_is_known_but_for_the_batch(model: Any) -> None:
    """Engines plan memory from the shapes, and a dimension they do not know would cost a profile."""
    known = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    outputs = {output for node in model.graph.node for output in node.output} - {"scores"}
    assert known.keys() == outputs
    assert [name for name, dims in known.items() if sum(not dim.dim_value for dim in dims) > 1] == []


def test_it_is_valid_onnx_of_an_opset_that_jetpack_6_reads(model: Any) -> None:
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert [(entry.domain, entry.version <= 20) for entry in model.opset_import] == [("", True)]
    assert model.ir_version <= 10  # ONNX Runtime 1.20, the oldest that pyproject.toml allows


def test_its_operators_are_plain_ones(model: Any) -> None:
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators.keys() <= TENSORRT
    unwanted = {"BatchNormalization", "Cast", "Constant", "DFT", "Expand", "Identity", "If", "Loop", "Scan", "Shape"}
    assert not operators.keys() & unwanted
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_equal_frontends_are_there_once(name: str, models: dict[str, Any]) -> None:
    folds, frontends = BUNDLES[name]
    nodes = models[name].graph.node
    logarithms = sum(node.op_type == "Log" and node.name.startswith("frontend/") for node in nodes)
    assert logarithms == frontends["mel"] + 2 * frontends["pcen"]
    operators = Counter(node.op_type for node in nodes)
    assert (operators["Pad"], operators["Gemm"]) == (1, len(folds))  # even unlike frontends share their frames


def test_no_factor_is_left_that_could_be_folded(name: str, models: dict[str, Any]) -> None:
    """Only the powers exp(p * log(x)) multiply by a constant."""
    folds, frontends = BUNDLES[name]
    model, values = models[name], constants(models[name])
    nodes = model.graph.node
    made_by = {output: node for node in nodes for output in node.output}
    read_by = {value: node for node in nodes for value in node.input}
    places: Counter[str] = Counter()
    for node in nodes:
        if node.op_type in ("Mul", "Div") and any(i in values and values[i].size == 1 for i in node.input):
            (factor,) = (i for i in node.input if i not in values)
            assert (made_by[factor].op_type, node.op_type, read_by[node.output[0]].op_type) == ("Log", "Mul", "Exp")
            places["pool" if "pool/" in node.name else node.name.split("/")[0]] += 1
    wanted = {"pool": SCALAR_POWERS * len(folds), "frontend": SCALAR_POWERS * frontends["pcen"]}
    assert places == Counter({place: count for place, count in wanted.items() if count})


# ---------------------------------------------------------------------------------------------------------------- names
PLACE = re.compile(
    r"(frontend/(\d/)?([a-z]\w*/)*[A-Z]\w+"
    r"|(fold\.\d/)?(stem\.\w+|stages\.\d\.\d\.[\w.]+|stages\.\d\.\d|final_conv|pool|head/\w+)(/[A-Z]\w+)?"
    r"|folds/[A-Z]\w+)"
)


def test_names_of_nodes_say_where_they_belong_and_are_unique(name: str, model: Any) -> None:
    nodes = [node.name for node in model.graph.node]
    assert max(Counter(nodes).values()) == 1
    assert [node for node in nodes if not PLACE.fullmatch(node)] == []
    fold = "fold.2/" if name == "ensemble" else ""
    assert {f"{fold}stages.2.0.conv2b", f"{fold}stem.conv1", f"{fold}final_conv", f"{fold}head/linear"} <= set(nodes)
    assert any(node.startswith(("folds/", "fold.")) for node in nodes) is (name == "ensemble")


def test_names_of_weights_say_where_they_belong(name: str, model: Any) -> None:
    names = [tensor.name for tensor in model.graph.initializer]
    fold = "fold.1/" if name == "ensemble" else ""
    assert all(names)
    assert max(Counter(names).values()) == 1
    assert {f"{fold}stages.0.0.conv1.weight", f"{fold}stages.0.0.conv1.bias", f"{fold}head/linear.bias"} <= set(names)
    assert [n for n in names if not re.match(r"(frontend|fold\.\d|folds|stem|stages|final_conv|pool|head)\b", n)] == []
    used = {value for node in model.graph.node for value in node.input}
    assert set(names) <= used


def test_the_images_of_the_card_are_what_the_network_reads(name: str, bundles: dict[str, Bundle], model: Any) -> None:
    card = bundles[name].card
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in model.graph.value_info}
    wanted = [[1, 128, 313]] * BUNDLES[name][1]["mel"] + [[1, 313, 128]] * BUNDLES[name][1]["pcen"]
    assert [shapes[image] for image in card.images] == wanted


# ------------------------------------------------------------------------------------------------------ what it carries
def test_it_knows_what_it_is_without_its_card(name: str, bundles: dict[str, Bundle], model: Any) -> None:
    card, told = bundles[name].card, {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told.pop("folds")) == [asdict(fold) for fold in card.folds]
    assert json.loads(told.pop("labels")) == [label.code for label in card.labels]
    assert told == {
        "edgebird": card.edgebird,
        "sample_rate": str(card.sample_rate),
        "window_samples": str(card.window_samples),
        "db_floor": card.db_floor,
        "activation": card.activation,
        "precision": "fp32",
    }


def test_it_tells_nothing_of_the_machine_it_was_made_on(
    name: str, bundles: dict[str, Bundle], model: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert (model.producer_name, model.producer_version, model.doc_string, model.graph.doc_string) == (
        "edgebird", "", "", "",
    )  # fmt: skip
    parts = (*model.graph.node, *model.graph.value_info, *model.graph.initializer, *model.graph.input)
    assert not any(part.doc_string or part.metadata_props for part in (*parts, *model.graph.output))
    assert not model.graph.metadata_props
    content = bundles[name].model().read_bytes()
    places = (Path(torch.__file__).parents[1], Path(__file__).parents[1], Path.home(), tmp_path_factory.getbasetemp())
    for trace in (*map(str, places), "torch", "onnxscript", ".py", "Traceback"):
        assert trace.encode() not in content, trace


@pytest.fixture(scope="module")
def as_torch_writes_it(narrow_folds: dict[str, Path]) -> Any:
    """The graph of exp105 before it is simplified."""
    return graph.to_onnx(loaded([narrow_folds["exp105"]]).freeze(), WINDOW_SAMPLES)


def test_the_same_fold_gives_the_same_bytes(as_torch_writes_it: Any, bundles: dict[str, Bundle]) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(bundles["exp105"].model()).metadata_props}
    again = graph.finish(graph.simplify(deepcopy(as_torch_writes_it)), metadata)
    assert again.SerializeToString() == bundles["exp105"].model().read_bytes()


# -------------------------------------------------------------------------------------------------------------- batches
def test_a_batch_scores_like_its_windows_alone(name: str, bundles: dict[str, Bundle]) -> None:
    session, audio = session_of(bundles[name].model(), threads=1), windows(7)
    together = session.run(["scores"], {"audio": audio})[0]
    alone = np.concatenate([session.run(["scores"], {"audio": audio[i : i + 1]})[0] for i in range(len(audio))])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_the_batch_floor_couples_windows_as_the_original_does(narrow_folds: dict[str, Path]) -> None:
    """Of four windows, a quiet one is cut off by the loudest: the author's scores, but not those of a stream."""
    folds = loaded([narrow_folds["exp108"]], db_floor="batch")
    session = session_of(graph.to_onnx(folds.freeze(), WINDOW_SAMPLES).SerializeToString(), threads=1)
    group = windows(8)[4:]  # the second is 50 dB down
    with torch.inference_mode():
        wanted = folds.models[0](torch.from_numpy(group)).sigmoid().numpy()
    together = session.run(["scores"], {"audio": group})[0]
    np.testing.assert_allclose(together, wanted, rtol=0, atol=1e-6)
    assert np.abs(together[1] - session.run(["scores"], {"audio": group[1:2]})[0]).max() > 1e-3


# -------------------------------------------------------------------------------------------------------- other engines
def test_openvino_reads_it_and_agrees(name: str, bundles: dict[str, Bundle]) -> None:
    openvino = require("openvino")
    compiled = openvino.Core().compile_model(bundles[name].model(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = bundles[name].golden()
    scores = compiled({"audio": wanted.windows()})["scores"]
    assert np.abs(scores - wanted.scores).max() <= 1e-4


def compiled(bundle: Bundle, out: Path) -> Path:
    """An engine for GPUs that are not here."""
    require("tensorrt_rtx")
    return build_engine(bundle, EngineRequest("tensorrt-rtx", capabilities=("sm86", "sm89", "sm120"), out=out))


def test_tensorrt_compiles_it(name: str, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = bundles[name].model()
    assert compiled(bundles[name], tmp_path).stat().st_size > 0.5 * path.stat().st_size


# -------------------------------------------------------------------------------------------- a step that breaks things
def without_beta(original: Callable[..., Any]) -> Callable[..., Any]:
    def freeze(folds: list[Any]) -> Any:
        for fold in folds:
            for module in fold.modules():
                if hasattr(module, "beta"):
                    module.beta = 1.0
        return original(folds)

    return freeze


def with_another_bias(original: Callable[..., Any]) -> Callable[..., Any]:
    def step(*arguments: Any) -> Any:
        model = original(*arguments)
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("final_conv.bias"))
        changed = onnx.numpy_helper.to_array(tensor) + np.float32(0.01)
        tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
        return model

    return step


@pytest.mark.parametrize(
    ("module", "function", "damage", "step"),
    [
        (load, "freeze", without_beta, "freeze"),
        (graph, "to_onnx", with_another_bias, "export"),
        (graph, "simplify", with_another_bias, "simplify"),
    ],
)
def test_a_step_that_changes_the_network_is_named_and_nothing_is_left(
    module: Any,
    function: str,
    damage: Callable[..., Any],
    step: str,
    narrow_folds: dict[str, Path],
    as_torch_writes_it: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_golden_windows(monkeypatch, 2)
    monkeypatch.setattr(graph, "to_onnx", lambda *_: deepcopy(as_torch_writes_it))
    monkeypatch.setattr(module, function, damage(getattr(module, function)))
    with pytest.raises(ParityError, match=f"step '{step}' changed the network: scores differ by up to"):
        export_bundle(ExportRequest((narrow_folds["exp105"],), tmp_path / "out"))
    assert not list(tmp_path.iterdir())
