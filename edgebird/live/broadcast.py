"""The live socket of a station: what happens now, for programs that show it. Nobody has to read it.

It is a Unix stream socket, mode 0600, `<database>.live` if the settings name no other. Whoever connects reads lines,
each a JSON object in UTF-8 with a `type`, and sends nothing. Types and keys that a reader does not know are to be
skipped. `watch.py` reads it.

hello     the first line. protocol: 1. edgebird: the version. rate: of the model, Hz. column_s, bands, top_hz, least_db,
          step_db: what columns are.
state     every two seconds. time: now, in UTC. sources: each as `figures.SourceStatus` has it (name, state, detail,
          level_dbfs, peak_dbfs, audio_s, scored_s, gap_s, waiting_s, drift_ppm). sinks: null, or how far they are
          behind (sink, busy_s, waiting, lost).
station   at first, and every ten seconds. wall_s, runtime, and performance as `figures.Performance` has it.
columns   of a live source. source, start_s: of the first column, seconds since the source first opened. time: the same
          as time of day, or null. levels: bytes in base64, `bands` of each column, the lowest first; a level is
          least_db + step_db * byte, in dB of a sine of full scale. Where audio was lost columns are silent; where
          start_s is not where the last columns ended, some are missing.
event     event: one as `--format jsonl` prints it, those of clips and sinks too. The database has it already.

The station never waits for a reader: what is told waits for each in memory, and one for which 256 KiB wait is closed.
It may connect again. As long as nobody is connected nothing is computed for anybody.
"""

from __future__ import annotations

import base64
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgebird.errors import OutputError
from edgebird.events import Event, seconds, timestamp, to_json
from edgebird.files import identity, make_folder
from edgebird.live.columns import LEAST_DB, STEP_DB, ColumnMaker, ColumnReader
from edgebird.live.figures import SourceStatus, Status
from edgebird.live.socket_file import bind
from edgebird.live.station import Station
from edgebird.sinks import Memory, Sink
from edgebird.sinks.thread import SinkDelay

log = logging.getLogger(__name__)

PROTOCOL = 1
READERS = 16  # at the same time
WAITING = 256 * 1024  # bytes for one reader
_LOOK_S = 1.9  # between two `state`: most of what one costs is that it comes at all
_STATION_S = 10.0  # between two `station`: to look at the process costs some tenths of a millisecond
_STATUS = tuple(one.name for one in fields(SourceStatus))
_EVENTS = 1000  # that wait for the thread
_END_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A station at a moment. memories: of its live sources."""

    sources: tuple[SourceStatus, ...]
    delay: SinkDelay | None
    memories: Mapping[str, Memory]


@dataclass(slots=True, eq=False)
class _Reader:
    """Who is connected, and what waits for it."""

    connection: socket.socket
    waiting: bytearray = field(default_factory=bytearray)


class Broadcast(Sink):
    """Tells who is connected what happens: events as a sink, the rest by `show`; on a thread of its own.

    rate: of the model, Hz.
    """

    name = "live"

    def __init__(self, path: Path, rate: int) -> None:
        self._path, self._maker = path, ColumnMaker(rate)
        self._server: _Server | None = None
        self._look_at = self._station_at = 0.0

    def open(self) -> None:
        """Listen at the path; a socket that a killed station has left there is replaced.

        Raises OutputError where something else is there, or another station listens.
        """
        self._stop()
        make_folder(self._path.parent, self._path)
        self._server = _Server(self._path, self._maker)

    def take(self, event: Event, memory: Memory | None) -> None:
        """Tell an event. Raises OutputError where the socket is not open."""
        server = self._server
        if server is None:
            raise OutputError(f"cannot tell anybody at {self._path}: it is not open")
        if server.readers:
            server.events.append(event)
            server.rouse()

    def show(self, station: Station) -> None:
        """Tell how a station is now; called on its own thread, and costs nothing while nobody is connected."""
        server = self._server
        now = time.monotonic()
        if server is None or not server.readers or (now < self._look_at and not server.is_new):
            return
        self._look_at = now + _LOOK_S
        if server.is_new or now >= self._station_at:
            server.is_new = False
            self._station_at, server.status = now + _STATION_S, station.status()
        memories = {one.name: one.memory for one in reversed(station.listeners) if one.feed.live}
        server.look = _Look(station.sources(), station.delay(), memories)
        server.rouse()

    def tick(self) -> list[Event]:
        """Listen anew where the file of the socket is gone, or the thread."""
        if self._server and (not self._server.runs or identity(self._path) != self._server.identity):
            self.open()
        return []

    def close(self) -> list[Event]:
        """End, and remove the socket."""
        self._stop()
        return []

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server:
            server.stop()


class _Server:
    """The socket, its readers, and the thread that writes to them.

    look, status: the newest, None when they are told. is_new: a reader has come that has seen nothing. One thread sets
    them, and another takes them.
    """

    def __init__(self, path: Path, maker: ColumnMaker) -> None:
        self._path, self._maker = path, maker
        self._socket = bind(path)
        self.identity = identity(path)
        self.readers: list[_Reader] = []
        self.events: deque[Event] = deque(maxlen=_EVENTS)
        self.look: _Look | None = None
        self.status: Status | None = None
        self.is_new = False
        self._columns: dict[str, ColumnReader] = {}
        self._is_ending = False
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for one in (self._wake, self._woken):
            one.setblocking(False)
        for one in (self._socket, self._woken):
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="live socket", daemon=True)
        self._thread.start()

    def rouse(self) -> None:
        """Have the thread look; any thread may call it, and never waits."""
        with suppress(OSError):  # full: it will look
            self._wake.send(b"\0")

    @property
    def runs(self) -> bool:
        """Whether the thread does."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Give readers what they take at once, and close."""
        self._is_ending = True
        self.rouse()
        self._thread.join(_END_S)
        if identity(self._path) == self.identity:
            with suppress(OSError):
                self._path.unlink()

    # ----------------------------------------------------------------------------------------------------- the thread
    def _run(self) -> None:
        try:
            while not self._is_ending:
                for key, _ in self._selector.select():
                    self._attend(key)
                self._spread()
        except Exception:
            log.exception("a fault in edgebird: nobody is told any more what happens now")
        finally:
            for reader in list(self.readers):
                self._dismiss(reader)
            for one in (self._socket, self._wake, self._woken, self._selector):
                one.close()

    def _attend(self, key: selectors.SelectorKey) -> None:
        """Do what a socket is ready for."""
        if key.fileobj is self._woken:
            self._woken.recv(4096)
        elif key.fileobj is self._socket:
            self._welcome()
        else:
            reader: _Reader = key.data
            if self._has_left(reader):
                self._dismiss(reader)
            else:
                self._write(reader)

    def _welcome(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # who wanted to connect has left, or this process has no more files
            return
        if len(self.readers) >= READERS:
            connection.close()
            return
        connection.setblocking(False)
        reader = _Reader(connection)
        self._selector.register(connection, selectors.EVENT_READ, reader)
        self.readers.append(reader)
        self.is_new = True
        self._give(reader, _line("hello", _hello(self._maker)))

    def _spread(self) -> None:
        """Give readers what is new."""
        look, self.look = self.look, None
        lines = [_line("event", {"event": self.events.popleft()}) for _ in range(len(self.events))]
        if not self.readers:
            self._columns.clear()
            return
        if look:
            lines += self._lines_of(look)
        if lines:
            for reader in list(self.readers):
                self._give(reader, b"".join(lines))

    def _lines_of(self, look: _Look) -> list[bytes]:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        delay = asdict(look.delay) if look.delay else None
        sources = [{name: getattr(one, name) for name in _STATUS} for one in look.sources]
        lines = [_line("state", {"time": now, "sources": sources, "sinks": delay})]
        status, self.status = self.status, None
        if status:
            figures = {"wall_s": status.wall_s, "runtime": status.runtime}
            lines.append(_line("station", {**figures, "performance": status.performance.to_json()}))
        self._columns = {name: one for name, one in self._columns.items() if look.memories.get(name) is one.memory}
        for name, memory in look.memories.items():
            reader = self._columns.setdefault(name, ColumnReader(self._maker, memory))
            if made := reader.take():
                start, levels = made
                span = {"start_s": seconds(start, memory.rate), "time": timestamp(memory.origin, start, memory.rate)}
                head = to_json({"type": "columns", "source": name, **span})
                lines.append(b'%s,"levels":"%s"}\n' % (head[:-1].encode(), base64.b64encode(levels.tobytes())))
        return lines

    def _give(self, reader: _Reader, line: bytes) -> None:
        reader.waiting += line
        self._write(reader)
        if len(reader.waiting) > WAITING:
            self._dismiss(reader)

    def _write(self, reader: _Reader) -> None:
        """Send what a reader takes, and wait until it takes more only if something is left."""
        try:
            while reader.waiting:
                del reader.waiting[: reader.connection.send(reader.waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._dismiss(reader)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.waiting else 0)
        if self._selector.get_key(reader.connection).events != events:
            self._selector.modify(reader.connection, events, reader)

    def _has_left(self, reader: _Reader) -> bool:
        try:
            return not reader.connection.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _dismiss(self, reader: _Reader) -> None:
        if reader in self.readers:
            self.readers.remove(reader)
            self._selector.unregister(reader.connection)
            reader.connection.close()


def _hello(maker: ColumnMaker) -> dict[str, Any]:
    from edgebird import __version__

    columns = {"column_s": maker.column / maker.rate, "bands": maker.bands, "top_hz": maker.top_hz}
    levels = {"least_db": LEAST_DB, "step_db": STEP_DB}
    return {"protocol": PROTOCOL, "edgebird": __version__, "rate": maker.rate, **columns, **levels}


def _line(kind: str, content: Mapping[str, Any]) -> bytes:
    return to_json({"type": kind, **content}).encode() + b"\n"
