"""What the API has: each operation declared once, for the routes, the OpenAPI document and the page about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

_DATE: Schema = {"type": "string", "format": "date"}
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
MOST = 1000  # of a list

PARAMETERS: dict[str, tuple[str, Schema]] = {
    "limit": ("how many at most", {"type": "integer", "minimum": 1, "maximum": MOST}),
    "before": ("only those told before this id: the next page", {"type": "integer", "minimum": 1}),
    "date": ("one day", _DATE),
    "from": ("first day", _DATE),
    "to": ("last day, included", _DATE),
    "species": ("code of a species", _TEXT),
    "source": ("name of a source", _TEXT),
    "min_confidence": ("lowest score", _SCORE),
}

_OBJECT: Schema = {"type": "object"}


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_MAYBE: Schema = {"type": ["string", "null"]}

SCHEMAS: dict[str, Schema] = {
    "Error": _object(error=_STRING, code=_INTEGER),
    "Source": _object(id=_STRING, name=_STRING, displayName=_STRING, type=_STRING, state=_STRING),
    "Detection": _object(
        id=_INTEGER, date=_STRING, time=_STRING, timestamp=_MAYBE, source=_OBJECT, beginTime=_MAYBE, endTime=_MAYBE,
        speciesCode=_STRING, scientificName=_STRING, commonName=_STRING, confidence=_NUMBER, verified=_STRING,
        locked={"type": "boolean"}, clipName=_MAYBE,
    ),
    "DailySpecies": _object(
        scientific_name=_STRING, common_name=_STRING, species_code=_STRING, count=_INTEGER,
        hourly_counts={"type": "array", "items": _INTEGER, "minItems": 24, "maxItems": 24}, max_confidence=_NUMBER,
        first_heard=_STRING, latest_heard=_STRING, is_new_species={"type": "boolean"},
    ),
    "SpeciesSummary": _object(
        scientific_name=_STRING, common_name=_STRING, species_code=_STRING, count=_INTEGER, first_heard=_MAYBE,
        last_heard=_MAYBE, avg_confidence=_NUMBER, max_confidence=_NUMBER,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. takes: names of PARAMETERS. gives: schema of the answer, or the media type of what is no JSON."""

    name: str
    path: str
    summary: str
    gives: Schema | str
    takes: tuple[str, ...] = ()
    method: str = "GET"
    status: int = 200

    @property
    def has_id(self) -> bool:
        """Whether it is about one detection."""
        return "{id}" in self.path


_V2 = "/api/v2"
_EVENTS = "text/event-stream"

_PAGING = ("limit", "before", "date", "from", "to", "species", "source", "min_confidence")
_HEALTH = _object(status=_STRING, version=_STRING, timestamp=_STRING)
_KPIS = _object(lifetimeSpecies=_INTEGER, todayDetections=_INTEGER, bestDay=_OBJECT, detectionStreak=_OBJECT)
_SOURCES = _object(sources=_list_of("Source"))
_MANY = _list_of("Detection")
_ONE: Schema = {"$ref": "#/components/schemas/Detection"}
_DAILY = ("date", "min_confidence", "limit")

# One line for each, to be read as a table.
# fmt: off
DECLARED = (
    Operation("ping", f"{_V2}/ping", "Whether the server answers", _object(status=_STRING)),
    Operation("health", f"{_V2}/health", "How the server and its database are", _HEALTH),
    Operation("kpis", f"{_V2}/dashboard/kpis", "Headline figures", _KPIS),
    Operation("sources", f"{_V2}/system/audio/sources", "All sources", _SOURCES),
    Operation("streams", f"{_V2}/streams/sources", "The same: what kind a source is, is not stored", _SOURCES),
    Operation("recent", f"{_V2}/detections/recent", "The newest detections", _MANY, ("limit", "source")),
    Operation("stream", f"{_V2}/detections/stream", "Detections: events connected, detection, heartbeat", _EVENTS),
    Operation("detections", f"{_V2}/detections", "Detections, newest first; paged by X-Total-Count and Link",
              _MANY, _PAGING),
    Operation("detection", f"{_V2}/detections/{{id}}", "One detection", _ONE),
    Operation("levels", f"{_V2}/soundlevels/stream", "Levels: events connected, audio-level, heartbeat", _EVENTS),
    Operation("daily", f"{_V2}/analytics/species/daily", "Species of a day by hour", _list_of("DailySpecies"), _DAILY),
    Operation("summary", f"{_V2}/analytics/species/summary", "All species ever", _list_of("SpeciesSummary")),
    Operation("system", f"{_V2}/system/info", "The computer that the pages come from", _OBJECT),
    Operation("audio", f"{_V2}/audio/{{id}}", "The sound of a detection", "audio/*"),
    Operation("spectrogram", f"{_V2}/spectrogram/{{id}}", "Its spectrogram", "image/png"),
    Operation("image", f"{_V2}/media/image/{{name}}", "Pictures of birds: there are none", _OBJECT, status=404),
    Operation("restart", f"{_V2}/control/restart", "Refused: nobody ends listening here", _OBJECT, (), "POST", 403),
    Operation("reload", f"{_V2}/control/reload", "Refused for the same reason", _OBJECT, (), "POST", 403),
)
# fmt: on
