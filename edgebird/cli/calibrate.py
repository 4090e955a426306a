"""`edgebird calibrate`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgebird.cli import shell
from edgebird.cli.options import own_option, parameter, takes
from edgebird.cli.truth import judged_of, results_argument, truth_parameters
from edgebird.errors import UsageError

NAME = "calibrate"
_PATH = Optional[Path]  # noqa: UP045
_BUNDLE = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle whose card takes the calibration.")]


@takes(
    [
        parameter("bundle", _BUNDLE, inspect.Parameter.empty),
        results_argument(required=False),
        *truth_parameters(required=False),
        own_option("reviews", _PATH, None, "--reviews", metavar="FILE", help="Of a station: `<database>.reviews`."),
        own_option("report", _PATH, None, "--report", metavar="FILE.html", help="Write a page with the diagrams."),
        own_option("remove", bool, False, "--remove", help="Take the calibration out of the card again."),
    ]
)
def run(**options: Any) -> None:
    """Make probabilities of a model's scores, of reviews that were drawn or of RESULTS and --truth TABLES.

    The bundle's card keeps them and what they were made from; detections then have `probability` beside `score`. Graphs
    and engines stay as they are. They hold for sound like that which was judged, and for the settings of detection.

    Example: edgebird calibrate birds --reviews birds.db.reviews --report calibration.html
    """
    from edgebird.bundle import open_bundle, with_calibration
    from edgebird.errors import WrongOutputError
    from edgebird.files import atomic_text, first_line
    from edgebird.science.calibrated import calibrate, calibration_page
    from edgebird.science.report import FIRST_LINE

    bundle, report = open_bundle(options["bundle"]), options["report"]
    if options["remove"]:
        if options["reviews"] or options["results"] or options["truth"]:
            raise UsageError("--remove takes no evidence")
        with_calibration(bundle, None)
        shell.say(f"{bundle.path}: scores have no probabilities")
        return
    if report and first_line(report) not in (None, FIRST_LINE):
        raise WrongOutputError(f"cannot write {report}: it is no web page: use another file")
    evidence = judged_of(options)
    labels = {label.code: label for label in bundle.card.labels}
    made = calibrate(evidence, labels)
    notes = list(evidence.notes)
    if made.left_out:
        named = ", ".join(made.left_out[:3]) + (", ..." if len(made.left_out) > 3 else "")
        notes.append(f"{len(made.left_out)} species have too few judged detections, or are not of this model: {named}.")
    if made.told is None:
        notes.append("All is of one recording or day: nobody can say how it is with others.")
    one = made.calibration
    if one.brier is not None and one.brier >= one.brier_of_scores:
        notes.append("Of recordings that were left out, probabilities are no better than scores: judge more.")
    for note in notes:
        shell.say(note)
    if report:
        with atomic_text(report) as stream:
            stream.write(calibration_page(made, labels, notes))
    with_calibration(bundle, one)
    told = "unknown" if one.brier is None else f"{one.brier:.3f}"
    shell.result(f"{len(one.curves)} species; Brier score {one.brier_of_scores:.3f} of scores, {told} of probabilities")
