"""The windows of a file of embeddings that are most like others, by the angle between them."""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebird.errors import AudioError, NotInstalledError, UsageError
from edgebird.science.embedding import pyarrow_of
from edgebird.types import FloatArray

_ROWS = 4096  # that are compared at once


@dataclass(frozen=True, slots=True)
class Hit:
    """A window. similarity: the cosine of the angle, 1 for the same. channel: None for the mean of all.

    time: None where nobody knows.
    """

    similarity: float
    source: str
    channel: int | None
    start_s: float
    end_s: float
    time: str | None


def nearest(path: Path, queries: Sequence[FloatArray], many: int, graph: str) -> list[Hit]:
    """Return the windows of a file nearest to any of the queries, the nearest first.

    All are compared, so that none is missed; a large file takes no more memory. graph: SHA-256 of the graph that made
    the queries. Raises UsageError for a file of another model, AudioError for one that is none.
    """
    arrow, parquet = pyarrow_of()
    try:
        from usearch.index import search
    except ImportError as error:
        raise NotInstalledError(f"search needs usearch: pip install 'edgebird[search]' ({error})") from error
    found: list[Hit] = []
    wanted = np.stack(list(queries))
    try:
        with parquet.ParquetFile(path) as file:
            made = json.loads((file.schema_arrow.metadata or {}).get(b"edgebird", b"{}"))
            if made.get("graph") != graph:
                raise UsageError(f"{path}: it is of another model, or precision, than --bundle: embed the audio again")
            for batch in file.iter_batches(_ROWS):
                vectors = batch.column("embedding").flatten().to_numpy().reshape(len(batch), -1)
                matches = search(vectors, wanted, min(many, len(batch)), "cos", exact=True)
                best: dict[int, float] = {}
                for row, distance in zip(np.ravel(matches.keys), np.ravel(matches.distances), strict=True):
                    best[int(row)] = max(best.get(int(row), -1.0), 1.0 - float(distance))
                told = [batch.column(name) for name in ("source", "channel", "start_s", "end_s", "time")]
                hits = [Hit(similarity, *(column[row].as_py() for column in told)) for row, similarity in best.items()]
                found = heapq.nlargest(many, [*found, *hits], key=lambda hit: hit.similarity)
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        raise AudioError(f"{path}: no file of embeddings: {' '.join(str(error).split())}") from error
    return found
