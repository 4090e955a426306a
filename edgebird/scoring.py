"""From windows to their scores: in groups as large as the engine wants, and as many of them at once as it can use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from edgebird.card import floor_group
from edgebird.errors import AudioError, EdgebirdError, RuntimeUnavailableError, ScoreError
from edgebird.parity import check_finite
from edgebird.runtimes import Runtime
from edgebird.runtimes.contract import warm_up_windows
from edgebird.types import FloatArray, Gap, Window

S = TypeVar("S")

_MOST_ENDS = 16  # in a group whose last step is no window
_LONGEST = 300  # characters of what an engine says


@dataclass(frozen=True, slots=True, eq=False)
class Step(Generic[S]):
    """What comes next of a source: a window, later with its scores, float32 [classes]; a gap; or, with none, its end.

    source, name: whose it is, and what messages call that, empty if there is no other. error: what broke it off, at its
    end; of a window, why it has no scores.
    """

    source: S
    name: str
    window: Window | None = None
    scores: FloatArray | None = None
    error: AudioError | ScoreError | None = None
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
    waited for and used, the engine has the next, where it can take two (`Runtime.concurrency`). A window that cannot be
    scored has an error instead, and the others of its group lose nothing. Raises what `infer_each` raises.
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
    rows = iter(infer_each(runtime, windows, names) if windows else ())
    return [step if step.window is None else _with(step, next(rows)) for step in group]


def _with(step: Step[S], row: FloatArray | ScoreError) -> Step[S]:
    return replace(step, error=row) if isinstance(row, ScoreError) else replace(step, scores=row)


def infer_each(runtime: Runtime, windows: Sequence[Window], names: Sequence[str] = ()) -> list[FloatArray | ScoreError]:
    """Scores of each window, float32 [classes], or why it has none: one that cannot be scored costs no other.

    What fails together is tried again one by one, or in the groups that share a floor. Raises RuntimeUnavailableError
    if the engine is what fails: it scores none of them, and not even quiet noise.
    """
    size = floor_group(runtime.card.db_floor)
    rows = _rows(runtime, windows, names)
    if isinstance(rows, ScoreError) and len(windows) > size:
        pieces = [slice(start, start + size) for start in range(0, len(windows), size)]
        found = [(_rows(runtime, windows[piece], names[piece]), len(windows[piece])) for piece in pieces]
    else:
        found = [(rows, len(windows))]
    if all(isinstance(piece, ScoreError) for piece, _ in found):
        _require_working(runtime, size)
    return [row for piece, count in found for row in ([piece] * count if isinstance(piece, ScoreError) else piece)]


def _rows(runtime: Runtime, windows: Sequence[Window], names: Sequence[str]) -> list[FloatArray] | ScoreError:
    """Scores of windows; a ScoreError for whatever an engine raises."""
    try:
        return list(infer(runtime, windows, names))
    except ScoreError as error:
        return error
    except (Exception, SystemExit) as error:  # noqa: BLE001  engines raise what they like
        return _named(runtime, windows, names, error, range(len(windows)))


def _require_working(runtime: Runtime, size: int) -> None:
    """Raise RuntimeUnavailableError if not even quiet noise is scored, as many windows as share a floor."""
    (quiet,) = warm_up_windows((size,), runtime.card)
    try:
        _checked(runtime, quiet)
    except (Exception, SystemExit) as again:
        raise RuntimeUnavailableError(f"{runtime.name} scores nothing any more: {_reason(runtime, again)}") from again


def infer(runtime: Runtime, windows: Sequence[Window], names: Sequence[str] = ()) -> FloatArray:
    """Scores of windows, float32 [windows, classes]. names: of the source of each.

    Raises ScoreError saying which audio it was, for scores that are none; and what the engine raises.
    """
    try:
        return _checked(runtime, _batch(windows))
    except ScoreError as error:
        raise _named(runtime, windows, names, error, error.windows) from error


def _checked(runtime: Runtime, batch: FloatArray) -> FloatArray:
    scores, wanted = runtime.infer(batch), (len(batch), len(runtime.card.labels))
    if np.shape(scores) != wanted:
        raise ScoreError(f"the engine gave scores {list(np.shape(scores))}, wanted {list(wanted)}", range(len(batch)))
    check_finite(scores)
    return scores


def _named(
    runtime: Runtime, windows: Sequence[Window], names: Sequence[str], error: BaseException, at: Sequence[int]
) -> ScoreError:
    """What an engine said of the windows with these numbers, with the audio that it was."""
    name = names[at[0]] if names else ""
    bad = [windows[index] for index in at if not names or names[index] == name]
    rate, heard = runtime.card.sample_rate, f"{name}, audio" if name else "audio"
    span = f"{bad[0].start / rate:g}-{bad[-1].end / rate:g} s"
    return ScoreError(f"{runtime.name}, {heard} at {span}: {_reason(runtime, error)}", at)


def _reason(runtime: Runtime, error: BaseException) -> str:
    """One line."""
    text = str(error) if isinstance(error, EdgebirdError) else f"{type(error).__name__}: {error}"
    return " ".join(text.removeprefix(f"{runtime.name}: ").split())[:_LONGEST]


def _batch(windows: Sequence[Window]) -> FloatArray:
    """[windows, window_samples]; one alone is not copied."""
    return windows[0].samples[np.newaxis] if len(windows) == 1 else np.stack([window.samples for window in windows])
