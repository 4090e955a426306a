"""The journal of an output: which recordings are done, and how. It grows by a line for each and is never rewritten.

A line of a run says by which bundle and settings the recordings on the lines behind it were done. A line is written
when the results of its recording are, so what a killed program leaves is behind: at worst a recording is done again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebird import __version__
from edgebird.archives.growing import GrowingFile
from edgebird.errors import OutputError, WrongOutputError
from edgebird.files import make_folder, sync, whole_lines
from edgebird.fingerprint import Fingerprint

FOLDER = ".edgebird"
SUFFIX = ".journal"
_SYNC_S = 1.0  # a power cut may cost the lines of about so many seconds


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of the recordings that is this program's: the `number`-th of `count`, from 1 on."""

    number: int = 1
    count: int = 1

    def has(self, key: str) -> bool:
        """Whether a recording is of this part: by the hash of its name, so that new ones move no others."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"


WHOLE = Shard()


@dataclass(frozen=True, slots=True)
class Run:
    """By what recordings are done. what: bundle and settings, in words that JSON has."""

    what: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The hash of it: another one says that what was done has to be done again."""
        return hashlib.sha256(json.dumps(self.what, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Done:
    """What a journal says of a recording.

    run: the `Run.id`. fingerprint: of the file that was read. shard: whose journal says so. at: when, in seconds since
    1970. problem: what is missing of it, else empty. partition: where a dataset has its rows. failed: it is not done,
    and what it came to is told all the same.
    """

    run: str
    fingerprint: Fingerprint
    shard: str
    at: float
    problem: str = ""
    partition: str = ""
    failed: bool = False


@dataclass(slots=True)
class Journals:
    """What all journals of an output say together: `done` by the names of recordings.

    waiting: by shards, names of those whose results were not in the dataset yet when the journal ended.
    earlier: by name, (shard, partition) where a dataset has had other rows of it than `done` says, if it has.
    """

    done: dict[str, Done] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=dict)
    earlier: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def add(self, name: str, found: Done) -> None:
        """Add what a journal says; what another one has said since is true."""
        known = self.done.get(name)
        if known and (known.shard, known.partition) != (found.shard, found.partition):
            its = self.earlier.setdefault(name, set())
            its |= {(one.shard, one.partition) for one in (known, found) if one.partition}
        if known is None or known.shard == found.shard or known.at <= found.at:
            self.done[name] = found

    def lose(self, name: str) -> None:
        """Take back what a journal says of a recording: its results were lost. Rows of an earlier time may be there."""
        if lost := self.done.pop(name, None):
            self.earlier.setdefault(name, set()).add((lost.shard, lost.partition))

    def places(self, name: str) -> set[tuple[str, str]]:
        """(shard, partition) of all files of a dataset that may have rows of a recording."""
        known = self.done.get(name)
        return self.earlier.get(name, set()) | ({(known.shard, known.partition)} if known else set())

    def is_done(self, key: str, run: str, found: Fingerprint | None) -> bool:
        """Whether this state of a recording is done by this run."""
        known = self.done.get(key)
        return known is not None and not known.failed and known.run == run and known.fingerprint == found


def journal_path(folder: Path, output: str, shard: Shard) -> Path:
    """Where the journal of an output in a folder is. output: its format."""
    return folder / FOLDER / f"{output}.{shard}{SUFFIX}"


def read_journals(folder: Path, output: str) -> Journals:
    """Read the journals of all shards of an output, also those that other programs write. Raises OutputError."""
    journals = Journals()
    for path in sorted(_journals(folder, output)):
        shard = path.name.removeprefix(f"{output}.").removesuffix(SUFFIX)
        run, waiting = "", journals.waiting.setdefault(shard, [])
        for _, line in _lines(path):
            run = line.get("run", run)
            if "merged" in line:
                waiting.clear()
            for name in line.get("lost", ()):
                journals.lose(name)
            if "done" in line:
                waiting += [line["done"]] if "partition" in line else []
                journals.add(line["done"], _done(line, run, shard))
    return journals


def forget_journals(folder: Path, output: str) -> None:
    """Remove the journals of an output that is written anew: what they say is not true any more."""
    for path in _journals(folder, output):
        path.unlink(missing_ok=True)


def _journals(folder: Path, output: str) -> list[Path]:
    try:
        return list((folder / FOLDER).glob(f"{output}.*{SUFFIX}"))
    except OSError as error:
        raise OutputError(f"cannot read {folder / FOLDER}: {error.strerror}") from error


def _done(line: dict[str, Any], run: str, shard: str) -> Done:
    found = Fingerprint(line["size"], line["mtime_ns"], line["ends"])
    return Done(run, found, shard, line["at"], line.get("problem", ""), line.get("partition", ""), "failed" in line)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Whole lines, each with where it ends."""
    end = 0
    try:
        with path.open("rb") as file:
            for size, line in whole_lines(file):
                end += size
                yield end, line
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error


class Journal:
    """The journal that this program writes; only one may at a time.

    run: by what recordings will be done, None to keep others from it without writing. All methods raise OutputError.
    """

    def __init__(self, path: Path, run: Run | None) -> None:
        self._path, self._run, self._file = path, run, GrowingFile(path)
        self._descriptor = -1
        self._synced = 0.0

    def open(self) -> None:
        """Open it, without what a killed program left half written. Raises WrongOutputError if another one has it."""
        make_folder(self._path.parent, self._path)
        try:
            self._file.fetch()
            here = self._file.here
            is_new = not here.exists()
            self._descriptor = os.open(here, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._lock()
            whole, run = 0, None
            for end, line in _lines(here):
                whole, run = end, line.get("run", run)
            os.ftruncate(self._descriptor, whole)
            if is_new:
                sync(here.parent)
        except OSError as error:
            raise self._error(error) from error
        if self._run and run != self._run.id:
            self.write({"run": self._run.id, "edgebird": __version__, **self._run.what})

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            self._descriptor = -1
            problem = "another edgebird writes there: wait for it, or give --shard K/N"
            raise WrongOutputError(f"cannot write {self._path}: {problem}") from None
        except OSError:  # a file system that has no locks
            pass

    def add(self, key: str, found: Fingerprint, **more: Any) -> None:
        """Note that a recording is done. found: of the file as it was before it was read."""
        line = {"done": key, "size": found.size, "mtime_ns": found.mtime_ns, "ends": found.ends}
        self.write({**line, "at": round(time.time(), 3), **more})

    def write(self, line: dict[str, Any], sync: bool = False) -> None:
        """Add a line; it is there whatever becomes of this program, and on the disk soon, or at once with `sync`.

        Elsewhere it is soon, too, see `GrowingFile`.
        """
        try:
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            if (written := os.write(self._descriptor, data)) != len(data):
                # What is behind a torn line would count for nothing.
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
                raise OSError(0, "the disk is full")
            if (now := time.monotonic()) > self._synced + _SYNC_S or sync:
                os.fsync(self._descriptor)
                self._synced = now
                self._file.put(sync)
        except OSError as error:
            raise self._error(error) from error

    def put(self) -> None:
        """Have all of it there now, where it is elsewhere."""
        try:
            self._file.put(now=True)
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Have all of it on the disk, and let another program have it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                os.fsync(descriptor)
                self._file.put(now=True)
            except OSError as error:
                raise self._error(error) from error
            finally:
                os.close(descriptor)
                self._file.drop()

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._path}: {error.strerror or error}")
