"""What a source remembers: the last of its sound, also while another thread reads it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebird.live.history import History
from edgebird.types import AudioBlock, Origin

RATE = 8000


def history(capacity: int = 10) -> History:
    return History(Origin("mic"), RATE, capacity)


def numbered(start: int, end: int) -> AudioBlock:
    """Every sample says where it is, modulo 2**15."""
    return AudioBlock((np.arange(start, end) % 2**15 / np.float32(2**15)).astype(np.float32), start)


@pytest.mark.parametrize("size", [1, 7, 100, 101, 250])
def test_the_last_samples_are_held_however_they_come(size: int) -> None:
    memory = history(100)
    for start in range(0, 1000, size):
        memory.push(numbered(start, start + size))
    assert memory.oldest == memory.newest - 100
    heard = memory.read(memory.oldest - 5, memory.newest + 5)
    assert heard[:5].tolist() == heard[-5:].tolist() == [0.0] * 5
    assert (heard[5:-5] * 2**15).astype(int).tolist() == list(range(memory.oldest, memory.newest))


def test_what_was_lost_is_silence() -> None:
    memory = history(100)
    memory.push(numbered(0, 50))
    memory.push(numbered(70, 80))
    assert not memory.read(50, 70).any()
    memory.skip(1000)
    assert (memory.oldest, memory.newest) == (900, 1000)
    assert not memory.read(0, 1000).any()


def test_who_reads_while_it_is_filled_gets_the_sound_or_zeros_and_never_other_sound() -> None:
    """A clip that is late is cut by the thread of the sinks, at the edge of what is forgotten."""
    memory, ended, wrong = history(4000), threading.Event(), list[int]()

    def read() -> None:
        while not ended.is_set():
            start = memory.oldest
            end = memory.newest
            heard = (memory.read(start, end) * 2**15).astype(int)
            expected = np.arange(start, end) % 2**15
            wrong.append(int(((heard != expected) & (heard != 0)).sum()))

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(0, 4_000_000, 800):
        memory.push(numbered(start, start + 800))
    ended.set()
    reader.join()
    assert len(wrong) > 10
    assert sum(wrong) == 0


@given(st.lists(st.tuples(st.integers(1, 70), st.integers(0, 30)), max_size=20))
def test_history_keeps_the_last_samples_in_their_places(blocks: list[tuple[int, int]]) -> None:
    memory, whole = History(Origin("mic"), 10, 100), np.zeros(0)
    for size, hole in blocks:
        samples = np.arange(1, size + 1, dtype=np.float32) / 32768
        memory.push(AudioBlock(samples, len(whole) + hole))
        whole = np.concatenate([whole, np.zeros(hole), samples])
    assert memory.newest == len(whole)
    expected = np.concatenate([np.zeros(50), whole[max(0, len(whole) - 100) :], np.zeros(7)])
    assert np.array_equal(memory.read(memory.oldest - 50, memory.newest + 7), expected)


def test_what_lies_between_blocks_is_silence_and_keeps_its_length() -> None:
    """A clip across a gap would be shorter than its times say, and what comes after it too early."""
    memory = history()
    memory.push(AudioBlock(np.full(2, 0.5, np.float32), 0))
    memory.push(AudioBlock(np.full(2, 0.25, np.float32), 5))
    assert memory.read(0, 7).tolist() == [0.5, 0.5, 0, 0, 0, 0.25, 0.25]
    memory.skip(9)
    assert (memory.oldest, memory.newest) == (0, 9)
    assert memory.read(5, 10).tolist() == [0.25, 0.25, 0, 0, 0]


def test_a_loss_longer_than_the_memory_leaves_nothing_of_before() -> None:
    """After a night without power, yesterday's birds must not be in this morning's clip."""
    memory = history()
    memory.push(AudioBlock(np.full(10, 0.5, np.float32), 0))
    memory.skip(10_000_000_000)
    assert (memory.oldest, memory.newest) == (9_999_999_990, 10_000_000_000)
    assert not memory.read(memory.oldest, memory.newest).any()


def test_a_skip_to_what_was_heard_already_takes_nothing_back() -> None:
    memory = history()
    memory.push(AudioBlock(np.full(4, 0.5, np.float32), 0))
    memory.skip(2)
    assert memory.newest == 4
    assert memory.read(0, 4).tolist() == [0.5] * 4


def test_sound_beyond_full_scale_is_cut_off_and_does_not_wrap_round() -> None:
    """1.5 in 16 bit would be -0.5: a crack in the clip."""
    memory = history()
    memory.push(AudioBlock(np.array([1.5, -1.5, 1.0, -1.0, 1e-9], np.float32), 0))
    assert memory.read(0, 5).tolist() == [32767 / 32768, -1.0, 32767 / 32768, -1.0, 0.0]


def test_a_block_longer_than_the_memory_leaves_its_end() -> None:
    memory, samples = history(3), np.arange(8, dtype=np.float32) / 32768
    memory.push(AudioBlock(samples, 0))
    assert memory.oldest == 5
    np.testing.assert_array_equal(memory.read(0, 8), [0, 0, 0, 0, 0, *samples[5:]])
    assert samples[3] == np.float32(3 / 32768), "the caller's block was changed"


def test_what_is_read_belongs_to_the_reader() -> None:
    memory = history()
    memory.push(AudioBlock(np.full(4, 0.5, np.float32), 0))
    memory.read(0, 4)[:] = 0
    assert memory.read(0, 4).tolist() == [0.5] * 4
    assert len(memory.read(4, 2)) == 0
