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


def history(capacity: int) -> History:
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
