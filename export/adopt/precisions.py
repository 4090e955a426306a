"""Graphs of lower precision of an adopted model: the converters and gates are those of the folds. Needs torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgebird.bundle import GoldenData
from edgebird.card import Card
from edgebird.errors import ExportError
from edgebird.export.adopt.adopted import Adopted
from edgebird.export.exporter import LowerPrecisions
from edgebird.export.precisions.backbone import Fp32Graph
from edgebird.export.precisions.lower import read_recordings


def with_precisions(
    folder: Path,
    adopted: Adopted,
    golden: GoldenData,
    precisions: Sequence[str],
    audio: Sequence[Path],
    tell: Callable[[str], None],
) -> Card:
    """The card with what else was written into the folder, and with what engines make of its graphs.

    Raises ParityError for a precision that fails, ExportError for a network that has no part that may lose precision.
    """
    card = adopted.card
    if not adopted.parts.backbone:
        if precisions:
            raise ExportError(f"no {precisions[0]}: where the network's images begin and its maps end cannot be told")
        return card
    with _quiet():
        recordings = read_recordings(audio, card, tell)
    for name in precisions:
        recordings.require_enough(name)
    fp32 = Fp32Graph(adopted.model, adopted.parts.backbone, 1)
    written = LowerPrecisions(fp32, golden, recordings, card, tell).write(folder, precisions)
    return replace(card, precisions=written)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a warning for each recording that comes with edgebird: they are at 32 kHz, which is known."""
    logger = logging.getLogger("edgebird.sources")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
