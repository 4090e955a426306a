"""`edgebird thresholds`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from edgebird.cli import shell
from edgebird.cli.options import own_option, takes
from edgebird.cli.truth import judged_of, results_argument, truth_parameters
from edgebird.errors import UsageError

if TYPE_CHECKING:
    from edgebird.science.choosing import ChosenThreshold, Refused
    from edgebird.types import Label

NAME = "thresholds"
_PATH = Optional[Path]  # noqa: UP045


@takes(
    [
        results_argument(required=False),
        *truth_parameters(required=False),
        own_option("reviews", _PATH, None, "--reviews", metavar="FILE", help="Of a station: `<database>.reviews`."),
        own_option("bundle", _PATH, None, "--bundle", metavar="BUNDLE", help="The model, for all it knows."),
        own_option("precision_wanted", float, 0.95, "--precision-wanted", metavar="P", help="How much shall be right."),
        own_option("confidence", float, 0.95, "--confidence", metavar="C", help="How sure it shall be that it is."),
        own_option("out", Path, inspect.Parameter.empty, "--out", metavar="FILE.toml", help="For --thresholds."),
    ]
)
def run(**options: Any) -> None:
    """Find for each species the lowest score above which as much is right as is wanted.

    Of reviews that were drawn (`serve`), or of RESULTS and --truth TABLES. The file is for --thresholds of detect and
    listen. A species for which there is too little evidence is named, with how many more reviews it takes, and stays
    at the threshold of all. Exit code 1 if there is none that can be given.

    Example: edgebird thresholds --reviews birds.db.reviews --precision-wanted 0.95 --out thresholds.toml
    """
    from edgebird.errors import LabelError
    from edgebird.science.choosing import ChosenThreshold, choose
    from edgebird.science.written import write_thresholds

    wanted, confidence = _share(options, "precision_wanted"), _share(options, "confidence")
    evidence = judged_of(options)
    for note in evidence.notes:
        shell.say(note)
    found = {code: choose(judged, wanted, confidence) for code, judged in evidence.judged.items()}
    for code, one in found.items():
        shell.result(_line(evidence.labels[code], one))
    chosen = {code: one for code, one in found.items() if isinstance(one, ChosenThreshold)}
    if not chosen:
        raise LabelError(f"no species has enough evidence for a precision of {wanted:g}: nothing is written")
    write_thresholds(Path(options["out"]), chosen, evidence, (wanted, confidence))
    if refused := len(found) - len(chosen):
        shell.say(f"{refused} of {len(found)} species have no threshold of their own yet")


def _share(options: Mapping[str, Any], name: str) -> float:
    value = float(options[name])
    if not 0.5 <= value < 1:
        raise UsageError(f"--{name.replace('_', '-')} {value:g}: wanted 0.5 or more, less than 1")
    return value


def _line(label: Label, one: ChosenThreshold | Refused) -> str:
    from edgebird.science.choosing import CLUSTERS, ChosenThreshold

    name = f"{label.common_name or label.code} ({label.code})"
    if isinstance(one, ChosenThreshold):
        return (
            f"{name}: {one.threshold:g}: {one.share:.1%} right, at least {one.bound:.1%}, of {one.judged} judged; "
            f"{one.kept:.0%} of the right ones stay"
        )
    said = f"{name}: no threshold, {one.judged} judged: "
    if one.more is None:
        wanted = f"{one.least} reviews above it that are all right are wanted"
        return f"{said}even at {one.threshold:.2f} and more only {one.share:.0%} is right; {wanted}"
    if one.more == 0:
        return f"{said}{one.share:.0%} right, but of too few recordings: wanted are {CLUSTERS} or more"
    return (
        f"{said}{one.share:.0%} right at {one.threshold:.2f} and more; about {one.more} more reviews there are wanted"
    )
