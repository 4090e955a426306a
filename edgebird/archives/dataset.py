"""A dataset of Parquet files by recorder and day: rows of recordings come in, and take the place of older ones."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from edgebird.archives.schema import COLUMNS, ERRORS, SCORES, SUMMARIES, Row, order_of, row_of, schema, times
from edgebird.archives.spool import Spooled
from edgebird.errors import OutputError
from edgebird.events import encodable
from edgebird.files import atomic_path
from edgebird.remote.path import RemotePath

if TYPE_CHECKING:
    import pyarrow

_UNKNOWN = "unknown"  # not __HIVE_DEFAULT_PARTITION__, which pandas cannot read beside days: Arrow cannot join nulls
_ROW_GROUP = 1 << 17


@dataclass(frozen=True, slots=True)
class Partition:
    """The folder of a recorder's day. day: on which a recording began, by its own clock; None where nobody knows."""

    recorder: str
    day: str | None

    @property
    def folder(self) -> str:
        """Below that of a table."""
        return f"recorder={quote(self.recorder, safe=' ')}/day={self.day or _UNKNOWN}"

    @classmethod
    def of(cls, folder: str) -> Partition:
        """The partition of a folder."""
        recorder, day = (part.partition("=")[2] for part in folder.split("/"))
        return cls(unquote(recorder), None if day == _UNKNOWN else day)


def recorder_of(path: Path, relative: PurePath, level: int = 1) -> str:
    """Who made a recording: the folder so many levels below the one that was given, or else the one that holds it."""
    folders = relative.parts[:-1]
    name = folders[level - 1] if len(folders) >= level else path.absolute().parent.name
    return encodable(name) or "unknown"


@dataclass(slots=True)
class _Change:
    """What becomes of the files of one shard in a partition. gone: recordings whose old rows go. rows: by table."""

    gone: set[str] = field(default_factory=set)
    rows: dict[str, list[Row]] = field(default_factory=dict)


def merge(root: Path, shard: str, recordings: Iterable[Spooled]) -> None:
    """Put recordings into a dataset, in the place of older rows of theirs. Doing it twice is doing it once.

    shard: whose files they are put into. Each file is written whole or not at all. Raises OutputError.
    """
    changes: dict[tuple[str, str], _Change] = {}
    latest: dict[str, Spooled] = {}  # one may be there twice, as a killed program had no time to note it
    for line in recordings:
        for place in ([shard, line["partition"]], *line["was"]):
            changes.setdefault((place[0], place[1]), _Change()).gone.add(line["recording"])
        latest[line["recording"]] = line
    for line in latest.values():
        for table, row in _rows(line):
            changes[shard, line["partition"]].rows.setdefault(table, []).append(row)
    for (owner, partition), change in changes.items():
        for table in COLUMNS:
            path = root / table / partition / f"part-{owner}.parquet"
            try:
                _rewrite(path, table, change.gone, change.rows.get(table, []))
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _rows(line: Spooled) -> Iterator[tuple[str, Row]]:
    name, known = line["recording"], line["file"]
    known = {**known, "file_time": datetime.fromisoformat(known["file_time"])}
    if error := line.get("error"):
        yield ERRORS, {"recording": name, "path": known["path"], **error}
    for number, event in enumerate(line["events"]):
        table, row = row_of(event, name, number)
        yield table, {**row, **known} if table == SUMMARIES else row
    for score in line["scores"]:
        for code, value in zip(score["codes"], score["scores"], strict=True):
            span = {**times(score["time"]), "start_s": score["start_s"], "end_s": score["end_s"]}
            yield SCORES, {"recording": name, "channel": score["channel"], **span, "code": code, "score": value}


def _rewrite(path: Path, table: str, gone: set[str], rows: list[Row]) -> None:
    """Change a file: the rows of some recordings go, others come. Nothing is left of one without rows."""
    import pyarrow
    from pyarrow import parquet

    new = pyarrow.Table.from_pylist(rows, schema(table))
    if path.exists():
        old = read_part(path, table)
        kept = old.filter([name not in gone for name in old["recording"].to_pylist()])
        new = pyarrow.concat_tables([new, kept], promote_options="default")
    elif not rows:
        return
    if not len(new):
        path.unlink()
        return
    with atomic_path(path) as temporary:
        parquet.write_table(new.sort_by(order_of(table)), temporary, compression="zstd", row_group_size=_ROW_GROUP)


def read_part(path: Path, table: str) -> pyarrow.Table:
    """The rows of one file, with nulls for columns that an earlier version did not know. Raises OutputError."""
    import pyarrow
    from pyarrow import parquet

    try:
        # In parts a file of a season would be asked for again and again.
        source = io.BytesIO(path.open("rb").read()) if isinstance(path, RemotePath) else path
        found = parquet.ParquetFile(source).read()
        return pyarrow.concat_tables([schema(table).empty_table(), found], promote_options="default")
    except (OSError, pyarrow.ArrowException) as error:
        raise OutputError(f"cannot read {path}: {error}") from error


def partitions(root: Path, table: str = SUMMARIES) -> list[str]:
    """The folders of partitions that a table of a dataset has, in order."""
    return sorted(
        {"/".join(path.relative_to(root / table).parts[:-1]) for path in (root / table).glob("*/*/*.parquet")}
    )


def rows_in(root: Path, table: str, partition: str) -> list[dict[str, Any]]:
    """The rows of a partition."""
    return [row for part in parts_in(root, table, partition) for row in part.to_pylist()]


def parts_in(root: Path, table: str, partition: str) -> Iterator[pyarrow.Table]:
    """The files of a partition. Raises OutputError."""
    return (read_part(path, table) for path in sorted((root / table / partition).glob("*.parquet")))
