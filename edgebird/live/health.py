"""Whether a station is alive and hears, for watchdogs and containers: by its live socket, else by its database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgebird.errors import DatabaseError
from edgebird.events import Event
from edgebird.live.watch import LiveReader
from edgebird.stored.database import StoredDatabase
from edgebird.stored.health import events, last_event, last_state

DATABASE = Path("/var/lib/edgebird/birds.db")
STATE_S = 10.0  # within which a station tells its state: who connects is told at the next look of its loop
STATS_S = 60.0  # between statistics, if there are not two that say it
LATE = 3  # statistics that may be missing: a slow disk holds back two, and the third is not late yet
_HEARS_NOT = ("starting", "lost", "closed", "silent")


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a station hears, and why, in one line."""

    well: bool
    told: str


def examine_station(database: Path, live: Path, state_s: float = STATE_S) -> Health:
    """Ask a station, or what it wrote last if nobody answers; state_s: seconds to wait for an answer.

    One source that is heard is enough: another try would not bring back a camera that is off. An engine that has
    failed, by the database, is none.
    """
    asked = _ask(live, state_s)
    if isinstance(asked, Health) and not asked.well:
        return asked
    try:
        with StoredDatabase(database).reading() as connection:
            engine = last_event(connection, "engine")
            if engine and engine["state"] == "failed":
                return Health(False, f"{engine['engine']} has failed: nothing is scored since {engine['time']}")
            if isinstance(asked, Health):
                return asked
            state = last_state(connection)
            between = _between(events(connection, ("stats",), 2))
    except DatabaseError as error:
        if isinstance(asked, Health):  # a station may have a live socket alone
            return asked
        return Health(False, f"no station answers at {live} ({asked}); {error}")
    age, most = state.age_s, LATE * between
    if age is None or age > most:
        said = "nothing was ever told" if age is None else f"nothing was told for {age:.0f} s, allowed are {most:.0f}"
        return Health(False, f"no station answers at {live} ({asked}); by {database} {said}")
    return _of_sources({name: event.get("state", "open") for name, event in state.sources.items()}, f"{age:.0f} s ago")


def _ask(live: Path, state_s: float) -> Health | str:
    """What a station says now; why nobody does, where no station is there."""
    end = time.monotonic() + state_s
    with LiveReader(live) as reader:
        connected = False
        while (left := end - time.monotonic()) > 0:
            for message in reader.read(min(left, 1.0)):
                if message["type"] == "state":
                    return _of_sources({one["name"]: one["state"] for one in message["sources"]}, "now")
            connected |= reader.hello is not None
            if reader.hello is None and not connected:
                return reader.problem or "nobody"
    return Health(False, f"a station listens at {live}, but told nothing for {state_s:g} s: it stands still")


def _of_sources(states: Mapping[str, str], when: str) -> Health:
    deaf = [f"{name} is {state}" for name, state in states.items() if state in _HEARS_NOT]
    heard = [name for name, state in states.items() if state not in _HEARS_NOT]
    if not heard:
        return Health(False, f"nothing is heard, {when}: {', '.join(deaf) or 'there is no source'}")
    return Health(True, f"hears {', '.join(heard)}, {when}" + (f"; {', '.join(deaf)}" if deaf else ""))


def _between(stats: list[Event]) -> float:
    """Seconds between the last two statistics."""
    if len(stats) < 2:
        return STATS_S
    newest, before = (datetime.fromisoformat(event["time"]) for event in stats)
    return max(STATS_S, (newest - before).total_seconds())
