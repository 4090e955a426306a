"""Sources of sound: from what a person writes to settings that are checked, and the names that events call them by."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from edgebird.errors import UsageError
from edgebird.settings.model import KINDS, SOURCE_ROWS, SourceSettings

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
# Up to the last @, as a password may hold anything; /birds@2 is a path.
_CREDENTIALS = re.compile(r"^.*@(?!\d{1,3}$)", re.DOTALL)
_PCM = re.compile(r"[a-z]\w+:\d+(:\d+)?")
# What a source has besides its name and address, by key.
_MORE = {row.setting.key: row for row in SOURCE_ROWS if row.field not in ("name", "address")}


def parse_named(text: str) -> tuple[str, str]:
    """Split `garden=X` into its name and X. A name ends at the first `=`, so a URL with one in it has none: ""."""
    name, equals, rest = text.partition("=")
    return (name, rest) if equals and _NAME.fullmatch(name) else ("", text)


def make_source(kind: str, address: str, name: str = "", **more: Any) -> SourceSettings:
    """Return a source of one of KINDS, checked as far as it can be without opening it; its name may still be empty.

    In a URL each `${NAME}` becomes that variable of the environment. more: other settings by key, None for what was
    not given. Raises UsageError for settings that do not fit the kind, and for a variable that is missing; the message
    holds nothing of a URL.
    """
    address = _expanded(address) if kind == "url" else address
    if name and not _NAME.fullmatch(name):
        raise UsageError(f"name {name!r}: wanted letters, digits, - and _")
    if kind == "url" and not _is_url(address):
        raise UsageError("a url that is none: wanted SCHEME://HOST/..., such as rtsp://192.168.1.20/live")
    if kind == "file" and not address:
        raise UsageError("an empty file name")
    if kind == "stdin" and not _PCM.fullmatch(address):
        raise UsageError(f"stdin {address!r}: wanted FORMAT:RATE:CHANNELS, such as s16le:48000:1")
    given = {key: value for key, value in more.items() if value is not None}
    return SourceSettings(name, kind, address, **{_MORE[key].field: _read(key, given[key], kind) for key in given})


def given_sources(given: Mapping[str, Any]) -> list[SourceSettings]:
    """Return the sources that options ask for; the settings that only some kinds have go to those.

    given: by keys such as `source.mic`; one address, or a list of them. Raises UsageError.
    """
    wanted = []
    for row in SOURCE_ROWS:
        kind = row.setting.key
        if kind not in KINDS or row.key not in given:
            continue
        for value in given[row.key] if isinstance(given[row.key], list) else [given[row.key]]:
            named = row.setting.option is not None and row.setting.option.named
            name, address = parse_named(value) if named else ("", str(value))
            wanted.append((kind, name, address))
    return make_sources(wanted, given)


def make_sources(wanted: Iterable[tuple[str, str, str]], given: Mapping[str, Any]) -> list[SourceSettings]:
    """Return a source for each kind, name and address; settings that only some kinds have go to those.

    given: by keys such as `source.channel`. Raises UsageError, see `make_source`.
    """
    sources = []
    for kind, name, address in wanted:
        more = {key: given[row.key] for key, row in _MORE.items() if row.key in given and _fits(key, kind)}
        sources.append(make_source(kind, address, name, **more))
    return sources


def recording_source(given: Mapping[str, Any]) -> SourceSettings:
    """Return what holds for the sound of each recording of `detect`, without an address. given: see `make_sources`.

    Raises UsageError.
    """
    (source,) = make_sources([("file", "", "recordings")], given)
    return replace(source, address="")


def with_names(sources: Iterable[SourceSettings]) -> tuple[SourceSettings, ...]:
    """Name the sources that have no name after what they are, `-2`, `-3` added where that is taken.

    Raises UsageError for a name that was given twice, and for two sources that would share stdin.
    """
    sources = tuple(sources)
    taken: set[str] = set()
    for name in (source.name for source in sources if source.name):
        if name in taken:
            raise UsageError(f"two sources are called {name!r}: give each its own name")
        taken.add(name)
    if sum(source.kind == "stdin" for source in sources) > 1:
        raise UsageError("two sources read stdin: only one can")
    named = []
    for source in sources:
        name = source.name or _free(_default_name(source), taken)
        taken.add(name)
        named.append(replace(source, name=name))
    return tuple(named)


def _fits(key: str, kind: str) -> bool:
    return kind in (_MORE[key].setting.kinds or KINDS)


def _read(key: str, value: Any, kind: str) -> Any:
    """Check a setting of a source of that kind."""
    setting = _MORE[key].setting
    if not _fits(key, kind):
        raise UsageError(f"{key} is for {' and '.join(setting.kinds)}, not for {kind}")
    try:
        return setting.check.read(value)
    except ValueError as error:
        raise UsageError(f"{key} {value!r}: wanted {error}") from None


def _default_name(source: SourceSettings) -> str:
    if source.kind == "url":
        scheme, _, rest = source.address.partition("://")
        return urlsplit(f"{scheme}://{_CREDENTIALS.sub('', rest)}").hostname or "url"
    return "stdin" if source.kind == "stdin" else source.address or source.kind


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and "://" in text and (parts.hostname or parts.path))
    except ValueError:  # brackets that are no IPv6 address
        return False


def _expanded(url: str) -> str:
    """A URL with each `${NAME}` replaced by that variable of the environment. No message tells a value."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], "")
        if not found:
            raise UsageError(f"url needs the environment variable {match[1]}, which is not set or empty")
        return found

    return _VARIABLE.sub(value, url)
