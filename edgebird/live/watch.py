"""Reads the live socket of a station, which may come and go; `broadcast.py` says what is told there."""

from __future__ import annotations

import base64
import json
import socket
import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.live.socket_file import connect

Message: TypeAlias = dict[str, Any]

PROTOCOL = 1
_AGAIN_S = 1.0  # between two tries to connect
_LONGEST = 1 << 20  # bytes of a line
_CONNECTING_S = 2.0


class LiveReader:
    """A reader of a live socket, connected whenever there is a station; for one thread.

    hello: the first message of the station that is connected, None while none is. problem: why none is, one line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self._rest = bytearray()
        self._again = 0.0
        self.hello: Message | None = None
        self.problem = ""

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

    def close(self, problem: str = "closed") -> None:
        """Leave; `read` would connect again."""
        connection, self._connection, self.hello, self.problem = self._connection, None, None, problem
        self._again = time.monotonic() + _AGAIN_S
        self._rest.clear()
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
            received = self._connection.recv(1 << 16)
        except TimeoutError:
            return []
        except OSError as error:
            self.close(error.strerror or str(error))
            return []
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
        return messages


def levels_of(columns: Message, hello: Message) -> NDArray[np.uint8]:
    """Return the levels of a message `columns`, uint8 [columns, bands]: least_db + step_db * level, in dB."""
    levels = np.frombuffer(base64.b64decode(columns["levels"]), np.uint8)
    return levels.reshape(-1, hello["bands"])
