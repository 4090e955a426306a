"""A calibration made of evidence, held to recordings that it was not made from, and told as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape

import numpy as np

from edgebird import __version__
from edgebird.calibration import Calibration, Curve
from edgebird.errors import LabelError
from edgebird.pictures.curves import Curves, Mark, Series, curves
from edgebird.science.bounds import Array, JudgedDetections, lower_bound
from edgebird.science.calibrating import Samples, brier, fit, leave_one_out
from edgebird.science.evidence import Evidenced
from edgebird.science.report import number, page, table
from edgebird.types import Label

LEAST, LEAST_OF_ALL = 5, 20  # detections of a species, and of all, that have to be judged
_BINS, _SURE = 10, 0.975


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What was made. told: how likely each detection is right by the others, None where all are of one recording."""

    calibration: Calibration
    samples: Samples
    scores: Array
    told: Array | None
    groups: int
    left_out: Sequence[str]


def calibrate(evidence: Evidenced, labels: Mapping[str, Label]) -> Calibrated:
    """Make a calibration for a model with these labels, by code. Raises LabelError for too little evidence."""
    known = {code: one for code, one in evidence.judged.items() if code in labels}
    judged = {code: one for code, one in known.items() if len(one.scores) >= LEAST}
    every = np.concatenate([np.empty(0, np.bool_), *(one.right for one in judged.values())])
    if len(every) < LEAST_OF_ALL or every.all() or not every.any():
        raise LabelError(
            f"{len(every)} detections are judged, {int(every.sum())} of them right: wanted {LEAST_OF_ALL} or more, "
            f"right and wrong ones, of species of this model with {LEAST} or more"
        )
    samples = Samples.of(judged, {code: evidence.groups[code] for code in judged})
    fitted = fit(samples)
    told = leave_one_out(samples, fitted)
    scores = np.concatenate([one.scores for one in judged.values()])
    made = {
        code: Curve(round(float(slope), 6), round(float(shift), 6), int(one.right.sum()), int((~one.right).sum()))
        for (code, one), (shift, slope) in zip(judged.items(), fitted.species, strict=True)
    }
    calibration = Calibration(
        made,
        evidence.source,
        float(scores.min()),
        None if told is None else round(brier(told, samples), 6),
        round(brier(scores, samples), 6),
        __version__,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    left_out = [code for code in evidence.judged if code not in judged]
    return Calibrated(calibration, samples, scores, told, len(np.unique(samples.groups)), left_out)


def reliability(probabilities: Array, samples: Samples) -> list[Mark]:
    """Return how much is right of detections that are said to be about as likely right, ten groups of equal size."""
    marks = []
    for part in np.array_split(np.argsort(probabilities, kind="stable"), min(_BINS, len(probabilities))):
        its = JudgedDetections(probabilities[part], samples.right[part], samples.weights[part], samples.groups[part])
        said = float(its.weights @ its.scores / its.weights.sum())
        low, high = lower_bound(its.share, its.size, _SURE), 1 - lower_bound(1 - its.share, its.size, _SURE)
        title = f"of {len(part)} said to be right with {said:.2f}, {its.share:.2f} are ({low:.2f} to {high:.2f})"
        marks.append(Mark(said, its.share, low, high, title))
    return marks


def calibration_page(made: Calibrated, labels: Mapping[str, Label], notes: Sequence[str]) -> str:
    """Return a page about a calibration."""
    return page("What scores are worth", _body(made, labels, notes))


def _body(made: Calibrated, labels: Mapping[str, Label], notes: Sequence[str]) -> Iterator[str]:
    one = made.calibration
    yield (
        f"<p>Made of {escape(one.source)}: {len(made.scores)} detections of {len(one.curves)} species, "
        f"{int(made.samples.right.sum())} of them right, with scores of {one.lowest:.2f} and more.</p>\n"
    )
    yield "".join(f"<p>{escape(note)}</p>\n" for note in notes)
    title = "Right detections against what is said of them"
    scores = Curves(title, "score", "right", (), marks=reliability(made.scores, made.samples), diagonal=True)
    pictures = [f"<section><h3>Scores as they are</h3>{curves(scores, 'scores')}</section>"]
    if made.told is not None:
        marks = reliability(made.told, made.samples)
        shown = Curves(title, "probability", "right", (), marks=marks, diagonal=True)
        head = f"Probabilities, each by the other {made.groups - 1} recordings or days"
        pictures.append(f"<section><h3>{head}</h3>{curves(shown, 'told')}</section>")
    yield f'<h2>How far they can be trusted</h2>\n<div class="grid">{"".join(pictures)}</div>\n'
    yield (
        f"<p>Brier score: {number(one.brier_of_scores, 3)} of the scores, {number(one.brier, 3)} of the probabilities. "
        "It is the mean square of what they are off by; less is better. On the line, what is said is so.</p>\n"
    )
    yield "<h2>Probability by score</h2>\n" + _species(one, labels)


def _species(one: Calibration, labels: Mapping[str, Label]) -> str:
    at = (0.1, 0.3, 0.5, 0.7, 0.9)
    rows = [
        f'<tr><th scope="row">{escape(labels[code].common_name)} <i class="soft">{escape(labels[code].scientific_name)}'
        f"</i></th><td>{curve.right}</td><td>{curve.wrong}</td>"
        + "".join(f"<td>{curve.probability(score):.2f}</td>" for score in at)
        + f"<td>{curve.slope:.2f}</td></tr>\n"
        for code, curve in sorted(one.curves.items(), key=lambda pair: -pair[1].right - pair[1].wrong)
    ]
    points = [0.01 * step for step in range(1, 100)]
    most = sorted(one.curves, key=lambda code: -min(one.curves[code].right, one.curves[code].wrong))[:3]
    series = [Series(labels[code].common_name, [(x, one.curves[code].probability(x)) for x in points]) for code in most]
    shown = Curves("Probability by score", "score", "probability", series, diagonal=True)
    heads = ["species", "right", "wrong", *(f"at {score:g}" for score in at), "slope"]
    return f'<div class="grid">{curves(shown, "curves")}</div>\n{table(heads, rows)}'
