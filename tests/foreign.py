"""A model that edgebird did not export, for tests that must know the scores beforehand.

It hears three tones, and the score of each is its amplitude, so that a tone which fills half a window scores half its
amplitude. Needs onnx, but not torch.
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
from edgebird.types import FloatArray, Label
from tests.conftest import require

RATE, WINDOW_S = 8000, 5
LABELS = (
    Label("tonlow", "Tonus gravis", "Low Tone"),
    Label("tonmid", "Tonus medius", "Middle Tone"),
    Label("tonhig", "Tonus acutus", "High Tone"),
)
HERTZ = (400, 1000, 2400)  # whole periods in 0.1 s, so that pieces of that length do not leak into each other
MODEL = "model.fp32.onnx"


def tone(label: int, amplitude: float, seconds: float, rate: int = RATE) -> FloatArray:
    """float32 [n]."""
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * HERTZ[label] * time)).astype(np.float32)


def scene(seconds: float, tones: Sequence[tuple[int, float, float, float]], rate: int = RATE) -> FloatArray:
    """Silence with tones in it, each (label, amplitude, start, end): float32 [n]."""
    samples = np.zeros(round(seconds * rate), np.float32)
    for label, amplitude, start, end in tones:
        piece = tone(label, amplitude, end - start, rate)
        samples[round(start * rate) : round(start * rate) + len(piece)] += piece
    return samples


def _probes(rate: int, window: int) -> NDArray[np.float64]:
    """Cosine and sine of every tone, scaled so that a full-length tone projects to its amplitude: [window, 6]."""
    phases = 2 * np.pi * np.outer(np.arange(window) / rate, HERTZ)
    return np.concatenate([np.cos(phases), np.sin(phases)], axis=1) * 2 / window


def amplitudes(windows: NDArray[Any], rate: int = RATE) -> NDArray[np.float64]:
    """What the model must score, in float64: [batch, window] -> [batch, 3]."""
    projected = windows.astype(np.float64) @ _probes(rate, windows.shape[1])
    return np.hypot(projected[:, :3], projected[:, 3:])


def tone_bundle(
    folder: Path, rate: int = RATE, batch: int | str = "batch", normalise: bool = False, **changes: Any
) -> Bundle:
    """Write the tone model as somebody would who has only an ONNX file, and seal it.

    changes: fields of the card; windows may have another length than WINDOW_S where `golden` is None.
    With `activation="sigmoid"` the graph gives logits, 20 * (amplitude - 0.3). With `normalise=True` it divides each
    window by its peak, the old mistake that makes NaN of silence.
    """
    card = tone_card(rate, batch, **changes)
    folder.mkdir(parents=True)
    (folder / MODEL).write_bytes(tone_model(rate, card.window_samples, batch, card.activation == "sigmoid", normalise))
    if card.golden:
        _write_golden(folder / card.golden.file, rate)
    (folder / "card.json").write_text(json.dumps(asdict(card)))
    return seal(folder)


def tone_card(rate: int, batch: int | str, **changes: Any) -> Card:
    window = changes.get("window_samples", WINDOW_S * rate)
    card = Card(
        labels=LABELS,
        sample_rate=rate,
        window_samples=window,
        input=Tensor("sound", (batch, window)),
        output=Tensor("birds", (batch, len(LABELS))),
        precisions={"fp32": Precision(MODEL, "", 17)},
        golden=Golden("golden.npz", ""),
    )
    return replace(card, **changes)


def tone_model(rate: int, window: int, batch: int | str, logits: bool, normalise: bool) -> bytes:
    """The graph of `tone_bundle`."""
    require("onnx")
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "tones": _probes(rate, window).astype(np.float32),
        "halves": np.array([3, 3], np.int64),
        "steep": np.float32(20.0),
        "middle": np.float32(0.3),
    }
    nodes = [
        helper.make_node("MatMul", ["loud" if normalise else "sound", "tones"], ["projected"]),
        helper.make_node("Mul", ["projected", "projected"], ["squared"]),
        helper.make_node("Split", ["squared", "halves"], ["cosine", "sine"], axis=1),
        helper.make_node("Add", ["cosine", "sine"], ["power"]),
        helper.make_node("Sqrt", ["power"], ["amplitude" if logits else "birds"]),
    ]
    if normalise:
        nodes = [
            helper.make_node("Abs", ["sound"], ["magnitude"]),
            helper.make_node("ReduceMax", ["magnitude"], ["peak"], axes=[1], keepdims=1),
            helper.make_node("Div", ["sound", "peak"], ["loud"]),
            *nodes,
        ]
    if logits:
        nodes += [
            helper.make_node("Sub", ["amplitude", "middle"], ["above"]),
            helper.make_node("Mul", ["above", "steep"], ["birds"]),
        ]
    graph = helper.make_graph(
        nodes,
        "tones",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [batch, window])],
        [helper.make_tensor_value_info("birds", TensorProto.FLOAT, [batch, len(LABELS)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _write_golden(path: Path, rate: int) -> None:
    labels = [0, 1, 2, 0]
    windows = [scene(WINDOW_S, [(label, 0.8, 0, WINDOW_S), (1, 0.1, 1, 3)], rate) for label in labels]
    audio = np.round(np.stack(windows) * 32768).astype(np.int16)
    scores = amplitudes(audio / 32768, rate)
    np.savez_compressed(path, audio=audio, scores=scores, names=np.array([LABELS[i].common_name for i in labels]))
