"""What `evaluate`, `thresholds` and `calibrate` ask of results and of tables with the truth."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgebird.cli.options import own_option, parameter
from edgebird.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgebird.science.evidence import Evidenced
    from edgebird.science.truth import TruthRequest
    from edgebird.types import Label

_RESULTS = "What was heard: events of detect, its submission, or tables with scores; files, and folders of them."
_PATHS = Optional[list[Path]]  # noqa: UP045
_BOX = "What is right"


def results_argument(required: bool) -> inspect.Parameter:
    """Return the argument RESULTS."""
    kind: Any = list[Path] if required else _PATHS
    return parameter(
        "results",
        Annotated[kind, typer.Argument(metavar="RESULTS", help=_RESULTS)],
        inspect.Parameter.empty if required else None,
    )


def truth_parameters(required: bool) -> list[inspect.Parameter]:
    """Return the options that say what is right."""
    kind: Any = list[Path] if required else _PATHS
    none: Any = inspect.Parameter.empty if required else None
    text, path, number = Optional[str], Optional[Path], Optional[float]  # noqa: UP045
    made = [
        ("truth", kind, none, "TABLES", "Raven, Audacity or CSV tables of what people heard, and folders of them."),
        ("table_format", text, None, "NAME", "Read them by crowsetta: textgrid, aud-bbox, ... (extra science)."),
        ("column", text, None, "HEADING", "The column with the species; default: the best known one there is."),
        ("aliases", path, None, "FILE.csv", "What tables call species: `name in the tables,code or name` a line."),
        ("species_list", path, None, "FILE", "The species that people looked for; default: all."),
        ("overlap", float, 0.5, "S", "Seconds that a detection shares with an annotation, or half of the shorter one."),
        ("iou", number, None, "X", "Instead: one for one, common part of both at least X."),
    ]
    parameters = [
        own_option(name, kind, default, f"--{name.replace('_', '-')}", metavar=metavar, help=help, rich_help_panel=_BOX)
        for name, kind, default, metavar, help in made
    ]
    help = "Recordings without a table have no birds; default: they are left out."
    every = own_option("every_recording", bool, False, "--every-recording", help=help, rich_help_panel=_BOX)
    return [*parameters, every]


def truth_request(options: Mapping[str, Any], labels: Sequence[Label] | None) -> TruthRequest:
    """Return what the options ask for. labels: of the model, if a bundle was given. Raises UsageError."""
    from edgebird.science.matching import Rule
    from edgebird.science.tables import TableReading
    from edgebird.science.truth import TruthRequest

    overlap, iou, window = options["overlap"], options["iou"], options.get("window")
    if not 0 < overlap <= 60:
        raise UsageError(f"--overlap {overlap:g}: wanted more than 0 s, at most 60")
    if iou is not None and not 0 < iou <= 1:
        raise UsageError(f"--iou {iou:g}: wanted more than 0, at most 1")
    if window is not None and not 0.1 <= window <= 3600:
        raise UsageError(f"--window {window:g}: wanted 0.1 to 3600 s")
    return TruthRequest(
        options["results"],
        options["truth"],
        TableReading(options["column"] or "", options["table_format"] or ""),
        Rule(overlap, iou),
        window,
        labels,
        options["aliases"],
        options["species_list"],
        options["every_recording"],
    )


def judged_of(options: Mapping[str, Any]) -> Evidenced:
    """Return what was judged, by reviews or by tables. Raises UsageError where it is neither, or both."""
    from edgebird.bundle import open_bundle
    from edgebird.science.evidence import of_reviews, of_truth
    from edgebird.science.truth import read_truth

    by_truth = bool(options["results"]), bool(options["truth"])
    if bool(options["reviews"]) == any(by_truth) or any(by_truth) != all(by_truth):
        raise UsageError("give --reviews FILE, or RESULTS and --truth TABLES")
    if options["reviews"]:
        return of_reviews(options["reviews"])
    labels = open_bundle(options["bundle"]).card.labels if options["bundle"] else None
    return of_truth(read_truth(truth_request(options, labels)))
