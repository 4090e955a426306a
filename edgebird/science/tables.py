"""Spans that somebody marked in recordings: Raven selection tables, Audacity labels, CSV, and what crowsetta reads.

Raven, Audacity and CSV are read here: crowsetta refuses a table without rows, which says that nothing sings.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from edgebird.errors import LabelError, UsageError

# Headings, lower case, the best first.
_STARTS = ("start (s)", "begin time (s)", "start_s", "onset_s", "start_time", "start", "begin", "onset", "begin_time")
_ENDS = ("end (s)", "end time (s)", "end_s", "offset_s", "end_time", "end", "stop", "offset")
_NAMES = (
    "species code", "species_code", "species ebird code", "ebird_code", "code", "scientific name", "scientific_name",
    "common name", "common_name", "species", "annotation", "label", "label:species", "class", "name",
)  # fmt: skip
_FILES = (
    "begin path",
    "begin file",
    "file",
    "filename",
    "file_name",
    "audiofilename",
    "audio_path",
    "notated_path",
    "recording",
)
_SCORES = ("confidence", "score")
_SUFFIXES = (".txt", ".csv", ".tsv")
# What programs add to the name of a recording; the ending of a sound file may be before it.
_ADDED = re.compile(r"(?i)(\.table\.\d+)?(\.birdnet)?(\.selections?|\.results|\.annotations?|\.labels?)?(\.table)?$")
_SOUND = re.compile(r"(?i)\.(wav|wave|flac|ogg|oga|opus|mp3|aiff?|aifc|w64|m4a|wma|aac|caf|au)$")
_LABEL = re.compile(r"\s*(\d+(?:[.,]\d+)?)\t(\d+(?:[.,]\d+)?)(?:\t(.*))?")  # of Audacity
_SCORED = re.compile(r"(.*\S) ([01]\.\d\d)(?: \(channel \d+\))?")  # the text of a label that edgebird wrote


@dataclass(frozen=True, slots=True)
class Span:
    """Something that is heard. start_s, end_s: in its recording. name: of the species, in the words of the table.

    score: 0 to 1; None where a person marked it.
    """

    start_s: float
    end_s: float
    name: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class TableReading:
    """How tables are read.

    column: the heading above the names, "" for the best one there is. by: a format of crowsetta's, "" for none.
    """

    column: str = ""
    by: str = ""


@dataclass(slots=True)
class Marked:
    """What tables say. spans: by recording, its path without its ending; without spans nothing was heard in it.

    unnamed: how many rows have no name.
    """

    spans: dict[PurePath, list[Span]] = field(default_factory=dict)
    unnamed: int = 0

    def add(self, recording: PurePath, span: Span | None) -> None:
        """Add a span; None for a recording that may have none."""
        its = self.spans.setdefault(recording, [])
        if span is not None and span.name:
            its.append(span)
        elif span is not None:
            self.unnamed += 1


def read_tables(paths: Sequence[Path], how: TableReading) -> Marked:
    """Read tables, and folders of them. Raises LabelError, UsageError for a format that crowsetta has not."""
    marked = Marked()
    read = _crowsetta(how) if how.by else lambda path, place: read_table(path, place, how)
    for path, place in _files(paths, not how.by):
        try:
            for recording, span in read(path, place):
                marked.add(recording, span)
        except OSError as error:
            raise LabelError(f"cannot read {path}: {error.strerror}") from error
    if not marked.spans:
        raise LabelError(f"{', '.join(map(str, paths))}: no table in it ({', '.join(_SUFFIXES)})")
    return marked


def _files(paths: Sequence[Path], known: bool) -> Iterator[tuple[Path, PurePath]]:
    """Every file, and its place below the folder that was given. known: those with an ending of tables only."""
    for path in paths:
        if not path.is_dir():
            yield path, PurePath(path.name)
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith(".") and (not known or file.suffix.lower() in _SUFFIXES):
                yield file, file.relative_to(path)


def without_ending(path: PurePath) -> PurePath:
    """Return the path of a recording without the ending of a sound file."""
    return path.with_name(_SOUND.sub("", path.name) or path.name) if path.name else path


def recording_of(table: PurePath) -> PurePath:
    """Return which recording a table is of, by its name: `dawn.Table.1.selections.txt` is of `dawn`."""
    stem = table.stem
    while (shorter := _ADDED.sub("", stem)) not in (stem, ""):
        stem = shorter
    return without_ending(table.with_name(stem))


def read_table(path: Path, place: PurePath, how: TableReading) -> Iterator[tuple[PurePath, Span | None]]:
    """Give the spans of a table, each with its recording; the recording alone, if the table is of one and may be empty.

    Raises LabelError, OSError.
    """
    lines = _text(path).splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first or _LABEL.fullmatch(first):
        yield recording_of(place), None
        yield from ((recording_of(place), span) for span in _labels(path, lines))
        return
    try:
        yield from _rows(path, place, lines, how)
    except csv.Error as error:  # such as for a quotation mark that nobody closed
        raise LabelError(f"{path}: no table: {error}") from error


def _rows(
    path: Path, place: PurePath, lines: Sequence[str], how: TableReading
) -> Iterator[tuple[PurePath, Span | None]]:
    """Give the spans of a table with headings. Raises csv.Error, LabelError."""
    first = next(line for line in lines if line.strip())
    separator = "\t" if "\t" in first else ";" if first.count(";") > first.count(",") else ","
    rows = csv.DictReader(lines, delimiter=separator, restval="")
    columns = _Columns.of(path, [heading or "" for heading in rows.fieldnames or ()], how.column)
    seen: set[str] = set()
    files = 0
    for number, row in enumerate(rows, 2):
        if columns.is_again(row, seen):
            continue
        file = row[columns.file].strip().replace("\\", "/") if columns.file else ""
        files += bool(file)
        yield (
            without_ending(PurePath(file)) if file else recording_of(place),
            columns.span(row, f"{path}, line {number}"),
        )
    if not files:
        yield recording_of(place), None


def _text(path: Path) -> str:
    data = path.read_bytes()
    if b"\0" in data[:1024]:
        raise LabelError(f"{path}: no text, so no table")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # as Raven writes on Windows


def _labels(path: Path, lines: Sequence[str]) -> Iterator[Span]:
    """Labels of Audacity; lines that begin with a backslash are their frequencies."""
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("\\"):
            continue
        found = _LABEL.fullmatch(line)
        if found is None:
            raise LabelError(f"{path}, line {number}: no label of Audacity: wanted start, tab, end, tab, text")
        text = (found[3] or "").strip()
        scored = _SCORED.fullmatch(text)
        start, end = (_number(found[group], f"{path}, line {number}") for group in (1, 2))
        yield Span(start, end, scored[1] if scored else text, float(scored[2]) if scored else None)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The headings of a table that are read."""

    start: str
    end: str
    name: str
    file: str | None
    score: str | None
    offset: str | None
    view: str | None
    selection: str | None

    @classmethod
    def of(cls, path: Path, headings: Sequence[str], wanted: str) -> _Columns:
        """Find them. Raises LabelError where one is missing."""
        known = {heading.strip().lower(): heading for heading in headings}
        find: Callable[..., str | None] = lambda *names: next((known[one] for one in names if one in known), None)  # noqa: E731
        start, end = find(*_STARTS), find(*_ENDS)
        name = find(wanted.strip().lower()) if wanted else find(*_NAMES)
        shown = ", ".join(headings)
        if start is None or end is None or start == end:
            raise LabelError(f"{path}: no table of spans: it has no columns for their start and end, but {shown}")
        if name is None:
            said = f"no column {wanted!r}" if wanted else "no column for the species (--column names it)"
            raise LabelError(f"{path}: {said}, it has {shown}")
        offset = find("file offset (s)") if find("begin path", "begin file") else None
        return cls(start, end, name, find(*_FILES), find(*_SCORES), offset, find("view"), find("selection"))

    def is_again(self, row: dict[str, str], seen: set[str]) -> bool:
        """Whether a selection of Raven was there before: it has a row for each view. seen: their numbers."""
        if self.view is None or self.selection is None:
            return False
        number = row[self.selection]
        again = bool(number) and number in seen
        seen.add(number)
        return again

    def span(self, row: dict[str, str], where: str) -> Span:
        """Return the span of a row."""
        start, end = _number(row[self.start], where), _number(row[self.end], where)
        if self.offset is not None and row[self.offset].strip():
            # Begin Time counts on over all files that Raven has opened as one, File Offset from the start of its own.
            offset = _number(row[self.offset], where)
            start, end = offset, offset + end - start
        if not 0 <= start <= end:
            raise LabelError(f"{where}: from {start:g} to {end:g} s is no span")
        given = row[self.score].strip() if self.score else ""
        return Span(start, end, row[self.name].strip(), _number(given, where) if given else None)


def _number(text: str, where: str) -> float:
    try:
        value = float(text.strip().replace(",", "."))
    except (ValueError, AttributeError):
        value = math.nan
    if not math.isfinite(value):
        raise LabelError(f"{where}: {text!r} is no number")
    return value


def _crowsetta(how: TableReading) -> Callable[[Path, PurePath], Iterator[tuple[PurePath, Span | None]]]:
    """Return what reads a file by crowsetta. Raises UsageError where it cannot."""
    try:
        import crowsetta
    except ImportError:
        raise UsageError(
            "--table-format needs crowsetta: pip install 'edgebird[science]', on Python 3.11 or newer"
        ) from None
    if how.by not in crowsetta.formats.as_list():
        raise UsageError(f"--table-format {how.by}: crowsetta has {', '.join(crowsetta.formats.as_list())}")
    transcriber = crowsetta.Transcriber(format=how.by)
    more = {"annot_col": how.column} if how.by == "raven" and how.column else {}

    def read(path: Path, place: PurePath) -> Iterator[tuple[PurePath, Span | None]]:
        try:
            found: Any = transcriber.from_file(path, **more).to_annot()
        except Exception as error:  # each of its formats has errors of its own
            raise LabelError(f"{path}: crowsetta cannot read it as {how.by}: {' '.join(str(error).split())}") from error
        for annotation in found if isinstance(found, list) else [found]:
            named = annotation.notated_path
            recording = without_ending(PurePath(named)) if named else recording_of(place)
            yield recording, None
            sequences = getattr(annotation, "seq", [])
            segments = [
                one for part in (sequences if isinstance(sequences, list) else [sequences]) for one in part.segments
            ]
            for one in segments:
                yield recording, Span(float(one.onset_s), float(one.offset_s), str(one.label).strip())
            for box in getattr(annotation, "bboxes", []):
                yield recording, Span(float(box.onset), float(box.offset), str(box.label).strip())

    return read
