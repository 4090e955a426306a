"""A file for each recording or source, in any of the formats of `detect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from edgebird.errors import OutputError, WrongOutputError
from edgebird.events import Event
from edgebird.files import WholeText, first_line, make_folder, require_free, require_place
from edgebird.formats import Formatter, Raven, TableOptions, begins_as, formatter
from edgebird.remote.path import RemotePath
from edgebird.sinks import Memory, Recorded, Sink
from edgebird.sinks.clips import safe_name
from edgebird.sinks.lines import NOT_SYNCED, AppendedFile, origin_of
from edgebird.sources import FoundAudio

_JOURNALS = ".edgebird/"  # where they are, the folder is ours
_SHOWN = 40  # characters of a line


class FolderSink(Sink):
    """A file for each recording, or for each source of a station.

    The file of a recording is `<stem>.<extension>` in the subfolder in which the recording was found; it is written
    whole or not at all. That of a station's source is `<source>.<extension>`; it is appended to, or begun anew if the
    source is a file. What is of no source, as statistics, is left out. rate: of the model, Hz.
    """

    name = "folder"
    each_apart = True

    def __init__(
        self,
        folder: Path,
        format_name: str,
        rate: int,
        recordings: bool = False,
        options: TableOptions | None = None,
    ) -> None:
        self.folder, self.format, self._rate, self._recordings = folder, format_name, rate, recordings
        self._options = options or TableOptions()
        self._form = self._new_form(folder)
        self._files: dict[str, tuple[AppendedFile, Formatter]] = {}
        self._whole: WholeText | None = None
        self._there: frozenset[str] | None = None  # files in a folder elsewhere

    @staticmethod
    def check(sources: Sequence[tuple[str, bool]]) -> None:
        """Raise OutputError if two sources of a station, (name, whether it is a file), would write one file."""
        named = ((source, _stem(source, is_file)) for source, is_file in sources)
        require_unique(named, "file", ", or name them")

    def check_recordings(self, recordings: Sequence[FoundAudio]) -> None:
        """Raise OutputError if two recordings would write the same file, or something else is where one shall be."""
        require_unique(((found.path, str(self.path(found.relative))) for found in recordings), "file")
        if isinstance(self.folder, RemotePath):  # asked once: each question takes its time
            require_place(self.folder)
            self._there = frozenset(self.folder.find())
            is_ours = any(name.startswith(_JOURNALS) for name in self._there)
            recordings = [] if is_ours else [found for found in recordings if self.has(found.relative)]
        for found in recordings:
            path = self.path(found.relative)
            require_free(path)
            self._require_ours(path)

    def has(self, relative: PurePath) -> bool:
        """Whether there is a file of a recording, when recordings were checked."""
        path = self.path(relative)
        return path.is_file() if self._there is None else str(path.relative_to(self.folder)) in self._there

    def open(self) -> None:
        """Make the folder; for recordings it is made with the first file."""
        if not self._recordings:
            make_folder(self.folder)

    def begin(self, recording: Recorded) -> None:
        """Begin its file, which has no name yet."""
        path = self.path(recording.relative)
        self._form = self._new_form(path.parent)
        self._whole = WholeText(path)
        self._whole.write(self._form.header())

    def take(self, event: Event, memory: Memory | None) -> None:
        """Append what the format has a line for."""
        origin = origin_of(event, memory)
        if self._whole:
            self._whole.write(self._form.line(origin, event))
        elif event["source"] is not None:
            file, form = self._file(event["source"], origin.path is not None)
            file.append("")  # a table that is begun anew, as the old one is gone, numbers anew
            if line := form.line(origin, event):
                file.append(line, sync=event["event"] not in NOT_SYNCED)

    def end(self, recording: Recorded, complete: bool) -> None:
        """Give its file its name, or delete it."""
        whole, self._whole = self._whole, None
        if whole and complete:
            whole.keep()
        elif whole:
            whole.drop()

    def close(self) -> list[Event]:
        """Close the files."""
        for file, _ in self._files.values():
            file.close()
        return []

    def _new_form(self, folder: Path, begins: str | None = None) -> Formatter:
        """A table in this folder, which has a numbering of its own. begins: the first line of one that goes on."""
        options = self._options.going_on(begins, lambda one: formatter(self.format, self._rate, one).header())
        relative = options.relative_to is not None
        return formatter(self.format, self._rate, replace(options, relative_to=folder if relative else None))

    def _require_ours(self, path: Path) -> None:
        """Raise WrongOutputError for what is no earlier output of this format: formats share extensions, too."""
        line = first_line(path)
        if line is not None and not begins_as(self.format, line):
            begins = f"it begins with {line[:_SHOWN]!r}" if line else "it begins with an empty line"
            problem = f"it is no output of edgebird in the format {self.format} ({begins})"
            raise WrongOutputError(f"cannot write {path}: {problem}: use another folder")

    def path(self, relative: PurePath) -> Path:
        """Where the table of a recording is."""
        return self.folder / relative.parent / f"{relative.stem}.{self._form.extension}"

    def _file(self, source: str, is_file: bool) -> tuple[AppendedFile, Formatter]:
        if source not in self._files:
            path = self.folder / f"{_stem(source, is_file)}.{self._form.extension}"
            if any(path == file.path for file, _ in self._files.values()):
                raise OutputError(f"cannot write {source} into {path}: another source does")
            self._require_ours(path)
            if is_file:
                path.unlink(missing_ok=True)
            form = self._new_form(self.folder, first_line(path))
            file = AppendedFile(path, form.header(), form.go_on if isinstance(form, Raven) else lambda last: None)
            file.append("")
            self._files[source] = file, form
        return self._files[source]


def require_unique(named: Iterable[tuple[object, str]], kind: str, advice: str = "") -> None:
    """Raise OutputError if two (owner, name) have one name. kind: of what is named."""
    owners: dict[str, object] = {}
    for owner, name in named:
        if (other := owners.setdefault(name, owner)) != owner:
            raise OutputError(f"{other} and {owner} would both write the {kind} {name}: run them apart{advice}")


def _stem(source: str, is_file: bool) -> str:
    return PurePath(source).stem if is_file else safe_name(source)
