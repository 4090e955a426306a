"""A published model becomes a bundle: recognised by what it says, proven by somebody else, or refused with a reason."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

require("onnx")
require("onnxruntime")

from edgebird.bundle import Bundle  # noqa: E402
from edgebird.card import SCORES, Scaling  # noqa: E402
from edgebird.errors import EdgebirdError, ExportError, LabelError, ParityError, UsageError  # noqa: E402
from edgebird.export.adopt import adopter  # noqa: E402
from edgebird.export.adopt.adopter import AdoptRequest, adopt  # noqa: E402
from edgebird.runtimes import RuntimeOptions, open_runtime  # noqa: E402
from edgebird.verification import verify  # noqa: E402
from tests.adopting import CLASSES, SAMPLES, constants, labels_csv, labels_txt, network, perch, version3  # noqa: E402


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lower precisions need is not needed here: bf16 is judged where torch is, which takes a while."""
    monkeypatch.setattr(adopter, "find_spec", lambda _name: None)


def adopted(tmp_path: Path, model: Path, **given: Any) -> tuple[Bundle, list[str]]:
    lines: list[str] = []
    given.setdefault("labels", labels_txt(tmp_path / "six.txt"))
    return adopt(AdoptRequest(model, tmp_path / "bundle", **given), lines.append), lines


def verdicts(bundle: Bundle, runtime: str = "ort-cpu") -> list[bool]:
    return [found.passed for found in verify(bundle, runtime)]


@pytest.mark.parametrize(
    "order", [("predictions", "embeddings"), ("embeddings", "predictions"), ("output", "embeddings")]
)
def test_birdnet_v3_is_recognised_by_its_names_in_whatever_order(order: tuple[str, str], tmp_path: Path) -> None:
    """Its exports differ in it: by order, 1280 embeddings would be taken for the scores of as many birds."""
    bundle, lines = adopted(tmp_path, version3(tmp_path / "v3.onnx", order))
    card = bundle.card
    assert card.provenance is not None
    assert card.provenance.family == "birdnet-v3"
    assert card.output.name in ("predictions", "output")
    assert card.outputs["embeddings"].name == "embeddings"
    assert card.activation == "none"
    assert card.reference.startswith("float32, ONNX Runtime ")
    assert any("against float32, ONNX Runtime" in line for line in lines)
    assert verdicts(bundle) == [True]


def test_a_model_of_any_length_hears_windows_of_its_family(tmp_path: Path) -> None:
    bundle, _ = adopted(tmp_path, version3(tmp_path / "v3.onnx", samples="samples"))
    assert bundle.card.input.shape == ("batch", SAMPLES)
    assert verdicts(bundle) == [True]


def test_perch_is_scored_with_its_scaling_and_a_softmax_over_one_of_four_outputs(tmp_path: Path) -> None:
    bundle, _ = adopted(tmp_path, perch(tmp_path / "perch.onnx"), labels=labels_csv(tmp_path / "labels.csv"))
    card = bundle.card
    assert card.provenance is not None
    assert (card.provenance.family, card.output.name, card.activation) == ("perch-v2", "label", "softmax")
    assert card.scaling == Scaling(remove_mean=True, peak=0.25)
    assert card.not_birds == {"Speech": "human", "Bark": "dog"}
    window = np.random.default_rng(0).normal(0.1, 0.01, (1, SAMPLES)).astype(np.float32)
    runtime = open_runtime(bundle, "ort-cpu", RuntimeOptions(outputs=("embeddings",)))
    found = runtime.infer_outputs(window)
    runtime.close()
    level = window.astype(np.float64) - window.mean()
    values = constants()
    embedding = (level * 0.25 / np.abs(level).max()) @ values["bands"]
    logits = np.exp(embedding @ values["weights"] + values["bias"])
    np.testing.assert_allclose(found["embeddings"], embedding, atol=1e-4)
    np.testing.assert_allclose(found[SCORES], logits / logits.sum(), atol=1e-5)


def test_constants_that_are_nodes_are_no_images(tmp_path: Path) -> None:
    """Else a backbone whose exporter wrote a node for each constant would have these as its inputs."""
    from onnx import helper, numpy_helper

    from edgebird.export.adopt.graphs import fitted, parts_of
    from tests.toy_graph import toy

    model = toy(1.0, 1.0)
    factor = numpy_helper.from_array(np.float32(2), "factor")
    nodes = [
        helper.make_node("Constant", [], ["factor"], "c", value=factor),
        helper.make_node("Mul", ["a", "factor"], ["m"]),
    ]
    model.graph.node[2].input[0] = "m"
    for place, node in enumerate(nodes, 2):
        model.graph.node.insert(place, node)
    made = fitted(model, ["scores"], 16)
    assert "Constant" not in {node.op_type for node in made.graph.node}
    parts = parts_of(made)
    assert (parts.images, parts.maps) == (("image",), ("map",))


def test_outputs_that_nobody_asked_for_are_not_computed(tmp_path: Path) -> None:
    """Perch's spectrogram and spatial embedding are large: a TensorRT engine would write them for each window."""
    import onnx

    bundle, _ = adopted(tmp_path, perch(tmp_path / "perch.onnx"), labels=labels_csv(tmp_path / "labels.csv"))
    graph = onnx.load(bundle.model()).graph
    assert [value.name for value in graph.output] == ["label", "embedding"]
    assert not [node.name for node in graph.node if node.name.startswith(("spatial", "spectrogram"))]


def test_a_fixed_batch_stays_one(tmp_path: Path) -> None:
    bundle, _ = adopted(tmp_path, version3(tmp_path / "v3.onnx", batch=1))
    assert bundle.card.fixed_batch == 1
    assert verdicts(bundle) == [True]


def test_a_model_that_nobody_knows_is_described_by_its_user(tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text(
        'sample_rate = 32000\nscores = "birds"\nactivation = "sigmoid"\nsensitivity = 1.5\nlicence = "CC0"\n'
        'source = "me"\n[further]\nembeddings = "vector"\n[scaling]\nrms = 0.1\n[not_birds]\nDog = "dog"\n'
    )
    model = network(tmp_path / "mine.onnx", {"vector": "embedding", "birds": "logits"})
    bundle, _ = adopted(tmp_path, model, card=card)
    found = bundle.card
    assert found.provenance is not None
    assert (found.provenance.licence, found.provenance.source, found.provenance.family) == ("CC0", "me", "")
    assert (found.activation, found.sensitivity, found.scaling) == ("sigmoid", 1.5, Scaling(rms=0.1))
    assert (found.not_birds, found.outputs["embeddings"].name) == ({"Dog": "dog"}, "vector")
    assert verdicts(bundle) == [True]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sample_rate = -1", "no positive whole number"),
        ("sample_rate = 1\nrate = 2", "'rate' is nothing that a card says"),
        ('activation = "relu"', "activation 'relu': wanted none, sigmoid, softmax"),
        ("[scaling]\nlevel = 3", "scaling has no 'level'"),
        ("this is no toml", "not a TOML file"),
        ('scores = "birds"', "nobody says at which rate the model hears"),
    ],
)
def test_a_description_that_is_none_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text(text)
    with pytest.raises(EdgebirdError, match=told):
        adopted(tmp_path, network(tmp_path / "mine.onnx", {"birds": "logits"}), card=card)


@pytest.mark.parametrize("text", ['scores = "bird"', 'scores = "birds"\n[further]\nembeddings = "bird"'])
def test_an_output_that_the_card_names_and_nobody_has_is_told(text: str, tmp_path: Path) -> None:
    """To adopt the model without what its user asked for would be found out in a survey."""
    card = tmp_path / "mine.toml"
    card.write_text(f"sample_rate = 32000\n{text}")
    told = r"mine\.toml: the model has no output 'bird', it is input \[\?, 160000\] -> birds \[\?, 6\]"
    with pytest.raises(ExportError, match=told):
        adopted(tmp_path, network(tmp_path / "mine.onnx", {"birds": "logits"}), card=card)


def test_a_model_of_no_family_is_told_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"no family has input \[\?, 800\] -> birds \[\?, 6\]; or describe it with --card"
    ):
        adopted(tmp_path, network(tmp_path / "mine.onnx", {"birds": "logits"}, samples=800))
    assert not (tmp_path / "bundle").exists()


def test_a_family_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"this is no perch-v2: it has no output embedding"):
        adopted(tmp_path, version3(tmp_path / "v3.onnx"), family="perch-v2")
    with pytest.raises(ExportError, match=r"--as parrot: wanted birdnet-v2\.4"):
        adopted(tmp_path, version3(tmp_path / "v3.onnx"), family="parrot")


def test_the_list_of_another_model_is_refused(tmp_path: Path) -> None:
    """Every bird would have another's name."""
    with pytest.raises(LabelError, match="7 classes, but the model has 6: it is another's list"):
        adopted(tmp_path, version3(tmp_path / "v3.onnx"), labels=labels_txt(tmp_path / "other.txt", 7))
    with pytest.raises(LabelError, match=r"--labels is missing: .*BirdNET\+_V3"):
        adopted(tmp_path, version3(tmp_path / "v3.onnx"), labels=None)


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x07" * 40])
def test_a_file_that_is_no_model_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(EdgebirdError, match=r"x\.onnx|no family has") as caught:
        adopted(tmp_path, tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)


def test_half_precision_weights_at_the_edges_are_refused(tmp_path: Path) -> None:
    """BirdNET v3 in f16 gives NaN or inflated scores: its float32 file is what is adopted."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Identity", ["input"], ["predictions"], "i")]
    source = [helper.make_tensor_value_info("input", TensorProto.FLOAT16, ["n", SAMPLES])]
    made = [helper.make_tensor_value_info("predictions", TensorProto.FLOAT16, ["n", SAMPLES])]
    model = helper.make_model(helper.make_graph(nodes, "g", source, made), opset_imports=[helper.make_opsetid("", 17)])
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="input is float16, wanted float32"):
        adopted(tmp_path, tmp_path / "x.onnx")


def test_a_graph_that_does_not_score_as_the_reference_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong conversion must end here, not in a survey."""
    right = adopter.scorer
    monkeypatch.setattr(adopter, "scorer", lambda model: lambda windows: right(model)(windows) * np.float32(25))
    with pytest.raises(ParityError, match=r"does not score as float32, ONNX Runtime .*every score is 25 times"):
        adopted(tmp_path, version3(tmp_path / "v3.onnx"))
    assert not (tmp_path / "bundle").exists()


def test_every_engine_runs_an_adopted_model(tmp_path: Path) -> None:
    require("openvino")
    bundle, _ = adopted(tmp_path, version3(tmp_path / "v3.onnx", ("embeddings", "predictions")))
    assert verdicts(bundle, "openvino") == [True]


def test_an_adopted_model_detects(tmp_path: Path) -> None:
    from edgebird import detect
    from edgebird.demo import RECORDING

    bundle, _ = adopted(tmp_path, version3(tmp_path / "v3.onnx"))
    runtime = open_runtime(bundle, "ort-cpu")
    events = list(detect(RECORDING, runtime, threshold=0.2))
    runtime.close()
    assert {event["common_name"] for event in events} >= {"Eurasian Blackbird"}


def test_a_lower_precision_of_a_network_without_a_backbone_is_refused(tmp_path: Path) -> None:
    require("torch")
    with pytest.raises(ExportError, match="no fp16: where the network's images begin"):
        adopted(tmp_path, version3(tmp_path / "v3.onnx"), precisions=("fp16",))


# -------------------------------------------------------------------------------------------------------------- .tflite
@pytest.mark.parametrize("fixed", [False, True], ids=["free", "fixed"])
def test_birdnet_is_adopted_from_its_tflite(fixed: bool, tmp_path: Path) -> None:
    """Recognised, converted, its batch freed, proven by LiteRT; with nothing of the user's but the list of classes."""
    require("ai_edge_litert")
    from tests.flat_models import BIRDNET_CLASSES, BIRDNET_SAMPLES, birdnet_like

    labels = labels_txt(tmp_path / "labels.txt", BIRDNET_CLASSES)
    bundle, lines = adopted(tmp_path, birdnet_like(tmp_path / "birdnet.tflite", fixed), labels=labels)
    card = bundle.card
    assert card.provenance is not None
    assert (card.provenance.family, card.provenance.licence) == ("birdnet-v2.4", "CC-BY-NC-SA-4.0")
    assert (card.sample_rate, card.input.shape) == (48_000, ("batch", BIRDNET_SAMPLES))
    assert (card.activation, card.sensitivity, len(card.labels)) == ("sigmoid", 1.0, BIRDNET_CLASSES)
    assert card.outputs["embeddings"].shape == ("batch", 16)
    assert card.reference.startswith("float32, LiteRT 2.")
    assert card.not_birds == {"Human vocal": "human", "Dog": "dog"}
    assert len(card.images) == len(card.maps) == 1
    assert any("1, 2, 3, 4, 8 at once, against float32, LiteRT" in line for line in lines)
    assert not [line for line in lines if line.startswith("lint")], "an engine takes all that BirdNET is made of"
    assert verdicts(bundle) == [True]


class Shaky:
    """Scores digital silence by its rounding, as BirdNET in LiteRT does, and all else steadily."""

    name = "float32, shaky"

    def output(self, windows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        silent = np.abs(windows[:, : SAMPLES // 2]).max(axis=1, keepdims=True) < 1e-6
        rounded = np.abs(windows).mean(axis=1, keepdims=True) * 1e5 % 1
        return np.where(silent, rounded, 0.5).astype(np.float32) * np.ones((1, CLASSES), np.float32)


def test_digital_silence_that_the_reference_does_not_hold_gets_the_noise_of_a_recorder(tmp_path: Path) -> None:
    """To leave such windows out would leave a bundle with less evidence, and nobody would know of what."""
    from edgebird.export.adopt.evidence import golden_windows, scored

    bundle, _ = adopted(tmp_path, version3(tmp_path / "v3.onnx"))
    assert bundle.card.golden is not None
    assert (bundle.card.golden.windows, bundle.card.golden.floored) == (60, 0), "it holds its scores of silence"
    plain = golden_windows(bundle.card)
    plain.audio[5, : SAMPLES // 2] = 0
    made, silence = scored(plain, bundle.card, Shaky())
    assert len(made.names) == 60
    assert made.names[5] == f"{plain.names[5]}, silence dithered"
    assert (made.names[4], made.recordings) == (plain.names[4], plain.recordings)
    assert np.abs(made.audio[5].astype(int) - plain.audio[5]).max() == 1
    assert made.audio[5, : SAMPLES // 2].std() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(made.audio[4], plain.audio[4])
    np.testing.assert_array_equal(made.scores[5], 0.5)
    assert len(silence.windows) == 1
    assert silence.moved > 1e-4


def test_what_silence_does_to_the_reference_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `adopt`, and for ever by `doctor`: an engine may be off there, and nobody would have said so."""
    from edgebird.doctor import describe
    from edgebird.export.adopt import evidence

    monkeypatch.setattr(evidence, "_NOISE", 0.05)  # moves any scores
    bundle, lines = adopted(tmp_path, version3(tmp_path / "v3.onnx"))
    golden = bundle.card.golden
    assert golden is not None
    assert golden.floored > 5
    assert golden.windows == 60
    (told,) = (line for line in lines if line.startswith("silence"))
    assert f"{golden.floored} of the 60 windows have a recorder's dither" in told
    assert any("without it the graph differs there by up to" in line for line in lines)
    assert any(told.removeprefix("silence").strip() in line for line in describe(bundle))
    assert verdicts(bundle) == [True]


def test_an_adopted_model_in_int8_is_proven_or_refused_by_its_worst_class_and_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gates of the folds, for a network with BirdNET's operators: its choice is refused once, then holds."""
    require("torch")
    require("ai_edge_litert")
    from edgebird.export.precisions import int8
    from tests.flat_models import BIRDNET_CLASSES, birdnet_like

    for name in ("_ROUND", "_CHOOSE"):
        monkeypatch.setattr(int8, name, (3, 3))
    monkeypatch.setattr(int8, "MARGINS", (1000.0, *int8.MARGINS))
    labels = labels_txt(tmp_path / "labels.txt", BIRDNET_CLASSES)
    model = birdnet_like(tmp_path / "birdnet.tflite")
    bundle, lines = adopted(tmp_path, model, labels=labels, precisions=("int8",))
    refused = [line for line in lines if line.startswith("int8      refused: scores differ by up to")]
    assert refused
    assert re.search(r"worst (golden|held out) window '.+', class 'Avis numero\d+'", refused[0])
    made = bundle.card.precisions["int8"]
    assert made.share is not None
    assert made.share > 0
    made_here = {name for name in made.proofs if name.endswith("int8+bf16")}  # where the CPU has bf16
    assert made.proofs.keys() - made_here == {"golden, quantized", "held out, quantized"}
    assert verdicts(bundle) == [True, True]


@pytest.mark.slow
def test_the_real_birdnet_is_adopted(tmp_path: Path) -> None:
    """EDGEBIRD_BIRDNET names BirdNET v2.4's FP32 .tflite, its list of classes beside it; it is not ours to ship."""
    require("ai_edge_litert")
    if not (given := os.environ.get("EDGEBIRD_BIRDNET")):
        pytest.skip("EDGEBIRD_BIRDNET does not name the real model")
    model = Path(given)
    (labels,) = model.parent.glob("*Labels.txt")
    bundle, lines = adopted(tmp_path, model, labels=labels)
    golden = bundle.card.golden
    assert golden is not None
    assert golden.windows == 60
    assert golden.floored > 0
    assert any(line.startswith("silence   in digital silence float32, LiteRT") for line in lines)
    assert bundle.card.outputs["embeddings"].shape == ("batch", 1024)
    for engine in ("ort-cpu", "openvino"):
        assert verdicts(bundle, engine) == [True], engine


def test_a_model_of_places_is_no_ear(tmp_path: Path) -> None:
    from edgebird.detection import settings_for
    from tests.adopting import places_model

    bundle, _ = adopted(tmp_path, places_model(tmp_path / "geo.onnx"))
    with pytest.raises(UsageError, match="a model of places"):
        settings_for(bundle.card)
