"""`edgebird adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgebird.cli import shell
from edgebird.cli.export import LOWER
from edgebird.cli.options import REQUIRED, own_option, parameter, takes
from edgebird.errors import EdgebirdError, UsageError

NAME = "adopt"

_OPTIONS = [
    parameter("model", Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite or .onnx file.")], REQUIRED),
    own_option("out", Path, REQUIRED, "--out", metavar="BUNDLE", help="The bundle to write: a new folder."),
    own_option(
        "labels", Path | None, None, "--labels", metavar="FILE", help="The list of classes that came with the model."
    ),
    own_option(
        "family",
        str | None,
        None,
        "--as",
        metavar="FAMILY",
        help="birdnet-v2.4, birdnet-v3, perch-v2 or geo; default: by the names and shapes in the file.",
    ),
    own_option(
        "card", Path | None, None, "--card", metavar="FILE.toml", help="What no family says: rate, activation, outputs."
    ),
    own_option(
        "precision",
        list[str],
        ["fp32"],
        "--precision",
        metavar="P",
        help="Graphs to write: fp32 (always one), fp16, int8; these need edgebird[export] too.",
    ),
    own_option(
        "audio",
        list[Path] | None,
        None,
        "--audio",
        metavar="FOLDER",
        help="Recordings of what will be heard, for precisions below fp32.",
    ),
    own_option("force", bool, False, "--force", help="Replace a bundle that exists."),
]


@takes(_OPTIONS)
def run(**options: Any) -> None:
    """Make a bundle of a published model, BirdNET, Perch or another, proven against an independent reference.

    LiteRT scores a .tflite file, ONNX Runtime without optimisation an .onnx file, and the bundle must score real audio
    as they do. `verify`, `detect`, `listen`, `bench` and `build` then take it like any other.

    Example: edgebird adopt BirdNET_Model_FP32.tflite --labels BirdNET_Labels.txt --out birdnet
    """
    lower = _lower_precisions(options)
    try:
        from edgebird.export.adopt.adopter import AdoptRequest, adopt
    except ImportError as error:
        raise EdgebirdError(f"adopt needs onnx: pip install 'edgebird[adopt,cpu]' ({error})") from error
    request = AdoptRequest(
        options["model"],
        options["out"],
        options["labels"],
        options["family"],
        options["card"],
        options["force"],
        lower,
        tuple(options["audio"] or ()),
    )
    try:
        adopt(request, shell.say)
    except ImportError as error:
        raise EdgebirdError(f"lower precisions need torch: pip install 'edgebird[export]' ({error})") from error


def _lower_precisions(options: dict[str, Any]) -> tuple[str, ...]:
    """The graphs to write beside fp32. Raises UsageError for options that do not fit together."""
    lower = tuple(name for name in dict.fromkeys(options["precision"]) if name != "fp32")
    if unknown := [name for name in lower if name not in LOWER]:
        raise UsageError(f"--precision {unknown[0]}: wanted fp32, {', '.join(LOWER)}")
    if options["audio"] and not lower:
        raise UsageError(f"--audio is for lower precisions: give --precision {LOWER[0]} too")
    return lower
