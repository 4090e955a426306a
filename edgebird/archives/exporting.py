"""From a dataset to the sinks of recordings: its events again, recording by recording, as they were told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

from edgebird.archives.dataset import Partition, partitions, parts_in, rows_in
from edgebird.archives.schema import DETECTIONS, EVENT_OF, SUMMARIES, event_of, require_pyarrow
from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.remote.path import place
from edgebird.sinks import Recorded, Sink, begun
from edgebird.sources import FoundAudio
from edgebird.types import Origin

_PARTITIONS = 4  # in memory


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a dataset. recorder: None for all. first, last: days, YYYY-MM-DD, the last included."""

    recorder: str | None = None
    first: str | None = None
    last: str | None = None

    def has(self, partition: Partition) -> bool:
        """Whether a partition is of it; one of a day that nobody knows is, as long as no day is asked for."""
        if self.recorder not in (None, partition.recorder):
            return False
        day = partition.day or ""
        return (self.first is None or self.first <= day) and (self.last is None or (day != "" and day <= self.last))


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """A recording in a dataset. rate: of the model, Hz. has_channels: it was asked for by its channels."""

    found: FoundAudio
    partition: str
    rate: int
    has_channels: bool


class StoredDataset:
    """A dataset that `detect --format parquet` wrote. Raises OutputError where there is none, or a file is damaged."""

    def __init__(self, root: Path, selection: Selection) -> None:
        require_pyarrow()
        self._root = root
        known = partitions(root)
        if not known:
            raise OutputError(f"{root}: no dataset of edgebird is there, or nothing is in it yet")
        self._events_of = lru_cache(_PARTITIONS)(self._read)
        self.recordings = self._index([name for name in known if selection.has(Partition.of(name))])

    def _index(self, names: Sequence[str]) -> list[StoredRecording]:
        """Its recordings, in the order of their paths, as `detect` takes those of a folder."""
        found: dict[str, StoredRecording] = {}
        for name in names:
            for row in rows_in(self._root, SUMMARIES, name):
                audio = FoundAudio(place(Path(row["path"])), PurePath(row["recording"]))
                found[row["recording"]] = StoredRecording(audio, name, row["model_rate"], row["channel"] is not None)
        return sorted(found.values(), key=lambda one: one.found.path)

    @property
    def has_probabilities(self) -> bool:
        """Whether a detection has one: then all have their column in a table."""
        names = {one.partition for one in self.recordings}
        parts = (part["probability"] for name in names for part in parts_in(self._root, DETECTIONS, name))
        return any(its.null_count < len(its) for its in parts)

    def tell(self, sinks: list[Sink]) -> None:
        """Give all events to opened sinks. Raises what they raise."""
        for recording in self.recordings:
            events = list(self._events(recording))
            told = Recorded(events[0][0], recording.found.relative, recording.rate)
            with begun(sinks, told) as its:
                for origin, event in events:
                    memory = Recorded(origin, told.relative, told.rate)
                    its.each(lambda sink, event=event, memory=memory: sink.take(event, memory))  # type: ignore[misc]
            for _, error in its.failures:
                raise error

    def _events(self, recording: StoredRecording) -> Iterator[tuple[Origin, Event]]:
        for event in self._events_of(recording.partition)[recording.found.relative.as_posix()]:
            path = recording.found.path
            yield Origin(event["source"], path, None, event.get("zone_assumed"), event.get("channel")), event

    def _read(self, partition: str) -> dict[str, list[Event]]:
        """The events of each recording of a partition."""
        rows = {table: rows_in(self._root, table, partition) for table in EVENT_OF}
        summaries = {(row["recording"], row["channel"]): row for row in rows[SUMMARIES]}
        numbered: dict[str, dict[int, Event]] = {}
        for table, its in rows.items():
            for row in its:
                event = event_of(table, row, summaries[row["recording"], row["channel"]])
                numbered.setdefault(row["recording"], {})[row["number"]] = event
        return {name: [events[number] for number in sorted(events)] for name, events in numbered.items()}
