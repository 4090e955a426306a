"""Reading the settings of a station from a TOML file."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgebird.errors import UsageError
from edgebird.settings.checks import shown
from edgebird.settings.model import ALERT_ROWS, KINDS, ROWS, SOURCE_ROWS, SourceSettings
from edgebird.settings.sources import make_source, with_names
from edgebird.settings.telling import AlertSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BY_KEY = {row.key: row for row in ROWS}
_OF_SOURCE = {row.setting.key: row for row in SOURCE_ROWS}
_OF_ALERT = {row.setting.key: row for row in ALERT_ROWS}
_TABLES = tuple(dict.fromkeys(row.table for row in ROWS if row.table))


def read_file(path: Path) -> tuple[dict[str, Any], tuple[SourceSettings, ...]]:
    """Return what a file sets: values by key, checked (`alert`: its AlertSettings), and sources, all with names.

    Relative paths are relative to the file. Raises UsageError for what is wrong, OSError if it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    tables, alerts = _several(path, content, "source"), _several(path, content, "alert")
    values: dict[str, Any] = {"alert": _alerts(path, alerts)} if alerts else {}
    for key, value in _flat(path, content):
        try:
            parsed = _BY_KEY[key].setting.check.read(value)
        except ValueError as error:
            raise UsageError(f"{path}: {key} = {shown(value)}: wanted {error}") from None
        values[key] = path.parent / parsed if isinstance(parsed, Path) else parsed
    sources = [_source(path, number, table) for number, table in enumerate(tables, 1)]
    try:
        return values, with_names(sources)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def read_thresholds(path: Path) -> dict[str, float]:
    """Return what a file with a table [thresholds] and nothing else sets. Raises UsageError, OSError."""
    values, sources = read_file(path)
    if values.keys() != {"thresholds"} or sources:
        raise UsageError(f"{path}: a file of thresholds has a table [thresholds] and nothing else")
    found: dict[str, float] = values["thresholds"]
    return found


def _several(path: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Take the tables of one name, [[name]], out of a file's content."""
    tables = content.pop(name, [])
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise UsageError(f"{path}: {name} is written [[{name}]], with its settings below")
    return tables


def _alerts(path: Path, tables: list[dict[str, Any]]) -> tuple[AlertSettings, ...]:
    """Alerts as their tables say. Raises UsageError that names one, but shows no address: it may hold a password."""
    found: dict[str, AlertSettings] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path}: alert {table.get('name', number)!r}"
        given: dict[str, Any] = {}
        for key, value in table.items():
            _require_known(path, "alert", key)
            try:
                given[_OF_ALERT[key].field] = _OF_ALERT[key].setting.check.read(value)
            except ValueError as error:
                said = "" if key == "to" else f" = {shown(value)}"
                raise UsageError(f"{where}: {key}{said}: wanted {error}") from None
        if missing := [row.setting.key for row in ALERT_ROWS if row.required and row.field not in given]:
            raise UsageError(f"{where}: it needs {' and '.join(missing)}")
        if given["name"] in found:
            raise UsageError(f"{path}: two alerts are called {given['name']!r}: give each its own name")
        found[given["name"]] = AlertSettings(**given)
    return tuple(found.values())


def _flat(path: Path, content: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The settings of a file, those in tables as `clips.format`. Raises UsageError for keys that are none."""
    for name, value in content.items():
        if name not in _TABLES:
            _require_known(path, "", name)
            yield name, value
            continue
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} = {shown(value)}: wanted a table, [{name}]")
        for key, inner in value.items():
            _require_known(path, name, key)
            yield f"{name}.{key}", inner


def _require_known(path: Path, table: str, key: str) -> None:
    known = _known(table)
    if key in known:
        return
    where = f" {_place(table)}" if table else ""
    homes = [_place(other) for other in ("", *_TABLES, "alert", "source") if other != table and key in _known(other)]
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]}? " if close else f"it belongs {homes[0]}; " if homes else ""
    raise UsageError(f"{path}: unknown key {key!r}{where}: {hint}known: {', '.join(known)}")


def _known(table: str) -> list[str]:
    if table in ("source", "alert"):
        return list(_OF_SOURCE if table == "source" else _OF_ALERT)
    return [row.setting.key for row in ROWS if row.table == table] + ([] if table else [*_TABLES, "alert", "source"])


def _place(table: str) -> str:
    several = {"source": "in a [[source]]", "alert": "in an [[alert]]"}
    return {"": "at the top, before the first [table]", **several}.get(table, f"in [{table}]")


def _source(path: Path, number: int, table: dict[str, Any]) -> SourceSettings:
    """A source as its table says. Raises UsageError that names it, but shows no address: it may hold a password."""
    for key in table:
        _require_known(path, "source", key)
    name = table.get("name", "")
    where = f"{path}: source {name or number!r}"
    words = {key: _word(where, key, value) for key, value in table.items() if key == "name" or key in KINDS}
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        raise UsageError(f"{where}: wanted one of {', '.join(KINDS)}, got {' and '.join(kinds) or 'none'}")
    address = words[kinds[0]]
    if kinds == ["file"] and address:
        address = str(path.parent / address)
    more = {key: _beside(path, key, value) for key, value in table.items() if key not in words}
    try:
        return make_source(kinds[0], address, words.get("name", ""), **more)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _beside(path: Path, key: str, value: Any) -> Any:
    """A value, if it is a path relative to the file."""
    return str(path.parent / value) if _OF_SOURCE[key].setting.check.kind is Path and isinstance(value, str) else value


def _word(where: str, key: str, value: Any) -> str:
    try:
        return str(_OF_SOURCE[key].setting.check.read(value))
    except ValueError as error:
        raise UsageError(f"{where}: {key} is not {error}") from None
