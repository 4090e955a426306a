"""A file for each source, in any of the formats of `detect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from edgebird.errors import OutputError
from edgebird.events import Event
from edgebird.formats import formatter
from edgebird.sinks import Memory
from edgebird.sinks.clips import safe_name
from edgebird.sinks.lines import NOT_SYNCED, AppendedFile, origin_of


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

    @staticmethod
    def check(sources: Sequence[tuple[str, bool]]) -> None:
        """Raise OutputError if two sources, (name, whether it is a file), would write one file."""
        owners: dict[str, str] = {}
        for source, is_file in sources:
            stem = _stem(source, is_file)
            if (other := owners.setdefault(stem, source)) != source:
                raise OutputError(
                    f"{other} and {source} would both write the file {stem}: run them apart, or name them"
                )

    def take(self, event: Event, memory: Memory | None) -> None:
        """Append what the format has a line for."""
        source = event["source"]
        if source is None:
            return
        origin = origin_of(event, memory)
        if source not in self._files:
            path = self._folder / f"{_stem(source, origin.path is not None)}.{self._form.extension}"
            if any(path == file.path for file in self._files.values()):
                raise OutputError(f"cannot write {source} into {path}: another source does")
            if origin.path:
                path.unlink(missing_ok=True)
            self._files[source] = AppendedFile(path, self._form.header())
            self._files[source].append("")
        if line := self._form.line(origin, event):
            self._files[source].append(line, sync=event["event"] not in NOT_SYNCED)

    def tick(self) -> list[Event]:
        """Nothing waits."""
        return []

    def close(self) -> list[Event]:
        """Close the files."""
        for file in self._files.values():
            file.close()
        return []


def _stem(source: str, is_file: bool) -> str:
    return PurePath(source).stem if is_file else safe_name(source)
