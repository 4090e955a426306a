"""`edgebird export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgebird.cli import shell
from edgebird.cli.options import REQUIRED, own_option, parameter, takes
from edgebird.errors import EdgebirdError, UsageError

NAME = "export"
LOWER = ("fp16", "int8", "int8+fp16")  # precisions that have a graph of their own beside fp32

_OPTIONS = [
    parameter(
        "folds",
        Annotated[
            list[Path], typer.Argument(metavar="FOLD", help="Checkpoints (.bin .pt .safetensors) or folders of them.")
        ],
        REQUIRED,
    ),
    own_option("out", Path, REQUIRED, "--out", metavar="BUNDLE", help="The bundle to write: a new folder."),
    own_option(
        "precision",
        list[str],
        ["fp32"],
        "--precision",
        metavar="P",
        help="Graphs to write: fp32 (always one), fp16, int8, int8+fp16.",
    ),
    own_option(
        "labels",
        Path | None,
        None,
        "--labels",
        metavar="FILE.csv",
        help="code,scientific_name,common_name; default: BirdCLEF 2023.",
    ),
    own_option(
        "db_floor",
        str,
        "window",
        "--db-floor",
        metavar="window|batch",
        help="What the -80 dB floor is taken from: each window, or four windows as in the original code.",
    ),
    own_option(
        "experiment",
        str | None,
        None,
        "--experiment",
        metavar="NAME",
        help="exp105 to exp108; default: by the tensors.",
    ),
    own_option(
        "calibration",
        list[Path] | None,
        None,
        "--calibration",
        metavar="AUDIO",
        help="Recordings, or folders of them, of what will be heard, for precisions below fp32 and for a cascade.",
    ),
    own_option(
        "weights",
        str | None,
        None,
        "--weights",
        metavar="NAME",
        help="Which weights of checkpoints that hold several, such as ema; default: the trained ones.",
    ),
    own_option(
        "embeddings",
        bool,
        False,
        "--embeddings",
        help="The graph also gives what the folds' heads read, for embed and search; fp32 alone.",
    ),
    own_option(
        "cascade",
        bool,
        False,
        "--cascade",
        help="Also stages that stop windows without birds, with a proven bound on what they miss (docs/cascade.md).",
    ),
    own_option(
        "cascade_threshold",
        float,
        0.3,
        "--cascade-threshold",
        metavar="X",
        min=0,
        max=1,
        help="The lowest score of detections that the bound is for; default 0.3.",
    ),
    own_option("force", bool, False, "--force", help="Replace a bundle that exists."),
]


@takes(_OPTIONS)
def run(**options: Any) -> None:
    """Turn fold checkpoints into a bundle: one ONNX graph, raw audio in, scores out, proven equal to the original.

    Several folds become one graph, the mean of their scores. A graph of lower precision is written only if it scores
    as the original does, within its tolerance, on real recordings it was not calibrated with.

    Example: edgebird export exp105_eca_nfnet_l0/fold_0_model.bin --out birds
    """
    lower = _lower_precisions(options)
    try:
        from edgebird.export.exporter import ExportRequest, export_bundle
    except ImportError as error:
        raise EdgebirdError(f"export needs torch and onnx: pip install 'edgebird[export,cpu]' ({error})") from error
    request = ExportRequest(
        tuple(options["folds"]),
        options["out"],
        options["labels"],
        options["db_floor"],
        options["experiment"],
        options["force"],
        precisions=lower,
        calibration=tuple(options["calibration"] or ()),
        weights=options["weights"],
        embeddings=options["embeddings"],
        cascade=options["cascade"],
        cascade_threshold=options["cascade_threshold"],
    )
    export_bundle(request, shell.say)


def _lower_precisions(options: dict[str, Any]) -> tuple[str, ...]:
    """The graphs to write beside fp32. Raises UsageError for options that do not fit together."""
    from edgebird.parity import BF16_OF

    if options["db_floor"] not in ("window", "batch"):
        raise UsageError(f"--db-floor {options['db_floor']}: wanted window or batch")
    lower = tuple(name for name in dict.fromkeys(options["precision"]) if name != "fp32")
    if made := [name for name in lower if name in BF16_OF]:
        raise UsageError(
            f"--precision {made[0]} has no graph of its own: ask for it where it runs, with --runtime openvino"
        )
    if unknown := [name for name in lower if name not in LOWER]:
        raise UsageError(f"--precision {unknown[0]}: wanted fp32, {', '.join(LOWER)}")
    if lower and options["embeddings"]:
        raise UsageError(f"--embeddings is of fp32 alone: leave --precision {lower[0]} away")
    if options["calibration"] and not (lower or options["cascade"]):
        raise UsageError(
            f"--calibration is for lower precisions and a cascade: give --precision {LOWER[0]} or --cascade too"
        )
    return lower
