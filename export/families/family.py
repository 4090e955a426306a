"""A family of networks: what the exporter must be told to make a bundle of its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgebird.bundle import GoldenData
from edgebird.card import Fold
from edgebird.types import Label

if TYPE_CHECKING:
    from torch import nn

    from edgebird.export.checkpoint import Checkpoint


class Originals(Protocol):
    """The original networks of one or more checkpoints, in eval mode. Together they score the mean of their scores."""

    @property
    def sources(self) -> Sequence[Fold]:
        """Where each comes from, as the card says it."""

    @property
    def classes(self) -> int:
        """How many labels they score; equal for all."""

    def record_golden(self) -> GoldenData:
        """Score the family's golden windows with the un-frozen networks in float64."""

    def freeze(self) -> nn.Module:
        """The same function for torch's exporter: float32 audio [B, window_samples] -> scores [B, classes], 0 to 1.

        Nodes of the graph are named after its children: `frontend`, a list of modules that make images, and `fold`, a
        list of networks that take them, whose children `pool` and `head` are behind the backbone.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """What a family of networks is. Nobody outside of its package and the registry knows these facts.

    name: whose models they are, as errors say it: `BirdCLEF 2023`.
    sample_rate: Hz, of the audio that the networks take.
    window_samples: length of a window.
    block: matches where the name of a backbone node starts (`stages.2.3.conv1`), and takes its block (`stages.2.3`).
    leftovers: tensors of checkpoints that nobody reads; they may differ between two files of the same weights.
    landmark: a tensor that all its networks have, and no others: where it stands in a checkpoint, there is the network,
        whatever wraps it. None: networks stand at the usual places.
    recognise: a checkpoint, and the variant that the user named or None -> its variant. Raises CheckpointError saying
        what was wanted and what was found.
    load: checkpoints, the variant or None, the card's `db_floor` -> original networks with every tensor accounted for.
        Raises CheckpointError.
    labels: of the classes, in the order of the outputs, for a user who names none.
    """

    name: str
    sample_rate: int
    window_samples: int
    block: re.Pattern[str]
    leftovers: frozenset[str]
    recognise: Callable[[Checkpoint, str | None], str]
    load: Callable[[Sequence[Checkpoint], str | None, str], Originals]
    labels: Callable[[], tuple[Label, ...]]
    landmark: str | None = None
