"""Settings of a station, or of `detect`, from values by key: a file has some, and who calls has others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from edgebird.errors import UsageError
from edgebird.settings.checks import Check, shown
from edgebird.settings.model import ROWS, DetectionSettings, OutputSettings, SourceSettings, StationSettings
from edgebird.settings.row import SettingRow, fixed_in, own_rows, tables_in
from edgebird.settings.sources import with_names
from edgebird.settings.toml import read_file

_T = TypeVar("_T")
_BY_KEY = {row.key: row for row in ROWS}


@dataclass(frozen=True, slots=True, eq=False)
class Wording:
    """What messages call settings, in the words of who gives them.

    given: a setting with a value that is wrong.
    missing: the whole message for a setting that is needed.
    no_source: the whole message if there is nothing to listen to.
    """

    given: Callable[[SettingRow, Any], str]
    missing: Callable[[SettingRow], str]
    no_source: str


def _as_option(row: SettingRow, value: Any) -> str:
    option = row.setting.option
    return f"{option.name if option else row.key} {shown(value)}"


COMMAND_LINE = Wording(
    given=_as_option,
    missing=lambda row: row.setting.missing,
    no_source="nothing to listen to: give --mic, --url, --file or --stdin, or a [[source]] in --config FILE",
)


def station_settings(
    config: Path | None,
    given: Mapping[str, Any],
    sources: Sequence[SourceSettings] = (),
    wording: Wording = COMMAND_LINE,
) -> StationSettings:
    """Settings from a TOML file, if there is one, and from the command line or a program, which come first.

    given: by the keys of the file (`clips.format`), values as the file would have them, None for what was not given;
    `thresholds` are added to those of the file, all else takes their place. sources: if any, instead of the file's.
    Raises UsageError for what is wrong, OSError if the file cannot be read.
    """
    values, from_file = read_file(config) if config else ({}, ())
    for key, value in given.items():
        if value is not None:
            read = _read_given(_BY_KEY[key], _BY_KEY[key].setting.check, value, wording)
            values[key] = {**values.get(key, {}), **read} if isinstance(read, dict) else read
    sources = with_names(sources) if sources else from_file
    if not sources:
        raise UsageError(wording.no_source)
    alerts = values.pop("alert", ())
    return _built(StationSettings, "", values, wording, sources=tuple(sources), alerts=alerts)


def recording_settings(given: Mapping[str, Any]) -> tuple[DetectionSettings, OutputSettings]:
    """What `detect` needs of a station's settings; given: see `station_settings`. Raises UsageError."""
    values = {}
    for key, value in given.items():
        if value is not None:
            setting = _BY_KEY[key].setting
            values[key] = _read_given(_BY_KEY[key], setting.recordings or setting.check, value, COMMAND_LINE)
    detection = _built(DetectionSettings, "", values, COMMAND_LINE)
    return detection, _built(OutputSettings, "output", values, COMMAND_LINE)


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
    for field, key in fixed_in(type(old)):
        kept[field] = getattr(old, field)
        stay += [key] if getattr(new, field) != kept[field] else []
    for row in own_rows(type(old), table):
        if row.setting.fixed:
            kept[row.field] = getattr(old, row.field)
            stay += [row.key] if getattr(new, row.field) != kept[row.field] else []
    return replace(new, **kept), stay  # type: ignore[type-var]


def _read_given(row: SettingRow, check: Check, value: Any, wording: Wording) -> Any:
    try:
        return check.read(value)
    except ValueError as error:
        raise UsageError(f"{wording.given(row, value)}: wanted {error}") from None


def _built(kind: type[_T], table: str, values: Mapping[str, Any], wording: Wording, **known: Any) -> _T:
    """An object of a dataclass of the model, with the values of its table and of the tables in it."""
    for row in own_rows(kind, table):
        if row.key in values:
            known[row.field] = values[row.key]
        elif row.required:
            raise UsageError(wording.missing(row))
    for field, inner in tables_in(kind):
        if not inner.optional or any(row.key in values for row in own_rows(inner.kind, inner.name)):
            known[field] = _built(inner.kind, inner.name, values, wording)
    return kind(**known)
