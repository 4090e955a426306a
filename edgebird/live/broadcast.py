"""The live socket of a station: what happens now, for programs that show it. Nobody has to read it.

It is a Unix stream socket, mode 0600, `<database>.live` if the settings name no other. Whoever connects reads lines,
each a JSON object in UTF-8 with a `type`, and sends nothing. Types and keys that a reader does not know are to be
skipped. `watch.py` reads it.

hello     the first line. protocol: 2. edgebird: the version.
state     every ten seconds, and when something has changed. time: now, in UTC. sources: each as `figures.SourceStatus`
          has it (name, state, detail, level_dbfs, peak_dbfs, audio_s, scored_s, gap_s, waiting_s, drift_ppm). sinks:
          null, or how far they are behind (sink, busy_s, waiting, lost).
station   at first, and every minute. wall_s, runtime, and performance as `figures.Performance` has it.
sound     of a live source, when it is new. source, rate: Hz. With the line comes a descriptor (SCM_RIGHTS) of the
          memory that the source's sound is in, as `history.Remembered` says: it goes on to be filled, and may be read
          at any time. No message says so: how loud it is, and a spectrogram, are for the reader to compute.
event     event: one as `--format jsonl` prints it, those of clips and sinks too. The database has it already.

The station never waits for a reader: what is told waits for each in memory, and one for which 256 KiB wait is closed.
It may connect again. As long as nobody is connected nothing is computed for anybody, and nothing of the sound at all.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgebird.errors import OutputError
from edgebird.events import Event, to_json
from edgebird.files import identity, make_folder
from edgebird.live.figures import SourceStatus, Status
from edgebird.live.history import History
from edgebird.live.socket_file import bind
from edgebird.live.station import Station
from edgebird.sinks import Memory, Sink
from edgebird.sinks.thread import SinkDelay

log = logging.getLogger(__name__)

PROTOCOL = 2
READERS = 16  # at the same time
WAITING = 256 * 1024  # bytes for one reader
_LOOK_S = 10.0  # between two `state` where nothing changes: most of what one costs is that it comes at all
_STATION_S = 60.0  # between two `station`: to look at the process costs some tenths of a millisecond
_CHANGES = ("source", "engine", "summary")  # events after which there is something new to see
_STATUS = tuple(one.name for one in fields(SourceStatus))
_EVENTS = 1000  # that wait for the thread
_END_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A station at a moment. sounds: of its live sources."""

    sources: tuple[SourceStatus, ...]
    delay: SinkDelay | None
    sounds: Mapping[str, History]


@dataclass(slots=True, eq=False)
class _Reader:
    """Who is connected, and what waits for it: lines, of which some come with a sound. size: their bytes.

    sounds: what it was given.
    """

    connection: socket.socket
    waiting: deque[tuple[bytes, History | None]] = field(default_factory=deque)
    size: int = 0
    sounds: Mapping[str, History] = field(default_factory=dict)


class Broadcast(Sink):
    """Tells who is connected what happens: events as a sink, the rest by `show`; on a thread of its own."""

    name = "live"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: _Server | None = None
        self._look_at = self._station_at = 0.0
        self._has_changed = False  # set by the thread of sinks, and taken by the station's

    def open(self) -> None:
        """Listen at the path; a socket that a killed station has left there is replaced.

        Raises OutputError where something else is there, or another station listens.
        """
        self._stop()
        make_folder(self._path.parent, self._path)
        self._server = _Server(self._path)

    def take(self, event: Event, memory: Memory | None) -> None:
        """Tell an event. Raises OutputError where the socket is not open."""
        server = self._server
        if server is None:
            raise OutputError(f"cannot tell anybody at {self._path}: it is not open")
        if server.readers:
            server.events.append(event)
            self._has_changed |= event["event"] in _CHANGES
            server.rouse()

    def show(self, station: Station) -> None:
        """Tell how a station is now; called on its own thread, and costs nothing while nobody is connected."""
        server = self._server
        now = time.monotonic()
        if server is None or not server.readers:
            return
        if now < self._look_at and not server.is_new and not self._has_changed:
            return
        self._look_at, self._has_changed = now + _LOOK_S, False
        if server.is_new or now >= self._station_at:
            server.is_new = False
            self._station_at, server.status = now + _STATION_S, station.status()
        sounds = {one.name: one.memory for one in reversed(station.listeners) if one.feed.live}
        server.look = _Look(station.sources(), station.delay(), sounds)
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

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = bind(path)
        self.identity = identity(path)
        self.readers: list[_Reader] = []
        self.events: deque[Event] = deque(maxlen=_EVENTS)
        self.look: _Look | None = None
        self.status: Status | None = None
        self.is_new = False
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
        self._give(reader, [(_hello(), None)])

    def _spread(self) -> None:
        """Give readers what is new."""
        look, self.look = self.look, None
        lines = [_line("event", {"event": self.events.popleft()}) for _ in range(len(self.events))]
        if not self.readers:
            return
        if look:
            lines += self._lines_of(look)
        told = b"".join(lines)
        for reader in list(self.readers):
            given = _new_sounds(reader, look.sounds) if look else []
            if told or given:
                self._give(reader, [*given, (told, None)])

    def _lines_of(self, look: _Look) -> list[bytes]:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        delay = asdict(look.delay) if look.delay else None
        sources = [{name: getattr(one, name) for name in _STATUS} for one in look.sources]
        lines = [_line("state", {"time": now, "sources": sources, "sinks": delay})]
        status, self.status = self.status, None
        if status:
            figures = {"wall_s": status.wall_s, "runtime": status.runtime}
            lines.append(_line("station", {**figures, "performance": status.performance.to_json()}))
        return lines

    def _give(self, reader: _Reader, told: Sequence[tuple[bytes, History | None]]) -> None:
        reader.waiting.extend(told)
        reader.size += sum(len(line) for line, _ in told)
        self._write(reader)
        if reader.size > WAITING:
            self._dismiss(reader)

    def _write(self, reader: _Reader) -> None:
        """Send what a reader takes, and wait until it takes more only if something is left."""
        try:
            while reader.waiting:
                line, sound = reader.waiting[0]
                sent = _send(reader.connection, line, sound)
                reader.size -= sent
                reader.waiting.popleft()
                if sent < len(line):  # a descriptor has gone with the first byte
                    reader.waiting.appendleft((line[sent:], None))
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


def _send(connection: socket.socket, line: bytes, sound: History | None) -> int:
    """How many bytes went. Raises OSError."""
    if sound is None or sound.descriptor is None:
        return connection.send(line)
    return socket.send_fds(connection, [line], [sound.descriptor])


def _new_sounds(reader: _Reader, sounds: Mapping[str, History]) -> list[tuple[bytes, History | None]]:
    """What a reader has not been given yet, with its line."""
    new = {name: sound for name, sound in sounds.items() if reader.sounds.get(name) is not sound}
    reader.sounds = sounds
    shared = {name: sound for name, sound in new.items() if sound.descriptor is not None}
    return [(_line("sound", {"source": name, "rate": sound.rate}), sound) for name, sound in shared.items()]


def _hello() -> bytes:
    from edgebird import __version__

    return _line("hello", {"protocol": PROTOCOL, "edgebird": __version__})


def _line(kind: str, content: Mapping[str, Any]) -> bytes:
    return to_json({"type": kind, **content}).encode() + b"\n"
