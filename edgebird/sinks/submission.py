"""A BirdCLEF submission: the scores of every window of every recording in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgebird.errors import OutputError, WrongOutputError
from edgebird.events import Event
from edgebird.files import WholeText, first_line
from edgebird.formats import Submission
from edgebird.sinks import Recorded, Sink
from edgebird.sinks.folder import require_unique
from edgebird.sources import FoundAudio
from edgebird.types import FloatArray, Label, Window


class SubmissionSink(Sink):
    """Writes the table whole or not at all; the rows of a recording that is not complete are left out.

    labels: of the model, in its order. rate: of the model, Hz.
    """

    name = "submission"

    def __init__(self, path: Path, labels: Sequence[Label], rate: int) -> None:
        self._path, self._table = path, Submission(labels, rate)
        self._file: WholeText | None = None
        self._rows: list[str] = []

    @staticmethod
    def check_recordings(recordings: Sequence[FoundAudio]) -> None:
        """Raise OutputError if two recordings would write rows of one name."""
        require_unique(((found.path, f"{found.path.stem}_5") for found in recordings), "row")

    def open(self) -> None:
        """Begin the table. Raises WrongOutputError where something is that is no submission with these labels."""
        header, line = self._table.header(), first_line(self._path)
        if line is not None and line != header.rstrip("\n"):
            problem = "it is no earlier submission of this model"
            raise WrongOutputError(f"cannot write {self._path}: {problem}: use another file")
        self._file = WholeText(self._path)
        self._file.write(header)

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """Add the row of a window."""
        self._rows.append(self._table.line(recording.origin, window, scores))

    def end(self, recording: Recorded, complete: bool) -> None:
        """Write the rows of a recording."""
        rows, self._rows = self._rows, []
        if self._file and complete:
            try:
                self._file.write("".join(rows))
            except OutputError:
                self.abandon()  # it may end with half a row
                raise

    def close(self) -> list[Event]:
        """Give the table its name."""
        if self._file:
            self._file.keep()
        return []

    def abandon(self) -> None:
        """Delete the table."""
        file, self._file = self._file, None
        if file:
            file.drop()
