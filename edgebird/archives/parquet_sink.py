"""The sink that makes a dataset: recordings go to a spool, then to Parquet files; a journal says which are done."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from edgebird.archives.dataset import Partition, merge, recorder_of
from edgebird.archives.growing import GrowingFile
from edgebird.archives.journal import FOLDER, Journal, Journals, Run, Shard, journal_path, read_journals
from edgebird.archives.resuming import Left, left_of
from edgebird.archives.schema import COLUMNS, TABLE_OF, require_pyarrow
from edgebird.archives.spool import Spool, Spooled, read_spool
from edgebird.card import Card
from edgebird.errors import AudioError, ScoreError, WrongOutputError
from edgebird.events import Event, encodable, seconds, timestamp
from edgebird.files import require_place
from edgebird.fingerprint import Fingerprint, fingerprint
from edgebird.recordings import Incomplete
from edgebird.remote.path import RemotePath
from edgebird.sinks import Memory, Recorded, Sink
from edgebird.sinks.folder import require_unique
from edgebird.sources import FoundAudio
from edgebird.types import FloatArray, Window

log = logging.getLogger(__name__)

FORMAT = "parquet"
_UNKNOWN = Fingerprint(0, 0, "")  # that of no file
_MOST_BYTES, _MOST_RECORDINGS, _LONGEST_S = 8 << 20, 2000, 300.0  # that wait in the spool


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """How a dataset is made.

    folder: of the dataset. level: which folder below the one that is given is a recorder's, from 1 on. floor: all
    scores of at least so much are kept, None for none. resume: there may be a dataset already.
    """

    folder: Path
    level: int = 1
    floor: float | None = None
    resume: bool = False


class ParquetSink(Sink):
    """Tables of detections, gaps, summaries, errors and, if asked for, scores, in a folder by recorder and day.

    A line of the spool has `recording`, its name; `partition`, where its rows go; `was`, [shard, partition] of rows
    that they take the place of; `file`; `error`; `events` as they are told; and `scores` of windows.
    """

    name = FORMAT
    each_apart = True

    def __init__(self, options: DatasetOptions, card: Card, run: Run, shard: Shard) -> None:
        self._options, self._run, self._shard = options, run, str(shard)
        self._codes, self._rate = [label.code for label in card.labels], card.sample_rate
        path = journal_path(options.folder, FORMAT, shard)
        self._is_elsewhere = isinstance(options.folder, RemotePath)
        self._spooled = GrowingFile(path.with_suffix(".spool"))  # which is never put elsewhere
        self._journal, self._spool = Journal(path, run), Spool(self._spooled.here)
        self._journals, self._others = Journals(), dict[str, Journal]()
        self._lost: list[str] = []  # names whose results are not in the spool, where they should be
        self._waiting, self._merged = 0, time.monotonic()
        self._events: list[Event] = []
        self._scores: list[dict[str, Any]] = []
        self._error: dict[str, str] | None = None

    def check_recordings(self, recordings: Sequence[FoundAudio]) -> None:
        """Raise OutputError if two recordings have one name, or there is a dataset that is not to be added to."""
        require_pyarrow()
        require_place(self._options.folder)
        require_unique(((found.path, self.key(found)) for found in recordings), "recording")
        folder = self._options.folder
        is_dataset = any((folder / table).exists() for table in COLUMNS) or any((folder / FOLDER).glob(f"{FORMAT}.*"))
        if is_dataset and not self._options.resume:
            raise WrongOutputError(f"cannot write {folder}: it holds a dataset: give --resume to add to it")

    def key(self, found: FoundAudio) -> str:
        """What a recording is called in the dataset: its path below the folder that was given, or its recorder's."""
        return _key(found.path, found.relative)

    def left(self, recordings: Sequence[FoundAudio]) -> Left:
        """Which recordings are not done."""
        self._journals = journals = read_journals(self._options.folder, FORMAT)
        spooled = {line["recording"] for _, line in read_spool(self._spool.path)}
        for shard in [*journals.waiting] if self._is_elsewhere else [self._shard]:
            for name in journals.waiting.get(shard, ()):
                # A power cut took the spool's end, and left the journal's.
                if encodable(name) not in spooled:
                    journals.lose(name)
                    self._lost += [name] if shard == self._shard else []
        return left_of(recordings, journals, self._run, self.key) if journals.done else Left(list(recordings))

    def open(self) -> None:
        """Put in what killed programs left in their spools."""
        self._journal.open()
        if self._lost:  # else the next line of what is put in would say that they were, too
            self._journal.write({"lost": self._lost}, sync=True)
        self._spool.open()
        self._merge()
        for shard, waiting in self._journals.waiting.items():
            if waiting and shard != self._shard and not self._is_elsewhere:  # its spool is where it ran
                self._adopt(shard)

    def begin(self, recording: Recorded) -> None:
        """See `Sink`."""
        self._clear()

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """Keep what is at or above the floor."""
        floor = self._options.floor
        if floor is None or not len(labels := np.flatnonzero(scores >= floor)):
            return
        start, end = (seconds(position, self._rate) for position in (window.start, window.end))
        line: dict[str, Any] = {"start_s": start, "end_s": end}
        line |= {"time": timestamp(recording.origin, window.start, self._rate)}
        line |= {"codes": [self._codes[label] for label in labels], "scores": scores[labels].tolist()}
        self._scores.append(line | {"channel": recording.origin.channel})

    def take(self, event: Event, memory: Memory | None) -> None:
        """Keep an event."""
        if event["event"] in TABLE_OF:
            self._events.append(event)

    def lack(self, recording: Recorded, problem: Incomplete) -> None:
        """Note it as an error of the recording."""
        kind = "engine" if isinstance(problem, ScoreError) else "incomplete"
        if self._error is None or (kind == "engine" and self._error["kind"] == "incomplete"):
            self._error = {"kind": kind, "message": encodable(str(problem))}

    def end(self, recording: Recorded, complete: bool) -> None:
        """Spool the recording and note that it is done."""
        path, started = recording.origin.path, recording.origin.started
        if complete and path:
            day = started.date().isoformat() if started else None
            state = recording.fingerprint or _UNKNOWN
            self._put(path, _key(path, recording.relative), self._partition(path, recording, day), state)
        self._clear()

    def fail(self, found: FoundAudio, error: AudioError) -> None:
        """Note that a recording could not be read."""
        self._clear()
        self._error = {"kind": "unreadable", "message": encodable(str(error))}
        state = fingerprint(found.path) or _UNKNOWN
        self._put(found.path, self.key(found), self._partition(found.path, found, None), state)
        self._clear()

    def close(self) -> list[Event]:
        """Put all that is spooled into the dataset."""
        merged = False
        try:
            self._merge()
            merged = True
        finally:
            self._spool.close()
            if merged:
                self._spooled.drop()
            elif left := self._spooled.left:
                log.error("results that could not be put into the dataset are kept in %s", left)
            for journal in (self._journal, *self._others.values()):
                journal.close()
        return []

    def _clear(self) -> None:
        self._events, self._scores, self._error = [], [], None

    def _partition(self, path: Path, found: FoundAudio | Recorded, day: str | None) -> str:
        return Partition(recorder_of(path, found.relative, self._options.level), day).folder

    def _put(self, path: Path, name: str, partition: str, found: Fingerprint) -> None:
        """Spool what is known of a recording, then note it; one that may do better next time as failed."""
        was = sorted(self._journals.places(name))
        for shard, _ in was:
            self._take_over(shard)
        when = datetime.fromtimestamp(found.mtime_ns / 1e9, timezone.utc).isoformat()
        file = {"path": encodable(str(path)), "file_size": found.size, "file_time": when, "model_rate": self._rate}
        line: Spooled = {"recording": encodable(name), "partition": partition, "was": was, "file": file}
        self._spool.add(line | {"error": self._error, "events": self._events, "scores": self._scores})
        more: dict[str, Any] = {"partition": partition}
        if self._error:
            more |= {"problem": self._error["message"]}
            more |= {"failed": True} if self._error["kind"] != "incomplete" else {}
        self._journal.add(name, found, **more)
        self._waiting += 1
        is_late = time.monotonic() - self._merged > _LONGEST_S
        if self._spool.size > _MOST_BYTES or self._waiting >= _MOST_RECORDINGS or is_late:
            self._merge()

    def _take_over(self, shard: str) -> None:
        """Have the files of another shard, of which rows will go. Raises WrongOutputError if it runs."""
        if shard != self._shard and shard not in self._others and not self._is_elsewhere:  # no locks are there
            number, _, count = shard.partition("-of-")
            other = Journal(journal_path(self._options.folder, FORMAT, Shard(int(number), int(count))), None)
            other.open()
            self._others[shard] = other

    def _adopt(self, shard: str) -> None:
        """Put in what another shard left in its spool; nothing if that one runs."""
        with suppress(WrongOutputError):
            self._take_over(shard)
            journal = self._others.pop(shard)
            spool = Spool(self._spool.path.with_name(f"{FORMAT}.{shard}.spool"))
            with closing(journal), closing(spool):
                spool.open()
                merge(self._options.folder, shard, spool.lines())
                journal.write({"merged": True}, sync=True)
                spool.clear()

    def _merge(self) -> None:
        """Put what is spooled into the dataset, note that, and empty the spool."""
        if self._spool.size:
            self._spool.sync()
            self._journal.put()
            merge(self._options.folder, self._shard, self._spool.lines())
            self._journal.write({"merged": True}, sync=True)
            self._spool.clear()
        self._waiting, self._merged = 0, time.monotonic()


def _key(path: Path, relative: PurePath) -> str:
    return relative.as_posix() if len(relative.parts) > 1 else f"{path.absolute().parent.name}/{relative.name}"
