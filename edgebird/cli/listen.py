"""`edgebird listen`."""

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
from edgebird.errors import UsageError

NAME = "listen"


def run(
    bundle: BundleOption,
    file: Annotated[
        list[Path], typer.Option("--file", metavar="FILE", help="A recording, as fast as possible; may be repeated.")
    ] = [],  # noqa: B006  Typer copies it
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
) -> None:
    """Listen to sources and tell which birds are heard. In this version a source is a file.

    A file gives the detections that `detect` gives.

    Example: edgebird listen --file dawn.wav --bundle birds
    """
    from edgebird.cli.job import Job, run_job

    if not file:
        raise UsageError("nothing to listen to: give --file FILE")
    run_job(
        Job(
            audio=tuple(file),
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
            live=True,
        )
    )
