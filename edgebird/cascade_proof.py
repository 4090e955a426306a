"""The bound of a cascade, proven again where it runs: on recordings that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgebird.bundle import Bundle
from edgebird.cascade import Bound, CascadeUse, JudgedWindows
from edgebird.errors import AudioError, BundleError, RuntimeUnavailableError
from edgebird.kept import kept_of, windows_apart
from edgebird.parity import prove
from edgebird.runtimes import RuntimeOptions
from edgebird.runtimes.cascade import CascadeRuntime, open_runtime
from edgebird.sources import FoundAudio, find_audio


def prove_cascade(
    bundle: Bundle,
    paths: Sequence[Path],
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Iterator[tuple[str, str, Bound]]:
    """Score windows of recordings, and of folders of them, in full and by stages: precision, engine and what is kept.

    Windows do not overlap. precision: None for all that the cascade has. tell: takes what cannot be read, and what
    cannot run here. Raises BundleError without a cascade, AudioError if no window can be read, ParityError if the
    stages do not score as the original network, RuntimeUnavailableError if nothing can run here.
    """
    found, errors = find_audio(paths)
    if not found:
        raise errors[0]
    for error in errors:
        tell(str(error))
    if bundle.card.cascade is None:
        raise BundleError(f"{bundle.path}: this bundle has no cascade: export it with --cascade")
    proven, refused = False, ""
    for name in [precision] if precision else bundle.card.cascade.stages:
        try:
            engine = open_runtime(bundle, runtime, RuntimeOptions(name, threads, cascade=CascadeUse(1.0)), tell)
        except RuntimeUnavailableError as reason:
            if precision:
                raise
            refused = f"{name}: {reason}"
            tell(refused)
            continue
        proven = True
        try:
            prove(engine.in_full, bundle.golden(), (1,), bundle.card.tolerance(name)).require(
                f"{engine.name}: the stages of {name} do not score as the original network"
            )
            yield name, engine.name, _kept(engine, found, bundle.card.cascade.threshold, tell)
        finally:
            engine.close()
    if not proven:
        raise RuntimeUnavailableError(refused)


def _kept(engine: CascadeRuntime, found: Sequence[FoundAudio], threshold: float, tell: Callable[[str], None]) -> Bound:
    card = engine.card
    scores, stages, recordings, spans = [], [], [], []
    for number, audio in enumerate(found):
        try:
            for window in windows_apart(audio.path, card.sample_rate, card.window_samples):
                row, stage = engine.judge(window.samples[np.newaxis])
                scores.append(row[0])
                stages.append(stage[0])
                recordings.append(number)
                spans.append((window.start, window.end))
        except AudioError as error:
            tell(str(error))
    if not scores:
        raise AudioError(f"nothing to prove a cascade with: no window can be heard of {len(found)} recordings")
    judged = JudgedWindows(np.stack(scores), np.array(stages), np.array(recordings))
    return kept_of(judged, np.array(spans, np.int64), threshold, card.sample_rate)
