"""What the tests of sinks share: events, and a source's memory that is wound on by hand."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgebird.events import Event
from edgebird.sinks import Sink
from edgebird.types import FloatArray, Origin

RATE = 8000


STARTED = datetime(2023, 5, 1, 23, 59, 50, tzinfo=timezone(timedelta(hours=2)))


class Tape:
    """A source's memory that a test winds on; it holds the last `seconds`, of a 16-bit microphone."""

    def __init__(self, seconds: float = 1000, name: str = "garden", started: datetime | None = STARTED) -> None:
        self.origin, self.rate, self.ended = Origin(name, started=started), RATE, False
        self.sound = np.random.default_rng(0).integers(-32768, 32768, 100 * RATE).astype(np.float32) / 32768
        self.newest, self._held = 0, round(seconds * RATE)

    @property
    def oldest(self) -> int:
        return max(0, self.newest - self._held)

    def wind_to(self, seconds: float) -> None:
        self.newest = round(seconds * RATE)

    def read(self, start: int, end: int) -> FloatArray:
        assert 0 <= start <= end <= self.newest
        samples = self.sound[start:end].copy()
        samples[: max(0, self.oldest - start)] = 0
        return samples


def detection(tape: Tape, start_s: float = 12.5, end_s: float = 20.0, **more: Any) -> Event:
    started = tape.origin.started
    moment = started + timedelta(seconds=start_s) if started else None
    return {
        "event": "detection",
        "source": tape.origin.name,
        "time": moment.isoformat(timespec="milliseconds") if moment else None,
        "start_s": start_s,
        "end_s": end_s,
        "code": "comcuc",
        "scientific_name": "Cuculus canorus",
        "common_name": "Common Cuckoo",
        "score": 0.934567,
        "windows": 3,
        **more,
    }


NOON = datetime(2023, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))


GAP: Event = {
    "event": "gap",
    "source": "garden",
    "time": "2023-05-02T00:00:10.000+02:00",
    "start_s": 20.0,
    "end_s": 26.5,
    "reason": "stalled",
}


STATS: Event = {"event": "stats", "source": None, "time": "2023-05-02T00:00:30.000+02:00", "windows": 7}


def noon() -> datetime:
    return NOON


SinkT = TypeVar("SinkT", bound=Sink)


def opened(sink: SinkT) -> SinkT:
    sink.open()
    return sink


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def query(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def clip_event(tape: Tape, path: str | None, start_s: float = 12.5) -> Event:
    return {**detection(tape, start_s), "event": "clip", "path": path}


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing fails after that many bytes, as on a disk that is full in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def decoded_png(content: bytes) -> tuple[np.ndarray[Any, Any], dict[str, str]]:
    """Pixels uint8 [height, width] and texts of a palette PNG; every check sum is checked."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", content, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + size
    by_kind = dict(chunks)
    assert (chunks[0][0], chunks[-1][0], len(by_kind[b"PLTE"])) == (b"IHDR", b"IEND", 768)
    width, height, *_ = struct.unpack(">IIBBBBB", by_kind[b"IHDR"])
    rows = np.frombuffer(zlib.decompress(by_kind[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    texts = [body.decode("latin-1").split("\0") for kind, body in chunks if kind == b"tEXt"]
    return rows[:, 1:], dict(texts)
