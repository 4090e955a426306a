"""A file for each source, in any of the formats of `detect`."""

from __future__ import annotations

from pathlib import Path, PurePath

from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.formats import formatter
from edgebird.sinks import Memory
from edgebird.sinks.clips import safe_name
from edgebird.sinks.lines import AppendedFile, origin_of


class FolderSink:
    """Appends to `folder/<source>.<extension>`; the name of a file is its stem, and its table is begun anew.

    What is of no source, as statistics, is left out. rate: of the model, Hz.
    """

    name = "folder"

    def __init__(self, folder: Path, format_name: str, rate: int) -> None:
        self._folder = folder
        self._form = formatter(format_name, rate)
        self._files: dict[str, AppendedFile] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error

    def take(self, event: Event, memory: Memory | None) -> None:
        """Append what the format has a line for."""
        source = event["source"]
        if source is None:
            return
        origin = origin_of(event, memory)
        if source not in self._files:
            stem = PurePath(source).stem if origin.path else safe_name(source)
            path = self._folder / f"{stem}.{self._form.extension}"
            if origin.path:
                path.unlink(missing_ok=True)
            self._files[source] = AppendedFile(path, self._form.header())
            self._files[source].append("")
        if line := self._form.line(origin, event):
            self._files[source].append(line, sync=event["event"] == "detection")

    def tick(self) -> list[Event]:
        """Nothing waits."""
        return []

    def close(self) -> list[Event]:
        """Close the files."""
        for file in self._files.values():
            file.close()
        return []
