"""`edgebird doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgebird.cli import shell

NAME = "doctor"


def run(
    bundles: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="[BUNDLE]...", help="Bundles: what each is, from where, under which licence."),
    ] = None,
) -> None:
    """Tell what is installed, which engines can really run here, and why the others cannot; and what bundles are.

    Example: edgebird doctor birds
    """
    from edgebird.bundle import open_bundle
    from edgebird.doctor import describe, examine

    for path in bundles or ():
        for line in describe(open_bundle(path)):
            shell.result(line)
    for line in examine():
        shell.result(line)
