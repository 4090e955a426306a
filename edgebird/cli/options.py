"""Options that several commands share, spelled the same everywhere, and those that the table of settings gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar

import typer

from edgebird.errors import UsageError
from edgebird.settings.model import PANELS, ROWS, SOURCE_ROWS
from edgebird.settings.row import Option, SettingRow

_F = TypeVar("_F", bound=Callable[..., None])

REQUIRED = inspect.Parameter.empty  # the default of a parameter that has to be given


def option_of(row: SettingRow, help: str, panel: str = "") -> Any:
    """Return the Typer option of a setting. panel: the box of the help it is in."""
    option = _option(row)
    return typer.Option(
        option.name,
        metavar=("[NAME=]" if option.named else "") + option.metavar or None,
        help=help,
        envvar=option.variable,
        min=option.minimum,
        rich_help_panel=panel or None,
    )


def rows_of(command: str) -> list[SettingRow]:
    """Return the settings that a command has options for, but those of sources."""
    return [row for row in ROWS if row.setting.option and command in row.setting.option.commands]


def source_rows(command: str) -> list[SettingRow]:
    """Return the settings of sources that a command has options for."""
    return [row for row in SOURCE_ROWS if row.setting.option and command in row.setting.option.commands]


def by_panel(rows: list[SettingRow]) -> list[SettingRow]:
    """Return settings in the order of a help that has panels."""
    return sorted(rows, key=lambda row: PANELS.index(_option(row).panel))


def parameters(rows: list[SettingRow], reads_file: bool = False) -> list[inspect.Parameter]:
    """Return what Typer has to see for the options of a command.

    None, or False of a switch, says that an option was not given. reads_file: the command has many settings, which may
    also be in a file: so none is required, and the help has panels.
    """
    made = []
    for row in rows:
        option, kind = _option(row), row.setting.check.kind
        default: Any = False if kind is bool else None
        if row.required and not row.table and not reads_file:  # a table may be left away
            default = REQUIRED
        elif kind is not bool:
            kind = Optional[list[kind] if option.repeated else kind]  # type: ignore[assignment, valid-type]  # noqa: UP045
        shown = option_of(row, row.help, option.panel if reads_file else "")
        made.append(parameter(_name(option), Annotated[kind, shown], default))
    return made


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Return a parameter of a command that is given by name."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def own_option(name: str, kind: Any, default: Any, *names: str, **shown: Any) -> inspect.Parameter:
    """Return an option that a command has beside the table of settings. names, shown: as `typer.Option` has them."""
    return parameter(name, Annotated[kind, typer.Option(*names, **shown)], default)


def channel_option() -> inspect.Parameter:
    """Return the option that says which channel of recordings is listened to."""
    help = "One channel, 1 is the first, or each one apart; default: the mean of all."
    return own_option("channel", Optional[str], None, "--channel", metavar="N|each", help=help)  # noqa: UP045


def channel_of(text: str | None) -> int | None:
    """Return the channel of that option: see `recordings.Work`. Raises UsageError."""
    if text is None:
        return None
    if text != "each" and not (text.isdecimal() and int(text) > 0):
        raise UsageError(f"--channel {text!r}: wanted 1 for the first, or more, or each")
    return 0 if text == "each" else int(text)


def takes(made: list[inspect.Parameter]) -> Callable[[_F], _F]:
    """Give a command that takes `**options` the parameters that Typer makes its options of."""

    def decorate(function: _F) -> _F:
        vars(function)["__signature__"] = inspect.Signature(made)
        return function

    return decorate


def given(rows: list[SettingRow], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given on the command line, by keys with their table, such as `clips.format`.

    options: the values of the parameters.
    """
    found: dict[str, Any] = {}
    for row in rows:
        option = _option(row)
        value = options[_name(option)]
        if value is None or value is False or value == []:
            continue
        found |= option.split(value) if option.split else {row.key: value}
    return found


def _option(row: SettingRow) -> Option:
    option = row.setting.option
    assert option is not None
    return option


def _name(option: Option) -> str:
    return option.name.strip("-").replace("-", "_")


_ROW = {row.key: row for row in ROWS}


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle: a folder that `export` wrote.")]
RuntimeOption = Annotated[str, option_of(_ROW["runtime"], _ROW["runtime"].plain_help)]
ThreadsOption = Annotated[int | None, option_of(_ROW["threads"], _ROW["threads"].help)]
HopOption = Annotated[float | None, option_of(_ROW["hop"], _ROW["hop"].help)]
