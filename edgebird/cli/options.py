"""Options that several commands share, spelled the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle: a folder that `export` wrote.")]
BundleOption = Annotated[
    Path, typer.Option("--bundle", metavar="BUNDLE", envvar="EDGEBIRD_BUNDLE", help="The bundle to listen with.")
]
RuntimeOption = Annotated[
    str, typer.Option("--runtime", metavar="NAME", help="The engine: auto, or one that `doctor` lists.")
]
PRECISIONS = "fp32, fp16, bf16, int8, int8+bf16"  # those of `parity`, which takes too long to import for a help text
PrecisionOption = Annotated[str, typer.Option("--precision", metavar="P", help=f"Which graph: {PRECISIONS}.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads of the engine; default: all cores.")
]
HopOption = Annotated[
    float | None,
    typer.Option("--hop", metavar="S", help="Seconds between windows, default 2.5; together with the window's length "
                 "it sets how soon a bird can be reported."),
]  # fmt: skip
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", metavar="X", help="Lowest score that counts, default 0.3; not a probability."),
]
MinWindowsOption = Annotated[
    int, typer.Option("--min-windows", metavar="N", help="Consecutive windows that confirm a detection.")
]
SpeciesListOption = Annotated[
    Path | None,
    typer.Option("--species-list", metavar="FILE",
                 help="Only these: a `Scientific name_Common name` or eBird code a line."),
]  # fmt: skip
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Also tell candidates that were rejected, with the reason (jsonl).")
]
TimezoneOption = Annotated[
    str | None,
    typer.Option("--timezone", metavar="ZONE",
                 help="Where names without an offset were recorded: UTC, local, +02:00, Europe/Berlin; "
                 "default: UTC for AudioMoth names, else local."),
]  # fmt: skip
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help="jsonl, csv (BirdNET), raven, audacity or kaleidoscope."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="A file per recording in this folder, not stdout.")
]
