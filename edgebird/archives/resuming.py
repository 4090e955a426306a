"""Going on where an earlier run ended: what is left to do, and a folder of tables whose journal says what is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.archives.journal import Journal, Journals, Run, Shard, journal_path, read_journals
from edgebird.bundle import CARD_FILE, Bundle
from edgebird.errors import ScoreError
from edgebird.events import Event
from edgebird.files import file_sha256
from edgebird.fingerprint import fingerprint
from edgebird.recordings import Incomplete
from edgebird.sinks import Memory, Recorded, Sink
from edgebird.sinks.folder import FolderSink
from edgebird.sources import FoundAudio
from edgebird.types import FloatArray, Window

_OF_THE_MACHINE = ("bundle", "runtime", "threads")  # engines are proven to agree; the bundle is known by its hash


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a work list. done: how many are through. flawed: of how many of these a part is missing."""

    recordings: list[FoundAudio]
    done: int = 0
    flawed: int = 0


def run_of(bundle: Bundle, detection: object, further: Mapping[str, Any]) -> Run:
    """By what recordings are done. detection: a dataclass of settings. further: what else changes what is written."""
    settings = {name: _plain(value) for name, value in _fields(detection) if name not in _OF_THE_MACHINE}
    if not settings.get("cascade"):  # so that what was done before there were cascades stays done
        settings = {name: value for name, value in settings.items() if name not in ("cascade", "cascade_audit")}
    settings |= {name: _plain(value) for name, value in further.items()}
    if getattr(detection, "runtime", "") == "null":  # which scores nothing
        settings["runtime"] = "null"
    return Run({"bundle": file_sha256(bundle.path / CARD_FILE), "settings": settings})


def _fields(value: Any) -> list[tuple[str, Any]]:
    return [(field.name, getattr(value, field.name)) for field in fields(value)]


def _plain(value: Any) -> Any:
    """A setting in words that JSON has; of a file, and of the card of a bundle, its hash, as its content may change."""
    match value:
        case Path():
            file = value / CARD_FILE if value.is_dir() else value
            return file_sha256(file) if file.is_file() else str(value)
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(one) for one in value]
        case bool() | int() | float() | str() | None:
            return value
        case np.generic():
            return value.item()
    return dict(map(_plain_pair, _fields(value))) if is_dataclass(value) else str(value)


def _plain_pair(pair: tuple[str, Any]) -> tuple[str, Any]:
    return pair[0], _plain(pair[1])


def left_of(
    recordings: Sequence[FoundAudio], journals: Journals, run: Run, key: Callable[[FoundAudio], str | None]
) -> Left:
    """What is left to do. key: the name of a recording in the journals, None where its results are not there."""
    left: list[FoundAudio] = []
    id, done, flawed = run.id, 0, 0
    for found in recordings:
        name = key(found)
        known = journals.done.get(name) if name is not None else None
        if name is None or known is None or not journals.is_done(name, id, fingerprint(found.path, found.listed)):
            left.append(found)
            continue
        done += 1
        flawed += known.problem != ""
    return Left(left, done, flawed)


class JournaledFolder(Sink):
    """A folder of tables that notes which recordings are done.

    folder: where the tables go, as `sink` knows it. A recording that an engine could not score in part is not done: the
    engine may do better next time. One of which a part is missing is.
    """

    each_apart = True

    def __init__(self, sink: FolderSink, run: Run, shard: Shard) -> None:
        self.name, self._sink, self._run = sink.name, sink, run
        self._journal = Journal(journal_path(sink.folder, sink.format, shard), run)
        self._problem: Incomplete | None = None

    def left(self, recordings: Sequence[FoundAudio]) -> Left:
        """Which recordings are not done, or have no table any more."""
        journals = read_journals(self._sink.folder, self._sink.format)
        if not journals.done:
            return Left(list(recordings))

        def key(found: FoundAudio) -> str | None:
            return found.relative.as_posix() if self._sink.has(found.relative) else None

        return left_of(recordings, journals, self._run, key)

    def open(self) -> None:
        """See `Sink`."""
        self._sink.open()
        self._journal.open()

    def begin(self, recording: Recorded) -> None:
        """See `Sink`."""
        self._problem = None
        self._sink.begin(recording)

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """See `Sink`."""
        self._sink.score(recording, window, scores)

    def take(self, event: Event, memory: Memory | None) -> None:
        """See `Sink`."""
        self._sink.take(event, memory)

    def lack(self, recording: Recorded, problem: Incomplete) -> None:
        """See `Sink`."""
        if not isinstance(self._problem, ScoreError):  # another channel's: that is tried again
            self._problem = problem

    def end(self, recording: Recorded, complete: bool) -> None:
        """End the table, then note it."""
        self._sink.end(recording, complete)
        if complete and recording.fingerprint and not isinstance(self._problem, ScoreError):
            more = {"problem": str(self._problem)} if self._problem else {}
            self._journal.add(recording.relative.as_posix(), recording.fingerprint, **more)

    def close(self) -> list[Event]:
        """See `Sink`."""
        self._journal.close()
        return self._sink.close()
