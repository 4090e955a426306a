"""Settings of a station from keywords of Python: the words of the command line, with underscores for dashes."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from edgebird.errors import UsageError
from edgebird.settings.build import Wording, station_settings
from edgebird.settings.checks import shown
from edgebird.settings.model import KINDS, ROWS, SOURCE_ROWS, StationSettings
from edgebird.settings.sources import make_sources

Address: TypeAlias = str | os.PathLike[str]
Addresses: TypeAlias = Address | Mapping[str, Address] | Iterable[Address]

_OF_STATION = {row.keyword: row for row in ROWS}
_OF_SOURCES = {row.keyword: row for row in SOURCE_ROWS if row.setting.key != "name"}
_KEYWORDS = (*_OF_SOURCES, *_OF_STATION)
_WORDING = Wording(
    given=lambda row, value: f"{row.keyword}={shown(value)}",
    missing=lambda row: f"{row.keyword}= is missing, and no config gives it",
    no_source="nothing to listen to: give a URL or a file, mic=True, or config=FILE with a [[source]]",
)


def keyword_settings(
    addresses: Addresses | None, config: Address | None, keywords: Mapping[str, Any]
) -> StationSettings:
    """Settings from addresses, a TOML file if there is one, and keywords, which come before the file.

    addresses: what has `://` in it is a URL, all else a file; one, several, or name -> address.
    keywords: `SettingRow.keyword` -> a value as the TOML file would have it; None for what is not given. Those of a
    kind of source (`mic`, `url`, `file`, `stdin`) take addresses too, and `mic=True` is the default microphone.
    Raises UsageError for what is wrong, OSError if the file cannot be read.
    """
    wanted = {keyword: value for keyword, value in keywords.items() if value is not None}
    for keyword in wanted:
        _require_known(keyword)
    found = [(_kind(name, address), name, os.fspath(address)) for name, address in _named(addresses)]
    for kind in KINDS:
        found += [(kind, name, _address(kind, address)) for name, address in _named(wanted.get(kind))]
    more = {row.key: wanted[keyword] for keyword, row in _OF_SOURCES.items() if keyword in wanted}
    sources = make_sources(found, more)
    given = {row.key: wanted[keyword] for keyword, row in _OF_STATION.items() if keyword in wanted}
    return station_settings(Path(config) if config is not None else None, given, sources, _WORDING)


def _require_known(keyword: str) -> None:
    if keyword not in _KEYWORDS:
        close = difflib.get_close_matches(keyword, _KEYWORDS, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"unknown keyword {keyword!r}: {hint}known: {', '.join(_KEYWORDS)}")


def _named(addresses: Any) -> Iterator[tuple[str, Any]]:
    """Name and address of each; the name is empty where none is given."""
    if addresses is None or addresses is False:
        return
    if isinstance(addresses, Mapping):
        yield from ((str(name), address) for name, address in addresses.items())
    elif isinstance(addresses, str | os.PathLike) or not isinstance(addresses, Iterable):
        yield "", addresses
    else:
        yield from (("", address) for address in addresses)


def _kind(name: str, address: Any) -> str:
    """What kind of source an address is. It may hold a password, so no message shows it."""
    which = f"the source {name!r}" if name else "a source"
    if not isinstance(address, str | os.PathLike):
        raise UsageError(f"{which} is {type(address).__name__}: wanted a URL or a path")
    if "://" in os.fspath(address):
        return "url"
    if not Path(address).exists():
        raise UsageError(f"{which} is neither a URL nor a file that exists: a microphone is given as mic=NAME")
    return "file"


def _address(kind: str, address: Any) -> str:
    if kind == "mic" and address is True:
        return ""
    try:
        return str(_OF_SOURCES[kind].setting.check.read(address))
    except ValueError as error:
        raise UsageError(f"{kind} is {type(address).__name__}: wanted {error}") from None
