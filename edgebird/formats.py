"""How results look as text: JSON lines, and the tables that other programs read."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edgebird.errors import UsageError
from edgebird.events import Event, encodable, to_json
from edgebird.remote.path import RemotePath
from edgebird.types import FloatArray, Label, Origin, Window

_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_LABEL = re.compile(r"\d+\.\d{6}\t\d+\.\d{6}\t.* \d\.\d\d(?: \(channel \d+\))?")  # of `Audacity`


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What a table has besides what its format always has.

    times: columns with the time of day. channels: a column with the channel, where the format has none of its own.
    probabilities: a last column with how likely a detection is right, where the format may have further ones.
    relative_to: paths are written relative to this folder; None for absolute ones.
    in_sequence: the recordings come one after the other, as Raven opens several files.
    """

    times: bool = False
    channels: bool = False
    probabilities: bool = False
    relative_to: Path | None = None
    in_sequence: bool = False

    def going_on(self, line: str | None, header: Callable[[TableOptions], str]) -> TableOptions:
        """Return those of a table that begins with this line, None for a new one, and goes on.

        It has probabilities if it had them: its bundle may have been calibrated since. header: of a table with options.
        """
        other = replace(self, probabilities=not self.probabilities)
        return other if line is not None and line == header(other).rstrip("\n") else self


_PROBABILITY = "Probability"
_PLAIN = TableOptions()


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

    def __init__(self, options: TableOptions = _PLAIN) -> None:
        self._options = options

    def header(self) -> str:
        """Return the column names."""
        options = self._options
        more = ["Time"] * options.times + ["Channel"] * options.channels + [_PROBABILITY] * options.probabilities
        return _csv_row("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File", *more)

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection."""
        if event["event"] != "detection":
            return ""
        names = event["scientific_name"], event["common_name"]
        more = [event["time"] or ""] * self._options.times + [event.get("channel", "")] * self._options.channels
        more += [_probability(event)] * self._options.probabilities
        return _csv_row(event["start_s"], event["end_s"], *names, _confidence(event), _file(origin), *more)


class Raven:
    """A Raven selection table; a box is as high as the model hears.

    Of several recordings in sequence, Begin Time runs on over them, as Raven counts where it opens several files; File
    Offset counts from the start of each. A recording is as long as its summary says.
    """

    extension = "txt"

    def __init__(self, rate: int, options: TableOptions = _PLAIN) -> None:
        # With a decimal point, for strict readers take a column of whole numbers for integers and refuse it.
        self._band = "0.0", str(rate / 2)
        self._options = options
        self._selection = 0
        self._recording: tuple[str, Path | None] | None = None
        self._begins = self._lasts = 0.0  # of this recording in the sequence, in seconds

    def header(self) -> str:
        """Return the column names."""
        box = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
        species = "Common Name", "Species Code", "Confidence"
        file = "Begin Path", "File Offset (s)", "Begin File"
        times = ("Begin Date", "Begin Clock Time") if self._options.times else ()
        more = *times, *[_PROBABILITY] * self._options.probabilities
        return _tab_row("Selection", "View", "Channel", *box, *species, *file, *more)

    def go_on(self, last: str) -> None:
        """Number the next detection after the last line of a table."""
        number = last.partition("\t")[0]
        self._selection = int(number) if number.isdecimal() else 0

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection, numbered from 1; a summary is counted."""
        if self._options.in_sequence:
            self._follow(origin, event)
        if event["event"] != "detection":
            return ""
        self._selection += 1
        span = (round(self._begins + event[edge], 9) for edge in ("start_s", "end_s"))
        species = event["common_name"], event["code"], _confidence(event)
        path, name = (origin.name, origin.name) if origin.path is None else (self._path(origin.path), origin.path.name)
        row = self._selection, "Spectrogram 1", event.get("channel", 1), *span, *self._band, *species
        more = *self._times(event), *[_probability(event)] * self._options.probabilities
        return _tab_row(*row, path, event["start_s"], name, *more)

    def _path(self, path: Path) -> str:
        """Raven looks for a relative path beside the table, wherever that is."""
        base = None if isinstance(path, RemotePath) else self._options.relative_to
        return str(path.absolute()) if base is None else os.path.relpath(path.absolute(), base.absolute())

    def _follow(self, origin: Origin, event: Event) -> None:
        if self._recording != (origin.name, origin.path):
            self._recording = origin.name, origin.path
            self._begins, self._lasts = self._begins + self._lasts, 0.0
        if event["event"] == "summary":
            self._lasts = event["scored_s"] + event["gap_s"] + event["tail_s"]

    def _times(self, event: Event) -> tuple[str, ...]:
        if not self._options.times:
            return ()
        if event["time"] is None:
            return "", ""
        moment = datetime.fromisoformat(event["time"])
        return f"{moment:%Y/%m/%d}", moment.strftime("%H:%M:%S.%f")[:-3]


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
        channel = f" (channel {event['channel']})" if "channel" in event else ""
        text = f"{event['common_name']} {event['score']:.2f}{channel}"
        return _tab_row(f"{event['start_s']:.6f}", f"{event['end_s']:.6f}", text)


class Kaleidoscope:
    """The CSV of Kaleidoscope's viewer, which finds a file as INDIR/FOLDER/IN FILE.

    It shows columns it knows only: as in BirdNET-Analyzer, TOP1MATCH holds the common name and TOP1DIST the score
    (for Kaleidoscope's own clusters it is a distance, where less is better; here more is).
    """

    extension = "csv"

    def __init__(self, options: TableOptions = _PLAIN) -> None:
        self._options = options

    def header(self) -> str:
        """Return the column names."""
        more = ["DATE", "TIME"] * self._options.times + ["CHANNEL"] * self._options.channels
        return _csv_row("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "TOP1MATCH", "TOP1DIST", *more)

    def line(self, origin: Origin, event: Event) -> str:
        """Return a detection."""
        if event["event"] != "detection":
            return ""
        where = ",".join(_quoted(part) for part in _kaleidoscope_path(origin))
        duration = round(event["end_s"] - event["start_s"], 9)
        moment = event["time"] or ""
        more: list[object] = [moment[:10], moment[11:19]] * self._options.times
        more += [event.get("channel", 1) - 1] * self._options.channels  # from 0 on
        row = event["start_s"], duration, event["common_name"], _confidence(event), *more
        return encodable(where) + "," + _csv_row(*row)


_FORMATTERS: dict[str, Callable[[int, TableOptions], Formatter]] = {
    "jsonl": lambda rate, options: JsonLines(),
    "csv": lambda rate, options: BirdnetCsv(options),
    "raven": Raven,
    "audacity": lambda rate, options: Audacity(),
    "kaleidoscope": lambda rate, options: Kaleidoscope(options),
}
FORMATS = tuple(_FORMATTERS)


def formatter(name: str, rate: int, options: TableOptions = _PLAIN) -> Formatter:
    """Return a new formatter, for one output.

    name: one of FORMATS, else UsageError. rate: of the model, in Hz.
    """
    if name not in _FORMATTERS:
        raise UsageError(f"unknown format {name!r}: choose from {', '.join(FORMATS)}")
    return _FORMATTERS[name](rate, options)


def begins_as(name: str, line: str) -> bool:
    """Whether a file that begins with this line may be an output of a format, whatever its options were."""
    if name == "jsonl":
        try:
            return "event" in json.loads(line)
        except (ValueError, TypeError):
            return False
    if name == "audacity":
        return _LABEL.fullmatch(line) is not None
    return line.startswith(formatter(name, rate=1).header().rstrip("\n"))


def require_fitting(name: str | None, explain: bool, several: str = "") -> None:
    """Raise UsageError if a format cannot show what it is asked for.

    name: of the format, None for the one that shows all. explain: rejected candidates too. several: what shares one
    output, such as "recording", empty if there is one only.
    """
    if explain and name not in (None, "jsonl", "parquet"):
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


def _probability(event: Event) -> str:
    return f"{event['probability']:.4f}" if "probability" in event else ""


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
