"""From settings to sinks: those that recordings and live sources share."""

from __future__ import annotations

from edgebird.settings.model import OutputSettings
from edgebird.sinks import Sink
from edgebird.sinks.database import DatabaseSink
from edgebird.sinks.folder import FolderSink
from edgebird.sinks.lines import LineFileSink
from edgebird.sinks.table import TableSink


def keeping_sinks(output: OutputSettings, rate: int, recordings: bool = False) -> list[Sink]:
    """Where results are kept. rate: of the model, Hz. recordings: they are of recordings, not of live sources."""
    sinks: list[Sink] = []
    if output.out:
        sinks.append(FolderSink(output.out, output.format or "jsonl", rate, recordings))
    if output.log:
        sinks.append(LineFileSink(output.log))
    if output.csv:
        sinks.append(TableSink(output.csv))
    if output.database:
        sinks.append(DatabaseSink(output.database))
    return sinks
