"""From settings to sinks: those that recordings and live sources share."""

from __future__ import annotations

from pathlib import Path

from edgebird.formats import TableOptions
from edgebird.settings.model import OutputSettings
from edgebird.sinks import Sink
from edgebird.sinks.aging import Aging
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.folder import FolderSink
from edgebird.sinks.lines import LineFileSink
from edgebird.sinks.mounts import on_mounts
from edgebird.sinks.table import TableSink


def table_options(
    output: OutputSettings, recordings: bool = False, channels: bool = False, calibrated: bool = False
) -> TableOptions:
    """What tables have. recordings: they come one after the other. channels: of each of which one was asked for.

    calibrated: detections have probabilities.
    """
    return TableOptions(
        times=output.time_columns,
        channels=channels,
        probabilities=calibrated,
        relative_to=Path() if output.relative_paths else None,
        in_sequence=recordings,
    )


def keeping_sinks(
    output: OutputSettings, rate: int, recordings: bool = False, channels: bool = False, calibrated: bool = False
) -> list[Sink]:
    """Where results are kept.

    rate: of the model, Hz. recordings: they are of recordings, not of live sources. channels: of each of which one was
    asked for. calibrated: detections have probabilities.
    """
    mounts = output.require_mount
    sinks: list[Sink] = []
    if output.out:
        options = table_options(output, recordings, channels, calibrated)
        folder = FolderSink(output.out, output.format or "jsonl", rate, recordings, options)
        sinks.append(on_mounts(folder, output.out, mounts))
    if output.log:
        sinks.append(on_mounts(LineFileSink(output.log), output.log, mounts))
    if output.csv:
        sinks.append(on_mounts(TableSink(output.csv, calibrated), output.csv, mounts))
    if output.database:
        sinks.append(on_mounts(DatabaseSink(output.database), output.database, mounts))
    return sinks


def aging_sinks(output: OutputSettings) -> list[Sink]:
    """What deletes old parts of what is kept."""
    sinks: list[Sink] = []
    if output.log and output.log_max_age_days:
        sinks.append(on_mounts(Aging((output.log, output.log_max_age_days), None), output.log, output.require_mount))
    if output.database and output.database_max_age_days:
        aging = Aging(None, (output.database, output.database_max_age_days))
        sinks.append(on_mounts(aging, output.database, output.require_mount))
    return sinks
