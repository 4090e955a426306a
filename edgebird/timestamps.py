"""When a recording began, by the first of these that says it with its time zone, else by the first that says it at all.

The header: GUANO, AudioMoth's comment, Wildlife Acoustics' `wamd`, the `bext` chunk of broadcast WAV. Then the name.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from edgebird.errors import UsageError
from edgebird.reading.chunks import Chunk, riff_chunks, walk
from edgebird.reading.pcm import pcm_layout

_DATE = r"(?P<date>(?:19|20)\d\d(?P<d>[-_.]?)\d\d(?P=d)\d\d)"
_TIME = r"(?P<time>\d\d(?P<c>[-_.:]?)\d\d(?P=c)\d\d)(?:[.,](?P<fraction>\d+))?"
_ISO = re.compile(rf"{_DATE}[T ]{_TIME} ?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?", re.IGNORECASE)
# 20230524_153000, 2023-05-24T15-30-00Z, 20161023$195550 ... anywhere in a name. `-0200` is an offset after a T or an
# underscore only: in REC_20230524_153000-0200 it may be the number of a part.
_IN_NAME = re.compile(
    rf"(?<!\d){_DATE}(?:(?P<t>T)|[_ $-]){_TIME}(?!\d)"
    r"(?P<zone>Z(?![A-Za-z])|_?\+\d\d[:-]?\d\d(?!\d)|_-\d\d[:-]?\d\d(?!\d)|(?(t)-\d\d[:-]?\d\d(?!\d)|(?!)))?"
)
_SPACE_FOR_ZERO = re.compile(r"(?<!\d)(20\d{4}) (\d)(?=[T_]\d{6})")  # 201905 8T020000, Frontier Labs 3.08
# Less sure, so only as all of a name, or its end: 20230501_0530, and 240501_051500 as Zoom's recorders write (a year
# before 10 is that of a clock which nobody set).
_MINUTES_IN_NAME = re.compile(r"(?:.*[^0-9])?(?P<date>20\d{6})[_T-](?P<time>\d{4})")
_SHORT_YEAR_IN_NAME = re.compile(
    r"(?:.*[^0-9])?(?P<date>[1-4]\d(?:0[1-9]|1[0-2])[0-3]\d)[_-](?P<time>\d{6})(?:[^0-9].*)?"
)
_AUDIOMOTH_NAME = re.compile(r"(?:[0-9A-F]{16}_)?\d{8}_\d{6}T?(?:_\d{3})?")
_TRIGGERED_NAME = re.compile(r"(?:.*_)?\d{8}_\d{6}T(?:_\d{3})?")
_AUDIOMOTH_UNIX_NAME = re.compile(r"[0-9A-F]{8}")
_AUDIOMOTH_UNIX_TIMES = range(0x54A48E00, 0x80000000)  # 2015 to 2038: keeps out a plain date such as 20230524
_AUDIOMOTH_COMMENT = re.compile(
    r"Recorded at (?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))? (?P<day>\d\d)/(?P<month>\d\d)/(?P<year>20\d\d)"
    r"(?: \((?P<zone>UTC(?:[+-]\d{1,2}(?::?\d\d)?)?)\))?"
)
_GUANO = re.compile(r"GUANO\|Version.{0,4000}?^\s*Timestamp:[ \t]*(?P<text>[^\r\n\0]*)", re.DOTALL | re.MULTILINE)
_BEXT = re.compile(r"(?P<date>(?:19|20)\d\d[-_:. ]\d\d[-_:. ]\d\d)(?P<time>\d\d[-_:. ]\d\d[-_:. ]\d\d)")
_OFFSET = re.compile(r"([+-])(\d{1,2})(?:[:-]?(\d\d))?")

_MAX_TEXT = 1 << 20  # bytes of a chunk of text
_TAG_BYTES = 1 << 18  # at both ends of a file that is no WAV: where its tags are
_WAMD_TIMESTAMP = 5  # the number of the field
_BEXT_DATE_AT = 256 + 32 + 32  # bytes before it: description, originator, its reference (EBU Tech 3285)


@dataclass(frozen=True, slots=True)
class Start:
    """When a recording's first sample was taken. zone_assumed: which zone was taken, where nothing says it."""

    moment: datetime
    zone_assumed: str | None = None


class LocalTime(tzinfo):
    """This computer's time zone, with the offset that was valid at each time."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset of a local time."""
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, moment: datetime | None) -> timedelta | None:
        """Return None: the operating system does not say which part of the offset is summer time."""
        return None

    def tzname(self, moment: datetime | None) -> str:
        """Return the name `parse_timezone` knows it by."""
        return "local"

    def fromutc(self, moment: datetime) -> datetime:
        """Return a time in UTC (that claims to be local, as `datetime.astimezone` asks) as local time."""
        return moment.replace(tzinfo=timezone.utc).astimezone().replace(tzinfo=self)


def parse_timezone(text: str) -> tzinfo:
    """Return the time zone an option names: `UTC`, `local`, `+02:00` or `Europe/Berlin`; UsageError for others."""
    if text.lower() == "local":
        return LocalTime()
    try:
        return _fixed_zone(text) or ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # unknown; malformed or out of range; the name of a folder of zones
        raise UsageError(
            f"unknown time zone {text!r}: use UTC, local, an offset such as +02:00, "
            "or a name such as Europe/Berlin (names may need `pip install tzdata`)"
        ) from None


def recording_start(path: Path, timezone: tzinfo | None, file: BinaryIO | None = None) -> Start | None:
    """Return when a recording's first sample was taken, or None if nothing says it.

    What says its time zone comes first: GUANO `Timestamp`, AudioMoth's comment (in any header or tag), `wamd`, the file
    name. Then the same and `bext` without one, the header before the name.
    timezone: where a time without an offset was taken. Without it the zone is assumed: UTC for AudioMoth's names,
    this computer's local time for all others. The result has a fixed offset, so adding to it counts seconds even across
    a change to summer time. Damaged, missing and foreign files are not an error. file: it, where it is open.
    """
    said = [*_in_header(path, file), *_in_name(path.stem)]
    moments = [found.start(timezone) for found in sorted(said, key=lambda found: not found.has_zone)]
    return next(filter(None, moments), None)


def is_triggered(path: Path | None) -> bool:
    """Whether AudioMoth left out the silence of a recording, by its name: that ends in a T."""
    return path is not None and _TRIGGERED_NAME.fullmatch(path.stem) is not None


@dataclass(frozen=True, slots=True)
class _Said:
    """A time as somebody wrote it. zone: the offset in it, "" if there is none; by_default: the zone to assume then."""

    digits: str  # YYYYmmddHHMMSS
    fraction: str
    zone: str
    by_default: tzinfo | None = None

    @property
    def has_zone(self) -> bool:
        return bool(self.zone)

    def start(self, zone: tzinfo | None) -> Start | None:
        """The time; its own zone comes before `zone`. None if there is no such date, time or offset."""
        try:
            moment = datetime.strptime(self.digits + self.fraction[:6].ljust(6, "0"), "%Y%m%d%H%M%S%f")
            own = _fixed_zone(self.zone)
        except ValueError:
            return None
        if self.zone and own is None:
            return None
        assumed = None if own or zone else "UTC" if self.by_default else "local"
        try:
            moment = moment.replace(tzinfo=own or zone or self.by_default or LocalTime())
            return Start(moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta(0))), assumed)
        except (ValueError, OverflowError):
            return None


def _said(match: re.Match[str], date: str, by_default: tzinfo | None = None) -> _Said:
    groups = match.groupdict()
    digits = re.sub(r"\D", "", date + match["time"])
    zone = (groups.get("zone") or "").lstrip("_")
    return _Said(digits.ljust(14, "0"), groups.get("fraction") or "0", zone, by_default)


# --------------------------------------------------------------------------------------------------------- the header
def _in_header(path: Path, file: BinaryIO | None) -> list[_Said]:
    try:
        if file:
            return _in_open(file)
        if not path.is_file():  # opening a pipe would wait for its writer
            return []
        with path.open("rb") as opened:
            return _in_open(opened)
    except OSError:
        return []


def _in_open(file: BinaryIO) -> list[_Said]:
    size = file.seek(0, io.SEEK_END)
    chunks = list(riff_chunks(file))
    if not chunks:
        return _in_tags(file, size)
    layout = pcm_layout(file, size)
    chunks += [chunk for chunk in (layout.tail if layout else ()) if chunk not in chunks]
    return [said for kind, read in _READERS for chunk in chunks if chunk.id == kind for said in read(file, chunk)]


def _read(file: BinaryIO, chunk: Chunk) -> bytes:
    file.seek(chunk.offset)
    return file.read(min(chunk.size, _MAX_TEXT))


def _from_guano(file: BinaryIO, chunk: Chunk) -> Iterator[_Said]:
    for line in _read(file, chunk).decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Timestamp":
            yield from _iso(value)


def _iso(text: str) -> Iterator[_Said]:
    if match := _ISO.fullmatch(text.strip(" \0")):
        yield _said(match, match["date"])


def _from_comment(file: BinaryIO, chunk: Chunk) -> Iterator[_Said]:
    info = _read(file, chunk)
    inner = io.BytesIO(info)
    for comment in walk(inner, 4) if info[:4] == b"INFO" else ():
        if comment.id == b"ICMT":
            yield from _audiomoth(_read(inner, comment).decode("latin-1"))


def _audiomoth(text: str) -> Iterator[_Said]:
    """AudioMoth's comment; old firmware names no zone, and knew UTC alone."""
    if match := _AUDIOMOTH_COMMENT.search(text):
        yield _said(match, match["year"] + match["month"] + match["day"], timezone.utc)


def _from_wamd(file: BinaryIO, chunk: Chunk) -> Iterator[_Said]:
    """Wildlife Acoustics' metadata: fields of a number (16 bits), a size (32 bits) and content."""
    content, at = _read(file, chunk), 0
    while at + 6 <= len(content):
        number, size = struct.unpack("<HI", content[at : at + 6])
        if number == _WAMD_TIMESTAMP:
            yield from _iso(content[at + 6 : at + 6 + size].decode("latin-1"))
        at += 6 + size


def _from_bext(file: BinaryIO, chunk: Chunk) -> Iterator[_Said]:
    text = _read(file, chunk)[_BEXT_DATE_AT : _BEXT_DATE_AT + 18].decode("latin-1")
    if match := _BEXT.fullmatch(text):
        yield _said(match, match["date"])


_READERS: tuple[tuple[bytes, Callable[[BinaryIO, Chunk], Iterator[_Said]]], ...] = (
    (b"guan", _from_guano),
    (b"LIST", _from_comment),
    (b"wamd", _from_wamd),
    (b"bext", _from_bext),
)


def _in_tags(file: BinaryIO, size: int) -> list[_Said]:
    """GUANO and AudioMoth's comment in the tags of FLAC, OGG, MP3, ...: as text, wherever each keeps it."""
    file.seek(0)
    head = file.read(_TAG_BYTES)
    file.seek(max(len(head), size - _TAG_BYTES))
    # Zeros are those of UTF-16, which ID3 has.
    text = (head + file.read()).replace(b"\0", b"").decode("latin-1")
    guano = [said for match in _GUANO.finditer(text) for said in _iso(match["text"])]
    return guano + list(_audiomoth(text))


# ----------------------------------------------------------------------------------------------------------- the name
def _in_name(stem: str) -> list[_Said]:
    stem = _SPACE_FOR_ZERO.sub(r"\g<1>0\g<2>", stem)
    if _AUDIOMOTH_UNIX_NAME.fullmatch(stem) and int(stem, 16) in _AUDIOMOTH_UNIX_TIMES:
        moment = datetime.fromtimestamp(int(stem, 16), timezone.utc)
        return [_Said(f"{moment:%Y%m%d%H%M%S}", "0", "UTC")]
    by_default = timezone.utc if _AUDIOMOTH_NAME.fullmatch(stem) else None
    found = [_said(match, match["date"], by_default) for match in _IN_NAME.finditer(stem)]
    if not found and (match := _MINUTES_IN_NAME.fullmatch(stem)):
        found = [_said(match, match["date"])]
    if not found and (match := _SHORT_YEAR_IN_NAME.fullmatch(stem)):
        found = [_said(match, "20" + match["date"])]
    return found


def _fixed_zone(text: str) -> timezone | None:
    """Return the zone `UTC`, `Z`, `+2`, `+0200`, `+02:00` or `UTC+2` means, None for a text of another form.

    Raises ValueError for an offset that is out of range.
    """
    text = text.upper()
    if text in ("UTC", "Z"):
        return timezone.utc
    match = _OFFSET.fullmatch(text.removeprefix("UTC"))
    if match is None:
        return None
    sign, hours, minutes = match.groups("0")
    if int(minutes) > 59:
        raise ValueError(f"no such offset: {text}")
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset)
