"""What an engine gives, by the names in the card: the scores, and further outputs that were asked for.

Exports of one model differ in the order of their outputs, and some engines give them in an order of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from edgebird.card import SCORES, Card, Tensor
from edgebird.errors import BundleError
from edgebird.parity import check_finite
from edgebird.types import FloatArray

Score: TypeAlias = Callable[[FloatArray], FloatArray]  # windows [batch, samples] -> scores [batch, classes]
_CUT = 15.0  # BirdNET's sigmoid takes no more


class Outputs:
    """The outputs of a card's graph that are wanted: the scores first, then those named in `further`.

    Between an engine and its caller they are one array, [windows, columns], each output flattened.
    Raises BundleError for one that the card does not name.
    """

    def __init__(self, card: Card, further: Sequence[str] = ()) -> None:
        self.card = card
        if unknown := [name for name in further if name not in card.outputs]:
            have = ", ".join(card.outputs) or "none"
            raise BundleError(f"this model has no output {unknown[0]!r} beside its scores, it has {have}")
        self.tensors: dict[str, Tensor] = {SCORES: card.output} | {name: card.outputs[name] for name in further}
        self.names = [tensor.name for tensor in self.tensors.values()]  # as the graph calls them

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name in the graph, and shape of one window's, of each wanted output."""
        return [(tensor.name, tuple(map(int, tensor.shape[1:]))) for tensor in self.tensors.values()]

    def joined(self, found: Mapping[str, Any]) -> FloatArray:
        """As one array. found: name in the graph -> values [windows, ...]."""
        values = [found[name] for name in self.names]
        if len(values) == 1:
            only: FloatArray = values[0]
            return only
        return np.concatenate([array.reshape(len(array), -1) for array in values], axis=1)

    def scores(self, joined: FloatArray, windows: int) -> FloatArray:
        """The scores [windows, classes]; see `to_scores`."""
        if len(self.names) == 1:
            return to_scores(joined, windows, self.card)
        return self.named(joined, windows)[SCORES]

    def named(self, joined: FloatArray, windows: int) -> dict[str, FloatArray]:
        """Each wanted output under its name in the card, float32 [windows, ...].

        Raises BundleError for other shapes than the card's, ScoreError for values that are not finite.
        """
        sizes = {name: math.prod(int(size) for size in tensor.shape[1:]) for name, tensor in self.tensors.items()}
        if joined.shape != (windows, sum(sizes.values())):
            raise BundleError(f"the model gave {list(joined.shape)}, wanted {sizes}: its card does not fit it")
        found, start = {}, 0
        for name, tensor in self.tensors.items():
            values = joined[:, start : start + sizes[name]]
            start += sizes[name]
            check_finite(values)
            found[name] = values.reshape(windows, *map(int, tensor.shape[1:])).astype(np.float32, copy=False)
        found[SCORES] = activated(found[SCORES], self.card.activation, self.card.sensitivity)
        return found


def to_scores(output: FloatArray, windows: int, card: Card) -> FloatArray:
    """The scores in a model's output: its activation applied, its shape and values checked.

    Raises BundleError for a shape that is not [windows, classes], ScoreError for values that are not finite.
    """
    wanted = (windows, len(card.labels))
    if output.shape != wanted:
        raise BundleError(f"the model gave {list(output.shape)}, wanted {list(wanted)}: its card does not fit it")
    check_finite(output)
    return activated(output, card.activation, card.sensitivity)


def activated(output: FloatArray, activation: str, sensitivity: float | None = None) -> FloatArray:
    """Scores of a model's output, [windows, classes]; activation and sensitivity as in `Card`."""
    if activation == "sigmoid":
        if sensitivity is not None:
            output = output.clip(-_CUT, _CUT) * np.float32(sensitivity)
        # Two forms, so that exp never overflows.
        decay = np.exp(-np.abs(output))
        output = np.where(output >= 0, np.float32(1), decay) / (1 + decay)
    elif activation == "softmax":
        shares = np.exp(output - output.max(axis=1, keepdims=True))
        output = shares / shares.sum(axis=1, keepdims=True)
    return output.astype(np.float32, copy=False)
