"""Evaluations and thresholds as files that programs and spreadsheets read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgebird import __version__
from edgebird.errors import WrongOutputError
from edgebird.events import encodable
from edgebird.files import atomic_text, first_line
from edgebird.science.choosing import ChosenThreshold
from edgebird.science.evidence import Evidenced
from edgebird.science.figures import Evaluation, Figure, SpeciesFigures

_CSV_FIRST = "code,scientific_name,common_name,level,annotations,told"
_MEASURES = (
    "average_precision", "roc_auc", "precision", "recall", "f_beta", "false_alarms_per_hour", "best_f_beta",
)  # fmt: skip
THRESHOLDS_FIRST = "# Thresholds by edgebird"
_POINTS = 500  # of a curve, at most


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts by name into a folder, each whole. Raises WrongOutputError where one is no file of ours."""
    for name, text in files.items():
        before, wanted = first_line(folder / name), text.partition("\n")[0].rstrip("\r")
        if before is not None and not before.startswith(wanted[: len(_CSV_FIRST)]):
            raise WrongOutputError(f"cannot write {folder / name}: it is something else: use another folder")
    for name, text in files.items():
        with atomic_text(folder / name) as stream:
            stream.write(text)


def as_json(found: Evaluation, how: Mapping[str, Any]) -> str:
    """Return all of it as JSON. how: what it was made with."""
    compared = found.compared
    content = {
        "edgebird": __version__,
        "how": how,
        "recordings": [str(path) for path in compared.recordings],
        "hours": round(float(compared.hours.sum()), 6),
        "annotations_in_gaps": compared.lost,
        "means": {name: _figures(figures) for name, figures in found.means.items()},
        "together": {name: _level(level) for name, level in found.together.items()},
        "species": {
            code: {
                "scientific_name": compared.labels[code].scientific_name,
                "common_name": compared.labels[code].common_name,
                **{name: _level(level) for name, level in levels.items()},
            }
            for code, levels in found.species.items()
        },
    }
    return encodable(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def as_csv(found: Evaluation) -> str:
    """Return a row for each species and level."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    edges = [f"{name}{end}" for name in _MEASURES for end in ("", "_low", "_high")]
    writer.writerow([*_CSV_FIRST.split(","), *edges, "best_threshold"])
    for code, levels in found.species.items():
        label = found.compared.labels[code]
        for name, level in levels.items():
            figures = [level.figures.get(one, Figure(None)) for one in _MEASURES]
            cells = [_cell(value) for one in figures for value in (one.value, one.low, one.high)]
            names = _plain(code), _plain(label.scientific_name), _plain(label.common_name)
            writer.writerow([*names, name, level.annotations, level.told, *cells, _cell(level.best_threshold)])
    return encodable(file.getvalue())


def _level(level: SpeciesFigures) -> dict[str, Any]:
    many = level.curve.shape[1]
    kept = np.unique(np.linspace(0, many - 1, min(many, _POINTS)).astype(int))
    names = ("threshold", "precision", "recall", "false_alarms_per_hour")
    return {
        "annotations": level.annotations,
        "told": level.told,
        **_figures(level.figures),
        "best_threshold": level.best_threshold,
        "curve": {name: _numbers(row[kept]) for name, row in zip(names, level.curve, strict=True)},
    }


def _figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {
        name: {"value": _rounded(one.value), "low": _rounded(one.low), "high": _rounded(one.high)}
        for name, one in figures.items()
    }


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [_rounded(float(value)) for value in values]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 6)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def write_thresholds(
    path: Path, chosen: Mapping[str, ChosenThreshold], evidence: Evidenced, wanted: tuple[float, float]
) -> None:
    """Write thresholds as a station's TOML. wanted: precision and confidence. Raises OutputError."""
    before = first_line(path)
    if before is not None and not before.startswith(THRESHOLDS_FIRST):
        raise WrongOutputError(f"cannot write {path}: it is no file of thresholds: use another one")
    precision, confidence = wanted
    lines = [
        f"{THRESHOLDS_FIRST} {__version__}: at least {precision:g} is right, with a confidence of {confidence:g}.",
        f"# Made from {' '.join(evidence.source.split())}, {datetime.now():%Y-%m-%d}.",
        "[thresholds]",
    ]
    for code, one in chosen.items():
        said = f"{one.share:.3f} of {one.judged} is right, at least {one.bound:.3f}"
        lines.append(f"{json.dumps(code, ensure_ascii=False)} = {one.threshold:.7g}  # {said}")
    with atomic_text(path) as stream:
        stream.write(encodable("\n".join(lines)) + "\n")
