"""What a stream has lost, by its packets, its timestamps and the clock; with senders and clocks that are simulated.

A station that calls a camera's jitter a loss throws away what it heard; one that misses a loss tells wrong times.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from edgebird.capture.timeline import Timeline
from edgebird.capture.wire import DROPPED, STALLED

RATE = 8000
PACKET = 160


@dataclass
class Sender:
    """A sender, the network and what comes of it, in packets of 20 ms at 8 kHz.

    jitter: of timestamps, in frames, to either side. late_s: packets arrive late by up to so much. ppm: how much faster
    than nominal its samples come. steps: time -> seconds by which its timestamps step. lost: share of packets. told:
    whether lost packets are counted by who receives them. stalls: time -> seconds without sound; caught_up: whether
    what was recorded meanwhile comes afterwards, at once. counts_on: whether timestamps count what a stall has cost.
    """

    seconds: float
    jitter: int = 0
    late_s: float = 0.002
    ppm: float = 0.0
    steps: dict[float, float] = field(default_factory=dict)
    lost: float = 0.0
    told: bool = True
    stalls: dict[float, float] = field(default_factory=dict)
    caught_up: bool = False
    counts_on: bool = True
    stamped: bool = True
    seed: int = 1
    heard: int = 0  # frames that arrived
    missing: int = 0  # frames that did not
    opened: float = 0.0

    def packets(self) -> list[tuple[int | None, int, float, int]]:
        """Stamp, frames, arrival and packets missed, as `Timeline.observe` takes them."""
        dice, made, missed, uncounted = random.Random(self.seed), [], 0, 0.0
        pace = 1 / (RATE * (1 + self.ppm / 1e6))
        for number in range(round(self.seconds / (PACKET * pace))):
            at = (number + 1) * PACKET * pace
            step = sum(seconds for when, seconds in self.steps.items() if at >= when)
            stall = next((when + length for when, length in self.stalls.items() if when <= at < when + length), None)
            if (stall and not self.caught_up) or dice.random() < self.lost:
                missed += self.told
                self.missing += PACKET
                uncounted += 0 if self.counts_on else PACKET
                continue
            stamp = number * PACKET - uncounted + step * RATE + dice.choice((-1, 1)) * self.jitter
            arrival = max(stall or 0.0, at) + dice.random() * self.late_s
            made.append((round(stamp) if self.stamped else None, PACKET, arrival, missed))
            self.heard += PACKET
            missed = 0
        arrivals = sorted(packet[2] for packet in made)  # packets keep their order
        return [(stamp, frames, at, missed) for (stamp, frames, _, missed), at in zip(made, arrivals, strict=True)]


def lost_in(sender: Sender, timeline: Timeline | None = None) -> list[tuple[float, float, str]]:
    """When each loss was, by the position before it, how long it was and why, in seconds; all that came is placed."""
    timeline = timeline or Timeline(RATE)
    losses: list[tuple[float, float, str]] = []
    position, held = 0, 0
    for packet in sender.packets():
        told, before = timeline.observe(*packet)
        if told.frames and held:  # within what is held back
            position += told.frames
            losses.append((position / RATE, told.frames / RATE, told.reason))
        elif told.frames:
            losses.append((position / RATE, told.frames / RATE, told.reason))
            position += told.frames
        held += packet[1]
        if before is not None:
            if before.frames:
                losses.append((position / RATE, before.frames / RATE, before.reason))
            position, held = position + before.frames + held, 0
    before = timeline.give_up()
    if before.frames:
        losses.append((position / RATE, before.frames / RATE, before.reason))
    return losses


def lost_s(sender: Sender) -> float:
    return sum(seconds for _, seconds, _ in lost_in(sender))


JITTERS = {"exact": 0, "30 ms": 240, "40 ms": 320}


@pytest.mark.parametrize("late_s", [0.0, 0.03])
@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS)
@pytest.mark.parametrize("ppm", [-400, 0, 400])
def test_jitter_drift_and_steps_of_the_clock_are_no_loss(jitter: int, ppm: float, late_s: float) -> None:
    """A gap in each would make a station deaf that hears everything."""
    steps = {5.0: 1.0, 10.0: -1.0, 15.0: 0.5, 17.0: 0.8, 25.0: -5.0, 30.0: 3600.0, 35.0: -3600.0}
    assert lost_in(Sender(60, jitter, late_s, ppm, steps)) == []


@pytest.mark.parametrize("share", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS)
def test_lost_packets_are_told_by_their_numbers(jitter: int, share: float) -> None:
    sender = Sender(60, jitter, lost=share, ppm=400, steps={20.0: 1.0, 40.0: -1.0})
    assert lost_s(sender) == pytest.approx(sender_missing(sender), abs=0.1)


def sender_missing(sender: Sender) -> float:
    return sender.missing / RATE


@pytest.mark.parametrize("share", [0.002, 0.02])
def test_lost_packets_of_which_nobody_tells_show_in_exact_timestamps(share: float) -> None:
    """As over TCP, where a camera throws away what it cannot send."""
    sender = Sender(120, lost=share, told=False)
    assert lost_s(sender) == pytest.approx(sender_missing(sender), rel=0.1, abs=0.1)


def test_lost_packets_of_which_nobody_tells_show_in_the_long_run_where_timestamps_jitter() -> None:
    sender = Sender(300, 320, lost=0.02, told=False)
    assert lost_s(sender) == pytest.approx(sender_missing(sender), rel=0.1)


@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS)
@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("counts_on", [True, False])
@pytest.mark.parametrize("seconds", [1.5, 3.0, 7.0, 20.0])
def test_a_stall_that_is_not_caught_up_is_lost(seconds: float, counts_on: bool, stamped: bool, jitter: int) -> None:
    sender = Sender(45, jitter, stalls={10.0: seconds}, told=False, counts_on=counts_on, stamped=stamped, ppm=100)
    ((at, length, reason),) = lost_in(sender)
    assert (at, length) == (pytest.approx(10, abs=0.05), pytest.approx(seconds, abs=0.05))
    assert reason == (DROPPED if seconds < 2 and counts_on and stamped else STALLED)
    if stamped and counts_on and not jitter:
        assert length == sender_missing(sender), "not exactly what its timestamps say"


@pytest.mark.parametrize("jitter", JITTERS.values(), ids=JITTERS)
@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("seconds", [0.5, 3.0, 7.0, 20.0])
def test_a_stall_that_is_caught_up_is_no_loss(seconds: float, stamped: bool, jitter: int) -> None:
    """What was on the way was heard: to tell it as lost would be wrong, to throw it away worse."""
    sender = Sender(45, jitter, stalls={10.0: seconds}, caught_up=True, stamped=stamped)
    assert lost_in(sender) == []


def test_a_stall_with_a_step_of_the_clock_costs_what_the_clock_of_this_machine_says() -> None:
    for step in (-5.0, 0.6, 30.0):
        sender = Sender(60, steps={31.0: step}, stalls={30.0: 3.0}, told=False)
        assert lost_s(sender) == pytest.approx(3.0, abs=0.1), step


@pytest.mark.parametrize("when", [28.5, 29.5, 31.0, 34.5, 36.9])
@pytest.mark.parametrize("step", [-1.0, 1.0])
def test_a_clock_that_steps_around_a_stall_does_not_change_its_length(step: float, when: float) -> None:
    sender = Sender(60, 320, ppm=400, steps={when: step}, stalls={30.0: 7.0}, told=False)
    assert lost_s(sender) == pytest.approx(7.0, abs=0.1)


def test_several_things_at_once_add_up() -> None:
    sender = Sender(300, 320, 0.03, 400, {50.0: 1.0, 150.0: -1.0}, 0.02, stalls={70.0: 3.0, 120.0: 7.0, 200.0: 20.0})
    sender_lost = lost_s(sender)
    assert sender_lost == pytest.approx(sender_missing(sender), abs=0.1)


def test_one_stall_after_another_costs_both() -> None:
    sender = Sender(60, stalls={30.0: 1.5, 32.5: 1.5}, told=False)
    assert lost_s(sender) == pytest.approx(3.0, abs=0.05)


def test_audio_is_held_back_for_three_seconds_and_no_longer() -> None:
    """Held for ever it would never be scored."""
    timeline, sender = Timeline(RATE), Sender(40, stalls={20.0: 2.0}, told=False)
    held = [packet[2] for packet in sender.packets() if timeline.observe(*packet)[1] is None]
    assert 2.9 < held[-1] - held[0] < 3.1


def test_segments_may_come_as_late_as_they_like() -> None:
    """A playlist is asked again and again: nothing comes for 8 s, then 8 s at once, sometimes on a slow line."""
    timeline = Timeline(48000, segmented=True)
    for segment in range(10):
        for i in range(375):
            late = 0.02 * i if segment == 5 else 0.0
            at = 8.0 * segment + late + (4.0 if segment == 7 else 0.0)
            assert timeline.observe(1024 * (375 * segment + i), 1024, at)[1] is not None
    losses = [timeline.observe(1024 * (375 * 11 + i), 1024, 88.0)[1] for i in range(375)]
    losses = [loss.frames for loss in losses if loss] + [timeline.give_up().frames]
    assert sum(losses) == 1024 * 375, "a segment that was skipped is lost"


def test_what_a_server_remembers_comes_at_once_and_is_no_loss() -> None:
    """Five seconds at the beginning; then a pause until the clock is there."""
    timeline = Timeline(RATE)
    stamps = [(i * PACKET, PACKET, 0.001 * i if i < 250 else (i - 250) * 0.02) for i in range(1500)]
    assert all(timeline.observe(stamp, frames, at)[1] is not None for stamp, frames, at in stamps)


def test_a_packet_of_several_frames_is_lost_with_all_of_them() -> None:
    """AAC: the number of missing packets says little, exact timestamps say all."""
    timeline = Timeline(16000)
    times = [i for i in range(400) if not 200 <= i < 204]  # four frames in the packet
    lost = 0
    for before, i in pairwise([-1, *times]):
        told, _ = timeline.observe(i * 1024, 1024, i * 0.064, missed=int(i - before > 1))
        lost += told.frames
    assert lost == 4 * 1024


def test_stalls_on_a_network_that_is_late_are_as_long_as_they_were_though_the_clock_is_set_meanwhile() -> None:
    """Then arrival alone tells, and errors of forty stalls add up."""
    steps = {float(at): 1.0 if at % 20 == 7 else -1.0 for at in range(7, 600, 10)}
    stalls = {at + more: length for at in range(6, 580, 32) for more, length in ((0.0, 3.0), (9.0, 7.0))}
    sender = Sender(600, 320, 0.6, steps=steps, told=False, stalls=stalls)
    assert lost_s(sender) == pytest.approx(sender_missing(sender), abs=0.3)
