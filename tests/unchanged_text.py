"""What a command left behind, as text that is the same every time; see test_outputs_unchanged.py.

Digits of times, durations and of what a computer costs become zeros, in as many places as they had where that is fixed.
What several sources tell at the same time is sorted by source, and within one by what is told.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import soundfile

_NOW = r"20(?:2[4-9]|[3-9]\d)"  # recordings are of 2023, so that their times stay
_DIGITS = (
    rf"{_NOW}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?",
    rf"{_NOW}\d{{4}}_\d{{6}}(?=_)",
    rf"{_NOW}\d{{4}}(?=\.jsonl)",
)
_FIGURES = "wall_s latency_s inference_ms misses real_time_factor cpu_percent memory_mb"
_OF_STATISTICS = f"{_FIGURES} latency_total_s windows state level_dbfs audio_s scored_s gap_s waiting_s drift_ppm"
_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_RANKS = {"source": 0, "clip": 2, "summary": 3}  # the others are told in one order


def text_of(path: Path, here: str, sources: Sequence[str] = ()) -> str:
    """A file, masked. here: a folder that its paths begin with. sources: of a station, whose lines are sorted."""
    reader = {".sqlite": _database, ".wav": _recording, ".flac": _recording, ".png": _picture}.get(path.suffix)
    text = reader(path) if reader else path.read_bytes().decode("utf-8", "backslashreplace")
    return masked(_sorted(text, sources) if sources and not reader else text, here)


def masked(text: str, here: str) -> str:
    """Text without what differs from run to run, and with its control characters visible."""
    text = text.replace(here, "<here>").replace(str(Path(here).parent), "<above>")
    for pattern in _DIGITS:
        text = re.sub(pattern, lambda match: re.sub(r"\d", "0", match[0]), text)
    text = re.sub(rf"{_NUMBER} x real time", "0 x real time", text)
    text = re.sub(r"\bedgebird \d+\.\d+\S*", "edgebird 0", text)
    text = "".join(_masked_event(line) for line in lines_of(text))
    return text.replace("\x1b", "␛").replace("\r", "␍")


def _masked_event(line: str) -> str:
    statistics = '"event":"stats"' in line
    line = re.sub(r'"latency_counts":\{[^}]*\}', '"latency_counts":{}', line)
    names = "|".join((_OF_STATISTICS if statistics else _FIGURES).split())
    value = rf"\{{[^}}]*\}}|{_NUMBER}" + ('|"[^"]*"|null' if statistics else "")
    return re.sub(rf'"(?:{names})":(?:{value})', _zeros, line)


def _zeros(match: re.Match[str]) -> str:
    """Each number, text and null of `"name":value` or `"name":{"name":value,...}` as 0."""
    return re.sub(rf':(?:{_NUMBER}|null|"[^"]*")', ":0", match[0])


def lines_of(text: str) -> list[str]:
    """With their ends; the last may have none."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _sorted(text: str, sources: Sequence[str]) -> str:
    """Lines in the order of their sources, each source's own with their kinds in the order of `_RANKS`.

    Raven's selections are numbered through all sources, so that goes. Of statistics the first is enough.
    """
    lines = lines_of(text)
    if len(sources) > 1:
        lines = [re.sub(r"^\d+\tSpectrogram", "0\tSpectrogram", line) for line in lines]

    def place(line: str) -> tuple[int, int]:
        event = re.match(r'\{"event":"(\w+)"', line)
        index = next((number for number, name in enumerate(sources) if name in line), -1)
        return index, _RANKS.get(event[1], 1) if event else 1

    ordered = sorted(lines, key=place)
    statistics = [line for line in ordered if line.startswith('{"event":"stats"')]
    return "".join(line for line in ordered if line not in statistics[1:])


def words(text: str) -> str:
    """A help text, however wide it is and however its columns are drawn: an option a line."""
    plain = re.sub(r"(?<!\$)\{(\w+)\}| <[^>]*>", r"\1", " ".join(text.split()))
    return re.sub(r" (--\S+ (?:[^-\s]|-[^-]))", r"\n\1", plain) + "\n" if plain else ""


def without_bar(text: str) -> str:
    """What a terminal shows beside the progress bar, which moves with the clock; without colours."""
    plain = re.sub(r"␛\[[0-9;?]*[A-Za-z]", "", text).replace("␍", "\n")
    return "".join(line for line in lines_of(plain) if line.strip() and not re.search("[━╸╺]", line))


# ------------------------------------------------------------------------------------------------------ other files
def _database(path: Path) -> str:
    """The schema and the rows of a SQLite database, in a fixed order and without their numbers."""
    lines = []
    with closing(sqlite3.connect(path)) as connection:
        pragmas = ("application_id", "user_version", "journal_mode")
        lines += [f"{pragma} = {connection.execute(f'PRAGMA {pragma}').fetchone()[0]}" for pragma in pragmas]
        lines += [
            row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        ]
        for table in ("detections", "events"):
            rows = connection.execute(f"SELECT * FROM {table} ORDER BY source, id")
            names = [column[0] for column in rows.description]
            found = [dict(zip(names, row, strict=True)) for row in rows]
            assert sorted(row["id"] for row in found) == list(range(1, len(found) + 1)), "each row has its number"
            found.sort(key=lambda row: (row["source"] or "", _RANKS.get(row.get("event", ""), 1)))
            for row in found:
                del row["id"]
                event = row.pop("json", None)
                lines.append(f"{table} {json.dumps(row, ensure_ascii=False, separators=(',', ':'))}")
                lines += [event] if event else []
    return "".join(f"{line}\n" for line in lines)


def _recording(path: Path) -> str:
    """What a clip is, a hash of its samples, and what it says of itself."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    info = soundfile.info(path)
    lines = [f"{info.format} {info.subtype}, {rate} Hz, {info.channels} channel, {len(samples)} samples"]
    lines.append(f"sha256 of samples {hashlib.sha256(samples.astype('<i2').tobytes()).hexdigest()}")
    with soundfile.SoundFile(path) as file:
        tags = {"title": file.title, "comment": file.comment}
    lines += [f"{name}: {value}" for name, value in tags.items() if value]
    if path.suffix == ".wav":
        lines += _chunks(path.read_bytes())
    return "".join(f"{line}\n" for line in lines)


def _chunks(wav: bytes) -> list[str]:
    """The chunks of a RIFF file, and the text in those that hold neither sound nor its format."""
    lines, position = [], 12
    while position < len(wav):
        name, size = struct.unpack_from("<4sI", wav, position)
        content = wav[position + 8 : position + 8 + size]
        text = "" if name in (b"fmt ", b"data") else content.decode()
        lines.append(f"chunk {name.decode()} {size} bytes\n{text}".rstrip())
        position += 8 + size + size % 2
    return lines


def _picture(path: Path) -> str:
    """The size of a PNG image."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack_from(">II", content, 16)
    return f"PNG {width} x {height}\n"
