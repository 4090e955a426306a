"""Lines of text: every event as JSON, to a stream or to a file a day, and the file that grows by whole lines."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import TextIO

from edgebird.errors import OutputError, WrongOutputError
from edgebird.events import Event, to_json
from edgebird.files import identity, make_folder
from edgebird.files import sync as sync_path
from edgebird.formats import Formatter, JsonLines
from edgebird.sinks import Memory, Sink
from edgebird.types import Origin

_JSON = JsonLines()
_LONGEST_LINE = 1 << 16  # bytes
NOT_SYNCED = ("stats", "rejected", "stopped")  # everything else is on the disk when `take` returns


def now() -> datetime:
    """The wall clock, in local time with its offset."""
    return datetime.now().astimezone()


def write_result(stream: TextIO | None, text: str) -> None:
    """Write to stdout and flush. A reader that has gone (`| head`) ends the program, and that is no error.

    Raises OutputError if it cannot be written, WrongOutputError if stdout is closed.
    """
    if stream is None:
        raise WrongOutputError("cannot write the results: stdout is closed")
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # Python would complain once more at exit without this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        raise OutputError(f"cannot write the results: {error.strerror}") from error


class LineSink(Sink):
    """Every event to a text stream, flushed, below one header; a table format shows those it knows.

    stream: stdout, None if it is closed. A reader that has gone ends the program.
    """

    name = "stdout"

    def __init__(self, stream: TextIO | None, form: Formatter = _JSON) -> None:
        self._stream, self._form = stream, form
        self._begun = False

    def open(self) -> None:
        """Write the header, once."""
        if not self._begun:
            write_result(self._stream, self._form.header())
        self._begun = True

    def take(self, event: Event, memory: Memory | None) -> None:
        """Write an event."""
        write_result(self._stream, self._form.line(origin_of(event, memory), event))


class LineFileSink(Sink):
    """Every event as JSON in `folder/YYYYMMDD.jsonl`, the local day of the event itself.

    An event without a time goes to the day of the clock. Detections are on the disk when `take` returns.
    """

    name = "lines"

    def __init__(self, folder: Path, clock: Callable[[], datetime] = now) -> None:
        self._folder, self._clock = folder, clock
        self._file: AppendedFile | None = None

    def open(self) -> None:
        """Make the folder."""
        make_folder(self._folder)

    def take(self, event: Event, memory: Memory | None) -> None:
        """Append an event."""
        self._of_day(event).append(to_json(event) + "\n", sync=event["event"] not in NOT_SYNCED)

    def close(self) -> list[Event]:
        """Close the file."""
        if self._file:
            self._file.close()
        return []

    def _of_day(self, event: Event) -> AppendedFile:
        # Not in order: a song that began before midnight is told after it, and each source has its own offset.
        day = (event["time"] or self._clock().isoformat())[:10].replace("-", "")
        path = self._folder / f"{day}.jsonl"
        if self._file is None or self._file.path != path:
            self.close()
            self._file = AppendedFile(path)
        return self._file


class AppendedFile:
    """A UTF-8 text file that grows by whole lines, opened when it is first written to.

    header: what it begins with; a file that begins with something else is refused. A half-written last line, left by
    a power cut or a full disk, is ended before the next, so that this one is whole. When its file is gone or is another
    one (moved away, or below a drive that was mounted over it), it opens what is there now. begin: told the last line
    of what it opens. Raises OutputError.
    """

    def __init__(self, path: Path, header: str = "", begin: Callable[[str], None] = lambda last: None) -> None:
        self.path, self._header, self._begin_after = path, header.encode(), begin
        self._file: FileIO | None = None
        self._identity: tuple[int, int] | None = None  # which file that is

    def append(self, line: str, sync: bool = False) -> None:
        """Add a line, or "" to open the file only; sync: wait until it is on the disk."""
        if self._file and identity(self.path) != self._identity:
            self.close()
        try:
            self._file = self._file or self._opened()
            _write_all(self._file, line.encode())
            if sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            self.close()  # the next line opens it anew, and ends what was half written
            raise _cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        file, self._file = self._file, None
        if file:
            with suppress(OSError):
                file.close()

    def _opened(self) -> FileIO:
        is_new = not self.path.exists()
        if not is_new and not self.path.is_file():  # opening a pipe would wait for its reader
            raise WrongOutputError(f"cannot write {self.path}: it exists and is not a regular file")
        file = self.path.open("a+b", buffering=0)
        try:
            self._begin(file)
            self._begin_after(_last_line(file))
            if is_new:
                sync_path(self.path.parent)  # without its name a power cut takes the file, however often it was synced
            self._identity = identity(self.path)
        except (OSError, OutputError):
            file.close()
            raise
        return file

    def _begin(self, file: FileIO) -> None:
        """Make the file begin with the header and end with a line."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(len(self._header)) or b""
        if size < len(self._header) and self._header.startswith(start):
            _write_all(file, self._header[size:])
        elif start != self._header:
            header = self._header.decode().strip()
            problem = f"it does not begin with {header!r}: use another file"
            raise WrongOutputError(f"cannot append to {self.path}: {problem}")
        elif size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                _write_all(file, b"\n")


def origin_of(event: Event, memory: Memory | None) -> Origin:
    """The source of an event, which some events have not."""
    return memory.origin if memory else Origin(event["source"] or "")


def _last_line(file: FileIO) -> str:
    """The last line of a file that ends with one, "" if there is none; of a long one only the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_LINE))
    return (file.read() or b"").decode("utf-8", "replace").removesuffix("\n").rpartition("\n")[2]


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")
