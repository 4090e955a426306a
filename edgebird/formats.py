"""How results look as text: JSON lines, and the tables that other programs read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from edgebird.errors import UsageError
from edgebird.events import Event, encodable, to_json
from edgebird.types import FloatArray, Label, Origin, Window

_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


class Formatter(Protocol):
    """Writes one output: the header, then a line for each event. Lines end in a newline; "" is nothing to write."""

    @property
    def extension(self) -> str:
        """Of the file name, without the dot."""
        ...

    def header(self) -> str:
        """What a new output begins with, also when nothing is heard."""
        ...

    def line(self, origin: Origin, event: Event) -> str:
        """An event of `Events.tell`, or "" where the format does not show its kind."""
        ...


class JsonLines:
    """Every event as one JSON object a line."""

    extension = "jsonl"

    def header(self) -> str:
        """JSON lines have none."""
        return ""

    def line(self, origin: Origin, event: Event) -> str:
        """Return any event."""
        return to_json(event) + "\n"


class BirdnetCsv:
    """The CSV of BirdNET-Analyzer."""

    extension = "csv"

    def header(self) -> str:
        """Return the column names."""
        return _csv_row("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection."""
        if event["event"] != "detection":
            return ""
        names = event["scientific_name"], event["common_name"]
        return _csv_row(event["start_s"], event["end_s"], *names, _confidence(event), _file(origin))


class Raven:
    """A Raven selection table; a box is as high as the model hears."""

    extension = "txt"

    def __init__(self, rate: int) -> None:
        # With a decimal point, for strict readers take a column of whole numbers for integers and refuse it.
        self._band = "0.0", str(rate / 2)
        self._selection = 0

    def header(self) -> str:
        """Return the column names."""
        box = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
        species = "Common Name", "Species Code", "Confidence"
        return _tab_row("Selection", "View", "Channel", *box, *species, "Begin Path", "File Offset (s)")

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection, numbered from 1."""
        if event["event"] != "detection":
            return ""
        self._selection += 1
        box = event["start_s"], event["end_s"], *self._band
        species = event["common_name"], event["code"], _confidence(event)
        # Raven looks for a relative path beside the table, wherever that is.
        path = origin.name if origin.path is None else str(origin.path.absolute())
        return _tab_row(self._selection, "Spectrogram 1", 1, *box, *species, path, event["start_s"])


class Audacity:
    """An Audacity label track; the score is part of the text, for a fourth column would not be read."""

    extension = "txt"

    def header(self) -> str:
        """Label tracks have none."""
        return ""

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection."""
        if event["event"] != "detection":
            return ""
        text = f"{event['common_name']} {event['score']:.2f}"
        return _tab_row(f"{event['start_s']:.6f}", f"{event['end_s']:.6f}", text)


class Kaleidoscope:
    """The CSV of Kaleidoscope's viewer, which finds a file as INDIR/FOLDER/IN FILE.

    It shows columns it knows only: as in BirdNET-Analyzer, TOP1MATCH holds the common name and TOP1DIST the score
    (for Kaleidoscope's own clusters it is a distance, where less is better; here more is).
    """

    extension = "csv"

    def header(self) -> str:
        """Return the column names."""
        return _csv_row("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST")

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection."""
        if event["event"] != "detection":
            return ""
        where = ",".join(_quoted(part) for part in _kaleidoscope_path(origin))
        duration = round(event["end_s"] - event["start_s"], 9)
        return encodable(where) + "," + _csv_row(event["start_s"], duration, event["common_name"], _confidence(event))


_FORMATTERS: dict[str, Callable[[int], Formatter]] = {
    "jsonl": lambda rate: JsonLines(),
    "csv": lambda rate: BirdnetCsv(),
    "raven": Raven,
    "audacity": lambda rate: Audacity(),
    "kaleidoscope": lambda rate: Kaleidoscope(),
}
FORMATS = tuple(_FORMATTERS)


def formatter(name: str, rate: int) -> Formatter:
    """Return a new formatter, for one output.

    name: one of FORMATS, else UsageError. rate: of the model, in Hz.
    """
    if name not in _FORMATTERS:
        raise UsageError(f"unknown format {name!r}: choose from {', '.join(FORMATS)}")
    return _FORMATTERS[name](rate)


def require_fitting(name: str | None, explain: bool, several: str = "") -> None:
    """Raise UsageError if a format cannot show what it is asked for.

    name: of the format, None for the one that shows all. explain: rejected candidates too. several: what shares one
    output, such as "recording", empty if there is one only.
    """
    if explain and name not in (None, "jsonl"):
        raise UsageError(f"--explain needs --format jsonl: {name} has no place for rejected candidates")
    if several and name == "audacity":
        raise UsageError(f"Audacity labels do not say which {several} they are of: give --out DIR for several")


class Submission:
    """The BirdCLEF submission table: the scores of every window, one column a label, in the model's order."""

    def __init__(self, labels: Sequence[Label], rate: int) -> None:
        self._codes = [label.code for label in labels]
        self._rate = rate

    def header(self) -> str:
        """Return the column names."""
        return _csv_row("row_id", *self._codes)

    def line(self, origin: Origin, window: Window, scores: FloatArray) -> str:
        """Return the row of a window: the name of its file with the second at which it ends, then scores [classes].

        A last window that is padded is named by its end, not by that of the audio. Scores have the nine significant
        digits that tell every float32 apart.
        """
        stem = origin.name if origin.path is None else origin.path.stem
        end = (window.start + len(window.samples)) // self._rate
        return _csv_row(f"{stem}_{end}", *(f"{score:.9g}" for score in scores.tolist()))


def _confidence(event: Event) -> str:
    return f"{event['score']:.4f}"


def _file(origin: Origin) -> str:
    return origin.name if origin.path is None else str(origin.path)


def _kaleidoscope_path(origin: Origin) -> tuple[str, str, str]:
    """INDIR, FOLDER and IN FILE; a live source has no folders."""
    if origin.path is None:
        return "", "", origin.name
    path = origin.path.absolute()
    return str(path.parent.parent), path.parent.name, path.name


def _quoted(field: str) -> str:
    doubled = field.replace('"', '""')
    return f'"{doubled}"'


def _csv_row(*fields: object) -> str:
    buffer = io.StringIO()
    # Before Python 3.13 only the characters of the line terminator are quoted, so both must be in it.
    csv.writer(buffer, lineterminator="\r\n").writerow(fields)
    return encodable(buffer.getvalue().removesuffix("\r\n")) + "\n"


def _tab_row(*fields: object) -> str:
    """Join fields by tabs; these formats cannot quote, so a tab or line break in a name becomes a space."""
    return encodable("\t".join(_CONTROL.sub(" ", str(field)) for field in fields)) + "\n"
