"""`edgebird export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebird.cli import shell
from edgebird.errors import EdgebirdError, UsageError

NAME = "export"
LOWER = ("fp16", "int8")  # precisions that have a graph of their own beside fp32


def run(
    folds: Annotated[
        list[Path], typer.Argument(metavar="FOLD", help="Checkpoints (.bin .pt .safetensors) or folders of them.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="The bundle to write: a new folder.")],
    precision: Annotated[
        list[str], typer.Option("--precision", metavar="P", help="Graphs to write: fp32 (always one), fp16, int8.")
    ] = ["fp32"],  # noqa: B006  Typer copies it
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE.csv", help="code,scientific_name,common_name; default: BirdCLEF 2023."),
    ] = None,
    db_floor: Annotated[
        str,
        typer.Option("--db-floor", metavar="window|batch",
                     help="What the -80 dB floor is taken from: each window, or four windows as in the original code."),
    ] = "window",
    experiment: Annotated[
        str | None, typer.Option("--experiment", metavar="NAME", help="exp105 to exp108; default: by the tensors.")
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option("--calibration", metavar="AUDIO",
                     help="Recordings, or folders of them, of what will be heard, for precisions below fp32."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that exists.")] = False,
) -> None:  # fmt: skip
    """Turn fold checkpoints into a bundle: one ONNX graph, raw audio in, scores out, proven equal to the original.

    Several folds become one graph, the mean of their scores. A graph of lower precision is written only if it scores
    as the original does, within its tolerance, on real recordings it was not calibrated with.

    Example: edgebird export exp105_eca_nfnet_l0/fold_0_model.bin --out birds
    """
    from edgebird.parity import BF16_OF

    if db_floor not in ("window", "batch"):
        raise UsageError(f"--db-floor {db_floor}: wanted window or batch")
    lower = tuple(name for name in dict.fromkeys(precision) if name != "fp32")
    if made := [name for name in lower if name in BF16_OF]:
        raise UsageError(
            f"--precision {made[0]} has no graph of its own: ask for it where it runs, with --runtime openvino"
        )
    if unknown := [name for name in lower if name not in LOWER]:
        raise UsageError(f"--precision {unknown[0]}: wanted fp32, {', '.join(LOWER)}")
    if calibration and not lower:
        raise UsageError(f"--calibration is for lower precisions: give --precision {LOWER[0]} too")
    try:
        from edgebird.export.exporter import ExportRequest, export_bundle
    except ImportError as error:
        raise EdgebirdError(f"export needs torch and onnx: pip install 'edgebird[export,cpu]' ({error})") from error
    request = ExportRequest(
        tuple(folds), out, labels, db_floor, experiment, force, precisions=lower, calibration=tuple(calibration or ())
    )
    export_bundle(request, shell.say)
