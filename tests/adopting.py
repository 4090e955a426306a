"""Small models with exactly the signatures of those that people adopt, and the lists of classes beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conftest import require

RATE, SAMPLES = 32_000, 160_000
CLASSES = 6
SPECIES = (
    ("Turdus merula", "Eurasian Blackbird"),
    ("Parus major", "Great Tit"),
    ("Cuculus canorus", "Common Cuckoo"),
    ("Human vocal", "Human vocal"),
    ("Dog", "Dog"),
    ("Ficedula parva", "Red-breasted Flycatcher"),
)


def labels_txt(path: Path, count: int = CLASSES) -> Path:
    """As BirdNET v2.4 has it, with others where there are more classes."""
    lines = [f"{name}_{common}" for name, common in SPECIES]
    lines += [f"Avis numero{index}_Bird {index}" for index in range(len(lines), count)]
    path.write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return path


def labels_csv(path: Path) -> Path:
    """As Perch v2 has it."""
    names = ["Turdus merula", "Parus major", "Cuculus canorus", "Speech", "Bark", "Ficedula parva"]
    path.write_text("\n".join(["inat2024_fsd50k", *names]) + "\n", encoding="utf-8")
    return path


def constants(seed: int = 3) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(seed)
    phases = 2 * np.pi * np.outer(np.arange(SAMPLES) / RATE, (900, 2500, 3800, 5200, 7000))
    return {
        "bands": (np.sin(phases) * 200 / SAMPLES).astype(np.float32),
        "weights": random.standard_normal((5, CLASSES)).astype(np.float32),
        "bias": np.array([0.5, -1, 0.2, -0.5, 0.1, 0], np.float32),
    }


def network(
    path: Path,
    outputs: Mapping[str, str],
    batch: int | str = "batch",
    samples: int | str = SAMPLES,
    source: str = "input",
) -> Path:
    """Write an ONNX file. outputs: name -> which tensor it is: logits, sigmoid, embedding, spatial or spectrogram; the
    file has them in this order.
    """
    require("onnx")
    from onnx import TensorProto, helper, numpy_helper

    shapes: dict[str, list[int | str]] = {
        "logits": [batch, CLASSES],
        "sigmoid": [batch, CLASSES],
        "embedding": [batch, 5],
        "spatial": [batch, 2, 5],
        "spectrogram": [batch, 2, 5],
    }
    made = {
        "embedding": [("MatMul", [source, "bands"], {})],
        "logits": [("MatMul", ["embedding", "weights"], {}), ("Add", ["logits/1", "bias"], {})],
        "sigmoid": [("Sigmoid", ["logits"], {})],
        "spatial": [("Unsqueeze", ["embedding", "one"], {}), ("Concat", ["spatial/1", "spatial/1"], {"axis": 1})],
        "spectrogram": [("Mul", ["spatial", "two"], {})],
    }
    names = {kind: name for name, kind in outputs.items()}
    nodes = []
    for kind, steps in made.items():
        for index, (operator, inputs, attributes) in enumerate(steps, 1):
            last = index == len(steps)
            given = [names.get(name, name) for name in inputs]
            target = names.get(kind, kind) if last else f"{kind}/{index}"
            nodes.append(helper.make_node(operator, given, [target], f"{kind}/{operator}", **attributes))
    values = constants() | {"one": np.array([1], np.int64), "two": np.float32(2)}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, [batch, samples])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[kind]) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def version3(path: Path, order: Sequence[str] = ("predictions", "embeddings"), **given: Any) -> Path:
    """BirdNET v3: scores and embeddings, in an order that differs by export."""
    kinds = {"embeddings": "embedding"}
    return network(path, {name: kinds.get(name, "sigmoid") for name in order}, **given)


def perch(path: Path) -> Path:
    """Perch v2: four outputs, of which `label` are logits."""
    kinds = {"embedding": "embedding", "spatial_embedding": "spatial", "spectrogram": "spectrogram", "label": "logits"}
    return network(path, kinds, source="inputs")


def places_model(path: Path, apart: bool = False) -> Path:
    """A geographic model: latitude, longitude and week -> probabilities. apart: as three inputs."""
    require("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(5).standard_normal((3, CLASSES)).astype(np.float32) * np.float32(0.02)
    names = ("week", "lat", "lon") if apart else ("place",)
    nodes = [helper.make_node("Concat", ["lat", "lon", "week"], ["place"], "join", axis=1)] if apart else []
    nodes += [
        helper.make_node("MatMul", ["place", "weights"], ["logits"], "product"),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"], "sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1 if apart else 3]) for name in names],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
