"""A table of all detections that grows for months: BirdNET's CSV, and when each was heard."""

from __future__ import annotations

from pathlib import Path

from edgebird.events import Event
from edgebird.files import first_line, make_folder
from edgebird.formats import BirdnetCsv, TableOptions
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import AppendedFile, origin_of


class TableSink(Sink):
    """Appends detections to a CSV file: BirdNET's columns, then `Time` (ISO 8601 with offset, or empty).

    BirdNET's seconds count from the start of a file; those of a live source begin anew with every start of the
    program, so that they alone would not say when a bird was heard. calibrated: a new file has `Probability`, too.
    """

    name = "table"

    def __init__(self, path: Path, calibrated: bool = False) -> None:
        self._path, self._options = path, TableOptions(times=True, probabilities=calibrated)
        self._form = BirdnetCsv(self._options)
        self._file = AppendedFile(path, self._form.header())

    def open(self) -> None:
        """Write the header. Raises WrongOutputError for another table."""
        make_folder(self._path.parent, self._path)
        options = self._options.going_on(first_line(self._path), lambda one: BirdnetCsv(one).header())
        self._form = BirdnetCsv(options)
        self._file.close()
        self._file = AppendedFile(self._path, self._form.header())
        self._file.append("", sync=True)

    def take(self, event: Event, memory: Memory | None) -> None:
        """Append a detection; it is on the disk afterwards."""
        if line := self._form.line(origin_of(event, memory), event):
            self._file.append(line, sync=True)

    def close(self) -> list[Event]:
        """Close the file."""
        self._file.close()
        return []
