"""`edgebird evaluate`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from edgebird.cli import shell
from edgebird.cli.options import own_option, takes
from edgebird.cli.truth import results_argument, truth_parameters, truth_request
from edgebird.errors import UsageError

if TYPE_CHECKING:
    from edgebird.science.figures import Evaluation, Figure, Judging

NAME = "evaluate"
_PATH, _NUMBER = Optional[Path], Optional[float]  # noqa: UP045


@takes(
    [
        results_argument(required=True),
        *truth_parameters(required=True),
        own_option("out", Path, inspect.Parameter.empty, "--out", metavar="DIR", help="The folder for what is found."),
        own_option("bundle", _PATH, None, "--bundle", metavar="BUNDLE", help="The model, for all it knows."),
        own_option("threshold", _NUMBER, None, "--threshold", metavar="X", help="Precision, recall and false alarms at "
                   "this score; default: of all that was told, of a submission 0.3."),
        own_option("beta", float, 1.0, "--beta", metavar="B", help="Of F: recall counts B times as much."),
        own_option("window", _NUMBER, None, "--window", metavar="S", help="Seconds of a window; default 5, or those of "
                   "the submission."),
        own_option("samples", int, 1000, "--samples", metavar="N", help="Of the bootstrap over recordings; 0: none."),
        own_option("seed", int, 1, "--seed", metavar="N", help="Of the bootstrap."),
    ]
)  # fmt: skip
def run(**options: Any) -> None:
    """Compare detections with what people heard: how much is right, how much is found, how sure that is.

    Writes report.html, which holds everything, species.csv and evaluation.json. A recording counts if it has a table;
    an empty table says that nothing is heard. Names and folders tell which table is of which recording.

    Example: edgebird evaluate results/ --truth tables/ --out evaluation
    """
    from edgebird.bundle import open_bundle
    from edgebird.files import make_folder
    from edgebird.science.figures import evaluate
    from edgebird.science.report import Told, report
    from edgebird.science.truth import read_truth
    from edgebird.science.written import as_csv, as_json, write_files

    labels = open_bundle(options["bundle"]).card.labels if options["bundle"] else None
    wanted = truth_request(options, labels)
    truth = read_truth(wanted)
    judging = _judging(options, truth.lowest if truth.compared.has_events else 0.3)
    for note in truth.notes:
        shell.say(note)
    found = evaluate(truth.compared, judging)
    out = Path(options["out"])
    make_folder(out)
    how = {name: value for name, value in _told(options).items() if value is not None} | {"notes": list(truth.notes)}
    told = Told(str(wanted.rule), truth.notes)
    write_files(
        out,
        {"report.html": report(found, told), "species.csv": as_csv(found), "evaluation.json": as_json(found, how)},
    )
    for line in _lines(found):
        shell.result(line)
    shell.say(f"{out / 'report.html'} has the curves, and each species")


def _judging(options: Mapping[str, Any], threshold: float) -> Judging:
    from edgebird.science.figures import Judging

    given, beta, samples = options["threshold"], options["beta"], options["samples"]
    if given is not None and not 0 <= given <= 1:
        raise UsageError(f"--threshold {given:g}: wanted 0 to 1")
    if not 0 < beta <= 100:
        raise UsageError(f"--beta {beta:g}: wanted more than 0, at most 100")
    if not 0 <= samples <= 100_000:
        raise UsageError(f"--samples {samples}: wanted 0 to 100000")
    if options["seed"] < 0:
        raise UsageError(f"--seed {options['seed']}: wanted 0 or more")
    return Judging(threshold if given is None else given, beta, samples, seed=options["seed"])


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as JSON has them."""

    def plain(value: Any) -> Any:
        return (
            [str(one) for one in value] if isinstance(value, list) else str(value) if isinstance(value, Path) else value
        )

    return {name: plain(value) for name, value in options.items()}


def _lines(found: Evaluation) -> list[str]:
    """The main figures, for a terminal."""
    from edgebird.science.report import WORDS

    names = list(found.together)
    lines = [f"{'':24}" + "".join(f"{'by ' + name:>24}" for name in names)]
    for key, words in WORDS.items():
        figures = [found.together[name].figures.get(key) or found.means[name].get(key) for name in names]
        if any(figures):
            lines.append(f"{words:24}" + "".join(f"{_figure(one):>24}" for one in figures))
    return lines


def _figure(one: Figure | None) -> str:
    from edgebird.science.report import number

    if one is None or one.value is None:
        return "-"
    return number(one.value, 3) + (f" ({number(one.low, 2)} to {number(one.high, 2)})" if one.low is not None else "")
