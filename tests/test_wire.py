"""What a capture process tells its parent: messages come whole however a pipe cuts them, and nothing else does."""

from __future__ import annotations

import io
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.capture import wire
from edgebird.capture.wire import DATA, FAIL, NOTE, OPEN, Message, Parser

MESSAGES = [
    Message(OPEN, b'{"rate": 48000}', 1.5, 0),
    Message(DATA, bytes(range(256)) * 3, 2.25, 0),
    Message(DATA, b"", 2.5, 192),
    Message(NOTE, '{"kind": "overflow", "text": "zu sp\u00e4t"}'.encode(), 3.0, 2**40),
    Message(FAIL, b'{"reason": "disconnected"}', 4.0, -1),
]


def written(*messages: Message) -> bytes:
    pipe = io.BytesIO()
    for message in messages:
        wire.write(pipe, message)
    return pipe.getvalue()


@given(st.lists(st.integers(0, len(written(*MESSAGES))), max_size=30))
def test_messages_are_those_that_were_written_however_they_are_cut(cuts: list[int]) -> None:
    """A pipe gives what is there: a header in two parts must not cost a second of sound."""
    data, parser = written(*MESSAGES), Parser()
    places = [0, *sorted(cuts), len(data)]
    found = [m for start, end in pairwise(places) for m in parser.feed(data[start:end])]
    assert found == MESSAGES


@pytest.mark.parametrize(
    "data",
    [
        b"Traceback (most recent call last):",
        b"DATB" + bytes(20),
        b"DATA" + (2**27).to_bytes(4, "little") + bytes(16),
    ],
    ids=["a traceback", "another kind", "more than there can be"],
)
def test_what_is_not_ours_is_refused_and_not_waited_for(data: bytes) -> None:
    """A library that prints to stdout would else be taken for gigabytes of sound that never come."""
    with pytest.raises(ValueError, match="not a message of a capture process: "):
        Parser().feed(data)


def test_messages_before_the_end_in_the_middle_of_one_are_read() -> None:
    """A capture that was killed leaves half a block: what came before it was heard."""
    reading, writing = os.pipe()
    os.write(writing, written(*MESSAGES[:2]) + written(MESSAGES[3])[:-1])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert list(wire.read(pipe)) == MESSAGES[:2]


def test_json_is_said_with_the_time_and_read_again() -> None:
    pipe = io.BytesIO()
    wire.say(pipe, FAIL, reason="busy", text="pulse:\u00fcb")
    (message,) = Parser().feed(pipe.getvalue())
    assert message.json() == {"reason": "busy", "text": "pulse:\u00fcb"}
    assert (message.kind, message.position) == (FAIL, 0)
    assert message.time > 0


def test_a_parent_that_has_gone_is_an_error_at_once() -> None:
    """Else a capture process would hold the microphone for ever."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(OSError, match="Broken pipe"), os.fdopen(writing, "wb", buffering=0) as pipe:
        wire.write(pipe, MESSAGES[1])
