"""What happens now, for all who watch: one connection to the station, and only while somebody does."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebird.errors import DatabaseError
from edgebird.live.watch import LiveReader
from edgebird.stored.database import StoredDatabase
from edgebird.stored.records import Record, newer, newest_id

log = logging.getLogger(__name__)

WATCHERS = 48  # at the same time
_LOOK_S = 1.0  # between two looks at the database
_WAITING = 256  # messages for one watcher
_PAGE = 100  # detections taken at once
_ABSENT_EVERY = 5  # looks


@dataclass(slots=True, eq=False)
class Onlooker:
    """Who watches. kinds: of messages that it wants."""

    loop: asyncio.AbstractEventLoop
    kinds: frozenset[str]
    waiting: asyncio.Queue[dict[str, Any]] = field(default_factory=lambda: asyncio.Queue(_WAITING))

    def put(self, message: dict[str, Any]) -> None:
        """Give it a message; the oldest goes where it does not take them. Called in its loop."""
        if self.waiting.full():
            self.waiting.get_nowait()
        self.waiting.put_nowait(message)


class LiveHub:
    """Gives messages of the station's live socket (`live/watch.py`) to watchers, and two kinds of its own.

    `detection`: one that the database has got, as a Record under `record`. `absent`: there is no live socket, with a
    `problem`. The thread runs while there are watchers.
    """

    def __init__(self, database: StoredDatabase, socket: Path) -> None:
        self._database, self._socket = database, socket
        self._watchers: list[Onlooker] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.last: dict[str, dict[str, Any]] = {}  # the last `state` while there is one

    @contextmanager
    def watching(self, *kinds: str) -> Iterator[Onlooker | None]:
        """Give a watcher of these kinds; None if there are too many."""
        watcher = Onlooker(asyncio.get_running_loop(), frozenset(kinds))
        with self._lock:
            if len(self._watchers) >= WATCHERS:
                watcher_or_none = None
            else:
                watcher_or_none = watcher
                self._watchers.append(watcher)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="live hub", daemon=True)
                    self._thread.start()
                for message in self.last.values():
                    if message["type"] in watcher.kinds:
                        watcher.put(message)
        try:
            yield watcher_or_none
        finally:
            with self._lock, suppress(ValueError):
                self._watchers.remove(watcher)

    # ------------------------------------------------------------------------------------------------------ the thread
    def _run(self) -> None:
        looks, newest = 0, self._newest()
        with LiveReader(self._socket) as reader:
            while self._goes_on():
                for message in [*reader.read(_LOOK_S), *reader.listen()]:
                    self._spread(message)
                newest = self._look(newest)
                if reader.hello is None and looks % _ABSENT_EVERY == 0:
                    self._spread({"type": "absent", "problem": reader.problem})
                looks += 1
        self._database.close()

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._watchers:
                self._thread = None
                self.last.clear()
                return False
            return True

    def _spread(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        with self._lock:
            if kind == "state":
                self.last[kind] = message
            elif kind == "absent":
                self.last.clear()
            for watcher in self._watchers:
                if kind in watcher.kinds:
                    with suppress(RuntimeError):  # its loop has ended
                        watcher.loop.call_soon_threadsafe(watcher.put, message)

    def _newest(self) -> int | None:
        try:
            with self._database.reading() as connection:
                return newest_id(connection)
        except DatabaseError as error:
            log.debug("%s", error)
            return None

    def _look(self, newest: int | None) -> int | None:
        """Tell detections that came since."""
        if newest is None:
            return self._newest()
        try:
            with self._database.reading() as connection:
                if newest_id(connection) < newest:  # another database has its place
                    return newest_id(connection)
                found = newer(connection, newest, _PAGE)
        except DatabaseError as error:
            log.debug("%s", error)
            return newest
        for one in found:
            self._spread({"type": "detection", "record": one})
        return found[-1].id if found else newest


async def server_events(
    hub: LiveHub, first: str, tell: Callable[[dict[str, Any]], str], kinds: tuple[str, ...], quiet_s: float
) -> AsyncIterator[str]:
    """Give what a watcher sees as server-sent events. first: what comes at once. tell: a message as an event, or "".

    A heartbeat comes when nothing else has for so many seconds.
    """
    with hub.watching(*kinds) as watcher:
        if watcher is None:
            yield event_of("full", {"error": "too many watch already"})
            return
        yield first
        while True:
            try:
                message = await asyncio.wait_for(watcher.waiting.get(), quiet_s)
            except asyncio.TimeoutError:
                yield event_of("heartbeat", {})
                continue
            if text := tell(message):
                yield text


def event_of(kind: str, content: Any, number: int | None = None) -> str:
    """Return a server-sent event with JSON."""
    line = f"id: {number}\n" if number is not None else ""
    return f"{line}event: {kind}\ndata: {json.dumps(content, ensure_ascii=False, allow_nan=False)}\n\n"


def record_json(one: Record, name: str) -> dict[str, Any]:
    """Return a detection as the pages take it."""
    return {
        "id": one.id, "source": one.source, "time": one.time, "code": one.code, "name": name, "score": one.score,
        "clip": one.clip is not None,
    }  # fmt: skip
