"""A published model becomes a bundle: recognised by what it says, proven by somebody else, or refused with a reason."""

from __future__ import annotations

import os
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
    assert verdicts(bundle) == [True]


def test_windows_that_the_reference_itself_does_not_hold_prove_nothing(tmp_path: Path) -> None:
    """BirdNET's scores of digital silence are the rounding of LiteRT's Fourier transform: no other engine has them."""
    from edgebird.export.adopt.evidence import golden_windows, scored

    class Shaky:
        name = "float32, shaky"

        def output(self, windows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            noisy = np.abs(windows[:, : SAMPLES // 2]).max(axis=1, keepdims=True) < 1e-6
            rounded = np.abs(windows).mean(axis=1, keepdims=True) * 1e5 % 1
            return np.where(noisy, rounded, 0.5).astype(np.float32) * np.ones((1, CLASSES), np.float32)

    bundle, _ = adopted(tmp_path, version3(tmp_path / "v3.onnx"))
    golden = golden_windows(bundle.card)
    golden.audio[5, : SAMPLES // 2] = 0
    kept, left_out = scored(golden, bundle.card, Shaky())
    assert any(golden.names[5] in told for told in left_out)
    assert golden.names[5] not in kept.names
    assert len(kept.names) + len(left_out) == len(golden.names)


@pytest.mark.slow
def test_the_real_birdnet_is_adopted(tmp_path: Path) -> None:
    """EDGEBIRD_BIRDNET names BirdNET v2.4's FP32 .tflite, its list of classes beside it; it is not ours to ship."""
    require("ai_edge_litert")
    if not (given := os.environ.get("EDGEBIRD_BIRDNET")):
        pytest.skip("EDGEBIRD_BIRDNET does not name the real model")
    model = Path(given)
    (labels,) = model.parent.glob("*Labels.txt")
    bundle, _ = adopted(tmp_path, model, labels=labels)
    assert verdicts(bundle) == [True]


def test_a_model_of_places_is_no_ear(tmp_path: Path) -> None:
    from edgebird.detection import settings_for
    from tests.adopting import places_model

    bundle, _ = adopted(tmp_path, places_model(tmp_path / "geo.onnx"))
    with pytest.raises(UsageError, match="a model of places"):
        settings_for(bundle.card)
