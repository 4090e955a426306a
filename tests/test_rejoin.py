"""A stream that is opened again: what its server sends twice is heard once, and all else is heard."""

from __future__ import annotations

import numpy as np
import pytest

from edgebird.capture.wire import DATA, Message
from edgebird.live.rejoin import Joined, Rejoin, overlap
from edgebird.types import FloatArray

RATE = 16000


def noise(seconds: float, seed: int = 5) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


class Stream:
    """What a Rejoin is given: blocks of a tenth of a second, at their times."""

    def __init__(self, channels: int = 1) -> None:
        self.rejoin, self.channels = Rejoin(None), channels

    def hear(self, sound: FloatArray, until: float) -> None:
        """Hear sound, live, whose last sample sounds at `until`."""
        blocks = np.split(sound, range(RATE // 10, len(sound), RATE // 10))
        for index, block in enumerate(blocks, 1):
            self.rejoin.heard(block, RATE, until - (len(sound) - min(len(sound), index * RATE // 10)) / RATE)

    def open(self, sound: FloatArray, at: float, burst_s: float) -> list[Joined]:
        """Open it again at a moment: the burst comes within a fifth of a second, the rest as it sounds."""
        self.rejoin.opened(RATE, self.channels)
        size, joined = RATE // 10, []
        for end in range(size, len(sound) + 1, size):
            came = at + 0.2 * min(1.0, end / RATE / burst_s) + max(0.0, end / RATE - burst_s)
            payload = np.repeat(sound[end - size : end], self.channels).astype("<f4").tobytes()
            if found := self.rejoin.take(Message(DATA, payload, came, end - size)):
                joined.append(found)
        return joined


def samples(joined: list[Joined], channels: int = 1) -> FloatArray:
    payload = b"".join(message.payload for one in joined for message in one.messages)
    return np.frombuffer(payload, "<f4")[::channels]


@pytest.mark.parametrize("channels", [1, 2])
def test_what_a_server_sends_again_is_heard_once(channels: int) -> None:
    """An Icecast server keeps 64 KB: 4 s of 128 kbit/s. 1.5 s after the end of one connection it sends 2.5 s again."""
    sound = noise(20)
    stream = Stream(channels)
    stream.hear(sound[: 10 * RATE], until=110.0)
    joined = stream.open(sound[round(7.5 * RATE) :], at=111.5, burst_s=4.0)
    assert joined[0].after_s == 0.0
    np.testing.assert_array_equal(samples(joined, channels), sound[10 * RATE :])
    first = joined[0].messages[0]
    assert first.position == round(2.5 * RATE)
    assert first.time == pytest.approx(110.1, abs=0.35), "sound of a burst is older than its arrival"
    assert stream.rejoin.behind_s == pytest.approx(6.8, abs=0.2), "the next burst may bring as much"


def test_a_decoder_that_begins_in_the_middle_may_err_at_first() -> None:
    sound = noise(20)
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    again = sound[6 * RATE :].copy()
    again[: RATE // 10] = 0
    again += noise(14, seed=9) * 0.2  # and another encoder makes other noise
    joined = stream.open(again, at=110.4, burst_s=4.4)
    np.testing.assert_array_equal(samples(joined), again[4 * RATE :])


def test_a_burst_shorter_than_the_loss_begins_where_the_clock_says() -> None:
    """6 s away, 4 s of them are in the server's memory: 2 s are lost."""
    sound = noise(30)
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    joined = stream.open(sound[12 * RATE : 20 * RATE], at=116.0, burst_s=4.0)
    assert joined[0].after_s is None
    np.testing.assert_array_equal(samples(joined), sound[12 * RATE : 20 * RATE])
    assert joined[0].messages[0].time - 0.1 == pytest.approx(112.0, abs=0.25)


def test_other_sound_is_all_heard() -> None:
    """A server that begins a recording again, or another programme, at full speed."""
    stream = Stream()
    stream.hear(noise(10), until=110.0)
    other = noise(8, seed=7)
    joined = stream.open(other, at=110.5, burst_s=6.0)
    np.testing.assert_array_equal(samples(joined), other)


def test_a_short_overlap_is_found_too() -> None:
    sound = noise(20)
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    joined = stream.open(sound[round(9.8 * RATE) : 14 * RATE], at=111.0, burst_s=1.2)
    np.testing.assert_array_equal(samples(joined), sound[10 * RATE : 14 * RATE])


@pytest.mark.parametrize("tone", [0.0, 440.0])
def test_where_samples_say_nothing_the_clock_does(tone: float) -> None:
    """Digital silence, and a tone without an end, look alike everywhere."""
    sound = (0.3 * np.sin(2 * np.pi * tone * np.arange(20 * RATE) / RATE)).astype(np.float32)
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    joined = stream.open(sound[: 8 * RATE], at=111.0, burst_s=4.0)
    assert len(samples(joined)) / RATE == pytest.approx(5.0, abs=0.3)
    stream.hear(sound[: 10 * RATE], until=210.0)
    joined = stream.open(sound[: 8 * RATE], at=220.0, burst_s=4.0)
    assert len(samples(joined)) == 8 * RATE, "nothing of it can have been heard"


def test_a_place_that_is_known_needs_no_samples() -> None:
    """HLS has numbers for what it sends."""
    stream = Stream()
    stream.hear(noise(10), until=110.0)
    stream.rejoin.resumed(3.0)
    other = noise(8, seed=7)
    joined = stream.open(other, at=130.0, burst_s=6.0)
    assert joined[0].after_s == 3.0
    np.testing.assert_array_equal(samples(joined), other)


def test_a_known_place_is_kept_while_it_opens() -> None:
    """What a capture says comes before its format, and the format ends what was held back of another."""
    stream = Stream()
    stream.hear(noise(10), until=110.0)
    stream.rejoin.resumed(3.0)
    assert stream.rejoin.finish() is None
    assert stream.rejoin.behind_s > 3600, "no loss is told any more: it is known in a moment"
    assert stream.open(noise(1, seed=7), at=113.5, burst_s=0.5)[0].after_s == 3.0


def test_a_known_place_that_the_clock_does_not_confirm_waits_for_the_end_of_the_memory() -> None:
    """What comes at once may be old, and may be new after a pause of the sender: only then it is seen."""
    stream = Stream()
    stream.hear(noise(10), until=110.0)
    stream.rejoin.resumed(3.0)
    assert stream.open(noise(1, seed=7), at=130.0, burst_s=0.5) == []
    joined = stream.rejoin.ended()
    assert joined is not None
    assert (joined.after_s, joined.off_s) == (3.0, 1.0)
    assert joined.messages[0].time == pytest.approx(129.8, abs=0.2)


def test_what_was_all_heard_is_all_left_out() -> None:
    sound = noise(20)
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    stream.rejoin.opened(RATE, 1)
    for end in (8, 9, 10):
        payload = sound[(end - 1) * RATE : end * RATE].tobytes()
        assert stream.rejoin.take(Message(DATA, payload, 110.5, (end - 8) * RATE)) is None
    assert stream.rejoin.finish() == Joined([], 0.0, 1.0)
    joined = stream.rejoin.take(Message(DATA, sound[10 * RATE : 11 * RATE].tobytes(), 111.5, 3 * RATE))
    assert joined is not None
    assert joined.after_s == 0.0
    np.testing.assert_array_equal(samples([joined]), sound[10 * RATE : 11 * RATE])


def test_a_capture_that_ends_says_nothing_of_the_place_of_the_next() -> None:
    """A server that sends its memory and no more, and a capture that was given up before its first sound."""
    sound = noise(20)
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    stream.rejoin.opened(RATE, 1)
    assert stream.rejoin.take(Message(DATA, sound[8 * RATE : 10 * RATE].tobytes(), 110.5, 0)) is None
    assert stream.rejoin.ended() == Joined([], 0.0, 1.0)
    assert stream.rejoin.behind_s < 10, "the loss that goes on must be told"
    stream.rejoin.resumed(3.0)
    assert stream.rejoin.ended() is None
    assert stream.rejoin.behind_s < 10
    joined = stream.open(sound[8 * RATE : 16 * RATE], at=112.0, burst_s=4.0)
    np.testing.assert_array_equal(samples(joined), sound[10 * RATE : 16 * RATE])


def test_the_first_opening_is_not_held_back() -> None:
    stream = Stream()
    joined = stream.open(noise(2), at=100.0, burst_s=1.0)
    assert len(joined) == 20


def test_another_rate_is_not_compared() -> None:
    stream = Stream()
    stream.rejoin.heard(noise(2), 2 * RATE, 110.0)
    other = noise(3)
    joined = stream.open(other, at=120.0, burst_s=0.5)
    np.testing.assert_array_equal(samples(joined), other)


def test_what_is_no_sound_does_no_harm() -> None:
    sound = noise(20)
    sound[9 * RATE] = np.nan
    sound[9 * RATE + 5] = 1e30
    stream = Stream()
    stream.hear(sound[: 10 * RATE], until=110.0)
    joined = stream.open(sound[7 * RATE :], at=111.0, burst_s=4.0)
    np.testing.assert_array_equal(samples(joined), sound[10 * RATE :])


def test_an_overlap_of_repeated_sound_is_where_the_clock_says() -> None:
    """A recording that is played in a loop is the same every three seconds."""
    loop = np.tile(noise(3), 8)
    assert overlap(loop[: 9 * RATE], loop[2 * RATE : 9 * RATE], RATE, expected=4.1 * RATE) == 4 * RATE
