"""`edgebird detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebird.cli.options import (
    BundleOption,
    ExplainOption,
    FormatOption,
    HopOption,
    MinWindowsOption,
    OutOption,
    PrecisionOption,
    RuntimeOption,
    SpeciesListOption,
    ThreadsOption,
    ThresholdOption,
    TimezoneOption,
)

NAME = "detect"


def run(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO", help="Recordings, and folders of them.")],
    bundle: BundleOption,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    hop: HopOption = None,
    threshold: ThresholdOption = None,
    min_windows: MinWindowsOption = 1,
    species_list: SpeciesListOption = None,
    explain: ExplainOption = False,
    timezone: TimezoneOption = None,
    format_name: FormatOption = None,
    out: OutOption = None,
    submission: Annotated[
        Path | None,
        typer.Option("--submission", metavar="FILE.csv", help="Scores of every 5 s, as BirdCLEF wants them."),
    ] = None,
) -> None:
    """Find birds in recordings: WAV, FLAC, OGG, MP3, any rate and length, folders with all they hold.

    Prints a table in a terminal and JSON lines elsewhere. A file that cannot be read is named, the others are done,
    and the exit code is 1.

    Example: edgebird detect recordings/ --bundle birds --format raven --out tables
    """
    from edgebird.cli.job import Job, run_job

    run_job(
        Job(
            audio=tuple(audio),
            bundle=bundle,
            runtime=runtime,
            precision=precision,
            threads=threads,
            hop_s=hop,
            threshold=threshold,
            min_windows=min_windows,
            species_list=species_list,
            explain=explain,
            timezone=timezone,
            format=format_name,
            out=out,
            submission=submission,
        )
    )
