"""`edgebird listen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgebird.cli.options import by_panel, given, parameter, parameters, rows_of, source_rows, takes
from edgebird.settings.model import SOURCES

NAME = "listen"

_MIC = Annotated[bool, typer.Option("--mic", rich_help_panel=SOURCES, help="Listen to a microphone.")]
_CONFIG = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", rich_help_panel=SOURCES,
                 help="All of this in a file, read again at SIGHUP; options on the line come first."),
]  # fmt: skip
_SOURCES, _OTHERS = source_rows(NAME), by_panel(rows_of(NAME))


@takes(
    [
        parameter("mic", _MIC, False),
        *parameters(_SOURCES, reads_file=True),
        parameter("config", _CONFIG, None),
        *parameters(_OTHERS, reads_file=True),
    ]
)
def run(**options: Any) -> None:
    """Listen day and night to microphones, streams and files, several at once, and tell which birds are heard.

    Every second of every source is scored, or told as a gap. A bird is told as soon as the window is scored in which
    it is heard, so the window's length and --hop set how late that can be; a detection is told when its song is over,
    or after 60 s. Sources come back by themselves. Ctrl-C or SIGTERM ends with a summary.

    Example: edgebird listen --mic --bundle birds --clips clips
    """
    from edgebird.cli.station import run_station
    from edgebird.settings.build import station_settings
    from edgebird.settings.sources import given_sources

    config, wanted = options["config"], given(_SOURCES, options)
    if options["mic"]:
        wanted.setdefault("source.mic", [""])
    sources, others = given_sources(wanted), given(_OTHERS, options)
    run_station(lambda: station_settings(config, others, sources), reloads=config is not None)
