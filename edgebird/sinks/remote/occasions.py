"""Which birds an alert is about: by what a detection is the first of, its species and its score."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from edgebird.events import Event
from edgebird.hours import within
from edgebird.settings.telling import BIRDS, AlertSettings
from edgebird.sinks.firsts import First


def occasion(alert: AlertSettings, event: Event, first: First | None) -> str:
    """Why an alert is about a detection, in words for a person: the rarest of its occasions; empty if it is not.

    first: what the detection is the first of, None if it is none of its day.
    """
    if event["score"] < alert.above:
        return ""
    if alert.species and not {event["code"], event["scientific_name"]} & set(alert.species):
        return ""
    return next((words for name in BIRDS if name in alert.when and (words := _words(name, alert, first))), "")


def _words(name: str, alert: AlertSettings, first: First | None) -> str:
    """What an occasion is called where it is there."""
    if name == "every":
        return "heard"
    if first is None:
        return ""
    if name == "first-ever":
        return "the first ever" if first.ever else ""
    if name == "first-this-year":
        return "the first of the year" if first.of_year else ""
    if name == "back":
        return f"back after {first.days_away} days" if first.is_back(alert.days) else ""
    return "the first today"


def message(alert: AlertSettings, event: Event, reason: str) -> tuple[str, str]:
    """Title and text of an alert about a detection."""
    heard = datetime.fromisoformat(event["time"]) if event["time"] else None
    fields: dict[str, Any] = {name: event[name] for name in ("common_name", "scientific_name", "code", "source")}
    fields |= {"score": float(event["score"]), "reason": reason}
    fields |= {"time": f"{heard:%H:%M}" if heard else "", "date": f"{heard:%Y-%m-%d}" if heard else ""}
    return alert.title.format(**fields), alert.text.format(**fields)


def is_quiet(alert: AlertSettings, moment: datetime) -> bool:
    """Whether nothing is sent now. moment: local."""
    return within(alert.quiet_hours, moment, None)  # none by the sun: settings refuse it
