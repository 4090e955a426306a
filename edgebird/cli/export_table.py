"""`edgebird export-table`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

NAME = "export-table"
_DAY = ["%Y-%m-%d"]


def run(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The folder of `detect --format parquet`.")],
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="jsonl, csv, raven, audacity, kaleidoscope.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A file per recording in this folder, not stdout.")
    ] = None,
    recorder: Annotated[str | None, typer.Option("--recorder", metavar="NAME", help="Of this one only.")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", metavar="YYYY-MM-DD", formats=_DAY, help="First day.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", metavar="YYYY-MM-DD", formats=_DAY, help="Last day, included.")
    ] = None,
    times: Annotated[bool, typer.Option("--time-columns", help="With the time of day of each detection.")] = False,
    relative: Annotated[
        bool, typer.Option("--relative-paths", help="Paths in Raven tables relative to the table, or here on stdout.")
    ] = False,
) -> None:
    """Make the tables of `detect` from a dataset, without detecting again: all of it, a recorder, some days.

    Example: edgebird export-table season --format raven --recorder R07 --from 2026-05-01 --to 2026-05-07 --out tables
    """
    from edgebird.archives.exporting import Selection, StoredDataset
    from edgebird.cli import shell
    from edgebird.errors import UsageError
    from edgebird.formats import FORMATS, formatter, require_fitting
    from edgebird.remote.path import RemotePath, place
    from edgebird.settings.model import OutputSettings
    from edgebird.sinks import Sink, opened
    from edgebird.sinks.build import table_options
    from edgebird.sinks.folder import FolderSink
    from edgebird.sinks.lines import LineSink

    if form not in FORMATS:
        raise UsageError(f"--format {form!r}: wanted one of {', '.join(FORMATS)}")
    begin, end = (day.date().isoformat() if day else None for day in (first, last))
    out = place(out) if out else None
    if relative and isinstance(out, RemotePath):
        raise UsageError("--relative-paths: from a bucket or host no path leads here: leave it away")
    stored = StoredDataset(place(dataset), Selection(recorder, begin, end))
    if not stored.recordings:
        shell.say("no recordings of this recorder and these days")
        return
    rate, channels = stored.recordings[0].rate, any(one.has_channels for one in stored.recordings)
    output = OutputSettings(time_columns=times, relative_paths=relative)
    options = table_options(output, True, channels, stored.has_probabilities)
    sink: Sink
    if out:
        sink = folder = FolderSink(out, form, rate, True, options)
        folder.check_recordings([one.found for one in stored.recordings])
    else:
        require_fitting(form, False, "recording" if len(stored.recordings) > 1 else "")
        sink = LineSink(sys.stdout, formatter(form, rate, options))
    with opened([sink]):
        stored.tell([sink])
    shell.say(f"{len(stored.recordings)} recordings")
