"""Timestamps: the time of a detection is right to the second, or absent; never wrong, and never a crash."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import available_timezones

import numpy as np
import pytest
import soundfile

from edgebird.errors import UsageError
from edgebird.timestamps import Start, parse_timezone, recording_start

UTC = timezone.utc
PLUS_2 = timezone(timedelta(hours=2))


@pytest.fixture(autouse=True)
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A computer whose local time is 4 hours behind UTC in summer and 5 in winter."""
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def wave(*chunks: bytes, form: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body)) + body


def guano(timestamp: str) -> bytes:
    text = f"GUANO|Version: 1.0\nMake: Wildlife Acoustics, Inc.\nTimestamp: {timestamp}\nNote: Straße"
    return chunk(b"guan", text.encode())


def comment(text: str) -> bytes:
    return chunk(b"LIST", b"INFO" + chunk(b"ICMT", text.encode().ljust(384, b"\0")) + chunk(b"IART", b"AudioMoth"))


SOUND = chunk(b"fmt ", bytes(16)) + chunk(b"data", bytes(101))


def started(tmp_path: Path, name: str, content: bytes = b"", zone: tzinfo | None = None) -> str | None:
    """The start of a recording with this name and content, as text."""
    path = tmp_path / name
    path.write_bytes(content)
    start = recording_start(path, zone)
    return None if start is None else start.moment.isoformat()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20230524_153000.WAV", "2023-05-24T15:30:00+00:00"),  # AudioMoth: UTC
        ("20230524_153000T.WAV", "2023-05-24T15:30:00+00:00"),  # AudioMoth, triggered
        ("242A2604603691DD_20250503_031300.WAV", "2025-05-03T03:13:00+00:00"),  # AudioMoth with its id
        ("5E90A4D4.WAV", "2020-04-10T16:54:44+00:00"),  # old AudioMoth: Unix time
        ("SM4-7_20230524_153000.wav", "2023-05-24T15:30:00-04:00"),  # Song Meter: local, here in summer
        ("CHE_02_20190101_183410.wav", "2019-01-01T18:34:10-05:00"),  # and in winter
        ("S4U00001_20230524_153000_000.flac", "2023-05-24T15:30:00-04:00"),
        ("SM2_0+1_20120524_153000$.wav", "2012-05-24T15:30:00-04:00"),
        ("2023-05-24T15-30-00.wav", "2023-05-24T15:30:00-04:00"),
        ("2023-05-24 15.30.00.wav", "2023-05-24T15:30:00-04:00"),
        ("garden 2023-05-24T15:30:00.250Z.wav", "2023-05-24T15:30:00.250000+00:00"),
        ("20230524T153000-0230_x.wav", "2023-05-24T15:30:00-02:30"),
        ("REC_20230524_153000-0200.wav", "2023-05-24T15:30:00-04:00"),  # 200th part, more likely than an offset
        ("S1_20230501_050000_-0400.wav", "2023-05-01T05:00:00-04:00"),  # Song Meter with its zone
        ("S1_20230101_050000_+0930.wav", "2023-01-01T05:00:00+09:30"),
        ("20230524_153000+1000_reef.flac", "2023-05-24T15:30:00+10:00"),  # Frontier Labs
        ("201905 8T020000+1000_REC.flac", "2019-05-08T02:00:00+10:00"),  # Frontier Labs 3.08
        ("SM4BAT_20161023$195550.wav", "2016-10-23T19:55:50-04:00"),  # Song Meter, for some recordings
        ("20230501_0530.wav", "2023-05-01T05:30:00-04:00"),
        ("site7-20230501T0530.wav", "2023-05-01T05:30:00-04:00"),
        ("240501_051500.wav", "2024-05-01T05:15:00-04:00"),  # Zoom
        ("240501_051500_Tr1.WAV", "2024-05-01T05:15:00-04:00"),
    ],
)
def test_names_of_recorders_give_the_time(tmp_path: Path, name: str, expected: str) -> None:
    assert started(tmp_path, name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "nightingale.wav",
        "20231324_153000.WAV",  # month 13
        "SM4_20230230_153000.wav",  # 30 February
        "20230524_246000.WAV",
        "20230524.wav",  # a date without a time, and eight hex digits too
        "deadbeef.wav",
        "FFFFFFFF.WAV",
        "120230524_153000.wav",  # a longer number
        "20230524_1530001.wav",
        "2023-05-24T15-30-00-9900.wav",  # no such offset
        "20230501_2530.wav",
        "991301_051500.wav",
        "123456_789012.wav",
        "SM2_000101_000000_x.wav0",  # the year 2000, before there was any
        "na\nme.wav",
    ],
)
def test_other_names_give_no_time_rather_than_a_wrong_one(tmp_path: Path, name: str) -> None:
    assert started(tmp_path, name) is None


def test_a_given_time_zone_replaces_the_defaults_of_names_but_not_what_is_absolute(tmp_path: Path) -> None:
    assert started(tmp_path, "20230524_153000.WAV", zone=PLUS_2) == "2023-05-24T15:30:00+02:00"
    assert started(tmp_path, "SM4_20230524_153000.wav", zone=PLUS_2) == "2023-05-24T15:30:00+02:00"
    assert started(tmp_path, "20230524T153000Z.wav", zone=PLUS_2) == "2023-05-24T15:30:00+00:00"
    assert started(tmp_path, "5E90A4D4.WAV", zone=PLUS_2) == "2020-04-10T16:54:44+00:00"


def test_guano_comes_before_the_audiomoth_comment_and_that_before_the_name(tmp_path: Path) -> None:
    note = comment("Recorded at 12:00:00 02/01/2022 (UTC) by AudioMoth 0FE081F80FE081F0")
    name = "20200101_000000.WAV"
    assert started(tmp_path, name, wave(note, SOUND, guano("2023-05-24T15:30:00+02:00"))) == "2023-05-24T15:30:00+02:00"
    assert started(tmp_path, name, wave(note, SOUND)) == "2022-01-02T12:00:00+00:00"
    assert started(tmp_path, name, wave(SOUND)) == "2020-01-01T00:00:00+00:00"


def wamd(timestamp: str) -> bytes:
    fields = [(0, struct.pack("<H", 1)), (1, b"Song Meter SM4"), (5, timestamp.encode()), (6, b"WGS84,1,2")]
    return chunk(b"wamd", b"".join(struct.pack("<HI", number, len(text)) + text for number, text in fields))


def bext(date: bytes, hour: bytes) -> bytes:
    return chunk(b"bext", bytes(320) + date + hour + struct.pack("<Q", 0) + bytes(256))


LONG_AGO = "SM4_20200101_000000.wav"


@pytest.mark.parametrize(
    ("name", "chunks", "expected", "assumed"),
    [
        (LONG_AGO, [wamd("2023-05-24 15:30:00-05:00")], "2023-05-24T15:30:00-05:00", None),
        (LONG_AGO, [wamd("2023-05-24 15:30:00.500")], "2023-05-24T15:30:00.500000-04:00", "local"),
        ("x.wav", [bext(b"2023-05-24", b"15:30:00")], "2023-05-24T15:30:00-04:00", "local"),
        ("x.wav", [bext(b"2023:05:24", b"15-30-00")], "2023-05-24T15:30:00-04:00", "local"),
        ("x.wav", [bext(b"2023-05-24", bytes(8))], None, None),
        (LONG_AGO, [bext(b"2023-05-24", b"15:30:00")], "2023-05-24T15:30:00-04:00", "local"),
        # what tells its zone comes before what does not, wherever it stands
        ("S1_20230524_153000_-0500.wav", [bext(b"2020-01-01", b"00:00:00")], "2023-05-24T15:30:00-05:00", None),
        (
            LONG_AGO,
            [guano("2023-05-24T15:30:00"), wamd("2023-05-24 15:30:00-05:00")],
            "2023-05-24T15:30:00-05:00",
            None,
        ),
        (LONG_AGO, [guano("yesterday"), wamd("2023-05-24 15:30:00-05:00")], "2023-05-24T15:30:00-05:00", None),
    ],
)
def test_what_recorders_write_comes_before_what_is_assumed(
    tmp_path: Path, name: str, chunks: list[bytes], expected: str | None, assumed: str | None
) -> None:
    """Wildlife Acoustics' recorders do not follow summer time: this computer's zone is an hour off half of the year."""
    (tmp_path / name).write_bytes(wave(SOUND, *chunks))
    start = recording_start(tmp_path / name, None)
    assert (start and start.moment.isoformat(), start and start.zone_assumed) == (expected, assumed)


@pytest.mark.parametrize("format", ["FLAC", "OGG", "MP3", "AIFF"])
def test_an_audiomoth_comment_is_read_wherever_it_stands(tmp_path: Path, format: str) -> None:
    """Names are in the zone that was configured, and a converted recording keeps its comment as a tag."""
    path = tmp_path / "20230524_153000.x"
    with soundfile.SoundFile(path, "w", 8000, 1, format=format) as file:
        file.comment = "Recorded at 15:30:00 24/05/2023 (UTC+5:30) by AudioMoth 0FE081F80FE081F0 at medium gain"
        file.write(np.zeros(8000))
    start = recording_start(path, None)
    assert start is not None
    assert (start.moment.isoformat(), start.zone_assumed) == ("2023-05-24T15:30:00+05:30", None)


def test_a_comment_in_utf_16_is_read_too(tmp_path: Path) -> None:
    """ID3 has it."""
    text = "Recorded at 15:30:00 24/05/2023 (UTC-3) by AudioMoth".encode("utf-16")
    tag = b"COMM" + struct.pack(">I", len(text) + 4) + b"\0\0\1eng" + text
    (tmp_path / "x.mp3").write_bytes(b"ID3\3\0\0" + bytes([0, 0, 1, 127]) + tag)
    start = recording_start(tmp_path / "x.mp3", None)
    assert start is not None
    assert start.moment.isoformat() == "2023-05-24T15:30:00-03:00"


def test_an_assumed_zone_is_marked_and_a_given_one_is_not(tmp_path: Path) -> None:
    for name, assumed in (("20230524_153000.WAV", "UTC"), ("SM4_20230524_153000.wav", "local")):
        found, given = recording_start(tmp_path / name, None), recording_start(tmp_path / name, PLUS_2)
        assert found is not None
        assert given is not None
        assert (found.zone_assumed, given.zone_assumed) == (assumed, None)
    exact = recording_start(tmp_path / "5E90A4D4.WAV", None)
    assert exact is not None
    assert exact.zone_assumed is None


@pytest.mark.parametrize(
    ("timestamp", "zone", "expected"),
    [
        ("2023-05-24T15:30:00Z", None, "2023-05-24T15:30:00+00:00"),
        ("2023-05-24 15:30:00.5 -07:00", None, "2023-05-24T15:30:00.500000-07:00"),
        ("2023-05-24T15:30:00", None, "2023-05-24T15:30:00-04:00"),
        ("2023-05-24T15:30:00", PLUS_2, "2023-05-24T15:30:00+02:00"),
        ("2023-05-24T15:30:00-07:00", PLUS_2, "2023-05-24T15:30:00-07:00"),
        ("2023-13-24T15:30:00Z", None, None),
        ("yesterday", None, None),
    ],
)
def test_guano_timestamps(tmp_path: Path, timestamp: str, zone: tzinfo | None, expected: str | None) -> None:
    assert started(tmp_path, "x.wav", wave(SOUND, guano(timestamp)), zone) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Recorded at 15:30:00 24/05/2023 (UTC) by AudioMoth 0FE0", "2023-05-24T15:30:00+00:00"),
        ("Recorded at 15:30:00 24/05/2023 (UTC+2) by AudioMoth 0FE0", "2023-05-24T15:30:00+02:00"),
        ("Recorded at 15:30:00 24/05/2023 (UTC-3:30) by AudioMoth 0FE0", "2023-05-24T15:30:00-03:30"),
        ("Recorded at 15:30:00.125 24/05/2023 (UTC) by AudioMoth 0FE0", "2023-05-24T15:30:00.125000+00:00"),
        ("Recorded at 15:30:00 24/05/2023 by AudioMoth 0FE0", "2023-05-24T15:30:00+00:00"),  # older firmware
        ("Recorded at 15:30:00 31/02/2023 (UTC) by AudioMoth 0FE0", None),
        ("A walk in the woods", None),
    ],
)
def test_audiomoth_comments(tmp_path: Path, text: str, expected: str | None) -> None:
    assert started(tmp_path, "x.wav", wave(chunk(b"LIST", b"adtl"), comment(text), SOUND)) == expected


def test_a_header_behind_more_than_4_gib_of_sound_is_found_without_reading_the_sound(tmp_path: Path) -> None:
    """RF64 keeps the size of its data elsewhere; the file here is sparse."""
    size = 5 << 30
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, size, 0, 0))
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(wave(sizes, chunk(b"fmt ", bytes(16)), chunk(b"data", b"", size=0xFFFFFFFF), form=b"RF64"))
        file.seek(size, 1)
        file.write(guano("2023-05-24T15:30:00Z"))
    assert recording_start(path, None) == Start(datetime(2023, 5, 24, 15, 30, tzinfo=UTC))


def test_no_damage_to_a_header_is_a_crash(tmp_path: Path) -> None:
    """Every cut and every overwritten byte of a real layout gives the time or None."""
    good = wave(comment("Recorded at 15:30:00 24/05/2023 (UTC)"), SOUND, guano("2023-05-24T15:30:00Z"))
    damaged = [good[:length] for length in range(len(good))]
    damaged += [good[:i] + value + good[i + 1 :] for i in range(0, len(good), 3) for value in (b"\0", b"\xff")]
    endless = chunk(b"ds64", struct.pack("<QQQI", 0, 2**64 - 1, 0, 0)), chunk(b"data", b"", size=0xFFFFFFFF)
    damaged.append(wave(*endless, form=b"RF64"))
    path = tmp_path / "x.wav"
    for content in damaged:
        path.write_bytes(content)
        recording_start(path, None)


def test_a_file_of_zeros_is_not_walked_eight_bytes_at_a_time(tmp_path: Path) -> None:
    """A card with bad blocks would otherwise seem to hang."""
    path = tmp_path / "x.wav"
    path.write_bytes(wave())
    with path.open("ab") as file:
        file.truncate(1 << 30)
    begin = time.monotonic()
    assert recording_start(path, None) is None
    assert time.monotonic() - begin < 1


def test_a_missing_file_and_a_folder_are_dated_by_their_names(tmp_path: Path) -> None:
    start = recording_start(tmp_path / "20230524_153000.WAV", None)
    assert start == Start(datetime(2023, 5, 24, 15, 30, tzinfo=UTC), "UTC")
    assert recording_start(tmp_path, None) is None


def test_a_night_across_the_change_to_summer_time_keeps_counting_seconds(tmp_path: Path) -> None:
    """Adding to a time in a zone adds wall-clock time in Python: an hour too much here, had the zone been kept."""
    path = tmp_path / "SM4_20230312_013000.wav"  # half an hour before the clocks went to 3 o'clock
    start = recording_start(path, parse_timezone("local"))
    assert start is not None
    assert (start.moment + timedelta(hours=1)).astimezone(UTC) == datetime(2023, 3, 12, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("UTC", 0), ("utc", 0), ("Z", 0), ("+02:00", 2), ("-0330", -3.5), ("+2", 2), ("UTC+2", 2), ("local", -4)],
)
def test_time_zones_can_be_written_in_the_usual_ways(text: str, hours: float) -> None:
    summer = datetime(2023, 7, 1, 12, tzinfo=UTC)
    assert summer.astimezone(parse_timezone(text)).utcoffset() == timedelta(hours=hours)


@pytest.mark.skipif("Europe/Berlin" not in available_timezones(), reason="no time zone data here")
def test_named_time_zones_know_summer_time(tmp_path: Path) -> None:
    berlin = parse_timezone("Europe/Berlin")
    assert started(tmp_path, "SM4_20230724_153000.wav", zone=berlin) == "2023-07-24T15:30:00+02:00"
    assert started(tmp_path, "SM4_20230124_153000.wav", zone=berlin) == "2023-01-24T15:30:00+01:00"


@pytest.mark.parametrize(
    "text", ["Mars/Olympus", "", "+25:00", "+02:75", "Europe", "../etc/passwd", "/etc/passwd", "+x"]
)
def test_an_unknown_time_zone_is_wrong_usage_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown time zone .*\+02:00"):
        parse_timezone(text)
