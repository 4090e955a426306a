"""Pooling: the scores of consecutive windows become detections.

A song is a label's windows at or above its threshold that overlap or touch. It becomes one detection, or several
pieces where it is longer than `max_samples`; a piece is confirmed as soon as the song is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ScoreError
from edgebird.types import Detection, FloatArray, Rejected, Window

RARE_HERE = "rare_here"
LONGEST_S = 60.0  # a longer detection comes in pieces


@dataclass(frozen=True, slots=True)
class Onset:
    """The moment a song is confirmed: its streak has just reached `min_windows`.

    candidate: what is known of it so far. Comes once a song, before its Detection; live listening reports it.
    """

    candidate: Detection


@dataclass(frozen=True, slots=True, eq=False)
class Confirmation:
    """What each label needs beside its streak at the threshold: a streak at a firmer one.

    thresholds: float32 [classes]. windows: the streak at them, int [classes]. detail: what is told of a candidate
    without that.
    """

    thresholds: FloatArray
    windows: NDArray[np.int_]
    detail: Callable[[int], Mapping[str, Any]]


Pooled: TypeAlias = Detection | Rejected | Onset


@dataclass(slots=True)
class _Run:
    """The piece of a label's song that is not reported yet; no windows in it right after the piece before was cut.

    position: of its last window, in the Pooler's count. current: the streak that may still grow.
    streak: the longest so far. firm_current, firm: the same at the firmer threshold. All count across cuts: the second
    minute of a song is as confirmed as its first. told: whether an onset is told.
    """

    start: int = 0
    end: int = 0
    score: float = 0.0
    windows: int = 0
    position: int = 0
    current: int = 0
    streak: int = 0
    firm_current: int = 0
    firm: int = 0
    told: bool = False

    def add(self, window: Window, score: float, position: int, is_firm: bool) -> None:
        if self.windows == 0:
            self.start, self.score = window.start, score
        self.end = window.end
        self.score = max(self.score, score)
        self.windows += 1
        follows = position == self.position + 1
        self.current = self.current + 1 if follows else 1
        self.firm_current = (self.firm_current + 1 if follows else 1) if is_firm else 0
        self.streak, self.firm = max(self.streak, self.current), max(self.firm, self.firm_current)
        self.position = position

    def detection(self, label: int) -> Detection:
        return Detection(label, self.score, self.start, self.end, self.windows, self.streak)


class Pooler:
    """Turns the scores of one source's windows, pushed in order of time, into detections.

    thresholds: float32 [classes]. min_windows: the streak that confirms a song, at least 1.
    max_samples: a piece this long is reported without waiting for the end of its song.
    allowed: bool [classes], False for labels outside the species list; None allows all.
    confirmation: what labels need besides.
    """

    def __init__(
        self,
        thresholds: FloatArray,
        min_windows: int,
        max_samples: int,
        allowed: NDArray[np.bool_] | None = None,
        confirmation: Confirmation | None = None,
    ) -> None:
        self._max_samples = max_samples
        self.change(thresholds, min_windows, allowed, confirmation)
        self._runs: dict[int, _Run] = {}
        self._position = 0
        self._expected: int | None = None

    def push(self, window: Window, scores: FloatArray, next_start: int) -> list[Pooled]:
        """Take in the scores [classes] of the next window; return what became certain with it.

        next_start: where the window after it starts, unless audio is lost before that.
        The results are ordered by start, then label; an Onset comes before the Detection of the same piece.
        Raises ScoreError if a score is not finite.
        """
        _require_finite(scores, window)
        # A window that does not start where it was expected comes after lost audio: it is no neighbour of the last.
        self._position += 1 if window.start == self._expected else 2
        self._expected = next_start
        results = self._close(before=window.start)
        for label in np.flatnonzero(scores >= self._thresholds).tolist():
            results += self._add(label, window, float(scores[label]))
        results += self._close(before=next_start)
        return sorted(results, key=_order)

    def skip(self, to: int) -> list[Pooled]:
        """Report what is over because the audio before `to` was lost, and all windows before that are pushed."""
        return sorted(self._close(before=to), key=_order)

    def change(
        self,
        thresholds: FloatArray,
        min_windows: int,
        allowed: NDArray[np.bool_] | None,
        confirmation: Confirmation | None = None,
    ) -> None:
        """Judge by other settings from the next window on."""
        self._thresholds, self._min_windows, self._confirmation = thresholds, min_windows, confirmation
        self._allowed = np.ones(len(thresholds), dtype=np.bool_) if allowed is None else allowed

    def finish(self) -> list[Pooled]:
        """Report what is still open; the source has ended."""
        return sorted(self._close(before=math.inf), key=_order)

    def _add(self, label: int, window: Window, score: float) -> list[Pooled]:
        run = self._runs.setdefault(label, _Run())
        firmly = self._confirmation
        run.add(window, score, self._position, firmly is None or score >= firmly.thresholds[label])
        results: list[Pooled] = []
        if not run.told and self._refusal(label, run) is None:
            run.told = True
            results.append(Onset(run.detection(label)))
        if run.end - run.start >= self._max_samples:
            results.append(self._verdict(label, run))
            run.windows = 0  # the run stays: the song may go on, and then keeps its streak
        return results

    def _close(self, before: float) -> list[Pooled]:
        """End the songs that no window starting at `before` or later can touch."""
        ended = [label for label, run in self._runs.items() if run.end < before]
        runs = [(label, self._runs.pop(label)) for label in ended]
        return [self._verdict(label, run) for label, run in runs if run.windows]

    def _verdict(self, label: int, run: _Run) -> Pooled:
        candidate, reason = run.detection(label), self._refusal(label, run)
        if reason is None:
            return candidate
        detail = self._confirmation.detail(label) if self._confirmation and reason == RARE_HERE else {}
        return Rejected(candidate, reason, detail)

    def _refusal(self, label: int, run: _Run) -> str | None:
        """Why a song is not believed so far."""
        if not self._allowed[label]:
            return "not_in_species_list"
        if run.streak < self._min_windows:
            return "below_min_windows"
        if self._confirmation and run.firm < self._confirmation.windows[label]:
            return RARE_HERE
        return None


def _require_finite(scores: FloatArray, window: Window) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise ScoreError(
            f"{len(bad)} of {len(scores)} scores are not finite in the window at sample {window.start}, "
            f"first label {bad[0]} ({scores[bad[0]]}): run `edgebird verify`, or use another precision or runtime"
        )


def _order(result: Pooled) -> tuple[int, int]:
    candidate = result if isinstance(result, Detection) else result.candidate
    return candidate.start, candidate.label
