"""Suppression: what begins while a dog barks, or soon after, is no owl."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgebird.card import Card
from edgebird.errors import UsageError
from edgebird.pooling import Onset, Pooled
from edgebird.settings.suppress import SuppressSettings
from edgebird.species import allowed_labels, name_key
from edgebird.types import Detection, FloatArray, Rejected, Window

_SPANS = 64  # that are remembered: of each class those that touch are one


@dataclass(frozen=True, slots=True, eq=False)
class Suppression:
    """Which labels silence which others.

    after: label -> samples for which it does after each window at or above the threshold. silenced: bool [classes].
    codes: of all labels.
    """

    after: Mapping[int, int]
    threshold: float
    silenced: NDArray[np.bool_]
    codes: tuple[str, ...]


def suppression_of(settings: SuppressSettings | None, card: Card) -> Suppression | None:
    """Return what the settings ask for, None for nothing. Raises UsageError, LabelError."""
    if settings is None or not settings.classes:
        return None
    after: dict[int, int] = {}
    for name, seconds in settings.classes.items():
        keys = [{name_key(one.code), name_key(one.scientific_name), name_key(one.common_name)} for one in card.labels]
        found = [label for label, its in enumerate(keys) if name_key(name) in its]
        if not found:
            raise UsageError(f"suppress {name}: no label of this model has this code or name")
        after |= {label: round(seconds * card.sample_rate) for label in found}
    listed = settings.species_list
    silenced = allowed_labels(listed, card.labels).copy() if listed else np.ones(len(card.labels), np.bool_)
    silenced[list(after)] = False
    return Suppression(after, settings.threshold, silenced, tuple(label.code for label in card.labels))


class Suppressor:
    """Knows when a source was disturbed; windows and results come in order."""

    def __init__(self, what: Suppression) -> None:
        self._what = what
        self._spans: deque[tuple[int, int, int]] = deque(maxlen=_SPANS)  # label, start, end

    def hear(self, window: Window, scores: FloatArray) -> None:
        """Take the scores [classes] of the next window."""
        for label, samples in self._what.after.items():
            if scores[label] >= self._what.threshold:
                end = window.end + samples
                last = next((span for span in reversed(self._spans) if span[0] == label), None)
                if last and window.start <= last[2]:
                    self._spans.remove(last)
                    self._spans.append((label, last[1], end))
                else:
                    self._spans.append((label, window.start, end))

    def judge(self, result: Pooled) -> Pooled | None:
        """Return what is told of a result: of one that is silenced a rejected candidate, and no onset."""
        candidate = result.candidate if isinstance(result, Onset) else result
        if isinstance(candidate, Rejected) or not self._what.silenced[candidate.label]:
            return result
        by = next((label for label, start, end in self._spans if start <= candidate.start < end), None)
        if by is None:
            return result
        if isinstance(result, Detection):
            return Rejected(result, "suppressed", {"suppressed_by": self._what.codes[by]})
        return None
