"""What the documentation says of settings: docs/station/station.toml, and the list in docs/station.md.

    python -m edgebird.settings.reference docs

writes both.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgebird.settings.model import ALERT_ROWS, KINDS, ROWS, SOURCE_ROWS, StationSettings
from edgebird.settings.row import SettingRow, all_tables

BEGIN, END = "<!-- settings: made by edgebird.settings.reference -->", "<!-- end of settings -->"

_HEAD = """\
# A listening station: edgebird listen --config station.toml
#
# A setting is called as its option on the command line, which comes first where both are given. Relative paths are
# relative to this file. What is commented out shows its default, or an example where there is none; only `bundle` and
# one [[source]] are needed. `systemctl reload edgebird` reads the file again, and says what it cannot change meanwhile.
"""
# Above the example of a kind of source, and the name that it has there.
_SOURCES = {
    "mic": ("One [[source]] for each microphone or stream. Settings above do not work below here.", "garden"),
    "url": (
        "Passwords do not belong in here: ${NAME} is taken from the environment. Write @ : / in a password as "
        "%40 %3A %2F.",
        "pond",
    ),
    "file": ("For trying things out: a recording, and raw PCM on standard input.", ""),
    "stdin": ("", "pipe"),
}
_ALERT = "An [[alert]] for each occasion to be told of (extra `alerts`, and a database)."
_WIDTH, _COLUMN = 120, 36


def station_toml() -> str:
    """Return the example of a station, with every setting."""
    parts = [_HEAD]
    for table in dict.fromkeys(row.table for row in ROWS):
        (about,) = {found.about for found in all_tables(StationSettings) if found.name == table and found.about} or {""}
        rows = [row for row in ROWS if row.table == table]
        plain = [row for row in rows if not isinstance(row.default, dict)]
        mark = "" if any(row.setting.active for row in rows) else "#"
        head = [f"# {about}"] * bool(about) + [f"{mark}[{table}]"] * bool(table)
        parts.append(_joined([*head, *(line for group in _groups(plain) for line in group)]).removeprefix("\n"))
        parts += [_inner_table(row) for row in rows if row not in plain]
    alert = [f"# {_ALERT}", "#[[alert]]", *(line for row in ALERT_ROWS for line in _lines(row))]
    return "\n".join([*parts, _joined(alert), *_sources()])


def markdown() -> str:
    """Return the table of all settings, with its markers."""
    lines = [BEGIN, "| key | option | allowed | default | | changed by |", "|---|---|---|---|---|---|"]
    for row in [*ROWS, *ALERT_ROWS, *SOURCE_ROWS]:
        option = row.setting.option
        said = row.setting.note if row.setting.option is None and row.setting.note else row.plain_help
        cells = [
            f"`{row.key}`",
            f"`{option.name}`" + (", also of `detect`" if "detect" in option.commands else "") if option else "",
            row.setting.check.wanted(),
            "needed" if row.required and row.table != "source" else _literal(row.default) if _is_said(row) else "",
            said.removesuffix("."),
            "restart" if row.setting.fixed else "reload",
        ]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, END])


def write(docs: Path) -> None:
    """Write both into a folder."""
    (docs / "station" / "station.toml").write_text(station_toml(), encoding="utf-8")
    page = docs / "station.md"
    text = page.read_text(encoding="utf-8")
    made = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: markdown(), text, flags=re.DOTALL)
    page.write_text(made, encoding="utf-8")


def _is_said(row: SettingRow) -> bool:
    """Whether its default is a value."""
    return not row.required and row.default is not None and not isinstance(row.default, bool | tuple | dict)


def _groups(rows: Iterable[SettingRow]) -> Iterable[list[str]]:
    """Lines of settings, with an empty one where the help of the command line begins another panel."""
    panel: str | None = None
    for row in rows:
        option = row.setting.option
        begins = panel is not None and option is not None and option.panel != panel and not row.table
        panel = option.panel if option else panel
        yield ["", *_lines(row)] if begins else _lines(row)


def _lines(row: SettingRow, value: Any = None, active: bool | None = None) -> list[str]:
    """A setting with its comment behind it, or above it if that is long."""
    shown = value if value is not None else row.default if row.setting.example is None else row.setting.example
    is_active = row.setting.active if active is None else active
    line = f"{'' if is_active else '#'}{row.setting.key} = {_literal(shown)}"
    whole = f"{line:<{_COLUMN - 1}} # {row.note}"
    return [whole] if len(whole) <= _WIDTH else [f"# {row.note[0].upper()}{row.note[1:]}:", line]


def _inner_table(row: SettingRow) -> str:
    """A setting that is a table itself."""
    pairs = [
        f"#{key if key.isalnum() else _literal(key)} = {_literal(value)}" for key, value in row.setting.example.items()
    ]
    return _joined([f"# {row.note}", f"#[{row.key}]", *pairs])


def _sources() -> Iterable[str]:
    """A source of each kind; a setting that several kinds have is in the first of them."""
    shown: set[str] = set()
    for kind in KINDS:
        about, name = _SOURCES.get(kind, ("", ""))
        active = kind == "mic"
        lines = [f"# {about}"] * bool(about) + [f"{'' if active else '#'}[[source]]"]
        for row in SOURCE_ROWS:
            key = row.setting.key
            if key == "name" and name:
                lines += _lines(row, name, active) if active else [f"#name = {_literal(name)}"]
            elif key == kind or (key not in (*shown, *KINDS, "name") and kind in (row.setting.kinds or KINDS)):
                lines += _lines(row)
                shown.add(key)
        yield _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _literal(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return f'"{value}"' if isinstance(value, str | Path) else f"{value:g}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
