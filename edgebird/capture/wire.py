"""What a capture process tells its parent over its standard output, and what it is told over its standard input.

The parent writes one line of JSON, the options, and now and then one more, {"begin": frames}: where blocks are to be
counted from, as windows begin there. The end of its input tells a capture process to stop, also when the parent has
died. It answers in messages, each a header and a payload:

    OPEN   JSON {"rate": Hz, "channels": n, "device": "what was opened"}, of a microphone also "period", the frames that
           it hands over at once, and "late_s", see devices.py; comes first, and again where a stream changes its
           format: nothing is lost there
    DATA   float32 little-endian, interleaved [frames, channels], -1 to 1
    LOST   JSON {"reason": "stalled"}: why the frames before the next DATA are missing; not said where they were dropped
    NOTE   JSON {"kind": "...", "text": "one line"}: overflow, moved, ...; capture goes on. "remember": options that the
           next captures of this source shall have, as what was tried in vain need not be tried again. One of kind
           `resumed` has "lost_s" for a text: what comes follows what the capture before gave, after a loss of so long
    FAIL   JSON {"reason": "...", "text": "one line"}; comes last. Texts name no credentials. "resume", if it is there,
           is an option for the next capture; in it "reach_s" says how many seconds the server can send again

A DATA without payload says that there is nothing, and that it is worth waiting. It and NOTE may come before OPEN.

DATA comes in blocks of `block_s` seconds, an option, and in shorter ones at the beginning and around losses: see
blocks.py. `position` counts frames since the last OPEN before the first of DATA, those included that the capture
process knows to be lost. `time` is the monotonic clock (seconds, the same in all processes of a machine) when the last
frame was captured, as far as is known. Needs the standard library alone, so that a capture process stays small.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

OPEN, DATA, LOST, NOTE, FAIL = b"OPEN", b"DATA", b"LOST", b"NOTE", b"FAIL"

_HEADER = struct.Struct("<4sIdq")
_LARGEST = 1 << 26  # bytes of payload: more is not ours

DROPPED, STALLED = "dropped", "stalled"  # why frames are missing, as `LOST` and gaps say it

# Why a source is lost, as `FAIL` and source events say it.
REASONS = (
    "disconnected",
    "not_found",
    "refused",
    "unresolved",
    "unauthorized",
    "untrusted",
    "stalled",
    "ended",
    "busy",
    "error",
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message. time: monotonic seconds. position: in frames."""

    kind: bytes
    payload: bytes
    time: float
    position: int

    def json(self) -> dict[str, Any]:
        """The payload of all but DATA."""
        content: dict[str, Any] = json.loads(self.payload)
        return content


def write(pipe: BinaryIO, message: Message) -> None:
    """Write a message and flush it. Raises OSError if the parent has gone."""
    pipe.write(_HEADER.pack(message.kind, len(message.payload), message.time, message.position) + message.payload)
    pipe.flush()


def say(pipe: BinaryIO, kind: bytes, /, **content: Any) -> None:
    """Write a message of JSON."""
    write(pipe, Message(kind, json.dumps(content).encode(), time.monotonic(), 0))


class Parser:
    """Makes messages of bytes as they come, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """Take bytes; return the messages they complete. Raises ValueError for what is not ours."""
        unread = memoryview(self._rest + data if self._rest else data)
        messages = []
        while len(unread) >= _HEADER.size:
            kind, size, at, position = _HEADER.unpack_from(unread)
            if kind not in (OPEN, DATA, LOST, NOTE, FAIL) or size > _LARGEST:
                raise ValueError(f"not a message of a capture process: {bytes(unread[:8])!r}")
            if len(unread) < _HEADER.size + size:
                break
            messages.append(Message(kind, bytes(unread[_HEADER.size : _HEADER.size + size]), at, position))
            unread = unread[_HEADER.size + size :]
        self._rest = bytes(unread)
        return messages


def read(pipe: BinaryIO) -> Iterator[Message]:
    """Give messages until the pipe ends, if need be in the middle of one. Raises ValueError for what is not ours."""
    parser = Parser()
    while data := os.read(pipe.fileno(), 1 << 16):
        yield from parser.feed(data)
