"""An evaluation as one page of HTML that holds everything, reads on any screen and prints well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

import numpy as np

from edgebird import __version__
from edgebird.pictures import stylesheet
from edgebird.pictures.curves import Curves, Series, curves, round_up
from edgebird.science.figures import Evaluation, Figure, SpeciesFigures

FIRST_LINE = "<!DOCTYPE html>"
_DRAWN = 24  # species with a picture of their own
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p, li { max-width: 46rem; } .soft { color: var(--soft); } .table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td span { color: var(--soft); font-size: .85em; white-space: nowrap; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem 2rem; }
.grid > * { max-width: 30rem; } section { break-inside: avoid; } @media print { body { margin: 0; max-width: none; } }
"""
WORDS = {
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "precision": "precision",
    "recall": "recall",
    "f_beta": "F",
    "best_f_beta": "best F",
    "false_alarms_per_hour": "false alarms an hour",
    "mean_average_precision": "mean average precision",
    "mean_roc_auc": "mean ROC AUC",
    "padded_cmap": "padded cmAP",
}
_LEVELS = {"event": "by event", "window": "by window"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a page says beside figures. rule: of events, in words. notes: what the reader has to know."""

    rule: str
    notes: Sequence[str]


def page(title: str, body: Iterator[str]) -> str:
    """Return a page that needs nothing else."""
    return (
        f'{FIRST_LINE}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{stylesheet()}{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{''.join(body)}"
        f'<p class="soft">Made with edgebird {__version__} on {datetime.now():%Y-%m-%d}.</p>\n'
        "</main>\n</body>\n</html>\n"
    )


def report(found: Evaluation, told: Told) -> str:
    """Return the page of an evaluation."""
    return page("Detections and what people heard", _body(found, told))


def _body(found: Evaluation, told: Told) -> Iterator[str]:
    compared, judging = found.compared, found.judging
    there = [code for code, levels in found.species.items() if any(level.annotations for level in levels.values())]
    heard = found.together.get("event", found.together["window"])
    unit = "annotations" if "event" in found.together else f"windows of {compared.window_s:g} s with a bird"
    yield (
        f"<p>{len(compared.recordings)} recordings, {compared.hours.sum():.2f} hours that were scored, "
        f"{heard.annotations} {unit} of {len(there)} species.</p>\n"
    )
    if told.notes:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in told.notes)}</ul>\n"
    yield _rules(found, told)
    yield f"<h2>All together</h2>\n{_overall(found)}"
    yield f'<div class="grid">{"".join(_overview(found))}</div>\n'
    for name in found.together:
        yield f"<h2>Species {_LEVELS[name]}</h2>\n{_species(found, name)}"
    if there:
        yield f'<h2>Precision and recall of each species</h2>\n<div class="grid">{"".join(_each(found, there))}</div>\n'
    if len(there) > _DRAWN:
        yield f'<p class="soft">{len(there) - _DRAWN} species more are in evaluation.json.</p>\n'
    if not judging.samples or len(compared.recordings) < 2:
        yield '<p class="soft">Intervals need two recordings or more.</p>\n'


def _rules(found: Evaluation, told: Told) -> str:
    judging, window_s = found.judging, found.compared.window_s
    by_event = f"<li>By event, a detection and an annotation belong together if {escape(told.rule)}.</li>\n"
    said = (
        f"<li>By window, the recording is cut into windows of {window_s:g} s; one has a species if an annotation is in "
        "it by at least as much as is wanted of events that overlap.</li>\n"
        f"<li>Precision, recall, F (recall counts {judging.beta:g} times) and false alarms are those at a score of "
        f"{judging.threshold:.3g} or more. Below each figure is its {judging.confidence:.0%} interval, of "
        f"{judging.samples} bootstrap samples of whole recordings.</li>\n"
        "<li>Together all species are one; a mean counts every species alike. Padded cmAP is that of BirdCLEF 2023: "
        "the mean of average precisions by window, with five right windows of score 1 more for each species.</li>\n"
    )
    return f'<ul class="soft">\n{by_event if "event" in found.together else ""}{said}</ul>\n'


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "<td>-</td>"
    span = f"<br><span>{number(figure.low, 2)} to {number(figure.high, 2)}</span>" if figure.low is not None else ""
    return f"<td>{number(figure.value, 3)}{span}</td>"


def number(value: float | None, places: int) -> str:
    """Return a figure with so many decimal places, of ten and more with one."""
    return "-" if value is None else f"{value:.{places if value < 10 else 1}f}"


def table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table that scrolls where it is too wide. rows: as HTML."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table></div>\n'


def _overall(found: Evaluation) -> str:
    rows = []
    for key, words in WORDS.items():
        cells = [found.together[name].figures.get(key) or found.means.get(name, {}).get(key) for name in found.together]
        if any(cells):
            rows.append(f'<tr><th scope="row">{words}</th>{"".join(map(_cell, cells))}</tr>\n')
    return table(["", *(_LEVELS[name] for name in found.together)], rows)


def _points(level: SpeciesFigures) -> list[tuple[float, float]]:
    """Precision over recall, from nothing found on, also where all is found at one threshold; none if nothing ever is.

    What has no score at all, windows without a detection, is not on it.
    """
    thresholds, precision, recall, _ = level.curve
    shown = np.flatnonzero((recall > 0) & (thresholds > 0))
    points = [(float(x), float(y)) for x, y in zip(recall[shown], precision[shown], strict=True)]
    return [(0.0, points[0][1]), *points] if points else []


def _overview(found: Evaluation) -> Iterator[str]:
    series = [Series(_LEVELS[name], _points(level)) for name, level in found.together.items()]
    if any(one.points for one in series):
        yield curves(
            Curves("Precision against recall, all species together", "recall", "precision", series), "together"
        )
    level = found.together.get("event")
    if level is not None and level.annotations and np.isfinite(level.curve[3]).all() and level.curve.shape[1]:
        alarms = [(float(x), float(y)) for x, y in zip(level.curve[3], level.curve[2], strict=True)]
        most = round_up(max(x for x, _ in alarms)), 1.0
        title = "How much was found against false alarms an hour, all species together"
        yield curves(Curves(title, "false alarms an hour", "recall", [Series("", alarms)], most), "alarms")


def _species(found: Evaluation, name: str) -> str:
    keys = [key for key in WORDS if key in found.together[name].figures and key != "best_f_beta"]
    levels = {code: levels[name] for code, levels in found.species.items() if name in levels}
    shown = [code for code, level in levels.items() if level.annotations or level.told]
    rows = []
    for code in sorted(shown, key=lambda one: (-levels[one].annotations, one)):
        level, label = levels[code], found.compared.labels[code]
        best = "-" if level.best_threshold is None else f"{level.best_threshold:.2f}"
        rows.append(
            f'<tr><th scope="row">{escape(label.common_name or code)} <i class="soft">{escape(label.scientific_name)}'
            f"</i></th><td>{level.annotations}</td><td>{level.told}</td>"
            f"{''.join(_cell(level.figures.get(key)) for key in keys)}<td>{best}</td></tr>\n"
        )
    first = "annotations" if name == "event" else "windows with it"
    heads = ["species", first, "told", *(WORDS[key] for key in keys), "best threshold by F"]
    return table(heads, rows)


def _each(found: Evaluation, there: Sequence[str]) -> Iterator[str]:
    """A picture for each of the species with most annotations."""
    most = sorted(there, key=lambda code: -max(level.annotations for level in found.species[code].values()))
    for number, code in enumerate(most[:_DRAWN]):
        levels = found.species[code]
        name = found.compared.labels[code].common_name or code
        series = [Series(_LEVELS[kind], _points(level)) for kind, level in levels.items()]
        shown = Curves(f"{name}: precision against recall", "recall", "precision", series)
        drawn = any(one.points for one in series)
        picture = curves(shown, f"species{number}") if drawn else '<p class="soft">Never found.</p>'
        yield f"<section><h3>{escape(name)}</h3>{picture}</section>\n"
