"""Checks of single settings: which values are allowed, said in words, and what becomes of them.

A check takes a value as a TOML file has it or as the command line gives it: both have numbers, texts and lists.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebird.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)B", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ELSEWHERE = re.compile(r"(?:s3|sftp|gs):/", re.IGNORECASE)
_TOPIC = re.compile(r"[^/+#\0]+(/[^/+#\0]+)*")
_TIMES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """Which values a setting may have.

    read: gives the value in the form of the model; its ValueError says what was wanted.
    wanted: the same in words, for the documentation; a function, as some choices take long to import.
    kind: the type that the command line makes of an option's text, or of each if the option may be repeated.
    """

    read: Callable[[Any], Any]
    wanted: Callable[[], str]
    kind: type = str


def shown(value: Any) -> str:
    """Return a value nearly as TOML has it, for messages."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, Path) else repr(value)


def path(elsewhere: bool = False) -> Check:
    """Return the check of a path; it need not exist. elsewhere: may it be a URL, such as s3://bucket/season?"""

    def read(value: Any) -> Path:
        if not isinstance(value, str | Path) or value == "":
            raise ValueError("a path")
        if not elsewhere and _ELSEWHERE.match(str(value)):  # a folder called `s3:` would be made here
            raise ValueError("a path of this machine")
        return Path(value)

    return Check(read, lambda: "a path", Path)


def folders() -> Check:
    """Return the check of a list of folders with their whole paths, or of one; it becomes a tuple of paths."""
    wanted = 'a list such as ["/media/birds"], with whole paths'

    def read(value: Any) -> tuple[Path, ...]:
        given = [value] if isinstance(value, str | Path) else value
        if not isinstance(given, list | tuple) or not all(isinstance(one, str | Path) for one in given):
            raise ValueError(wanted)
        if not all(Path(one).is_absolute() for one in given):
            raise ValueError(wanted)
        return tuple(map(Path, given))

    return Check(read, lambda: wanted, Path)


def boolean() -> Check:
    """Return the check of a switch."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value

    return Check(read, lambda: "true or false", bool)


def text(wanted: str = "a text", kind: type = str) -> Check:
    """Return the check of any text, also an empty one."""

    def read(value: Any) -> str:
        if not isinstance(value, str | Path):
            raise ValueError(wanted)
        return str(value)

    return Check(read, lambda: wanted, kind)


def certificate() -> Check:
    """Return the check of which certificates are taken: True, False, or `sha256:` and 64 hex digits, in lower case."""
    wanted = "true, false, or sha256: and the 64 hex digits of a certificate's fingerprint"

    def read(value: Any) -> bool | str:
        if isinstance(value, bool):
            return value
        text = str(value).lower() if isinstance(value, str) else ""
        if text in ("true", "false"):
            return text == "true"
        digits = text.removeprefix("sha256:").replace(":", "")
        if not text.startswith("sha256:") or not re.fullmatch("[0-9a-f]{64}", digits):
            raise ValueError(wanted)
        return f"sha256:{digits}"

    return Check(read, lambda: wanted)


def path_or_switch() -> Check:
    """Return the check of a path, or of whether there is something at all."""
    wanted = "a path, true or false"

    def read(value: Any) -> Path | bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str | Path) or value == "":
            raise ValueError(wanted)
        return str(value) == "true" if str(value) in ("true", "false") else Path(value)

    return Check(read, lambda: wanted)


def device() -> Check:
    """Return the check of a sound card: a part of its name, or its number, which becomes a text too."""
    wanted = "the name or number of a device"

    def read(value: Any) -> str:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(wanted)
        return str(value)

    return Check(read, lambda: wanted)


def address() -> Check:
    """Return the check of an address to listen on, as HOST:PORT; an IPv6 host is in brackets."""
    wanted = "HOST:PORT, such as 127.0.0.1:9108 or [::1]:9108"

    def read(value: Any) -> str:
        match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        if match is None or not 0 < int(match[1]) < 1 << 16:
            raise ValueError(wanted)
        return str(value)

    return Check(read, lambda: wanted)


def port() -> Check:
    """Return the check of a port of TCP."""
    wanted = "a port, 1 to 65535"

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 16:
            raise ValueError(wanted)
        return value

    return Check(read, lambda: wanted, int)


def secret() -> Check:
    """Return the check of a password. Each `${NAME}` in it becomes that variable of the environment.

    Messages show what stands in the file where it is no text or where a variable is missing: never what that holds.
    """
    wanted = "a text such as ${PASSWORD}, a variable of the environment that is set"

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(wanted)
        try:
            return _VARIABLE.sub(lambda match: os.environ[match[1]], value)
        except KeyError as error:
            raise UsageError(f"the environment variable {error.args[0]} is not set: a password needs it") from None

    return Check(read, lambda: wanted)


def several(one: Check, wanted: str, least: int = 0) -> Check:
    """Return the check of a list of at least so many values, each of which another check takes; it becomes a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) < least:
            raise ValueError(wanted)
        try:
            return tuple(map(one.read, value))
        except ValueError:
            raise ValueError(wanted) from None

    return Check(read, lambda: wanted)


def template(fields: Iterable[str]) -> Check:
    """Return the check of a text with fields in braces, as `str.format` takes it. fields: those that there are."""
    names = tuple(fields)
    wanted = f"a text with fields of {', '.join(f'{{{name}}}' for name in names)}"

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(wanted)
        try:
            value.format(**{name: 0.5 if name == "score" else "x" for name in names})
        except (LookupError, ValueError, AttributeError):
            raise ValueError(wanted) from None
        return value

    return Check(read, lambda: wanted)


def topic(empty: bool = False) -> Check:
    """Return the check of a topic of MQTT without wildcards. empty: whether it may be."""
    wanted = "a topic without + and #, and without / at its ends"

    def read(value: Any) -> str:
        if value == "" and empty:
            return ""
        if not isinstance(value, str) or not _TOPIC.fullmatch(value):
            raise ValueError(wanted)
        return value

    return Check(read, lambda: wanted)


def choice(names: Callable[[], Iterable[str]]) -> Check:
    """Return the check of one of some names, which are asked for when they are needed."""

    def wanted() -> str:
        allowed = list(names())
        return " or ".join(allowed) if len(allowed) == 2 else f"one of {', '.join(allowed)}"

    def read(value: Any) -> str:
        if value not in list(names()):
            raise ValueError(wanted())
        return str(value)

    return Check(read, wanted)


def whole(lowest: int, wanted: str = "") -> Check:
    """Return the check of a whole number from `lowest` on."""
    words = wanted or f"a whole number, {lowest} or more"

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ValueError(words)
        return value

    return Check(read, lambda: words, int)


def number(lowest: float, highest: float = math.inf, unit: str = "") -> Check:
    """Return the check of a finite number from lowest to highest, both included."""
    span = f"{lowest:g} to {highest:g}" if math.isfinite(highest) else f"{lowest:g} or more"
    wanted = f"a number{f' of {unit}' if unit else ''}, {span}"

    def read(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not lowest <= value <= highest:
            raise ValueError(wanted)
        return float(value)

    return Check(read, lambda: wanted, float)


def scores() -> Check:
    """Return the check of a table of species and their thresholds."""
    score = number(0, 1)

    def read(value: Any) -> dict[str, float]:
        if not isinstance(value, dict):
            raise ValueError("a table of species and scores")
        for species, threshold in value.items():
            try:
                score.read(threshold)
            except ValueError as error:
                raise ValueError(f"{error}, for {species}") from None
        return {species: float(threshold) for species, threshold in value.items()}

    return Check(read, lambda: "a table of species and scores, each 0 to 1")


def split_thresholds(texts: Iterable[str]) -> dict[str, Any]:
    """Return what `--threshold 0.5 --threshold comcuc=0.7` sets, by key. Raises UsageError."""
    given: dict[str, Any] = {}
    for option in texts:
        species, equals, score = option.rpartition("=")
        try:
            value = float(score)
        except ValueError:
            raise UsageError(f"--threshold {option}: wanted X, or CODE=X for one species") from None
        if equals:
            given.setdefault("thresholds", {})[species] = value
        else:
            given["threshold"] = value
    return given


def timezone() -> Check:
    """Return the check of a time zone that this computer knows."""
    wanted = "UTC, local, an offset such as +02:00, or a name such as Europe/Berlin"

    def read(value: Any) -> str:
        from edgebird.timestamps import parse_timezone

        try:
            parse_timezone(value if isinstance(value, str) else repr(value))
        except UsageError:
            raise ValueError(wanted) from None
        return str(value)

    return Check(read, lambda: wanted)


def size() -> Check:
    """Return the check of a size, which becomes a number of bytes."""
    wanted = "a size such as 500MB or 20GB"

    def read(value: Any) -> int:
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(wanted)
        return round(float(match[1]) * _TIMES[match[2].upper()])

    return Check(read, lambda: wanted)
