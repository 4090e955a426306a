"""Reads the live socket of a station, which may come and go; `broadcast.py` says what is told there."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.live.columns import LEAST_DB, STEP_DB, ColumnMaker, ColumnReader
from edgebird.live.history import Remembered
from edgebird.live.levels import level_of
from edgebird.live.socket_file import connect

Message: TypeAlias = dict[str, Any]

PROTOCOL = 2
_AGAIN_S = 1.0  # between two tries to connect
_LONGEST = 1 << 20  # bytes of a line
_CONNECTING_S = 2.0
_DESCRIPTORS = 16  # that may come at once
_LISTEN_S = 1.0  # between two looks at the sound
_RATES = range(1000, 400_001)  # Hz
_UNHEARD = ("starting", "lost", "closed")  # states in which no level is one of now


class LiveReader:
    """A reader of a live socket, connected whenever there is a station; for one thread.

    hello: the first message of the station that is connected, None while none is. problem: why none is, one line.
    sounds: the memories of its live sources, which go on to be filled.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self._rest = bytearray()
        self._descriptors: deque[int] = deque()
        self._again = self._listen_at = 0.0
        self._columns: dict[str, ColumnReader] = {}
        self._state: Message | None = None
        self.hello: Message | None = None
        self.problem = ""
        self.sounds: dict[str, Remembered] = {}

    def read(self, timeout_s: float) -> list[Message]:
        """Wait for messages, at most so long, and return those that have come; none is normal, and no error.

        After a station has ended and another has come, its `hello` is the next message.
        """
        end = time.monotonic() + timeout_s
        while True:
            if self._connection is None:
                self._connect()
            if self._connection is None:
                pause = max(0.0, min(self._again, end) - time.monotonic())
                time.sleep(pause)
            elif messages := self._received(max(0.0, end - time.monotonic())):
                return messages
            if time.monotonic() >= end:
                return []

    def listen(self) -> list[Message]:
        """Return what the sounds say since the last call, once a second at most: messages of two kinds.

        `state`, the last one again with the levels of now. `columns`: a spectrogram of `source` from `start_s` on,
        seconds since it first opened. levels: bytes in base64, `bands` of each column, the lowest first; a level is
        least_db + step_db * byte, in dB of a sine of full scale. Where audio was lost columns are silent; where start_s
        is not where the last columns ended, some are missing.
        """
        now = time.monotonic()
        if self._state is None or now < self._listen_at:
            return []
        self._listen_at = now + _LISTEN_S
        messages = [_with_levels(self._state, self.sounds)]
        for name, sound in self.sounds.items():
            reader = self._columns.get(name)
            if reader is None or reader.memory is not sound:
                reader = self._columns[name] = ColumnReader(ColumnMaker(sound.rate), sound)
            if made := reader.take():
                start, levels = made
                content = base64.b64encode(levels.tobytes()).decode("ascii")
                messages.append(
                    {"type": "columns", "source": name, "start_s": start / sound.rate, "bands": levels.shape[1]}
                    | {"least_db": LEAST_DB, "step_db": STEP_DB, "levels": content}
                )
        return messages

    def close(self, problem: str = "closed") -> None:
        """Leave; `read` would connect again."""
        connection, self._connection, self.hello, self.problem = self._connection, None, None, problem
        self._again = time.monotonic() + _AGAIN_S
        self._rest.clear()
        self.sounds.clear()
        self._columns.clear()
        self._state = None
        while self._descriptors:
            os.close(self._descriptors.popleft())
        if connection:
            connection.close()

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        if time.monotonic() < self._again:
            return
        try:
            self._connection = connect(self._path, _CONNECTING_S)
        except OSError as error:
            self.close(error.strerror or str(error))

    def _received(self, timeout_s: float) -> list[Message]:
        assert self._connection is not None
        try:
            self._connection.settimeout(max(timeout_s, 1e-3))
            received, descriptors, _, _ = socket.recv_fds(self._connection, 1 << 16, _DESCRIPTORS)
        except TimeoutError:
            return []
        except OSError as error:
            self.close(error.strerror or str(error))
            return []
        self._descriptors.extend(descriptors)
        if not received:
            self.close("the station has ended, or this program was too slow for it")
            return []
        self._rest += received
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        try:
            return self._read_lines(lines)
        except ValueError as error:
            self.close(f"not what a station tells: {error}")
            return []

    def _read_lines(self, lines: list[bytearray]) -> list[Message]:
        """Messages of lines. Raises ValueError."""
        if len(self._rest) > _LONGEST:
            raise ValueError("a line that is too long")
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                raise ValueError("a line without a type")
            if message["type"] == "hello":
                if message.get("protocol") != PROTOCOL:
                    raise ValueError(f"protocol {message.get('protocol')}, this edgebird knows {PROTOCOL}")
                self.hello, self.problem = message, ""
            elif message["type"] == "sound":
                self._take_sound(message)
            elif message["type"] == "state":
                self._take_state(message)
        return messages

    def _take_sound(self, message: Message) -> None:
        """Look at the memory of a source, whose descriptor came with the message. Raises ValueError."""
        if not self._descriptors:
            raise ValueError("a sound without its memory")
        descriptor = self._descriptors.popleft()
        try:
            if message.get("rate") not in _RATES:
                raise ValueError(f"a sound of {message.get('rate')} Hz")
            self.sounds[str(message.get("source"))] = Remembered.shared(descriptor, message["rate"])
        except OSError as error:
            raise ValueError(f"no memory of a sound: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _take_state(self, message: Message) -> None:
        """Forget sources that are no more. Raises ValueError."""
        with suppress(KeyError, TypeError, AttributeError):
            names = {source["name"] for source in message["sources"]}
            for gone in self.sounds.keys() - names:
                del self.sounds[gone]
                self._columns.pop(gone, None)
            self._state = message
            return
        raise ValueError("a state without sources")


def levels_of(columns: Message) -> NDArray[np.uint8]:
    """Return the levels of a message `columns`, uint8 [columns, bands]: least_db + step_db * level, in dB."""
    levels = np.frombuffer(base64.b64decode(columns["levels"]), np.uint8)
    return levels.reshape(-1, columns["bands"])


def _with_levels(state: Message, sounds: dict[str, Remembered]) -> Message:
    """A state with the level of the last second of each sound."""
    sources = []
    for source in state["sources"]:
        sound = sounds.get(source["name"])
        if sound is not None and sound.newest > 0 and source.get("state") not in _UNHEARD:
            level = level_of(sound.read(max(0, sound.newest - sound.rate), sound.newest))
            source = {**source, "level_dbfs": level.rms_dbfs, "peak_dbfs": level.peak_dbfs}
        sources.append(source)
    return {**state, "sources": sources}
