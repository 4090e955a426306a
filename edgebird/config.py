"""The settings of a listening station, and reading them from a TOML file and from the command line.

Both speak of a setting by the same key and give its value in the same form, so both are checked by the same table.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import time
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from edgebird.detection import HOP_S, THRESHOLD
from edgebird.errors import UsageError
from edgebird.formats import FORMATS
from edgebird.parity import TOLERANCES
from edgebird.runtimes import RUNTIMES
from edgebird.timestamps import parse_timezone

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = ("mic", "url", "file", "stdin")
TRANSPORTS = ("tcp", "udp")
CLIP_FORMATS = ("wav", "flac")

QuietHours: TypeAlias = tuple[tuple[time, time], ...]

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_PCM = re.compile(r"[a-z]\w+:\d+(:\d+)?")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d) ?- ?([01]\d|2[0-3]):([0-5]\d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)B", re.IGNORECASE)
_TIMES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source of sound.

    name: what events call it, unique in a station. kind: one of KINDS. address: of a microphone its device by name or
    number, empty for the default; else a URL, a path, or the form of the sound on stdin, such as `s16le:48000:1`. It
    may hold a password, so it is never printed. channel: 1 is the first, None the mean of all. transport: of RTSP.
    realtime: play a file no faster than it was recorded.
    """

    name: str
    kind: str
    address: str = field(repr=False)
    channel: int | None = None
    transport: str = "tcp"
    realtime: bool = False


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """What is a detection, and with what model.

    hop_s: seconds between windows. threshold: lowest score that counts; thresholds: the same for single species, by
    eBird code or scientific name. quiet_hours: local times (start, end) in which nothing is reported; start > end
    crosses midnight. latitude, longitude: degrees, both or neither, written down only.
    """

    bundle: Path
    runtime: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    hop_s: float = HOP_S
    threshold: float = THRESHOLD
    thresholds: Mapping[str, float] = field(default_factory=dict)
    min_windows: int = 1
    species_list: Path | None = None
    explain: bool = False
    quiet_hours: QuietHours = ()
    timezone: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Which sound is kept, and how much of it.

    pre_s, post_s: seconds before and after a detection. spectrogram: a picture beside each clip. max_age_days: older
    clips are deleted. max_size, min_free: bytes of all clips, and free on their disk; the oldest go first.
    best_per_species: so many of the best of each species are kept whatever their age.
    """

    folder: Path
    format: str = "flac"
    pre_s: float = 3.0
    post_s: float = 3.0
    spectrogram: bool = False
    max_age_days: float | None = None
    max_size: int | None = None
    min_free: int | None = None
    best_per_species: int = 0


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Where results go.

    format: of the lines on stdout, or of a file for each source in the folder `out`; None for what fits. log: a folder
    with a file of JSON lines a day. csv, database: files.
    """

    format: str | None = None
    out: Path | None = None
    log: Path | None = None
    csv: Path | None = None
    database: Path | None = None
    clips: ClipSettings | None = None


@dataclass(frozen=True, slots=True)
class StationSettings:
    """A station. buffer_s: sound a source may hold unscored before it is lost. duration_s: None for ever."""

    sources: tuple[SourceSettings, ...]
    detection: DetectionSettings
    output: OutputSettings
    buffer_s: float = 15.0
    duration_s: float | None = None
    stats_every_s: float = 60.0


def station_settings(
    config: Path | None, given: Mapping[str, Any], sources: Sequence[SourceSettings] = ()
) -> StationSettings:
    """Settings from a TOML file, if there is one, and from the command line, which comes first.

    given: by the keys of the file (`clips.format`), values as the file would have them, None for what was not given;
    `thresholds` are added to those of the file, all else takes their place. sources: if any, instead of the file's.
    Raises UsageError for what is wrong, OSError if the file cannot be read.
    """
    values, from_file = _read(config) if config else ({}, ())
    for key, value in given.items():
        if value is not None:
            values[key] = _on_command_line(key, value, values)
    sources = with_names(sources) if sources else from_file
    if not sources:
        raise UsageError("nothing to listen to: give --mic, --url, --file or --stdin, or a [[source]] in --config FILE")
    if "bundle" not in values:
        raise UsageError("no model: give --bundle BUNDLE, or bundle = in --config FILE")
    if ("latitude" in values) != ("longitude" in values):
        raise UsageError("latitude and longitude belong together: give both or neither")
    section: dict[str, dict[str, Any]] = {"detection": {}, "clips": {}, "output": {}, "station": {}}
    for key, value in values.items():
        section[_KEYS[key].section][_KEYS[key].field] = value
    if section["clips"] and "clips.folder" not in values:
        raise UsageError("settings of clips, but no folder for them: give --clips DIR, or folder = in [clips]")
    return StationSettings(
        sources=tuple(sources),
        detection=DetectionSettings(**section["detection"]),
        output=OutputSettings(
            clips=ClipSettings(**section["clips"]) if section["clips"] else None, **section["output"]
        ),
        **section["station"],
    )


# ---- sources


def parse_named(text: str) -> tuple[str, str]:
    """Split `garden=X` into its name and X. A name ends at the first `=`, so a URL with one in it has none: ""."""
    name, equals, rest = text.partition("=")
    return (name, rest) if equals and _NAME.fullmatch(name) else ("", text)


def parse_thresholds(texts: Iterable[str]) -> dict[str, Any]:
    """What `--threshold 0.5 --threshold comcuc=0.7` gives for `station_settings`. Raises UsageError."""
    given: dict[str, Any] = {}
    for text in texts:
        species, equals, score = text.rpartition("=")
        try:
            value = float(score)
        except ValueError:
            raise UsageError(f"--threshold {text}: wanted X, or CODE=X for one species") from None
        if equals:
            given.setdefault("thresholds", {})[species] = value
        else:
            given["threshold"] = value
    return given


def make_source(
    kind: str,
    address: str,
    name: str = "",
    channel: int | None = None,
    transport: str | None = None,
    realtime: bool | None = None,
) -> SourceSettings:
    """A source of one of KINDS, checked as far as it can be without opening it; its name may still be empty.

    In a URL each `${NAME}` becomes that variable of the environment. Raises UsageError for settings that do not fit
    the kind, and for a variable that is missing; the message holds nothing of a URL.
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
    for setting, value, kinds in (
        ("channel", channel, ("mic", "url", "stdin")),
        ("transport", transport, ("url",)),
        ("realtime", realtime, ("file",)),
    ):
        if value is not None and kind not in kinds:
            raise UsageError(f"{setting} is for {' and '.join(kinds)}, not for {kind}")
    if channel is not None and channel < 1:
        raise UsageError(f"channel {channel}: wanted 1 for the first, or more")
    if transport not in (None, *TRANSPORTS):
        raise UsageError(f"transport {transport!r}: wanted {' or '.join(TRANSPORTS)}")
    return SourceSettings(name, kind, address, channel, transport or "tcp", bool(realtime))


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


def _default_name(source: SourceSettings) -> str:
    if source.kind == "url":
        return urlsplit(source.address).hostname or "url"
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


# ---- the file


def _read(path: Path) -> tuple[dict[str, Any], tuple[SourceSettings, ...]]:
    """Values by key, checked, and sources."""
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    tables = content.pop("source", [])
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise UsageError(f"{path}: source is written [[source]], with its settings below")
    values: dict[str, Any] = {}
    for key, value in _flat(path, content):
        try:
            parsed = _KEYS[key].parse(value)
        except ValueError as error:
            raise UsageError(f"{path}: {key} = {_shown(value)}: wanted {error}") from None
        values[key] = path.parent / parsed if isinstance(parsed, Path) else parsed
    sources = [_source(path, number, table) for number, table in enumerate(tables, 1)]
    try:
        return values, with_names(sources)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _flat(path: Path, content: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The settings of a file, those in tables as `clips.format`. Raises UsageError for keys that are none."""
    for name, value in content.items():
        if name not in _TABLES:
            _require_known(path, "", name)
            yield name, value
            continue
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} = {_shown(value)}: wanted a table, [{name}]")
        for key, inner in value.items():
            _require_known(path, name, key)
            yield f"{name}.{key}", inner


def _require_known(path: Path, table: str, key: str) -> None:
    known = _known(table)
    if key in known:
        return
    where = f" {_place(table)}" if table else ""
    homes = [_place(other) for other in ("", *_TABLES, "source") if other != table and key in _known(other)]
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]}? " if close else f"it belongs {homes[0]}; " if homes else ""
    raise UsageError(f"{path}: unknown key {key!r}{where}: {hint}known: {', '.join(known)}")


def _known(table: str) -> list[str]:
    if table == "source":
        return list(_SOURCE_TYPES)
    if table:
        return [key.partition(".")[2] for key in _KEYS if key.startswith(f"{table}.")]
    return [key for key in _KEYS if "." not in key] + [*_TABLES, "source"]


def _place(table: str) -> str:
    return {"": "at the top, before the first [table]", "source": "in a [[source]]"}.get(table, f"in [{table}]")


def _source(path: Path, number: int, table: dict[str, Any]) -> SourceSettings:
    """A source as its table says. Raises UsageError that names it."""
    for key in table:
        _require_known(path, "source", key)
    name = table.get("name", "")
    where = f"{path}: source {name or number!r}"
    for key, value in table.items():
        kind, wanted = _SOURCE_TYPES[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(f"{where}: {key} is not {wanted}")
    kinds = [kind for kind in KINDS if kind in table]
    if len(kinds) != 1:
        raise UsageError(f"{where}: wanted one of {', '.join(KINDS)}, got {' and '.join(kinds) or 'none'}")
    try:
        address = str(table[kinds[0]])
        if kinds == ["file"] and address:
            address = str(path.parent / address)
        extra = {key: table.get(key) for key in ("channel", "transport", "realtime")}
        return make_source(kinds[0], address, name, **extra)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _expanded(url: str) -> str:
    """A URL with each `${NAME}` replaced by that variable of the environment. No message tells a value."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], "")
        if not found:
            raise UsageError(f"url needs the environment variable {match[1]}, which is not set or empty")
        return found

    return _VARIABLE.sub(value, url)


# ---- single settings: each takes a value as the file or the command line has it; ValueError says what was wanted


def _on_command_line(key: str, value: Any, values: Mapping[str, Any]) -> Any:
    try:
        parsed = _KEYS[key].parse(value)
    except ValueError as error:
        raise UsageError(f"{_KEYS[key].option} {_shown(value)}: wanted {error}") from None
    return {**values.get(key, {}), **parsed} if key == "thresholds" else parsed


def _shown(value: Any) -> str:
    """A value as TOML has it, nearly."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, Path) else repr(value)


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or value == "":
        raise ValueError("a path")
    return Path(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _choice(*names: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return str(value)

    return parse


def _whole(lowest: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ValueError(f"a whole number, {lowest} or more")
        return value

    return parse


def _number(lowest: float, highest: float = math.inf, unit: str = "") -> Callable[[Any], float]:
    """A finite number from lowest to highest, both included."""
    span = f"{lowest:g} to {highest:g}" if math.isfinite(highest) else f"{lowest:g} or more"
    wanted = f"a number{f' of {unit}' if unit else ''}, {span}"

    def parse(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not lowest <= value <= highest:
            raise ValueError(wanted)
        return float(value)

    return parse


def _thresholds(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("a table of species and scores")
    parse = _number(0, 1)
    for species, score in value.items():
        try:
            parse(score)
        except ValueError as error:
            raise ValueError(f"{error}, for {species}") from None
    return {species: float(score) for species, score in value.items()}


def _quiet_hours(value: Any) -> QuietHours:
    wanted = 'a list such as ["22:00-04:30"], local times from 00:00 to 23:59'
    if not isinstance(value, list | tuple):
        raise ValueError(wanted)
    spans = []
    for text in value:
        match = _HOURS.fullmatch(text) if isinstance(text, str) else None
        if match is None or match.group(1, 2) == match.group(3, 4):
            raise ValueError(wanted)
        hours = [int(group) for group in match.groups()]
        spans.append((time(hours[0], hours[1]), time(hours[2], hours[3])))
    return tuple(spans)


def _timezone(value: Any) -> str:
    try:
        parse_timezone(value if isinstance(value, str) else repr(value))
    except UsageError:
        raise ValueError("UTC, local, an offset such as +02:00, or a name such as Europe/Berlin") from None
    return str(value)


def _size(value: Any) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a size such as 500MB or 20GB")
    return round(float(match[1]) * _TIMES[match[2].upper()])


@dataclass(frozen=True, slots=True)
class _Key:
    """Where the value of a key goes, the option that sets it too, and how it is read."""

    section: str
    field: str
    option: str
    parse: Callable[[Any], Any]


_TABLES = ("output", "clips")
_KEYS = {
    "bundle": _Key("detection", "bundle", "--bundle", _path),
    "runtime": _Key("detection", "runtime", "--runtime", _choice("auto", *RUNTIMES)),
    "precision": _Key("detection", "precision", "--precision", _choice(*TOLERANCES)),
    "threads": _Key("detection", "threads", "--threads", _whole(1)),
    "hop": _Key("detection", "hop_s", "--hop", _number(0.01, 60, "seconds")),
    "threshold": _Key("detection", "threshold", "--threshold", _number(0, 1)),
    "thresholds": _Key("detection", "thresholds", "--threshold", _thresholds),
    "min-windows": _Key("detection", "min_windows", "--min-windows", _whole(1)),
    "species-list": _Key("detection", "species_list", "--species-list", _path),
    "explain": _Key("detection", "explain", "--explain", _boolean),
    "quiet-hours": _Key("detection", "quiet_hours", "--quiet-hours", _quiet_hours),
    "timezone": _Key("detection", "timezone", "--timezone", _timezone),
    "latitude": _Key("detection", "latitude", "--latitude", _number(-90, 90, "degrees")),
    "longitude": _Key("detection", "longitude", "--longitude", _number(-180, 180, "degrees")),
    "buffer": _Key("station", "buffer_s", "--buffer", _number(5, 3600, "seconds")),
    "duration": _Key("station", "duration_s", "--duration", _number(0.1, unit="seconds")),
    "stats-every": _Key("station", "stats_every_s", "--stats-every", _number(1, 86400, "seconds")),
    "output.format": _Key("output", "format", "--format", _choice(*FORMATS)),
    "output.out": _Key("output", "out", "--out", _path),
    "output.log": _Key("output", "log", "--log", _path),
    "output.csv": _Key("output", "csv", "--csv", _path),
    "output.database": _Key("output", "database", "--database", _path),
    "clips.folder": _Key("clips", "folder", "--clips", _path),
    "clips.format": _Key("clips", "format", "--clip-format", _choice(*CLIP_FORMATS)),
    "clips.pre": _Key("clips", "pre_s", "--clip-pre", _number(0, 600, "seconds")),
    "clips.post": _Key("clips", "post_s", "--clip-post", _number(0, 600, "seconds")),
    "clips.spectrogram": _Key("clips", "spectrogram", "--spectrogram", _boolean),
    "clips.max-age": _Key("clips", "max_age_days", "--max-age", _number(0.01, unit="days")),
    "clips.max-size": _Key("clips", "max_size", "--max-size", _size),
    "clips.min-free": _Key("clips", "min_free", "--min-free", _size),
    "clips.keep-best": _Key("clips", "best_per_species", "--keep-best", _whole(0)),
}
_SOURCE_TYPES: dict[str, tuple[Any, str]] = {
    "name": (str, "a text"),
    "mic": ((str, int), "the name or number of a device"),
    "url": (str, "a text"),
    "file": (str, "a text"),
    "stdin": (str, "a text"),
    "channel": (int, "a whole number"),
    "transport": (str, "a text"),
    "realtime": (bool, "true or false"),
}
