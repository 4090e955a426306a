"""Outputs: where the results of recordings are written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TextIO

from edgebird.card import Card
from edgebird.detection import Result, Scored
from edgebird.errors import OutputError
from edgebird.events import Event, Events
from edgebird.files import atomic_text
from edgebird.formats import Formatter, Submission, formatter
from edgebird.pooling import Onset
from edgebird.recordings import Take
from edgebird.sources import FoundAudio
from edgebird.types import Detection, Origin, Rejected, Summary


def write_result(stream: TextIO | None, text: str) -> None:
    """Write to stdout and flush. A reader that has gone (`| head`) ends the program, and that is no error.

    Raises OutputError if it cannot be written.
    """
    if stream is None:
        raise OutputError("cannot write the results: stdout is closed")
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # Python would complain once more at exit without this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        raise OutputError(f"cannot write the results: {error.strerror}") from error


class _Telling:
    """Tells the results that users see as events: `explain` includes the rejected ones."""

    def __init__(self, card: Card, explain: bool) -> None:
        self._events = Events(card.labels, card.sample_rate)
        self._explain = explain

    def tell(self, origin: Origin, result: Result) -> Event | None:
        match result:
            case Detection() | Summary():
                return self._events.tell(origin, result)
            case Rejected() if self._explain:
                return self._events.tell(origin, result)
            case Scored() | Onset() | Rejected():
                return None


class StreamOutput:
    """All recordings into one stream, each line flushed; the header once."""

    def __init__(self, stream: TextIO | None, format_name: str, card: Card, explain: bool = False) -> None:
        self._stream, self._telling = stream, _Telling(card, explain)
        self._formatter = formatter(format_name, card.sample_rate)
        write_result(stream, self._formatter.header())

    @contextmanager
    def recording(self, origin: Origin, relative: PurePath) -> Iterator[Take]:
        """See `Output`."""

        def take(result: Result) -> None:
            if event := self._telling.tell(origin, result):
                write_result(self._stream, self._formatter.line(origin, event))

        yield take


class FolderOutput:
    """A file per recording, `<stem>.<extension>`, subfolders kept, written whole or not at all."""

    def __init__(self, folder: Path, format_name: str, card: Card, explain: bool = False) -> None:
        self._folder, self._format, self._card = folder, format_name, card
        self._telling = _Telling(card, explain)

    def check(self, recordings: Sequence[FoundAudio]) -> None:
        """Raise OutputError if two recordings would write the same file."""
        table = formatter(self._format, self._card.sample_rate)
        _require_unique([(found, str(self._path(found.relative, table))) for found in recordings], "file")

    @contextmanager
    def recording(self, origin: Origin, relative: PurePath) -> Iterator[Take]:
        """See `Output`."""
        table = formatter(self._format, self._card.sample_rate)
        with atomic_text(self._path(relative, table)) as stream:
            stream.write(table.header())

            def take(result: Result) -> None:
                if event := self._telling.tell(origin, result):
                    stream.write(table.line(origin, event))

            yield take

    def _path(self, relative: PurePath, table: Formatter) -> Path:
        return self._folder / relative.parent / f"{relative.stem}.{table.extension}"


def _require_unique(named: Sequence[tuple[FoundAudio, str]], kind: str) -> None:
    """Raise OutputError if two recordings have one name."""
    owners: dict[str, FoundAudio] = {}
    for found, name in named:
        other = owners.setdefault(name, found)
        if other is not found:
            raise OutputError(f"{other.path} and {found.path} would both write the {kind} {name}: run them apart")


class SubmissionOutput:
    """The scores of every window in one table; the rows of a recording that fails are left out."""

    @staticmethod
    def check(recordings: Sequence[FoundAudio]) -> None:
        """Raise OutputError if two recordings would write rows of one name."""
        _require_unique([(found, f"{found.path.stem}_5") for found in recordings], "row")

    def __init__(self, stream: TextIO, card: Card) -> None:
        self._stream = stream
        self._table = Submission(card.labels, card.sample_rate)
        stream.write(self._table.header())

    @contextmanager
    def recording(self, origin: Origin, relative: PurePath) -> Iterator[Take]:
        """See `Output`."""
        rows: list[str] = []

        def take(result: Result) -> None:
            if isinstance(result, Scored):
                rows.append(self._table.line(origin, result.window, result.scores))

        yield take
        self._stream.writelines(rows)
