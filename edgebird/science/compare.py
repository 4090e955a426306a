"""Results and truth side by side: of each species what was told and what was there, by window and by event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from edgebird.errors import LabelError
from edgebird.science.curves import ScoredEvidence
from edgebird.science.heard import HeardRecording, HeardResults
from edgebird.science.matching import Array, Rule, audible, in_windows, match, spans_of, window_scores, windows
from edgebird.science.species import SpeciesIndex
from edgebird.science.tables import Span
from edgebird.types import Label

WINDOW_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class ComparedTruth:
    """What is known of each species, by code.

    recordings: those that have a truth. hours [r]: how much of each was scored. has_events: detections were told, and
    not scores of windows only. events: by detection. windows: side by side, so long. lost: annotations that are wholly
    in gaps, and count nowhere. guessed: recordings of which nobody says how long they are.
    """

    recordings: Sequence[PurePath]
    hours: Array
    labels: Mapping[str, Label]
    has_events: bool
    events: Mapping[str, ScoredEvidence]
    windows: Mapping[str, ScoredEvidence]
    window_s: float
    lost: int
    guessed: int

    @property
    def annotated(self) -> bool:
        """Whether a bird is there at all; without one nothing can be found, and there are false alarms only."""
        return any(len(one.found) for by_code in (self.events, self.windows) for one in by_code.values())


@dataclass(frozen=True, slots=True)
class Comparing:
    """How. window_s: of windows; None for those of a submission, else 5 s. only: codes, None for all species."""

    rule: Rule
    window_s: float | None = None
    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """A recording, by code: what was told, with scores [n], what is there, windows [w, 2] and their scores [w]."""

    told: Mapping[str, tuple[Array, Array]]
    there: Mapping[str, Array]
    places: Array
    scores: Mapping[str, Array]
    hours: float
    lost: int


def compare(
    heard: HeardResults, truth: Mapping[PurePath, Sequence[Span]], species: SpeciesIndex, how: Comparing
) -> ComparedTruth:
    """Compare the recordings that have a truth; without a span in it nothing is heard there. Raises LabelError."""
    if not truth:
        raise LabelError("no table is of a recording of the results: their names have to be the same")
    window_s = how.window_s or _step(heard) or WINDOW_S
    columns = {number: code for number, name in enumerate(heard.columns) if (code := _code(name, species, how))}
    laid = [
        _lay(heard.recordings[path], (_by_code(heard.recordings[path].spans, species, how), columns),
             _by_code(spans, species, how), window_s)
        for path, spans in truth.items()
    ]  # fmt: skip
    unknown = [name for name in species.unknown if any(name == span.name for its in truth.values() for span in its)]
    if unknown and not any(one.there for one in laid):
        raise LabelError(f"no annotation is of a species of the results: {', '.join(unknown[:3])}")
    codes = sorted({code for one in laid for code in (*one.there, *one.told, *one.scores)})
    events = {} if heard.columns else {code: _events(code, laid, how.rule) for code in codes}
    by_window = {code: _windows(code, laid, how.rule.overlap_s) for code in codes}
    hours = np.array([one.hours for one in laid])
    guessed = sum(heard.recordings[path].length_s is None and not heard.columns for path in truth)
    lost = sum(one.lost for one in laid)
    has_events = not heard.columns
    return ComparedTruth(list(truth), hours, species.labels, has_events, events, by_window, window_s, lost, guessed)


def _step(heard: HeardResults) -> float | None:
    """How far apart the windows of a submission end."""
    steps = [step for one in heard.recordings.values() for step in np.diff(np.sort(one.ends_s)).tolist() if step > 0]
    return min(steps, default=None)


def _code(name: str, species: SpeciesIndex, how: Comparing) -> str | None:
    code = species.code(name)
    return code if code is not None and (how.only is None or code in how.only) else None


def _by_code(spans: Sequence[Span], species: SpeciesIndex, how: Comparing) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        if code := _code(span.name, species, how):
            found[code].append(span)
    return found


def _lay(
    recording: HeardRecording,
    heard: tuple[Mapping[str, list[Span]], Mapping[int, str]],
    there: Mapping[str, list[Span]],
    window_s: float,
) -> _Laid:
    """Lay out a recording. heard: its detections by code, and the codes of its columns by their number."""
    detections, columns = heard
    marked = {code: _edges(spans) for code, spans in there.items()}
    audibly = {code: audible(spans, recording.gaps) for code, spans in marked.items()}
    kept = {code: spans[audibly[code]] for code, spans in marked.items() if audibly[code].any()}
    lost = sum(int((~one).sum()) for one in audibly.values())
    if recording.ends_s:
        ends, scores = np.array(recording.ends_s), np.array(recording.scores, np.float64)
        places = np.stack([ends - window_s, ends], axis=1)
        by_code = {code: scores[:, number] for number, code in columns.items()}
        return _Laid({}, kept, places, by_code, len(ends) * window_s / 3600, lost)
    told = {
        code: (_edges(spans), np.array([span.score or 0.0 for span in spans])) for code, spans in detections.items()
    }
    last = max((span.end_s for spans in (*detections.values(), *there.values()) for span in spans), default=0.0)
    length = last if recording.length_s is None else recording.length_s
    scored = length - sum(end - start for start, end in recording.gaps)
    return _Laid(told, kept, windows(length, window_s, recording.gaps), {}, max(0.0, scored) / 3600, lost)


def _edges(spans: Sequence[Span]) -> Array:
    return spans_of([(span.start_s, span.end_s) for span in spans])


_NO_SPANS = spans_of(())
_NOT_TOLD = _NO_SPANS, np.empty(0)


def _events(code: str, laid: Sequence[_Laid], rule: Rule) -> ScoredEvidence:
    """Match detections and annotations of a species, recording by recording."""
    scores, right, found, of_told, of_there = [], [], [], [], []
    for number, one in enumerate(laid):
        (edges, its), annotations = one.told.get(code, _NOT_TOLD), one.there.get(code, _NO_SPANS)
        matched = match(edges, its, annotations, rule)
        scores.append(its)
        right.append(matched.right)
        found.append(matched.found)
        of_told.append(np.full(len(its), number))
        of_there.append(np.full(len(annotations), number))
    told = np.concatenate(scores), np.concatenate(right), np.concatenate(of_told)
    return ScoredEvidence(*told, np.concatenate(found), np.concatenate(of_there), by_window=False)


def _windows(code: str, laid: Sequence[_Laid], overlap_s: float) -> ScoredEvidence:
    scores, right, numbers = [], [], []
    for number, one in enumerate(laid):
        scores.append(
            one.scores[code]
            if code in one.scores
            else window_scores(one.places, *one.told.get(code, _NOT_TOLD), overlap_s=overlap_s)
        )
        right.append(in_windows(one.places, one.there.get(code, _NO_SPANS), overlap_s))
        numbers.append(np.full(len(one.places), number))
    return ScoredEvidence.of_windows(np.concatenate(scores), np.concatenate(right), np.concatenate(numbers))
