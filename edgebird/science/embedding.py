"""Embeddings of windows: what a model makes of sound before it names a species, in a Parquet file.

Windows, gaps and channels are those of `detect`, for it is its path: an engine whose scores are another of its outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.card import Card
from edgebird.detection import Settings
from edgebird.errors import NotInstalledError, OutputError, UsageError, WrongOutputError
from edgebird.events import Event, encodable, seconds, timestamp
from edgebird.files import remove_orphans, require_free, sync, temporary_beside
from edgebird.recordings import Outcome, Watcher, Work, process
from edgebird.runtimes import Runtime
from edgebird.sinks import Memory, Recorded, Sink
from edgebird.sources import FoundAudio
from edgebird.types import FloatArray, Label, Window

OUTPUT = "embeddings"  # as cards call it
_NEVER = float("inf")  # no detections are made
_ROWS = 512  # that are written at once
_MAGIC = b"PAR1"


def width_of(card: Card) -> int:
    """Return how many numbers an embedding has. Raises UsageError for a model without."""
    if OUTPUT not in card.outputs:
        raise UsageError("this bundle gives no embeddings: export it with --embeddings, or adopt a model that has them")
    return int(np.prod([int(size) for size in card.outputs[OUTPUT].shape[1:]]))


class EmbeddingRuntime:
    """A runtime that gives embeddings where it is asked for scores; see `Runtime`. It was opened with that output."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name, self.provider = runtime.name, runtime.provider
        self.batch_size, self.concurrency = runtime.batch_size, runtime.concurrency
        labels = tuple(Label(str(number), "", "") for number in range(width_of(runtime.card)))
        self.card = replace(runtime.card, labels=labels, calibration=None)

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> embeddings [batch, width]."""
        found = self._runtime.infer_outputs(windows)[OUTPUT]
        return np.ascontiguousarray(found.reshape(len(windows), -1), np.float32)

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """See `Runtime`."""
        return self._runtime.infer_outputs(windows)

    def close(self) -> None:
        """See `Runtime`."""
        self._runtime.close()


def embed(recordings: Sequence[FoundAudio], work: Work, sink: Sink, watcher: Watcher, hop_s: float) -> Outcome:
    """Have a sink take the embedding of every window. work: its runtime was opened with embeddings."""
    card = work.runtime.card
    hop = round(hop_s * card.sample_rate) if math.isfinite(hop_s) else 0
    if not 0 < hop <= card.window_samples:
        window_s = card.window_samples / card.sample_rate
        raise UsageError(f"hop {hop_s:g} s: wanted more than 0 and at most the window, {window_s:g} s")
    embedding = replace(work, runtime=EmbeddingRuntime(work.runtime), settings=Settings(hop, _NEVER))
    return process(recordings, embedding, [sink], watcher)


class Collected(Sink):
    """Keeps embeddings: `vectors`, a row a window."""

    name = "collected"

    def __init__(self) -> None:
        self.vectors: list[FloatArray] = []

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """See `Sink`."""
        self.vectors.append(scores)

    def take(self, event: Event, memory: Memory | None) -> None:
        """Events do not matter."""


class EmbeddingSink(Sink):
    """Writes a row for each window, whole or not at all: source, channel, start_s, end_s, time, embedding.

    bundle, hop_s: what the file says that it was made with.
    """

    name = "embeddings"

    def __init__(self, path: Path, bundle: Bundle, precision: str, hop_s: float) -> None:
        self._arrow, self._parquet = pyarrow_of()
        card = bundle.card
        self._path, self._rate, self._width = path, card.sample_rate, width_of(card)
        self._made = made_with(bundle, precision, hop_s)
        self._temporary: Path | None = None
        self._writer: Any = None
        self._rows: list[tuple[str, int | None, float, float, str | None]] = []
        self._vectors: list[FloatArray] = []
        self._any = False

    def open(self) -> None:
        """See `Sink`."""
        require_free(self._path)
        if self._path.exists():
            with self._path.open("rb") as before:
                if before.read(len(_MAGIC)) != _MAGIC:
                    raise WrongOutputError(f"cannot write {self._path}: it is no Parquet file: use another one")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(self._path.parent.absolute())
        arrow, self._temporary = self._arrow, temporary_beside(self._path)
        vector = arrow.list_(arrow.float32(), self._width)
        columns = [("source", arrow.string()), ("channel", arrow.int32()), ("start_s", arrow.float64())]
        columns += [("end_s", arrow.float64()), ("time", arrow.string()), ("embedding", vector)]
        self._schema = arrow.schema(columns, metadata={"edgebird": json.dumps(self._made)})
        self._writer = self._parquet.ParquetWriter(self._temporary, self._schema, compression="zstd")

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """See `Sink`."""
        start, end = (seconds(at, self._rate) for at in (window.start, window.end))
        origin = recording.origin
        time = timestamp(origin, window.start, self._rate)
        self._rows.append((encodable(origin.name), origin.channel, start, end, time))
        self._vectors.append(scores)
        self._any = True
        if len(self._rows) == _ROWS:
            self._write()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Events do not matter."""

    def close(self) -> list[Event]:
        """Give the file its name. Raises OutputError where it has no row: an earlier one is worth more."""
        if self._temporary and not self._any:
            self.abandon()
            raise OutputError(f"{self._path}: no window was embedded: nothing is written")
        if self._temporary:
            self._write()
            self._writer.close()
            sync(self._temporary)
            self._temporary.replace(self._path)
            sync(self._path.parent)
            self._temporary = None
        return []

    def abandon(self) -> None:
        """Delete it."""
        if self._temporary:
            self._writer.close()
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _write(self) -> None:
        if not self._rows:
            return
        arrow, flat = self._arrow, np.concatenate(self._vectors)
        told = zip(*self._rows, strict=True)
        columns = [arrow.array(column, self._schema.field(place).type) for place, column in enumerate(told)]
        columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(flat), self._width))
        try:
            self._writer.write_table(arrow.Table.from_arrays(columns, schema=self._schema))
        except arrow.ArrowException as error:
            raise OutputError(f"cannot write {self._path}: {error}") from error
        self._rows, self._vectors = [], []


def made_with(bundle: Bundle, precision: str, hop_s: float) -> dict[str, Any]:
    """Return what a file says that its embeddings were made with."""
    return {
        "edgebird": __version__,
        "graph": bundle.graph_of(precision).sha256,
        "precision": precision,
        "window_s": bundle.card.window_samples / bundle.card.sample_rate,
        "hop_s": hop_s,
    }


def pyarrow_of() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet. Raises NotInstalledError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise NotInstalledError(f"Parquet files need pyarrow: pip install 'edgebird[parquet]' ({error})") from error
    return pyarrow, pyarrow.parquet
