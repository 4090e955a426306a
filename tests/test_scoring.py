"""Scoring: short recordings share the engine's groups, two groups run at once, and nobody hears the difference."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from edgebird.card import Card
from edgebird.errors import AudioError, BundleError, RuntimeUnavailableError
from edgebird.parity import check_finite
from edgebird.scoring import Step, score_steps, source_steps
from edgebird.types import FloatArray, Window
from tests.foreign import tone_card

SAMPLES = 4


class Ear:
    """A runtime whose first score is the first sample of a window. heard: the sizes of its batches."""

    name, provider, batch_size = "ear", "a test", 3

    def __init__(self, concurrency: int = 1, db_floor: str = "window") -> None:
        self.card: Card = replace(tone_card(8000, "batch"), window_samples=SAMPLES, db_floor=db_floor)
        self.concurrency = concurrency
        self.heard: list[int] = []

    def infer(self, windows: FloatArray) -> FloatArray:
        self.heard.append(len(windows))
        scores = np.repeat(windows[:, :1], 3, axis=1)
        check_finite(scores)
        return scores

    def close(self) -> None: ...


def windows(*values: float) -> list[Window]:
    """One for each value, side by side; each says its value."""
    return [
        Window(np.full(SAMPLES, value, np.float32), index * 8000, (index + 1) * 8000)
        for index, value in enumerate(values)
    ]


def many(sizes: Sequence[int]) -> Iterator[Step[str]]:
    """Sources a, b, ... of so many windows; the windows of all count on."""
    count = 0
    for name, size in zip("abcdefgh", sizes, strict=False):
        yield from source_steps(name, windows(*range(count, count + size)), name)
        count += size


def told(steps: Iterator[Step[str]]) -> list[tuple[str, float | None]]:
    return [(step.source, None if step.scores is None else float(step.scores[0])) for step in steps]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_every_window_has_its_own_score_and_every_source_its_end(concurrency: int) -> None:
    sizes = (1, 4, 0, 2, 1)
    wanted = [(step.source, step.window and float(step.window.samples[0])) for step in many(sizes)]
    ear = Ear(concurrency)
    assert told(score_steps(many(sizes), ear)) == wanted
    assert sorted(ear.heard) == [2, 3, 3]  # eight windows of four recordings


def test_a_source_ends_with_its_last_window() -> None:
    """Its file is written before the engine goes on, and may fail."""
    ear = Ear()
    steps = score_steps(many((3, 3)), ear)
    assert [step.window is None for step in islice(steps, 4)] == [False, False, False, True]
    assert ear.heard == [3]


def test_windows_that_share_a_floor_share_it_with_no_other_recording() -> None:
    """Scores would depend on which recordings are given together."""
    ear = Ear(db_floor="batch")
    told(score_steps(many((1, 4, 2)), ear))
    assert ear.heard == [1, 3, 1, 2]


def test_the_engine_has_the_next_group_before_the_last_is_done() -> None:
    """Or a core is idle at the end of every group."""

    class Slow(Ear):
        both = threading.Barrier(2)

        def infer(self, windows: FloatArray) -> FloatArray:
            self.both.wait(10)  # raises if the other does not come
            time.sleep(0.05 * (windows[0, 0] == 0))  # the first is through last
            return super().infer(windows)

    assert [score for _, score in told(score_steps(many((6,)), Slow(concurrency=2)))] == [0, 1, 2, 3, 4, 5, None]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_was_read_before_damage_is_scored_and_then_comes_the_error(concurrency: int) -> None:
    """Half a recording is heard to its last window, and the next recording is heard too."""

    def damaged() -> Iterator[Window]:
        yield from windows(0.1, 0.2)
        raise AudioError("damaged")

    steps = [*source_steps("a", damaged(), "a"), *source_steps("b", windows(0.3), "b")]
    found = list(score_steps(steps, Ear(concurrency)))
    assert [str(step.error) for step in found if step.error] == ["damaged"]
    assert [step.scores is not None for step in found] == [True, True, False, True, False]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_score_that_is_not_finite_names_the_recording_and_the_second_and_costs_no_other_window(
    concurrency: int,
) -> None:
    """Of several that are scored together, the one to listen to."""
    steps = [Step(None, "a.wav", window) for window in windows(0.5, 0.5, 0.5, 0.5)]
    steps += [Step(None, "b.wav", window) for window in windows(0.1, float("nan"), 0.2)]
    found = list(score_steps(steps, Ear(concurrency)))
    assert [str(step.error) for step in found if step.error] == [
        "ear, b.wav, audio at 1-2 s: 3 of 3 scores are not finite (first: window 0, label 0, nan): "
        "this engine cannot be trusted with this model"
    ]
    assert [step.scores is None for step in found] == [False] * 5 + [True, False]


class Raises(Ear):
    """Raises what engines raise where a window says so, or from some call on whatever it is given."""

    def __init__(self, error: Exception, good_calls: int = 100) -> None:
        super().__init__()
        self.error, self.good_calls = error, good_calls

    def infer(self, windows: FloatArray) -> FloatArray:
        if (windows == 7).any() or len(self.heard) >= self.good_calls:
            raise self.error
        return super().infer(windows)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeUnavailableError("ear: the engine failed: INVALID_ARGUMENT"), "the engine failed: INVALID_ARGUMENT"),
        (BundleError("the model gave [1, 2]"), "the model gave [1, 2]"),
        (RuntimeError("std::bad_alloc\n  in Conv"), "RuntimeError: std::bad_alloc in Conv"),
        (MemoryError(), "MemoryError:"),
    ],
)
def test_whatever_an_engine_raises_for_a_window_costs_that_window(error: Exception, told: str) -> None:
    steps = source_steps("a", windows(1, 7, 2, 7), "a.wav")
    found = list(score_steps(steps, Raises(error)))
    assert [step.scores is not None for step in found] == [True, False, True, False, False]
    assert [str(step.error) for step in found if step.error] == [
        f"ear, a.wav, audio at 1-2 s: {told}", f"ear, a.wav, audio at 3-4 s: {told}"
    ]  # fmt: skip


def test_an_engine_that_fails_for_good_is_no_fault_of_the_recordings() -> None:
    found: list[Step[str]] = []
    with pytest.raises(RuntimeUnavailableError, match=r"^ear scores nothing any more: CUDA failure 700$"):
        found.extend(score_steps(many((3, 3)), Raises(RuntimeUnavailableError("ear: CUDA failure 700"), good_calls=1)))
    assert len(found) == 4


def test_what_has_no_window_waits_for_none() -> None:
    """A folder of clips that are too short would lie in memory, and nothing be told."""
    ends = iter([Step("short", "")] * 1000)
    next(score_steps(ends, Ear()))
    assert len(list(ends)) > 950


def test_a_source_ends_with_its_last_window_also_after_many_without_one() -> None:
    ear = Ear()
    steps = score_steps([*[Step("short", "")] * 18, *many((1, 5))], ear)
    assert [step.window is None for step in islice(steps, 20)] == [True] * 18 + [False, True]
    assert ear.heard == [3]  # of b no more than what is in the group of a


def test_giving_up_leaves_nothing_running() -> None:
    """Ctrl-C, a full disk: whoever reads the results stops."""
    steps = score_steps(many((8, 8, 8)), Ear(concurrency=2))
    next(steps)
    steps.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgebird-scoring")]
