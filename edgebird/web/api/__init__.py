"""The API: as BirdNET-Go's public client `aiobirdnetgo` asks, so that what reads BirdNET-Go reads a station too."""

from __future__ import annotations

from starlette.routing import Route

from edgebird.web.api.declared import DECLARED, Operation
from edgebird.web.api.handlers import HANDLERS
from edgebird.web.api.openapi import docs, openapi


def routes() -> list[Route]:
    """Return the routes of everything that is declared."""
    made = [Route(one.path, HANDLERS[one.name], methods=[one.method]) for one in DECLARED]
    return [*made, Route("/api/openapi.json", openapi), Route("/api", docs)]


__all__ = ["DECLARED", "Operation", "routes"]
