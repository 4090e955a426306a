"""What an ONNX file says of itself, so that it is known, and can be scored with, without its card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from onnx import ModelProto

from edgebird import __version__
from edgebird.card import Card, Scaling
from edgebird.runtimes.contract import scaled
from edgebird.runtimes.ort_session import session_of
from edgebird.runtimes.outputs import Score, activated
from edgebird.types import FloatArray


def essentials(card: Card, precision: str = "fp32") -> dict[str, str]:
    """As entries of `metadata_props`; those of an activation and a scaling where there are some alone."""
    told = {
        "edgebird": __version__,
        "sample_rate": str(card.sample_rate),
        "window_samples": str(card.window_samples),
        "db_floor": card.db_floor,
        "activation": card.activation,
        "precision": precision,
        "folds": json.dumps([asdict(fold) for fold in card.folds]),
        "labels": json.dumps([label.code for label in card.labels]),
    }
    if card.sensitivity is not None:
        told["sensitivity"] = repr(card.sensitivity)
    if card.scaling is not None:
        told["scaling"] = json.dumps(asdict(card.scaling))
    if card.provenance is not None:
        told |= {"licence": card.provenance.licence, "source": card.provenance.source}
    return told


@dataclass(frozen=True, slots=True)
class Edges:
    """What a graph takes and gives, by its own words: names of its input and of the output that is scored, the first.

    The others are as in `Card`.
    """

    input: str
    output: str
    activation: str
    sensitivity: float | None
    scaling: Scaling | None

    def taken(self, windows: FloatArray) -> FloatArray:
        """Windows as the graph takes them."""
        return scaled(windows, self.scaling)

    def scores(self, output: FloatArray) -> FloatArray:
        """Scores of its output, [windows, classes]."""
        return activated(output, self.activation, self.sensitivity)


def edges_of(model: ModelProto) -> Edges:
    """Those of a graph with essentials; without, its output is scores."""
    constants = {tensor.name for tensor in model.graph.initializer}
    told = {entry.key: entry.value for entry in model.metadata_props}
    return Edges(
        next(value.name for value in model.graph.input if value.name not in constants),
        model.graph.output[0].name,
        told.get("activation", "none"),
        float(told["sensitivity"]) if "sensitivity" in told else None,
        Scaling(**json.loads(told["scaling"])) if "scaling" in told else None,
    )


def scorer(model: ModelProto) -> Score:
    """What scores windows with a graph in ONNX Runtime, scaled and activated as the graph says."""
    session = session_of(model.SerializeToString())
    edges = edges_of(model)

    def run(windows: FloatArray) -> FloatArray:
        return edges.scores(session.run([edges.output], {edges.input: edges.taken(windows)})[0])

    return run
