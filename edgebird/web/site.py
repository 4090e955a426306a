"""What all requests share: the station's database, reviews, names, the live hub."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request

from edgebird.bundle import CARD_FILE
from edgebird.card import Card, read_card
from edgebird.errors import BundleError
from edgebird.stored.database import StoredDatabase
from edgebird.stored.names import LocalNames, read_names
from edgebird.web.live import LiveHub
from edgebird.web.options import ServeOptions
from edgebird.web.reviews import ReviewStore


@dataclass(eq=False)
class Site:
    """Everything a page needs. card: of the bundle, None without one; card_problem: why it cannot be read."""

    options: ServeOptions
    database: StoredDatabase
    reviews: ReviewStore
    names: LocalNames
    hub: LiveHub
    card: Card | None = None
    card_problem: str = ""
    kept: dict[Any, Any] = field(default_factory=dict)

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Give a connection to the station's database, for one request."""
        return self.database.reading()

    def name(self, one: Any) -> str:
        """Return the name of a species in the reader's language. one: has a code and two names."""
        return self.names.of(one.code, one.scientific_name, one.common_name)


def make_site(options: ServeOptions) -> Site:
    """Read what the options name. Raises LabelError for names that cannot be read."""
    database = StoredDatabase(options.database)
    card, problem = _card(options.bundle)
    return Site(
        options,
        database,
        ReviewStore(options.reviews),
        read_names(options.names) if options.names else LocalNames(),
        LiveHub(database, options.live),
        card,
        problem,
    )


def _card(bundle: Path | None) -> tuple[Card | None, str]:
    if bundle is None:
        return None, ""
    try:
        return read_card(bundle / CARD_FILE), ""
    except BundleError as error:
        return None, str(error)


def site_of(request: Request) -> Site:
    """Return the site that a request is for."""
    site: Site = request.app.state.site
    return site
