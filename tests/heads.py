"""A small model as BirdNET v3 is exported: embeddings and predictions, in whatever order, with a sigmoid or without.

Its embedding of a window is the projection on three tones, its prediction a constant matrix of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebird.bundle import Bundle, seal
from edgebird.card import Card, Golden, Precision, Tensor
from edgebird.types import Label
from tests.conftest import require
from tests.foreign import RATE, scene

WINDOW = RATE
LABELS = tuple(Label(f"bird{i}", f"Avis {i}", f"Bird {i}") for i in range(4))
HERTZ = (400, 1000, 2400)
WEIGHTS = np.array([[4, -3, 1, 0.5], [-2, 5, -1, 1], [1, 1, 4, -3]], np.float32)
OUTPUTS = ("embeddings", "predictions")


def probes() -> NDArray[np.float32]:
    """[WINDOW, 3]."""
    phases = 2 * np.pi * np.outer(np.arange(WINDOW) / RATE, HERTZ)
    return (np.sin(phases) * 2 / WINDOW).astype(np.float32)


def embeddings(windows: NDArray[Any]) -> NDArray[np.float64]:
    """[batch, WINDOW] -> [batch, 3]."""
    return windows.astype(np.float64) @ probes()


def logits(windows: NDArray[Any]) -> NDArray[np.float64]:
    """[batch, WINDOW] -> [batch, 4]."""
    return embeddings(windows) @ WEIGHTS.astype(np.float64)


def heads_model(order: Sequence[str] = OUTPUTS, inside: bool = False, batch: int | str = "batch") -> bytes:
    """The graph, its outputs in this order. inside: the sigmoid is in the graph."""
    require("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("MatMul", ["input", "probes"], ["embeddings"], "embed"),
        helper.make_node("MatMul", ["embeddings", "weights"], ["logits" if inside else "predictions"], "head"),
    ]
    if inside:
        nodes.append(helper.make_node("Sigmoid", ["logits"], ["predictions"], "sigmoid"))
    sizes = {"embeddings": 3, "predictions": len(LABELS)}
    graph = helper.make_graph(
        nodes,
        "heads",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, WINDOW])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, sizes[name]]) for name in order],
        [numpy_helper.from_array(value, name) for name, value in (("probes", probes()), ("weights", WEIGHTS))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def golden_audio() -> NDArray[np.int16]:
    """Six windows, int16."""
    tones = [(label, 0.2 + 0.1 * index, 0.0, 1.0) for index, label in enumerate((0, 1, 2, 0, 1, 2))]
    return np.round(np.stack([scene(1, [tone]) for tone in tones]) * 32768).astype(np.int16)


def heads_bundle(folder: Path, order: Sequence[str] = OUTPUTS, inside: bool = False, **changes: Any) -> Bundle:
    """Written by hand and sealed; the golden scores are those of a sigmoid. changes: fields of the card."""
    card = replace(heads_card(inside), **changes)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(heads_model(order, inside))
    audio = golden_audio()
    scores = 1 / (1 + np.exp(-logits(audio / 32768)))
    np.savez(folder / "golden.npz", audio=audio, scores=scores, names=[f"window {i}" for i in range(len(audio))])
    (folder / "card.json").write_text(json.dumps(asdict(card)))
    return seal(folder)


def heads_card(inside: bool = False) -> Card:
    """Hashes are empty."""
    return Card(
        labels=LABELS,
        sample_rate=RATE,
        window_samples=WINDOW,
        input=Tensor("input", ("batch", WINDOW)),
        output=Tensor("predictions", ("batch", len(LABELS))),
        precisions={"fp32": Precision("model.onnx", "", 18)},
        activation="none" if inside else "sigmoid",
        outputs={"embeddings": Tensor("embeddings", ("batch", 3))},
        golden=Golden("golden.npz", ""),
        reference="float32, a test",
    )
