"""When sound on standard input came: latency is counted from there, however late the engine is."""

from __future__ import annotations

import math
import os
import threading
import time

import pytest

from edgebird.live.arrival import Arrival, pipe_s
from edgebird.live.pulled import PcmFormat, PulledSource, pcm_blocks
from edgebird.live.ring import Heard
from tests.live_servers import wait_until

RATE = 1000
BLOCK = 100


def read(arrival: Arrival, reads: list[tuple[float, float]]) -> list[float]:
    """When blocks of 0.1 s came, of which each was asked for and read at these times."""
    return [round(arrival.came(i * BLOCK, (i + 1) * BLOCK, asked, now), 3) for i, (asked, now) in enumerate(reads)]


def test_what_is_waited_for_comes_when_it_is_read() -> None:
    reads = [(0.1 * i, 0.1 * (i + 1)) for i in range(5)]
    assert read(Arrival(RATE, math.inf), reads) == [round(now, 3) for _, now in reads]


def test_what_waited_in_the_pipe_came_as_its_sender_keeps_time() -> None:
    """Three seconds late at last, as the engine takes twice as long as it has."""
    on_time = [(0.1 * i, 0.1 * (i + 1)) for i in range(10)]
    late = [(1.0 + 0.2 * i, 1.0 + 0.2 * i) for i in range(1, 31)]
    came = read(Arrival(RATE, math.inf), on_time + late)
    assert came == pytest.approx([0.1 * (i + 1) for i in range(40)])


def test_nothing_came_before_the_pipe_had_room_for_it() -> None:
    """Then its sender had to wait: what it does about that is its own affair."""
    late = [(0.2 * i, 0.2 * i) for i in range(1, 101)]
    came = read(Arrival(RATE, 0.5), [(0.0, 0.1), *late])
    assert came[-1] == pytest.approx(20.0 - 5 * 0.2)


def test_a_recording_that_is_read_at_once_did_not_come_in_the_future() -> None:
    reads = [(0.001 * i, 0.001 * i) for i in range(100)]
    assert read(Arrival(RATE, math.inf), reads) == [round(now, 3) for _, now in reads]


def test_after_a_pause_of_the_sender_its_time_is_known_anew() -> None:
    arrival = Arrival(RATE, math.inf)
    assert arrival.came(0, 100, 0.0, 0.1) == 0.1
    assert arrival.came(100, 100, 0.1, 0.35) == 0.35
    assert arrival.came(100, 200, 9.99, 10.0) == 10.0


def test_sound_on_a_pipe_is_stamped_when_it_came_though_nobody_reads() -> None:
    reading, writing = os.pipe()
    form = PcmFormat.parse("s16le:8000:1")
    began = time.monotonic()

    def record() -> None:
        for i in range(20):
            time.sleep(max(0.0, began + 0.1 * (i + 1) - time.monotonic()))
            os.write(writing, bytes(1600))
        os.close(writing)

    with os.fdopen(reading, "rb") as stream:
        held_s = pipe_s(stream.fileno(), 16000)
        assert held_s >= 0.25
        source = PulledSource("stdin", lambda: pcm_blocks(stream, form, None, 8000), 8000, live=True, pipe_s=held_s)
        threading.Thread(target=record, daemon=True).start()
        source.start(lambda: None)
        time.sleep(2.5)  # nobody reads
        heard: list[Heard] = []

        def is_read() -> bool:
            while isinstance(piece := source.read(), Heard):
                heard.append(piece)
            return source.finished

        wait_until(is_read, "end")
    assert heard[-1].end == 16000
    assert [piece.at - piece.end / 8000 - began for piece in heard] == pytest.approx([0.0] * len(heard), abs=0.3)
