"""Runs the server until it is stopped."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import uvicorn

from edgebird.errors import OutputError
from edgebird.web.app import make_app
from edgebird.web.options import ServeOptions
from edgebird.web.site import Site

log = logging.getLogger(__name__)

_NICE = 10
_CONNECTIONS = 128
_END_S = 3  # for answers that are being sent


def step_back() -> None:
    """Let listening go first."""
    with suppress(OSError):
        os.nice(_NICE)


def bind(options: ServeOptions) -> socket.socket:
    """Return the socket that requests come to. Raises OutputError."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((options.host, options.port))
        server.listen(_CONNECTIONS)  # from now on requests wait, and none is refused
    except OSError as error:
        server.close()
        raise OutputError(f"cannot listen at {options.host}:{options.port}: {error.strerror or error}") from error
    return server


def make_server(site: Site) -> uvicorn.Server:
    """Return the server of a station's pages."""
    config = uvicorn.Config(
        make_app(site),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=_END_S,
        h11_max_incomplete_event_size=32 * 1024,
        ws="none",
    )
    return uvicorn.Server(config)


def run(site: Site, server_socket: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    make_server(site).run(sockets=[server_socket])
