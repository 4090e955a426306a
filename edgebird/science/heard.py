"""What a model heard: events of `detect`, a BirdCLEF submission, or tables of detections, also of other programs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from edgebird.errors import LabelError
from edgebird.science.tables import Span, TableReading, read_table, without_ending
from edgebird.types import FloatArray, Label

_ENDINGS = (".jsonl", ".txt", ".csv", ".tsv")


@dataclass(slots=True)
class HeardRecording:
    """What was heard in a recording.

    spans: detections, named by their code where one is told. length_s: None where nobody says it. gaps: (start, end) in
    seconds that were not scored. ends_s: when the windows of a submission end. scores: theirs, a row a window.
    """

    path: PurePath
    spans: list[Span] = field(default_factory=list)
    length_s: float | None = None
    gaps: list[tuple[float, float]] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    scores: list[FloatArray] = field(default_factory=list)


@dataclass(slots=True)
class HeardResults:
    """What was heard in all recordings, by their paths without endings.

    labels: species that were told, by code; all of the model where `closed`. columns: codes of the scores of windows,
    () where there are detections only.
    """

    recordings: dict[PurePath, HeardRecording] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    closed: bool = False
    columns: tuple[str, ...] = ()

    def of(self, name: str) -> HeardRecording:
        """Return a recording by the name that results give it."""
        path = without_ending(PurePath(name.replace("\\", "/")))
        return self.recordings.setdefault(path, HeardRecording(path))


def read_results(paths: Sequence[Path]) -> HeardResults:
    """Read files of results, and folders of them. Raises LabelError, also where windows and detections are mixed."""
    heard, kinds = HeardResults(), set()
    for path, place in _files(paths):
        try:
            kinds.add(_read(path, place, heard))
        except OSError as error:
            raise LabelError(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise LabelError(f"{path}: no UTF-8 text") from error
    if not heard.recordings:
        raise LabelError(f"{', '.join(map(str, paths))}: no results in it: wanted events, a submission or tables")
    if len(kinds) > 1:
        raise LabelError(f"{', '.join(map(str, paths))}: {' and '.join(sorted(kinds))}: give results of one kind")
    return heard


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, PurePath]]:
    for path in paths:
        if not path.is_dir():
            yield path, PurePath(path.name)
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith(".") and file.suffix.lower() in _ENDINGS:
                yield file, file.relative_to(path)


def _read(path: Path, place: PurePath, heard: HeardResults) -> str:
    """Read a file; what kind of results it has."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    if first.startswith(b"{") or path.suffix.lower() == ".jsonl":
        _read_events(path, heard)
        return "events"
    if first.startswith((b"row_id,", b"\xef\xbb\xbfrow_id,")):
        _read_submission(path, heard)
        return "a submission"
    for recording, span in read_table(path, place, TableReading()):
        its = heard.of(str(recording))
        if span is None:
            continue
        if span.score is None:
            raise LabelError(f"{path}: detections without a score: wanted a column Confidence or Score")
        try:
            its.spans.append(_checked(span))
        except ValueError as error:
            raise LabelError(f"{path}: {error}") from error
        heard.labels.setdefault(span.name, Label(span.name, "", span.name))
    return "tables"


def _number(constant: str) -> float:
    """Take what is no number in JSON, and Python reads all the same: NaN, Infinity. Raises ValueError."""
    raise ValueError(f"{constant} is no number")


def _checked(span: Span) -> Span:
    """Return a detection. Raises ValueError for what cannot be one: every figure would be wrong."""
    if not 0 <= span.start_s <= span.end_s:
        raise ValueError(f"from {span.start_s:g} to {span.end_s:g} s is no span")
    if span.score is None or not 0 <= span.score <= 1:
        raise ValueError(f"a score of {span.score}: wanted 0 to 1")
    return span


def _read_events(path: Path, heard: HeardResults) -> None:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                event = json.loads(line, parse_constant=_number)
                kind, source = event["event"], event["source"]
                if kind == "detection":
                    span = Span(float(event["start_s"]), float(event["end_s"]), event["code"], float(event["score"]))
                    heard.of(source).spans.append(_checked(span))
                    label = Label(event["code"], event["scientific_name"], event["common_name"])
                    heard.labels.setdefault(label.code, label)
                elif kind == "gap":
                    gap, gaps = (float(event["start_s"]), float(event["end_s"])), heard.of(source).gaps
                    gaps += [gap] if gap not in gaps else []  # each channel tells it
                elif kind == "summary" and source is not None:
                    its = heard.of(source)
                    its.length_s = sum(float(event[part]) for part in ("scored_s", "gap_s", "tail_s"))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise LabelError(f"{path}, line {number}: no event of edgebird: {error!r}") from error


def _read_submission(path: Path, heard: HeardResults) -> None:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines)
        columns = tuple(next(rows)[1:])
        if heard.columns not in ((), columns):
            raise LabelError(f"{path}: a submission of other labels than those before it")
        for number, row in enumerate(rows, 2):
            name, _, end = row[0].rpartition("_") if row else ("", "", "")
            try:
                ends_s, scores = float(end), np.array(row[1:], np.float32)
            except ValueError:
                ends_s, scores = math.nan, np.empty(0, np.float32)
            if not name or len(scores) != len(columns) or not (ends_s > 0 and np.isfinite(scores).all()):
                raise LabelError(f"{path}, line {number}: wanted NAME_SECOND and {len(columns)} scores")
            its = heard.of(name)
            its.ends_s.append(ends_s)
            its.scores.append(scores)
    heard.columns, heard.closed = columns, True
    heard.labels.update({code: Label(code, "", code) for code in columns})
