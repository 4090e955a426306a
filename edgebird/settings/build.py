"""Settings of a station, or of `detect`, from values by key: a file has some, and the command line others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from edgebird.errors import UsageError
from edgebird.settings.checks import Check, shown
from edgebird.settings.model import ROWS, DetectionSettings, OutputSettings, SourceSettings, StationSettings
from edgebird.settings.row import SettingRow, own_rows, tables_in
from edgebird.settings.sources import with_names
from edgebird.settings.toml import read_file

_T = TypeVar("_T")
_BY_KEY = {row.key: row for row in ROWS}


def station_settings(
    config: Path | None, given: Mapping[str, Any], sources: Sequence[SourceSettings] = ()
) -> StationSettings:
    """Settings from a TOML file, if there is one, and from the command line, which comes first.

    given: by the keys of the file (`clips.format`), values as the file would have them, None for what was not given;
    `thresholds` are added to those of the file, all else takes their place. sources: if any, instead of the file's.
    Raises UsageError for what is wrong, OSError if the file cannot be read.
    """
    values, from_file = read_file(config) if config else ({}, ())
    for key, value in given.items():
        if value is not None:
            read = _read_option(_BY_KEY[key], _BY_KEY[key].setting.check, value)
            values[key] = {**values.get(key, {}), **read} if isinstance(read, dict) else read
    sources = with_names(sources) if sources else from_file
    if not sources:
        raise UsageError("nothing to listen to: give --mic, --url, --file or --stdin, or a [[source]] in --config FILE")
    return _built(StationSettings, "", values, sources=tuple(sources))


def recording_settings(given: Mapping[str, Any]) -> tuple[DetectionSettings, OutputSettings]:
    """What `detect` needs of a station's settings; given: see `station_settings`. Raises UsageError."""
    values = {}
    for key, value in given.items():
        if value is not None:
            setting = _BY_KEY[key].setting
            values[key] = _read_option(_BY_KEY[key], setting.recordings or setting.check, value)
    return _built(DetectionSettings, "", values), _built(OutputSettings, "output", values)


def keep_fixed(old: _T, new: _T, table: str = "") -> tuple[_T, list[str]]:
    """Return settings with the old values of those that are fixed, and the keys of fixed ones that were to change.

    old, new: objects of one dataclass of the model; table: the name of its table.
    """
    kept: dict[str, Any] = {}
    stay: list[str] = []
    for field, inner in tables_in(type(old)):
        before, after = getattr(old, field), getattr(new, field)
        if before is None or after is None:  # a table that is there or not is fixed as a whole
            kept[field] = before
            stay += [inner.name] if before is not after else []
        else:
            kept[field], more = keep_fixed(before, after, inner.name)
            stay += more
    for row in own_rows(type(old), table):
        if row.setting.fixed:
            kept[row.field] = getattr(old, row.field)
            stay += [row.key] if getattr(new, row.field) != kept[row.field] else []
    return replace(new, **kept), stay  # type: ignore[type-var]


def _read_option(row: SettingRow, check: Check, value: Any) -> Any:
    try:
        return check.read(value)
    except ValueError as error:
        option = row.setting.option
        raise UsageError(f"{option.name if option else row.key} {shown(value)}: wanted {error}") from None


def _built(kind: type[_T], table: str, values: Mapping[str, Any], **known: Any) -> _T:
    """An object of a dataclass of the model, with the values of its table and of the tables in it."""
    for row in own_rows(kind, table):
        if row.key in values:
            known[row.field] = values[row.key]
        elif row.required:
            raise UsageError(row.setting.missing)
    for field, inner in tables_in(kind):
        if not inner.optional or any(row.key in values for row in own_rows(inner.kind, inner.name)):
            known[field] = _built(inner.kind, inner.name, values)
    return kind(**known)
