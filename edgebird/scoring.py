"""From windows to their scores: in groups as large as the engine wants, and as many of them at once as it can use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from edgebird.card import floor_group
from edgebird.errors import AudioError, ScoreError
from edgebird.runtimes import Runtime
from edgebird.types import FloatArray, Gap, Window

S = TypeVar("S")

_MOST_ENDS = 16  # in a group whose last step is no window


@dataclass(frozen=True, slots=True, eq=False)
class Step(Generic[S]):
    """What comes next of a source: a window, later with its scores, float32 [classes]; a gap; or, with none, its end.

    source, name: whose it is, and what messages call that, empty if there is no other. error: what broke it off, at its
    end.
    """

    source: S
    name: str
    window: Window | None = None
    scores: FloatArray | None = None
    error: AudioError | None = None
    gap: Gap | None = None

    @property
    def is_end(self) -> bool:
        """Whether the source is over."""
        return self.window is None and self.gap is None


def source_steps(source: S, windows: Iterable[Window | Gap], name: str = "") -> Iterator[Step[S]]:
    """The steps of one source, its end last: what was read before damage is scored, and then comes the error."""
    try:
        for found in windows:
            yield Step(source, name, gap=found) if isinstance(found, Gap) else Step(source, name, found)
    except AudioError as error:
        yield Step(source, name, error=error)
    else:
        yield Step(source, name)


def score_steps(steps: Iterable[Step[S]], runtime: Runtime) -> Generator[Step[S], None, None]:
    """The steps of sources, one source after the other, in their order and with scores.

    A group may hold the windows of several sources, unless windows share a floor. While the results of one group are
    waited for and used, the engine has the next, where it can take two (`Runtime.concurrency`). Raises what `infer`
    raises.
    """
    groups = _grouped(steps, runtime)
    if runtime.concurrency == 1:
        for group in groups:
            yield from _score(group, runtime)
        return
    with ThreadPoolExecutor(runtime.concurrency, "edgebird-scoring") as pool:
        pending: deque[Future[list[Step[S]]]] = deque()
        try:
            for group in groups:
                pending.append(pool.submit(_score, group, runtime))
                if len(pending) == runtime.concurrency:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _grouped(steps: Iterable[Step[S]], runtime: Runtime) -> Iterator[list[Step[S]]]:
    """Groups with as many windows as the runtime wants, fewer at the end.

    The end of a source is in the group of its last window, so that it waits for no other; and where sources have no
    windows, their ends do not pile up.
    """
    alone = floor_group(runtime.card.db_floor) > 1
    group: list[Step[S]] = []
    windows = 0
    for step in steps:
        is_window = step.window is not None
        ends = len(group) - windows
        full = windows == runtime.batch_size if is_window else ends >= _MOST_ENDS and group[-1].window is None
        if full:
            yield group
            group, windows = [], 0
        group.append(step)
        windows += is_window
        if alone and step.is_end:
            yield group
            group, windows = [], 0
    if group:
        yield group


def _score(group: Sequence[Step[S]], runtime: Runtime) -> list[Step[S]]:
    windows = [step.window for step in group if step.window is not None]
    names = [step.name for step in group if step.window is not None]
    rows = iter(infer(runtime, windows, names) if windows else ())
    return [step if step.window is None else replace(step, scores=next(rows)) for step in group]


def infer(runtime: Runtime, windows: Sequence[Window], names: Sequence[str] = ()) -> FloatArray:
    """Scores of windows, float32 [windows, classes]. names: of the source of each.

    Raises ScoreError saying which audio it was.
    """
    try:
        return runtime.infer(_batch(windows))
    except ScoreError as error:
        name = names[error.windows[0]] if names else ""
        bad = [windows[index] for index in error.windows if not names or names[index] == name]
        rate, heard = runtime.card.sample_rate, f"{name}, audio" if name else "audio"
        span = f"{bad[0].start / rate:g}-{bad[-1].end / rate:g} s"
        raise ScoreError(f"{runtime.name}, {heard} at {span}: {error}", error.windows) from error


def _batch(windows: Sequence[Window]) -> FloatArray:
    """[windows, window_samples]; one alone is not copied."""
    return windows[0].samples[np.newaxis] if len(windows) == 1 else np.stack([window.samples for window in windows])
