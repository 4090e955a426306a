"""What is measured: an engine with a model in it, opened once, proven at every batch size before it is timed."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgebird import parity
from edgebird.benchmarks import memory
from edgebird.benchmarks.baseline import BATCH, NAMES, name_of, open_baseline
from edgebird.bundle import Bundle
from edgebird.card import floor_group
from edgebird.cascade import AUDIT, CascadeUse
from edgebird.errors import (
    BundleError,
    EdgebirdError,
    ParityError,
    RuntimeUnavailableError,
    ScoreError,
)
from edgebird.parity import Parity
from edgebird.runtimes import AUTO, AUTO_BY_PRECISION, Runtime, RuntimeOptions, open_runtime, probe
from edgebird.runtimes.cascade import drift_of, in_full
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure: every runtime with every precision, then the TorchScript files of the original as one.

    throughput: opened as `detect` does, else as `listen` does; see `RuntimeOptions`. baseline_device: of PyTorch, `cpu`
    or `cuda`. cascade: each engine with the bundle's cascade too, in turns with it in full.
    """

    runtimes: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] = ("fp32",)
    threads: int | None = None
    baseline: tuple[Path, ...] = ()
    throughput: bool = False
    baseline_device: str = "cpu"
    cascade: bool = False


@dataclass(slots=True, eq=False)
class Subject:
    """An open engine.

    opening: what it took, as in the report: import_ms to import the engine and see it run anything at all (once a
    process), load_ms until the model was open, first_ms for its first inference after that, of first_windows windows,
    memory_mb before the import and at most until then. wrong: why it has no figure, "" while
    nothing is wrong with it. proofs: by batch size.
    """

    runtime: Runtime
    precision: str
    threads: int | None
    opening: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""
    proofs: dict[int, Parity] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.engine} {self.precision}"

    @property
    def engine(self) -> str:
        """Its runtime, and whether that scores by stages."""
        return f"{self.runtime.name}{' cascade' if drift_of(self.runtime) else ''}"

    @property
    def is_baseline(self) -> bool:
        """Whether it is the original's TorchScript, which takes batches of four and nothing else."""
        return self.runtime.name in NAMES.values()

    def parity(self, sizes: Iterable[int]) -> dict[str, Any]:
        """As in the report: the proof with the largest difference among those at batch sizes that are used together."""
        return max((self.proofs[size] for size in sizes), key=lambda proof: proof.max_abs).to_json()

    def facts(self) -> dict[str, Any]:
        """What the report says of it in every run."""
        drift = drift_of(self.runtime)
        cascade = {"cascade": {"windows": drift.windows, "stopped": drift.stopped}} if drift else {}
        return {
            "runtime": self.engine,
            "provider": self.runtime.provider,
            "precision": self.precision,
            "threads": self.threads,
            **self.opening,
            **cascade,
        }


def prove(subject: Subject, bundle: Bundle, batch: int) -> Parity | None:
    """How far the subject's scores of the golden windows, `batch` at once, are from the original's.

    A subject that fails is `wrong` from then on; None if its scores are not even finite.
    """
    group = floor_group(bundle.card.db_floor)
    score = partial(_alone, subject.runtime) if subject.is_baseline and group == 1 else in_full(subject.runtime)
    try:
        proof = parity.prove(score, bundle.golden(), (batch,), bundle.card.tolerance(subject.precision), group)
    except ScoreError as error:
        subject.wrong = f"{subject.name}: {error}: not measured"
        return None
    subject.proofs[batch] = proof.parity
    if not proof.passed:
        subject.wrong = f"{subject.name}, {batch} at once: {proof.explain(codes=bundle.card.codes)}: not measured"
    return proof.parity


def _alone(runtime: Runtime, windows: FloatArray) -> FloatArray:
    """Scores [batch, classes] of windows whose floor is their own: batches of nothing but one window."""
    return np.concatenate([runtime.infer(np.repeat(window[None], BATCH, axis=0))[:1] for window in windows])


def require_proven(subject: Subject) -> None:
    """Raise ParityError if the subject is wrong."""
    if subject.wrong:
        raise ParityError(subject.wrong)


@contextmanager
def open_subjects(bundle: Bundle, wanted: Wanted, tell: Tell) -> Iterator[tuple[list[Subject], list[str]]]:
    """Open all that can run; with them, why the others were refused, a line each. Closes them at the end.

    Raises the first reason if nothing at all can run, CheckpointError for a baseline that is none.
    """
    refused: list[tuple[str, EdgebirdError]] = []
    subjects: list[Subject] = []
    with ExitStack() as stack:
        for name, precision, opener in _openers(bundle, wanted, tell):
            try:
                subjects.append(_opened(name, opener, bundle, precision, wanted.threads))
            except (BundleError, RuntimeUnavailableError, ScoreError, ParityError) as error:
                refused.append((f"{name} {precision}", error))
            else:
                stack.callback(subjects[-1].runtime.close)
        if not subjects:
            raise refused[0][1]
        yield subjects, [f"{name}: {error}" for name, error in refused]


def _openers(bundle: Bundle, wanted: Wanted, tell: Tell) -> Iterator[tuple[str, str, Callable[[], Runtime]]]:
    """Name, precision and what opens it."""
    for runtime in wanted.runtimes:
        for precision in wanted.precisions:
            many = wanted.throughput
            options = RuntimeOptions(precision, wanted.threads, batches=(), throughput=many, measure=many)
            yield runtime, precision, partial(open_runtime, bundle, runtime, options, tell)
            if wanted.cascade:
                staged = replace(options, cascade=CascadeUse(AUDIT))
                yield runtime, precision, partial(open_runtime, bundle, runtime, staged, tell)
    if wanted.baseline:
        device = wanted.baseline_device
        opener = partial(open_baseline, wanted.baseline, bundle.card, wanted.threads, device)
        yield name_of(device), "fp32", opener


def _import_engine(name: str, precision: str) -> None:
    """Import what runs a subject, of `auto` the first that can; whether it can is told when it is opened."""
    if name in NAMES.values():
        with suppress(ImportError, OSError):
            importlib.import_module("torch")
        return
    for candidate in AUTO_BY_PRECISION.get(precision, AUTO) if name == "auto" else (name,):
        with suppress(RuntimeUnavailableError):
            probe(candidate)
            return


def _opened(name: str, opener: Callable[[], Runtime], bundle: Bundle, precision: str, threads: int | None) -> Subject:
    window = bundle.golden().windows()[:1]
    memory.forget_peak()
    before = memory.resident_mb()
    start = time.perf_counter()
    _import_engine(name, precision)
    imported = time.perf_counter()
    runtime = opener()
    loaded = time.perf_counter()
    try:
        runtime.infer(window)
    except EdgebirdError:
        runtime.close()
        raise
    first = time.perf_counter()
    fixed = (
        BATCH if name in NAMES.values() else bundle.card.fixed_batch
    )  # one window is filled up with silence to so many
    opening = {
        "import_ms": round((imported - start) * 1e3, 3),
        "load_ms": round((loaded - imported) * 1e3, 3),
        "first_ms": round((first - loaded) * 1e3, 3),
        "first_windows": fixed or 1,
        "memory_mb": {"before": before, "peak": memory.peak_mb()},
    }
    return Subject(runtime, precision, threads, opening)


def natural_batches(subject: Subject, asked: Sequence[int], usual: Sequence[int]) -> tuple[int, ...]:
    """The batch sizes to measure a subject at: those asked for, else the usual, as far as it takes them."""
    return (BATCH,) if subject.is_baseline else tuple(asked or usual)
