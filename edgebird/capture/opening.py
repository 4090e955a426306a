"""Opening a stream, choosing its audio, and telling why that fails."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgebird.capture.addresses import redact, resolves
from edgebird.capture.serve import CaptureError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

_NO_AV = "streams need PyAV: pip install 'edgebird[stream]'"

_REASONS = {
    "HTTPNotFoundError": "not_found",
    "FileNotFoundError": "not_found",
    "HTTPUnauthorizedError": "unauthorized",
    "HTTPForbiddenError": "unauthorized",
    "ConnectionRefusedError": "refused",
    "ConnectionResetError": "disconnected",
    "ConnectionAbortedError": "disconnected",
    "BrokenPipeError": "disconnected",
    "TimeoutError": "stalled",
    "EOFError": "ended",
}


def load_av() -> ModuleType:
    """PyAV, imported when it is needed. Raises CaptureError without it."""
    try:
        import av
    except ImportError:
        raise CaptureError("error", _NO_AV) from None
    return av


def open_container(av: Any, url: str, transport: str, timeout_s: float) -> InputContainer:
    """Open a stream; transport: of RTSP. Raises FFmpegError."""
    options = {}
    if url.lower().startswith(("rtsp:", "rtsps:")):
        options = {"rtsp_transport": transport, "allowed_media_types": "audio"}  # a camera's video stays there
    container: InputContainer = av.open(url, options=options, timeout=(timeout_s, timeout_s))
    return container


def decoded(av: Any, container: InputContainer, name: str) -> Iterator[AudioFrame]:
    """Decode the first audio; packets that are damaged leave a hole in the timestamps."""
    if not container.streams.audio:
        raise CaptureError("error", f"{name}: there is no audio in this stream")
    for packet in container.demux(container.streams.audio[0]):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def told(error: Any, url: str) -> CaptureError:
    """Say what FFmpeg found; its own messages may hold the URL, its descriptions of error codes do not."""
    kind, text = type(error).__name__, error.strerror
    reason = _REASONS.get(kind, "error")
    if kind == "HTTPOtherClientError":  # RTSP 454, for example, where we ask for the audio of a camera without any
        text = "the server refuses the request; is there audio in this stream?"
    elif reason == "error" and not resolves(url):
        reason, text = "unresolved", "this name has no address: check it, and the network"
    return CaptureError(reason, f"{redact(url)}: {text}")
