"""A model that was read, before it is proven."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from edgebird.card import Card
from edgebird.export.adopt.graphs import Parts


@dataclass(frozen=True, slots=True, eq=False)
class Adopted:
    """A model that was read: its graph with the outputs that are kept, where its backbone is, and its card so far."""

    model: ModelProto
    parts: Parts
    card: Card
