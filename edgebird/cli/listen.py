"""`edgebird listen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebird.cli.options import (
    PRECISIONS,
    ExplainOption,
    FormatOption,
    HopOption,
    OutOption,
    SpeciesListOption,
    ThreadsOption,
    TimezoneOption,
)

NAME = "listen"

_SOURCES, _REPORTS, _FILES, _CLIPS = "Sources", "What is reported", "Where it is kept", "Clips"


def run(
    mic: Annotated[bool, typer.Option("--mic", help="Listen to a microphone.", rich_help_panel=_SOURCES)] = False,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="[NAME=]X", rich_help_panel=_SOURCES,
                     help="A microphone by number or (part of) its name, see `edgebird microphones`; may be repeated."),
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option("--channel", metavar="N", min=1, rich_help_panel=_SOURCES,
                     help="Of microphones and streams, 1 is the first; default: the mean of all."),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option("--url", metavar="[NAME=]URL", rich_help_panel=_SOURCES,
                     help="A stream, RTSP or HTTP; may be repeated. ${NAME} is taken from the environment."),
    ] = None,
    transport: Annotated[
        str | None, typer.Option("--transport", metavar="tcp|udp", rich_help_panel=_SOURCES, help="Of RTSP.")
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", metavar="FILE", rich_help_panel=_SOURCES,
                     help="A recording, as fast as possible; may be repeated."),
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", rich_help_panel=_SOURCES, help="Play files no faster than they were recorded.")
    ] = False,
    stdin: Annotated[
        str | None,
        typer.Option("--stdin", metavar="FORMAT", rich_help_panel=_SOURCES,
                     help="Raw PCM on standard input: s16le:48000:1 is its type, rate and channels."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE.toml", rich_help_panel=_SOURCES,
                     help="All of this in a file, read again at SIGHUP; options on the line come first."),
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="S", rich_help_panel=_SOURCES, help="Stop after so long.")
    ] = None,
    buffer: Annotated[
        float | None,
        typer.Option("--buffer", metavar="S", rich_help_panel=_SOURCES,
                     help="Sound that may wait for the engine, default 15; more than that is lost, and told."),
    ] = None,
    stats_every: Annotated[
        float | None,
        typer.Option("--stats-every", metavar="S", rich_help_panel=_REPORTS, help="Between statistics, default 60."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="BUNDLE", envvar="EDGEBIRD_BUNDLE", help="The bundle to listen with."),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", metavar="NAME", help="The engine: auto, or one that `doctor` lists.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="P", help=f"Which graph: {PRECISIONS}.")
    ] = None,
    threads: ThreadsOption = None,
    hop: HopOption = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option("--threshold", metavar="[CODE=]X", rich_help_panel=_REPORTS,
                     help="Lowest score that counts, default 0.3; CODE=X for one species; may be repeated."),
    ] = None,
    min_windows: Annotated[
        int | None,
        typer.Option("--min-windows", metavar="N", rich_help_panel=_REPORTS,
                     help="Consecutive windows that confirm a detection, default 1."),
    ] = None,
    species_list: SpeciesListOption = None,
    explain: ExplainOption = False,
    quiet_hours: Annotated[
        list[str] | None,
        typer.Option("--quiet-hours", metavar="HH:MM-HH:MM", rich_help_panel=_REPORTS,
                     help="Local time in which nothing is reported; may cross midnight and be repeated."),
    ] = None,
    timezone: TimezoneOption = None,
    latitude: Annotated[
        float | None, typer.Option("--latitude", metavar="DEG", rich_help_panel=_REPORTS, help="Written down only.")
    ] = None,
    longitude: Annotated[
        float | None, typer.Option("--longitude", metavar="DEG", rich_help_panel=_REPORTS, help="Written down only.")
    ] = None,
    format_name: FormatOption = None,
    out: OutOption = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="DIR", rich_help_panel=_FILES, help="All events, a file of JSON lines a day."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", rich_help_panel=_FILES, help="Detections, appended.")
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option("--database", metavar="FILE", rich_help_panel=_FILES, help="All, in SQLite (docs/sinks.md)."),
    ] = None,
    clips: Annotated[
        Path | None, typer.Option("--clips", metavar="DIR", rich_help_panel=_CLIPS, help="Keep detections' sound.")
    ] = None,
    clip_format: Annotated[
        str | None, typer.Option("--clip-format", metavar="flac|wav", rich_help_panel=_CLIPS, help="Default flac.")
    ] = None,
    clip_pre: Annotated[
        float | None, typer.Option("--clip-pre", metavar="S", rich_help_panel=_CLIPS, help="Before, default 3.")
    ] = None,
    clip_post: Annotated[
        float | None, typer.Option("--clip-post", metavar="S", rich_help_panel=_CLIPS, help="After, default 3.")
    ] = None,
    spectrogram: Annotated[
        bool, typer.Option("--spectrogram", rich_help_panel=_CLIPS, help="A picture beside each clip.")
    ] = False,
    max_age: Annotated[
        float | None, typer.Option("--max-age", metavar="DAYS", rich_help_panel=_CLIPS, help="Delete older clips.")
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="20GB", rich_help_panel=_CLIPS, help="Of all clips; the oldest go first."),
    ] = None,
    min_free: Annotated[
        str | None, typer.Option("--min-free", metavar="2GB", rich_help_panel=_CLIPS, help="To leave free on the disk.")
    ] = None,
    keep_best: Annotated[
        int | None,
        typer.Option("--keep-best", metavar="N", rich_help_panel=_CLIPS, help="Best clips of each species that stay."),
    ] = None,
) -> None:  # fmt: skip
    """Listen day and night to microphones, streams and files, several at once, and tell which birds are heard.

    Every second of every source is scored, or told as a gap. A bird is told as soon as the window is scored in which
    it is heard, so the window's length and --hop set how late that can be; a detection is told when its song is over,
    or after 60 s. Sources come back by themselves. Ctrl-C or SIGTERM ends with a summary.

    Example: edgebird listen --mic --bundle birds --clips clips
    """
    from edgebird.cli.station import run_station
    from edgebird.config import make_source, parse_named, parse_thresholds, station_settings

    def named(kind: str, texts: list[str] | None) -> list[tuple[str, str, str]]:
        return [(kind, address, name) for name, address in map(parse_named, texts or [])]

    devices = named("mic", device or ([""] if mic else []))
    wanted = [*devices, *named("url", url), *(("file", str(path), "") for path in file or [])]
    wanted += [("stdin", stdin, "")] if stdin is not None else []
    given = {
        **parse_thresholds(threshold or []),
        "bundle": bundle,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "hop": hop,
        "min-windows": min_windows,
        "species-list": species_list,
        "explain": explain or None,
        "quiet-hours": quiet_hours or None,
        "timezone": timezone,
        "latitude": latitude,
        "longitude": longitude,
        "buffer": buffer,
        "duration": duration,
        "stats-every": stats_every,
        "output.format": format_name,
        "output.out": out,
        "output.log": log,
        "output.csv": csv,
        "output.database": database,
        "clips.folder": clips,
        "clips.format": clip_format,
        "clips.pre": clip_pre,
        "clips.post": clip_post,
        "clips.spectrogram": spectrogram or None,
        "clips.max-age": max_age,
        "clips.max-size": max_size,
        "clips.min-free": min_free,
        "clips.keep-best": keep_best,
    }
    sources = [
        make_source(
            kind,
            address,
            name,
            channel=channel if kind != "file" else None,
            transport=transport if kind == "url" else None,
            realtime=realtime if kind == "file" else None,
        )
        for kind, address, name in wanted
    ]
    run_station(lambda: station_settings(config, given, sources), reloads=config is not None)
