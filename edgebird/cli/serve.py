"""`edgebird serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgebird.web.options import ServeOptions

NAME = "serve"


def run(
    database: Annotated[Path, typer.Option("--database", metavar="FILE", help="Of the station: `listen --database`.")],
    clips: Annotated[Path | None, typer.Option("--clips", metavar="DIR", help="Its clips: `listen --clips`.")] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where pages are; others need a password or a proxy.")
    ] = "127.0.0.1:8080",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="Its first line lets people in.")
    ] = None,
    proxy_header: Annotated[
        str | None,
        typer.Option("--proxy-header", metavar="NAME", help="A proxy in front lets people in, and names them in this."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy", metavar="ADDRESS", help="Of a proxy that says who asks, and whether over TLS; several."
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--names", metavar="FILE.csv", help="Names of species: `code or scientific name,name` a line."),
    ] = None,
    reviews: Annotated[
        Path | None, typer.Option("--reviews", metavar="FILE", help="What people say; default: `FILE.reviews`.")
    ] = None,
    live_socket: Annotated[
        Path | None, typer.Option("--live-socket", metavar="PATH", help="Of `listen`; default: `FILE.live`.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="BUNDLE", help="What listens, to show its proofs.")
    ] = None,
) -> None:
    """Show what a station hears: now, by day, by species, with its sound; let people review it; answer programs.

    A process of its own: it only reads what the station writes, and nothing that happens to it touches listening.

    Example: edgebird serve --database birds.db --clips clips
    """
    from edgebird.cli import shell
    from edgebird.errors import DatabaseError, NotInstalledError
    from edgebird.web.options import ServeOptions, read_address, read_password, read_proxy

    host, port = read_address(listen)
    password = read_password(password_file) if password_file else None
    beside = [database.with_name(database.name + ending) for ending in (".reviews", ".live")]
    options = ServeOptions(
        database,
        reviews or beside[0],
        live_socket or beside[1],
        clips,
        names,
        bundle,
        host,
        port,
        password,
        proxy_header,
        tuple(map(read_proxy, trusted_proxy or ())),
    )
    try:
        from edgebird.web.serving import bind, run, step_back
        from edgebird.web.site import make_site
    except ModuleNotFoundError as error:
        raise NotInstalledError(f"{error.name} is not installed: pip install 'edgebird[web]'") from error
    site = make_site(options)
    try:
        with site.reading():
            pass
    except DatabaseError as error:  # the station may make it yet
        shell.say(f"{error}; pages say so until it is there")
    step_back()
    server = bind(options)
    shell.say(f"pages are at {_address(options, server.getsockname()[1])}; Ctrl-C ends")
    run(site, server)


def _address(options: ServeOptions, port: int) -> str:
    """Return the address that a browser takes; of all addresses, this computer's own."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
