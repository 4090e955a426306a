"""The columns of the table of settings, and how its rows are read off dataclasses.

A field of a dataclass is a row if its metadata is `set_by(...)`: a key of a TOML file, an option. It is a table of
rows if its metadata is `table(...)`: there the rows of another dataclass are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, MISSING, Field, dataclass, fields
from typing import Any

from edgebird.settings.checks import Check

_DEFAULT = re.compile(r"[,;] default \{default\}")


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """How a setting is given on the command line.

    name: with its dashes.
    metavar: what the help shows for its value; of a switch nothing.
    panel: the box of the help of `listen` it is in; empty for the first.
    commands: those that have it.
    repeated: it may be given several times.
    named: `NAME=` may stand before its value: a source's name.
    minimum: a number that is lower is refused with the command's usage.
    variable: of the environment, which sets it too.
    split: makes values by key of all its texts, where it sets several keys.
    """

    name: str
    metavar: str = ""
    panel: str = ""
    commands: tuple[str, ...] = ("listen",)
    repeated: bool = False
    named: bool = False
    minimum: int | None = None
    variable: str | None = None
    split: Callable[[list[str]], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What a person has to know of one setting, and may write.

    key: in its table of a TOML file.
    help: a sentence; `, default {default}` in it is filled in, and left out where the default is seen.
    check: which values are allowed.
    option: on the command line; None if it cannot be given there.
    note: what the example file says instead of `help`.
    example: what the example file shows; None for the default.
    active: the example file sets it; else it is commented out there.
    missing: the error if a value is needed and there is none.
    recordings: the check for `detect` where that allows more than a station does.
    kinds: of sources that it is for; empty for all.
    fixed: a station that is told to read its settings again cannot change it.
    """

    key: str
    help: str
    check: Check
    option: Option | None = None
    _: KW_ONLY
    note: str = ""
    example: Any = None
    active: bool = False
    missing: str = ""
    recordings: Check | None = None
    kinds: tuple[str, ...] = ()
    fixed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SettingsTable:
    """A TOML table whose rows another dataclass has.

    name: empty for the keys at the top of the file.
    kind: the dataclass.
    optional: the field is None as long as nothing in the table is set.
    about: what the example file says above it.
    """

    name: str
    kind: type[Any]
    optional: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SettingRow:
    """A setting in its place. table: its TOML table. field: of the dataclass. default: MISSING if a value is needed."""

    setting: Setting
    table: str
    field: str
    default: Any

    @property
    def key(self) -> str:
        """The key with its table, as in `clips.format`."""
        return f"{self.table}.{self.setting.key}" if self.table else self.setting.key

    @property
    def keyword(self) -> str:
        """The keyword of `edgebird.listen`: the key, or in a table the option, as in `clip_format`, and where there is
        none the key behind the table's name, as in `mqtt_host`.
        """
        word = self.setting.key
        if self.table not in ("", "source"):
            word = self.setting.option.name.strip("-") if self.setting.option else f"{self.table}-{word}"
        return word.replace("-", "_")

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def help(self) -> str:
        """A sentence for the command line, with the default."""
        said = self.setting.help.replace("{default}", _words(self.default))
        repeated = self.setting.option is not None and self.setting.option.repeated
        return f"{said.removesuffix('.')}; may be repeated." if repeated else said

    @property
    def plain_help(self) -> str:
        """The sentence without the default, for where that is seen or another."""
        return _DEFAULT.sub("", self.setting.help)

    @property
    def note(self) -> str:
        """Words for the example file, without the default where that is what it shows."""
        if self.setting.note:
            return self.setting.note
        said = self.help if self.setting.active else self.plain_help
        return (said if said[1:2].isupper() else said[0].lower() + said[1:]).removesuffix(".")


def set_by(*settings: Setting) -> dict[str, tuple[Setting, ...]]:
    """Return the metadata of a field that is set by a key, or by one of several."""
    return {"settings": settings}


def table(name: str, kind: type[Any], optional: bool = False, about: str = "") -> dict[str, SettingsTable]:
    """Return the metadata of a field that holds the settings of a table."""
    return {"table": SettingsTable(name, kind, optional, about)}


def own_rows(kind: type[Any], table_name: str = "") -> tuple[SettingRow, ...]:
    """Return the rows of a dataclass itself, in order."""
    return tuple(
        SettingRow(one, table_name, field.name, _default(field))
        for field in fields(kind)
        for one in field.metadata.get("settings", ())
    )


def tables_in(kind: type[Any]) -> Iterator[tuple[str, SettingsTable]]:
    """Yield the fields of a dataclass that are tables."""
    for field in fields(kind):
        if "table" in field.metadata:
            yield field.name, field.metadata["table"]


def fixed_in(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a dataclass that hold several tables and are fixed as a whole, each with its key."""
    for field in fields(kind):
        if "fixed" in field.metadata:
            yield field.name, field.metadata["fixed"]


def all_tables(kind: type[Any]) -> Iterator[SettingsTable]:
    """Yield the tables in a dataclass and in these, in order; those that have no name too."""
    for _, inner in tables_in(kind):
        yield inner
        yield from all_tables(inner.kind)


def all_rows(kind: type[Any]) -> tuple[SettingRow, ...]:
    """Return the rows of a dataclass and of the tables in it; those at the top of the file first."""
    rows = [row for inner in all_tables(kind) for row in own_rows(inner.kind, inner.name)]
    return tuple(sorted([*rows, *own_rows(kind)], key=lambda row: row.table != ""))


def _words(default: Any) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
