"""The tables of a dataset: their columns, and events as rows of them and back. docs/formats.md describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

from edgebird.errors import EdgebirdError
from edgebird.events import Event, encodable

if TYPE_CHECKING:
    import pyarrow

Row: TypeAlias = dict[str, Any]

DETECTIONS, REJECTED, STOPPED, GAPS = "detections rejected stopped gaps".split()
SUMMARIES, ERRORS, SCORES = "summaries errors scores".split()
TABLE_OF = {"detection": DETECTIONS, "rejected": REJECTED, "stopped": STOPPED, "gap": GAPS, "summary": SUMMARIES}
EVENT_OF = {table: event for event, table in TABLE_OF.items()}
_TIME = {"time": "time", "local_time": "local"}
_WHOSE = {"recording": "text", "channel": "whole", "number": "whole"}
_SPAN = {"start_s": "float", "end_s": "float"}
_BIRD = {"code": "text", "scientific_name": "text", "common_name": "text", "score": "float"}
_WINDOWS = {"windows": "whole"}
_ACCOUNT = {"wall_s": "float", "scored_s": "float", "gap_s": "float", "tail_s": "float"}
# Table -> its columns in order, each with the kind of its values.
COLUMNS: dict[str, dict[str, str]] = {
    DETECTIONS: {**_WHOSE, **_TIME, **_SPAN, **_BIRD, "probability": "float", **_WINDOWS},
    REJECTED: {**_WHOSE, **_TIME, **_SPAN, **_BIRD, **_WINDOWS, "reason": "text", "detail": "text"},
    STOPPED: {**_WHOSE, **_TIME, **_SPAN, "stage": "text"},
    GAPS: {**_WHOSE, **_TIME, **_SPAN, "reason": "text"},
    SUMMARIES: {
        **_WHOSE,
        **_TIME,
        "source": "text",
        "path": "text",
        "zone_assumed": "text",
        **_ACCOUNT,
        "windows": "whole",
        "detections": "whole",
        "voice_detections": "whole",
        "stopped_gate": "whole",
        "stopped_fold": "whole",
        "file_size": "large",
        "file_time": "time",
        "model_rate": "whole",
    },
    ERRORS: {"recording": "text", "path": "text", "kind": "text", "message": "text"},
    SCORES: {"recording": "text", "channel": "whole", **_TIME, **_SPAN, "code": "text", "score": "single"},
}
_HEAD = ("event", "source", "time", "zone_assumed", "channel")
_WHERE_KNOWN = ("voice_detections", "stopped_gate", "stopped_fold", "probability")  # in events only then
_ORDER = ("recording", "channel", "number", "start_s", "code")  # of rows in a file


def require_pyarrow() -> None:
    """Raise EdgebirdError where it is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise EdgebirdError(f"parquet needs pyarrow: pip install 'edgebird[parquet]' ({error})") from error


def schema(table: str) -> pyarrow.Schema:
    """The Arrow schema of a table."""
    import pyarrow

    kinds = {
        "text": pyarrow.string(),
        "whole": pyarrow.int32(),
        "large": pyarrow.int64(),
        "float": pyarrow.float64(),
        "single": pyarrow.float32(),
        "time": pyarrow.timestamp("ms", tz="UTC"),
        "local": pyarrow.timestamp("ms"),
    }
    return pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS[table].items()])


def order_of(table: str) -> list[tuple[str, str]]:
    """What the rows of a file are sorted by, as `pyarrow.Table.sort_by` wants it."""
    return [(name, "ascending") for name in _ORDER if name in COLUMNS[table]]


def row_of(event: Event, recording: str, number: int) -> tuple[str, Row]:
    """The table of an event and its row. number: of the event in its recording."""
    table = TABLE_OF[event["event"]]
    row = {name: value for name, value in event.items() if name in COLUMNS[table]}
    row |= {"recording": recording, "number": number, **times(event["time"])}
    if table == REJECTED:
        row["detail"] = json.dumps({name: value for name, value in event.items() if name not in (*_HEAD, *row)})
    if table == SUMMARIES:
        row["source"] = encodable(event["source"])
    return table, row


def times(moment: str | None) -> Row:
    """The two columns of a moment in ISO 8601: in UTC, and as clocks show it there; both None where nobody knows."""
    if moment is None:
        return {"time": None, "local_time": None}
    then = datetime.fromisoformat(moment)
    return {"time": then.astimezone(timezone.utc), "local_time": then.replace(tzinfo=None)}


def event_of(table: str, row: Row, summary: Mapping[str, Any]) -> Event:
    """The event of a row, as it was. summary: the row of its recording and channel in `summaries`."""
    event: Event = {"event": EVENT_OF[table], "source": summary["source"], "time": _moment(row)}
    if summary["zone_assumed"]:
        event["zone_assumed"] = summary["zone_assumed"]
    if row["channel"]:
        event["channel"] = row["channel"]
    skipped = {*_WHOSE, *_TIME, "source", "path", "zone_assumed", "file_size", "file_time"}
    skipped |= {"model_rate", "detail"}
    skipped |= {name for name in _WHERE_KNOWN if row.get(name) is None}
    event |= {name: row[name] for name in COLUMNS[table] if name not in skipped}
    return event | json.loads(row["detail"]) if table == REJECTED else event


def _moment(row: Row) -> str | None:
    if row["time"] is None:
        return None
    offset: timedelta = row["local_time"] - row["time"].replace(tzinfo=None)
    return str(row["time"].astimezone(timezone(offset)).isoformat(timespec="milliseconds"))
