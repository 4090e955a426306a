"""A table of all detections that grows for months: BirdNET's CSV, and when each was heard."""

from __future__ import annotations

from pathlib import Path

from edgebird.events import Event
from edgebird.files import make_folder
from edgebird.formats import BirdnetCsv
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import AppendedFile, origin_of


class TableSink(Sink):
    """Appends detections to a CSV file: BirdNET's columns and, last, `Time` (ISO 8601 with offset, or empty).

    BirdNET's seconds count from the start of a file; those of a live source begin anew with every start of the
    program, so that they alone would not say when a bird was heard.
    """

    name = "table"

    def __init__(self, path: Path) -> None:
        self._form, self._path = BirdnetCsv(), path
        self._file = AppendedFile(path, _with_column(self._form.header(), "Time"))

    def open(self) -> None:
        """Write the header. Raises WrongOutputError for another table."""
        make_folder(self._path.parent, self._path)
        self._file.append("", sync=True)

    def take(self, event: Event, memory: Memory | None) -> None:
        """Append a detection; it is on the disk afterwards."""
        if line := self._form.line(origin_of(event, memory), event):
            self._file.append(_with_column(line, event["time"] or ""), sync=True)

    def close(self) -> list[Event]:
        """Close the file."""
        self._file.close()
        return []


def _with_column(line: str, value: str) -> str:
    return f"{line.removesuffix(chr(10))},{value}\n"
