"""The ring and its clock: what is read and what is lost is what was written, and lateness is not loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.capture.devices import VIRTUAL_LATE_S
from edgebird.live.clock import FrameClock
from edgebird.live.ring import OVERRUN, Heard, Lost, Piece, Ring
from edgebird.types import AudioBlock

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 40)),
        st.tuples(st.just("lose"), st.integers(1, 40)),
        st.tuples(st.just("read"), st.integers(1, 5)),
    ),
    max_size=60,
)


def ramp(start: int, size: int) -> AudioBlock:
    return AudioBlock(np.arange(start, start + size, dtype=np.float32), start)


@given(STEPS, st.integers(1, 100))
def test_what_is_read_and_lost_is_what_was_written(steps: list[tuple[str, int]], capacity: int) -> None:
    ring = Ring(capacity)
    read: list[Piece] = []
    lost_at_source = 0
    for kind, size in steps:
        if kind == "write":
            ring.write(ramp(ring.end, size), at=0.0)
        elif kind == "lose":
            lost_at_source += size
            ring.lose(ring.end + size, "stalled")
        else:
            read += [piece for _ in range(size) if (piece := ring.read()) is not None]
        assert ring.waiting <= capacity
    while (piece := ring.read()) is not None:
        read.append(piece)
    position = lost = 0
    for piece in read:
        start = piece.block.start if isinstance(piece, Heard) else piece.start
        assert start == position, "a hole"
        position = piece.end
        if isinstance(piece, Heard):
            assert piece.block.samples.tolist() == list(range(start, piece.end))
        elif piece.reason == "stalled":
            lost += piece.end - piece.start
    assert position == ring.end
    assert ring.empty
    assert lost == lost_at_source  # an overrun does not take the blame for other losses


def test_a_reader_that_never_comes_costs_no_memory() -> None:
    ring = Ring(100)
    for _ in range(6_000):
        ring.write(ramp(ring.end, 10), at=0.0)
        ring.lose(ring.end + 5, "stalled")
    assert ring.waiting <= 100
    assert len(ring._pieces) < 5000


def test_a_ring_that_nobody_reads_says_so_once() -> None:
    ring = Ring(100)
    for _ in range(100):
        ring.write(ramp(ring.end, 30), at=0.0)
    assert ring.read() == Lost(0, 2900, OVERRUN)


def test_a_reader_is_woken_once_when_what_it_expects_is_there() -> None:
    ring, woken = Ring(100), []
    ring.expect(30, lambda: woken.append("audio"))
    ring.write(ramp(0, 29), at=0.0)
    assert not woken
    ring.write(ramp(29, 5), at=0.0)
    ring.write(ramp(34, 5), at=0.0)
    ring.expect(39, lambda: woken.append("at once"))
    ring.expect(60, lambda: woken.append("replaced"))
    ring.expect(50, lambda: woken.append("lost"))
    ring.lose(70, "stalled")
    assert woken == ["audio", "at once", "lost"]


def deliver(clock: FrameClock, frames: int, start: float, seconds: float, rate: int = 1000) -> tuple[int, list[float]]:
    """Blocks of 50 ms from `start` on; frames so far, and the losses found."""
    found = []
    for block in range(round(seconds / 0.05)):
        frames += round(0.05 * rate)
        lost = clock.observe(frames, start + 0.05 * (block + 1))
        found += [lost] if lost else []
    return frames, found


def test_frames_that_come_late_at_once_are_not_lost() -> None:
    clock = FrameClock(1000)
    frames, found = deliver(clock, 0, 0.0, 5.0)
    assert not found
    verdicts = []
    for block in range(60):  # three seconds of audio, three seconds late
        frames += 50
        verdicts.append(clock.observe(frames, 8.0 + 0.001 * block))
    assert verdicts[0] is None, "the first late block has to wait for the verdict"
    assert not any(verdicts)
    assert verdicts[-1] == 0.0


def test_frames_that_come_late_for_two_seconds_are_not_lost() -> None:
    """As of a sound server on a busy machine, whose first delivery was earlier than usual."""
    clock = FrameClock(1000)
    frames, found = deliver(clock, 0, 0.0, 1.0)
    for late_s, seconds in ((0.1, 1.0), (0.3, 2.0), (0.1, 5.0)):
        frames, more = deliver(clock, frames, frames / 1000 + late_s, seconds)
        found += more
    assert not found


def test_frames_that_never_come_are_found_to_the_block() -> None:
    clock = FrameClock(1000)
    frames, _ = deliver(clock, 0, 0.0, 5.0)
    frames, found = deliver(clock, frames, 8.0, 5.0)  # three seconds are missing
    assert len(found) == 1
    assert abs(found[0] - 3.0) < 0.051
    _, found = deliver(clock, frames, 13.0, 60.0)
    assert not found, "told once"


def test_a_sound_server_that_stops_to_be_ahead_has_lost_nothing() -> None:
    """As of a monitor, half a second ahead until a program plays there; what is really lost is found."""
    clock = FrameClock(1000, VIRTUAL_LATE_S)
    frames, _ = deliver(clock, 0, 0.0, 5.0)
    frames, found = deliver(clock, frames, 5.5, 60.0)
    assert not found
    frames, found = deliver(clock, frames, 66.5, 10.0)
    assert found == [pytest.approx(1.0)]
    deliver(clock, frames, 76.5, 300.0)
    assert clock.drift.ppm == pytest.approx(0.0, abs=1.0), "a step is no drift"


def test_a_short_loss_that_the_sound_card_tells_is_found() -> None:
    clock = FrameClock(1000)
    frames, _ = deliver(clock, 0, 0.0, 5.0)
    clock.suspect()
    _, found = deliver(clock, frames, 5.05, 10.0)
    assert found == [pytest.approx(0.05)]


def test_a_slow_card_is_no_loss_and_is_measured() -> None:
    clock = FrameClock(48_000)
    random = np.random.default_rng(1)
    for block in range(1, 12_000):  # ten minutes, 80 ppm slow, up to 20 ms late
        time = block * 0.05 * (1 + 80e-6) + random.uniform(0, 0.02)
        assert clock.observe(block * 2400, time) == 0.0
    assert clock.drift.ppm is not None
    assert abs(clock.drift.ppm + 80) < 5
