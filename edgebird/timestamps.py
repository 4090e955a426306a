"""When a recording began: from its GUANO or AudioMoth header, or from its file name."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from edgebird.errors import UsageError

_DATE = r"(?P<date>(?:19|20)\d\d(?P<d>[-_.]?)\d\d(?P=d)\d\d)"
_TIME = r"(?P<time>\d\d(?P<c>[-_.:]?)\d\d(?P=c)\d\d)(?:[.,](?P<fraction>\d+))?"
_ISO = re.compile(rf"{_DATE}[T ]{_TIME} ?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?", re.IGNORECASE)
# 20230524_153000, 2023-05-24T15-30-00Z, ... anywhere in a name. An offset is believed after a T only: in
# REC_20230524_153000-0200 the last number may be anything.
_IN_NAME = re.compile(
    rf"(?<!\d){_DATE}(?:(?P<t>T)|[_ -]){_TIME}(?!\d)(?P<zone>Z(?![A-Za-z])|(?(t)[+-]\d\d[:-]?\d\d(?!\d)|(?!)))?"
)
_AUDIOMOTH_NAME = re.compile(r"(?:[0-9A-F]{16}_)?\d{8}_\d{6}T?(?:_\d{3})?")
_AUDIOMOTH_UNIX_NAME = re.compile(r"[0-9A-F]{8}")
_AUDIOMOTH_UNIX_TIMES = range(0x54A48E00, 0x80000000)  # 2015 to 2038: keeps out a plain date such as 20230524
_AUDIOMOTH_COMMENT = re.compile(
    r"Recorded at (?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))? (?P<day>\d\d)/(?P<month>\d\d)/(?P<year>20\d\d)"
    r"(?: \((?P<zone>UTC(?:[+-]\d{1,2}(?::?\d\d)?)?)\))?"
)
_OFFSET = re.compile(r"([+-])(\d{1,2})(?:[:-]?(\d\d))?")

_MAX_CHUNKS = 1000  # a recorder writes a handful; damaged files could otherwise be walked 8 bytes at a time
_MAX_TEXT = 1 << 20  # bytes of a chunk of text


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


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a RIFF file: its four-letter id, the position of its first byte, and the size the header gives it.

    The file may end before the chunk does.
    """

    id: bytes
    offset: int
    size: int


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


def recording_start(path: Path, timezone: tzinfo | None) -> datetime | None:
    """Return when a recording's first sample was taken, or None if nothing says it.

    The first of these that gives a valid date: GUANO `Timestamp`, AudioMoth's comment in the header, the file name.
    timezone: where a time without an offset was taken. Without it AudioMoth's times are UTC, all others this
    computer's local time. The result has a fixed offset, so adding to it counts seconds even across a change to
    summer time. Damaged, missing and foreign files are not an error.
    """
    return _from_header(path, timezone) or _from_name(path.stem, timezone)


def riff_chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks of a RIFF or RF64 WAVE file, reading only their headers; nothing for any other file.

    Stops where the file ends or stops looking like RIFF.
    """
    file.seek(0)
    form = file.read(12)
    if form[:4] in (b"RIFF", b"RF64", b"BW64") and form[8:] == b"WAVE":
        yield from _walk(file, 12)


def _walk(file: BinaryIO, position: int) -> Iterator[Chunk]:
    data_size = None
    file_end = file.seek(0, io.SEEK_END)
    for _ in range(_MAX_CHUNKS):
        if position >= file_end:
            return
        file.seek(position)
        header = file.read(8)
        name = header[:4]
        if len(header) < 8 or not (name.isascii() and name.decode().isprintable()):
            return
        (size,) = struct.unpack("<I", header[4:])
        if name == b"ds64":
            sizes = file.read(16)
            data_size = struct.unpack("<8xQ", sizes)[0] if len(sizes) == 16 else None
        elif name == b"data" and size == 0xFFFFFFFF and data_size is not None:
            size = data_size
        yield Chunk(name, position + 8, size)
        position += 8 + size + size % 2


def _from_header(path: Path, zone: tzinfo | None) -> datetime | None:
    readers = {b"guan": _from_guano, b"LIST": _from_audiomoth_comment}
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            return None
        with path.open("rb") as file:
            chunks = list(riff_chunks(file))
            for kind, reader in readers.items():
                for chunk in chunks:
                    if chunk.id == kind and (moment := reader(_read(file, chunk), zone)):
                        return moment
    except OSError:
        pass
    return None


def _read(file: BinaryIO, chunk: Chunk) -> bytes:
    file.seek(chunk.offset)
    return file.read(min(chunk.size, _MAX_TEXT))


def _from_guano(text: bytes, zone: tzinfo | None) -> datetime | None:
    for line in text.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Timestamp":
            match = _ISO.fullmatch(value.strip(" \0"))
            return _moment(match, match["date"], zone) if match else None
    return None


def _from_audiomoth_comment(info: bytes, zone: tzinfo | None) -> datetime | None:
    file = io.BytesIO(info)
    comments = [_read(file, chunk) for chunk in _walk(file, 4) if info[:4] == b"INFO" and chunk.id == b"ICMT"]
    for comment in comments:
        if match := _AUDIOMOTH_COMMENT.search(comment.decode("latin-1")):
            return _moment(match, match["year"] + match["month"] + match["day"], zone or timezone.utc)
    return None


def _from_name(stem: str, zone: tzinfo | None) -> datetime | None:
    if _AUDIOMOTH_UNIX_NAME.fullmatch(stem) and int(stem, 16) in _AUDIOMOTH_UNIX_TIMES:
        return datetime.fromtimestamp(int(stem, 16), timezone.utc)
    if zone is None and _AUDIOMOTH_NAME.fullmatch(stem):
        zone = timezone.utc
    moments = (_moment(match, match["date"], zone) for match in _IN_NAME.finditer(stem))
    return next(filter(None, moments), None)


def _moment(match: re.Match[str], date: str, zone: tzinfo | None) -> datetime | None:
    """Return the time of a match; its own zone comes before `zone`, and that before local time."""
    fraction = (match["fraction"] or "0")[:6].ljust(6, "0")
    try:
        moment = datetime.strptime(re.sub(r"\D", "", date + match["time"]) + fraction, "%Y%m%d%H%M%S%f")
        moment = moment.replace(tzinfo=_fixed_zone(match["zone"] or "") or zone or LocalTime())
        return moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta(0)))
    except ValueError:  # there is no such date, time or offset
        return None


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
