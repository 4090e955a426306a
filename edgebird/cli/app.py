"""The application: its commands, and what is the same for all of them."""

from __future__ import annotations

import io
import platform
import sys
from typing import Annotated

import typer

from edgebird import __version__
from edgebird.cli import (
    adopt,
    bench,
    build,
    calibrate,
    demo,
    detect,
    doctor,
    embed,
    evaluate,
    export,
    export_table,
    listen,
    microphones,
    report,
    search,
    serve,
    setup,
    shell,
    thresholds,
    verify,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgebird {__version__}")
        raise typer.Exit


def _callback(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Tell more; works anywhere on the line.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only; works anywhere on the line.")] = False,
) -> None:
    """Bird-sound fold models as proven ONNX graphs, listening on small computers.

    export FOLD... --out BUNDLE, verify BUNDLE, detect AUDIO... --bundle BUNDLE. Results go to stdout, all else to
    stderr. Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.
    """


def make_app() -> typer.Typer:
    """The Typer application; coloured help in a terminal, plain text elsewhere."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if shell.stderr_is_terminal() and shell.stdout_is_terminal() else None,
    )
    app.callback()(_callback)
    for module in (
        demo,
        export,
        adopt,
        verify,
        build,
        detect,
        export_table,
        listen,
        microphones,
        setup,
        serve,
        report,
        evaluate,
        thresholds,
        calibrate,
        embed,
        search,
        bench,
        doctor,
    ):
        app.command(module.NAME)(shell.command(module.run))
    return app


def main() -> None:
    """Run the command line; on 32 bits, where nothing that it needs could be installed, say so and end."""
    if sys.maxsize < 1 << 32:
        shell.say_error(
            f"this is a Python of 32 bits ({platform.machine()}), for which there are no engines: take a 64-bit "
            "system, such as Raspberry Pi OS (64-bit)"
        )
        raise SystemExit(shell.FAILED)
    arguments = shell.set_verbosity(sys.argv[1:])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # JSON and tables are UTF-8, whatever the locale
    try:
        make_app()(args=arguments, prog_name="edgebird")
    finally:
        shell.settle()
