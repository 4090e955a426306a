"""Results and tables of truth, read and put together: what `evaluate`, `thresholds` and `calibrate` begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from edgebird.science.compare import ComparedTruth, Comparing, compare
from edgebird.science.heard import read_results
from edgebird.science.matching import Rule
from edgebird.science.species import SpeciesIndex, of_recordings, read_aliases
from edgebird.science.tables import Marked, TableReading, read_tables
from edgebird.species import allowed_labels
from edgebird.types import Label

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class TruthRequest:
    """What to compare.

    results, tables: files and folders. labels: of the model, None if nobody says which. aliases: a file with what
    tables call species. species_list: which species people looked for, None for all. every_recording: where nobody
    made a table, nothing is heard.
    """

    results: Sequence[Path]
    tables: Sequence[Path]
    reading: TableReading
    rule: Rule
    window_s: float | None = None
    labels: Sequence[Label] | None = None
    aliases: Path | None = None
    species_list: Path | None = None
    every_recording: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What was compared. lowest: the lowest score of any detection. notes: what the reader has to know."""

    compared: ComparedTruth
    lowest: float
    notes: Sequence[str]


def read_truth(wanted: TruthRequest) -> Truth:
    """Read and compare. Raises LabelError, UsageError."""
    heard, marked = read_results(wanted.results), read_tables(wanted.tables, wanted.reading)
    labels = wanted.labels if wanted.labels is not None else list(heard.labels.values())
    closed = heard.closed or wanted.labels is not None
    species = SpeciesIndex(labels, read_aliases(wanted.aliases) if wanted.aliases else {}, closed)
    truth, unheard = of_recordings(marked, heard)
    only = None
    if wanted.species_list:
        known = species.with_named(span.name for path in truth for span in truth[path])
        allowed = allowed_labels(wanted.species_list, known)
        only = frozenset(label.code for label, is_in in zip(known, allowed, strict=True) if is_in)
    unmarked = [path for path in heard.recordings if path not in truth]
    if wanted.every_recording:
        truth |= {path: [] for path in unmarked}
    compared = compare(heard, truth, species, Comparing(wanted.rule, wanted.window_s, only))
    scores = [span.score for path in truth for span in heard.recordings[path].spans if span.score is not None]
    lowest = min(scores, default=1.0)
    notes = [*_missing(unheard, [] if wanted.every_recording else unmarked), *_odd(marked, species, compared)]
    if scores and lowest > 0.05:
        notes.append(
            f"The lowest score of the results is {lowest:.2f}: what scored less was not told, so curves end there and "
            "average precision counts it as never found. detect with --threshold 0.01 tells nearly all."
        )
    return Truth(compared, lowest, notes)


def _missing(unheard: Sequence[PurePath], unmarked: Sequence[PurePath]) -> list[str]:
    notes = []
    if unheard:
        notes.append(f"{len(unheard)} tables are of no recording of the results, and left out: {_shown(unheard)}.")
    if unmarked:
        notes.append(
            f"{len(unmarked)} recordings of the results have no table, and are left out: {_shown(unmarked)}. If "
            "nothing is heard in them, say --every-recording."
        )
    return notes


def _odd(marked: Marked, species: SpeciesIndex, compared: ComparedTruth) -> list[str]:
    notes = []
    if species.unknown:
        many = sum(species.unknown.values())
        notes.append(
            f"{many} spans are of what the model does not know, and count nowhere: {_shown(list(species.unknown))}. "
            "If it calls them otherwise, give --aliases FILE."
        )
    if marked.unnamed:
        notes.append(f"{marked.unnamed} rows of tables name no species, and are left out.")
    if not compared.annotated:
        notes.append(
            "No bird that counts is annotated: recall, average precision, F and ROC AUC are not defined; what was told "
            "is a false alarm."
        )
    if compared.lost:
        notes.append(f"{compared.lost} annotations are in gaps, where nothing was scored: they count nowhere.")
    if compared.guessed:
        notes.append(
            f"Nobody says how long {compared.guessed} recordings are: each is taken to end with the last span in it. "
            "Results as JSON lines say it."
        )
    return notes


def _shown(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
