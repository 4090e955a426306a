"""Do a lower precision's detections agree with those in FP32? On a user's own recordings, from audio to detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.detection import Analysis, Scored, Settings, analyse, settings_for
from edgebird.errors import AudioError, BundleError, RuntimeUnavailableError
from edgebird.kept import matches
from edgebird.parity import BF16_OF
from edgebird.prefetch import prefetch
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.sources import FileSource, find_audio
from edgebird.types import Detection, Gap, Window

THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))
_SILENCE = np.empty(0, np.float32)

_Scores = list["Scored | Gap"]  # of one recording, the samples of its windows forgotten


@dataclass(frozen=True, slots=True)
class Agreement:
    """Detections of a precision and those in FP32, at one threshold, over all recordings.

    fp32: how many there are in FP32. kept: of these, also in the lower precision, with the same label and an overlap of
    half of the longer one or more. lost: the others. new: those of the lower precision alone.
    """

    precision: str
    runtime: str
    threshold: float
    fp32: int
    kept: int
    lost: int
    new: int

    def to_json(self) -> dict[str, Any]:
        """As `edgebird verify --json` prints it."""
        return asdict(self)


def agreements(
    bundle: Bundle,
    paths: Sequence[Path],
    runtime: str = "auto",
    precisions: Sequence[str] = (),
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Iterator[Agreement]:
    """Detect in recordings, and folders of them, in FP32 and in each lower precision; compare at THRESHOLDS.

    precisions: none for those of the bundle, and those that are made of them here. tell: takes the length of the
    recordings, what cannot be read, and what cannot run here. Raises AudioError if no window can be read,
    RuntimeUnavailableError if FP32, or a precision that was asked for, cannot run.
    """
    found, errors = find_audio(paths)
    if not found:
        raise errors[0]
    for error in errors:
        tell(str(error))
    files = [audio.path for audio in found]
    reference, _ = _scored(bundle, files, runtime, RuntimeOptions("fp32", threads), tell)
    rate = bundle.card.sample_rate
    heard = sum(max((its.window.end for its in scores if isinstance(its, Scored)), default=0) for scores in reference)
    if not heard:
        raise AudioError(f"nothing to compare: no window can be heard of {len(files)} recordings")
    tell(f"compared on {heard / rate / 60:.1f} minutes of {len(files)} recordings")
    wanted = {threshold: _detections(bundle, reference, threshold) for threshold in THRESHOLDS}
    for precision in precisions or _lower(bundle):
        try:
            scores, name = _scored(bundle, files, runtime, RuntimeOptions(precision, threads), lambda _line: None)
        except (RuntimeUnavailableError, BundleError) as reason:  # this machine, or this engine, does not make it
            if precisions:
                raise
            tell(f"{precision}: {reason}")
            continue
        for threshold, theirs in wanted.items():
            kept, new = matches(theirs, _detections(bundle, scores, threshold))
            count = sum(map(len, theirs))
            yield Agreement(precision, name, threshold, count, kept, count - kept, new)


def _lower(bundle: Bundle) -> list[str]:
    """Every precision but FP32 that may be computed of the bundle."""
    graphs: Mapping[str, Any] = bundle.card.precisions
    made = [name for name, graph in BF16_OF.items() if graph in graphs and name not in graphs[graph].refuses]
    return [*(name for name in graphs if name != "fp32"), *made]


def _scored(
    bundle: Bundle, files: Iterable[Path], runtime: str, options: RuntimeOptions, tell: Callable[[str], None]
) -> tuple[list[_Scores], str]:
    """The scores of every window of every recording, and the engine's name."""
    engine = open_runtime(bundle, runtime, options, tell)
    try:
        return [_scores(path, engine, tell) for path in files], engine.name
    finally:
        engine.close()


def _scores(path: Path, engine: Runtime, tell: Callable[[str], None]) -> _Scores:
    """As far as the recording can be read."""
    kept: _Scores = []
    try:
        blocks = prefetch(FileSource(path, engine.card.sample_rate).blocks())
        for result in analyse(blocks, engine, settings_for(engine.card)):
            if isinstance(result, Scored):
                kept.append(Scored(Window(_SILENCE, result.window.start, result.window.end), result.scores))
            elif isinstance(result, Gap):
                kept.append(result)
    except AudioError as error:
        tell(str(error))
    return kept


def _detections(bundle: Bundle, recordings: Sequence[_Scores], threshold: float) -> list[list[Detection]]:
    settings = settings_for(bundle.card, threshold=threshold)
    return [
        [found for found in _pooled(bundle, scores, settings) if isinstance(found, Detection)] for scores in recordings
    ]


def _pooled(bundle: Bundle, scores: _Scores, settings: Settings) -> Iterator[object]:
    analysis = Analysis(bundle.card, settings)
    for its in scores:
        if isinstance(its, Gap):
            yield from analysis.skip(its.end)
        else:
            yield from analysis.take(its.window, its.scores)
    yield from analysis.close()
