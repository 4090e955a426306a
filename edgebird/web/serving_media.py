"""Sound, spectrograms and what happens now, as browsers take them."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from edgebird.stored.records import record
from edgebird.web.asking import id_of
from edgebird.web.live import event_of, record_json, server_events
from edgebird.web.media import LARGE, SMALL, Spectrograms, clip_path
from edgebird.web.site import site_of

_SPECTROGRAMS = Spectrograms()
_KINDS = ("state", "columns", "detection", "absent")
_QUIET_S = 15.0
_KEEP = {"cache-control": "private, max-age=86400"}  # the clip of a detection stays what it is


def _clip(request: Request) -> Any:
    """The file of the detection in the path."""
    site = site_of(request)
    with site.reading() as connection:
        one = record(connection, id_of(request))
    path = clip_path(site.options.clips, one.clip) if one else None
    if path is None:
        raise HTTPException(404, "there is no sound of this detection")
    return path


def clip(request: Request) -> Response:
    """The sound of a detection."""
    path = _clip(request)
    kind = {".flac": "audio/flac", ".wav": "audio/wav"}[path.suffix]
    return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type="inline", headers=_KEEP)


def spectrogram(request: Request) -> Response:
    """A picture of it; `size=small` for lists."""
    size = SMALL if request.query_params.get("size") == "small" else LARGE
    return Response(_SPECTROGRAMS.of(_clip(request), size), media_type="image/png", headers=_KEEP)


async def live(request: Request) -> Response:
    """What happens now, as server-sent events."""
    site = site_of(request)

    def tell(message: dict[str, Any]) -> str:
        if message["type"] == "detection":
            one = message["record"]
            return event_of("detection", record_json(one, site.name(one)))
        return event_of(message["type"], message)

    stream = server_events(site.hub, event_of("connected", {}), tell, _KINDS, _QUIET_S)
    return StreamingResponse(stream, media_type="text/event-stream")


ROUTES = [
    Route("/media/clip/{id}", clip),
    Route("/media/spectrogram/{id}", spectrogram),
    Route("/live", live),
]
