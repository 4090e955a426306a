"""`edgebird doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgebird.cli import shell
from edgebird.errors import UsageError

NAME = "doctor"


def run(
    bundles: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="[BUNDLE]...", help="Bundles: what each is, from where, under which licence."),
    ] = None,
    health: Annotated[
        bool, typer.Option("--health", help="Only whether the station here hears: exit code 0, else 1 with the reason.")
    ] = False,
    database: Annotated[
        Path | None,
        typer.Option("--database", metavar="FILE", help="Of that station; default: /var/lib/edgebird/birds.db."),
    ] = None,
    live_socket: Annotated[
        Path | None, typer.Option("--live-socket", metavar="PATH", help="Of that station; default: `FILE.live`.")
    ] = None,
) -> None:
    """Tell what is installed, which engines can really run here, and why the others cannot; and what bundles are.

    With --health, for containers and watchdogs: whether the station on this computer is alive and hears.

    Example: edgebird doctor birds
    """
    if health:
        _tell_health(bundles or [], database, live_socket)
        return
    if database or live_socket:
        raise UsageError("--database and --live-socket are of a station: give --health too")
    from edgebird.bundle import open_bundle
    from edgebird.doctor import describe, examine

    for path in bundles or ():
        for line in describe(open_bundle(path)):
            shell.result(line)
    for line in examine():
        shell.result(line)


def _tell_health(bundles: list[Path], database: Path | None, live: Path | None) -> None:
    from edgebird.live.health import DATABASE, examine_station

    if bundles:
        raise UsageError("--health is about a station, not about bundles: leave them out")
    file = database or DATABASE
    found = examine_station(file, live or file.with_name(f"{file.name}.live"))
    shell.result(found.told)
    if not found.well:
        raise typer.Exit(shell.FAILED)
