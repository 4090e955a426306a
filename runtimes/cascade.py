"""A bundle's cascade in an engine of the CPU: most windows end at a cheap stage, the others have the full model's
scores.

The stages are graphs of their own, cut from the model; each reads its weights from the model's file (docs/cascade.md).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgebird.bundle import Bundle
from edgebird.card import SCORES
from edgebird.cascade import FOLD, GATE, STOPPED, Cascade, CascadeUse, sure_of
from edgebird.drift import DriftStatus, DriftTest
from edgebird.errors import BundleError, RuntimeUnavailableError
from edgebird.machine import usable_cores
from edgebird.parity import BF16_OF, check_finite
from edgebird.runtimes import Runtime, RuntimeOptions, open_apart
from edgebird.runtimes.contract import (
    ParallelRuns,
    check_open,
    engine_errors,
    prepared,
    run_in_batches,
    warm_up,
    warm_up_windows,
)
from edgebird.runtimes.ort_session import first_line, session_of
from edgebird.runtimes.outputs import Score, to_scores
from edgebird.types import FloatArray

Part: TypeAlias = Callable[..., FloatArray]  # arrays [batch, ...] -> array [batch, ...]
ENGINES = ("ort-cpu", "openvino")
_EACH = 8  # windows for each stream: with one, those that are through with theirs would wait for a whole one


@dataclass(frozen=True, slots=True)
class StageChain:
    """The parts of one stream. gate, head: None where none is fitted yet. head, rest: None for a single fold."""

    front: Part
    gate: Part | None
    first: Part
    head: Part | None
    rest: Part | None


class Stages:
    """Takes windows from stage to stage: which end where, and what is scored in full all the same."""

    def __init__(self, cascade: Cascade, classes: int, audit: float) -> None:
        self._cascade, self._classes, self._audit = cascade, classes, audit

    def run(self, chain: StageChain, windows: FloatArray, in_full: bool = False) -> FloatArray:
        """[n, samples] -> [n, classes + 1]: the full model's scores, and the stage that would stop the window, 0 for
        none.

        in_full: score all. Where a stage did stop it, the scores are zeros, and the stage is negative.
        """
        assert chain.gate is not None
        image = chain.front(windows)
        passes = _passes(chain.gate(image), self._cascade.gate_least)
        always = np.ones(len(windows), np.bool_) if in_full else self._audited(windows)
        stages = np.where(passes, 0, GATE)
        at = np.flatnonzero(passes | always)
        scores = np.zeros((len(windows), self._classes), np.float32)
        if len(at):
            first = chain.first(image[at])
            if chain.rest is not None:
                check_finite(first)  # an engine may take what is not for a low score
                assert chain.head is not None
                assert self._cascade.head_least is not None
                heard = _passes(chain.head(first), self._cascade.head_least) | sure_of(first, self._cascade.threshold)
                stages[at] = np.where(~heard & (stages[at] == 0), FOLD, stages[at])
                further = heard | always[at]
                at, first = at[further], first[further]
            if len(at):
                scores[at] = first if chain.rest is None else chain.rest(windows[at], image[at], first)
        scored = np.isin(np.arange(len(windows)), at)
        told = np.where(scored, stages, -stages).astype(np.float32)
        return np.concatenate([scores, told[:, np.newaxis]], axis=1)

    def _audited(self, windows: FloatArray) -> NDArray[np.bool_]:
        """Which are scored in full in any case: by their sound, so that it is the same ones whenever it is heard."""
        if not self._audit:
            return np.zeros(len(windows), np.bool_)
        draws = [zlib.crc32(np.ascontiguousarray(window).data) / 2**32 for window in windows]
        return np.array(draws) < self._audit


def _passes(logits: FloatArray, least: float) -> NDArray[np.bool_]:
    """Which windows pass, of the logits [n, 1] of a judge."""
    check_finite(logits)  # one that is not would be a window without birds
    passes: NDArray[np.bool_] = logits[:, 0] >= least
    return passes


class CascadeRuntime:
    """See `Runtime`. Scores of a window that was stopped are `cascade.STOPPED`.

    chains: one for each stream. drift: takes what the windows tell.
    """

    def __init__(
        self, name: str, bundle: Bundle, chains: Sequence[StageChain], use: CascadeUse, fixed: int | None
    ) -> None:
        self.name, self.card = name, bundle.card
        assert bundle.card.cascade is not None
        self._cascade = bundle.card.cascade
        self.provider = f"{'OpenVINO CPU' if name == 'openvino' else 'CPUExecutionProvider'}, in a cascade"
        self.drift = DriftTest(use.audit, use.song_s)
        self._stages = Stages(self._cascade, len(bundle.card.labels), use.audit)
        self._chains, self._fixed = list(chains), fixed
        self.streams = (
            ParallelRuns([partial(self._stages.run, chain) for chain in chains], self.card, fixed)
            if len(chains) > 1
            else None
        )
        self.batch_size = _EACH * self.streams.batch_size if self.streams else 1
        self.concurrency = self.streams.concurrency if self.streams else 1

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        scores, stages = self._split(self._run(windows))
        for row, stage in enumerate(stages):
            if stage < 0:
                self.drift.take(-stage, None)
                scores[row] = STOPPED[-stage]
            else:
                self.drift.take(stage, np.flatnonzero(scores[row] >= self._cascade.threshold).tolist())
        return scores

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """See `Runtime`; there are none but the scores."""
        return {SCORES: self.infer(windows)}

    def judge(self, windows: FloatArray) -> tuple[FloatArray, NDArray[np.int_]]:
        """Scores in full, [batch, classes], and which stage would stop each window, [batch], 0 for none."""
        check_open(self.name, bool(self._chains))
        run = partial(self._stages.run, self._chains[0], in_full=True)
        return self._split(run_in_batches(run, prepared(windows, self.card), self.card, fixed=self._fixed))

    def in_full(self, windows: FloatArray) -> FloatArray:
        """Scores of the full model, [batch, classes], whatever a stage would stop."""
        return self.judge(windows)[0]

    def _run(self, windows: FloatArray) -> FloatArray:
        check_open(self.name, bool(self._chains))
        windows = prepared(windows, self.card)
        if self.streams:
            return self.streams.run(windows)
        return run_in_batches(partial(self._stages.run, self._chains[0]), windows, self.card, fixed=self._fixed)

    def _split(self, joined: FloatArray) -> tuple[FloatArray, NDArray[np.int_]]:
        scores = to_scores(joined[:, :-1], len(joined), self.card)
        return scores, joined[:, -1].astype(int)

    def close(self) -> None:
        """Free the sessions."""
        if self.streams:
            self.streams.close()
        self.streams = None
        self._chains.clear()


def in_full(runtime: Runtime) -> Score:
    """What scores all windows with the full model, also in a cascade: proofs are of that."""
    return runtime.in_full if isinstance(runtime, CascadeRuntime) else runtime.infer


def drift_of(runtime: Runtime) -> DriftStatus | None:
    """How the cascade of a runtime does, None where there is none."""
    return runtime.drift.status() if isinstance(runtime, CascadeRuntime) else None


def tell_cascade(runtime: Runtime, tell: Callable[[str], None]) -> None:
    """Say how many windows each stage has stopped, and whether as much is kept as was promised."""
    if status := drift_of(runtime):
        tell(status.told())


def open_runtime(
    bundle: Bundle, name: str, options: RuntimeOptions, tell: Callable[[str], None] = lambda _line: None
) -> CascadeRuntime:
    """Open the cascade of a bundle, warmed up; `auto` takes the first engine of a CPU that is installed.

    Raises BundleError where the bundle has none, or not at this precision.
    """
    assert options.cascade is not None
    files = _files(bundle, options.precision)
    if name not in (*ENGINES, "auto"):
        raise RuntimeUnavailableError(f"{name}: a cascade runs on CPUs: --runtime {' or '.join(ENGINES)}")
    if name == "ort-cpu" and options.precision in BF16_OF:
        raise RuntimeUnavailableError(f"ort-cpu does not make {options.precision}: --runtime openvino")
    if name != "auto":
        return _opened(bundle, name, options, files)
    reasons = []
    for candidate in _candidates(options.precision):
        try:
            runtime = _opened(bundle, candidate, options, files)
        except RuntimeUnavailableError as error:
            reasons.append(str(error))
            continue
        tell(f"runtime {candidate}, in a cascade")
        return runtime
    raise RuntimeUnavailableError("; ".join(reasons))


def _candidates(precision: str) -> Sequence[str]:
    if precision in BF16_OF:
        return ("openvino",)
    return ENGINES[::-1] if precision == "int8" else ENGINES


def _files(bundle: Bundle, precision: str) -> dict[str, Path]:
    """The graph of each part."""
    cascade = bundle.card.cascade
    if cascade is None:
        raise BundleError(f"{bundle.path}: this bundle has no cascade: export it with --cascade")
    if precision not in cascade.stages:
        have = ", ".join(cascade.stages)
        raise BundleError(f"{bundle.path}: its cascade has a bound at {have}, and none at {precision}")
    parts = {part: bundle.path / stage.file for part, stage in cascade.stages[precision].items()}
    if ("rest" in parts) != (cascade.head is not None):
        raise BundleError(f"{bundle.path}: its cascade has a rest without a head, or a head without a rest")
    judges = {"gate": cascade.gate, "head": cascade.head}
    return parts | {name: bundle.path / file.file for name, file in judges.items() if file}


def _opened(bundle: Bundle, name: str, options: RuntimeOptions, files: Mapping[str, Path]) -> CascadeRuntime:
    assert options.cascade is not None
    assert bundle.card.cascade is not None
    open_apart(bundle, name, options, *bundle.card.cascade.hashes().values())
    chains = open_chains(name, files, bundle, options)
    fixed = 1 if name == "openvino" else None
    runtime = CascadeRuntime(name, bundle, chains, options.cascade, fixed)
    try:
        warm_up(runtime, options)
        for windows in warm_up_windows((1,), bundle.card):
            runtime.in_full(windows)  # a stage that quiet noise does not reach is slow at first, too
    except BaseException:
        runtime.close()
        raise
    runtime.drift = DriftTest(options.cascade.audit, options.cascade.song_s)
    return runtime


def open_chains(name: str, files: Mapping[str, Path], bundle: Bundle, options: RuntimeOptions) -> list[StageChain]:
    """The parts of a cascade in an engine of ENGINES: with options.throughput for a stream on each core, else for one.

    files: part -> graph. Raises RuntimeUnavailableError.
    """
    streams = (options.threads or usable_cores()) if options.throughput else 1
    if name == "openvino":
        from edgebird.runtimes.ov_stages import open_stages

        each: list[Mapping[str, Part]] = [*open_stages(files, bundle, options, streams)]
    else:
        threads = 1 if streams > 1 else options.threads
        each = [{part: _ort_part(path, threads, not options.throughput) for part, path in files.items()}] * streams
    return [
        StageChain(parts["front"], parts.get("gate"), parts["first"], parts.get("head"), parts.get("rest"))
        for parts in each
    ]


def _ort_part(path: Path, threads: int | None, frugal: bool) -> Part:
    session = session_of(path, "ort-cpu", threads, frugal=frugal)
    names = [given.name for given in session.get_inputs()]

    def run(*arrays: FloatArray) -> FloatArray:
        with engine_errors("ort-cpu", "ONNX Runtime failed", first_line):
            found: FloatArray = session.run(None, dict(zip(names, arrays, strict=True)))[0]
        return found

    return run
