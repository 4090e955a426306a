"""Opening a stream, and telling why that fails."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgebird.capture.addresses import redact, resolves
from edgebird.capture.challenge import wants_sha256
from edgebird.capture.serve import CaptureError

if TYPE_CHECKING:
    from av.container import InputContainer

    from edgebird.capture.certificates import Trust

_NO_AV = "streams need PyAV: pip install 'edgebird[stream]'"

_SLICE_S = 5.0  # of a reading from a server that says nothing: FFmpeg may lose its place where it is interrupted

_CARRYING: set[str] = set()  # file descriptors

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


def is_rtsp(url: str) -> bool:
    """Whether it is the address of an RTSP server."""
    return url.lower().startswith(("rtsp:", "rtsps:"))


def open_container(av: Any, url: str, timeout_s: float, told: dict[str, str]) -> InputContainer:
    """Have FFmpeg open a stream by itself. told: its options. Raises FFmpegError.

    While nothing comes from an RTSP server each reading ends after five seconds, and may be tried again.
    """
    slice_s = timeout_s / math.ceil(timeout_s / _SLICE_S) if is_rtsp(url) else timeout_s
    container: InputContainer = av.open(url, options=told, timeout=(timeout_s, slice_s))
    return container


def rtsp_options(transport: str, all_tracks: bool) -> dict[str, str]:
    """Return how FFmpeg is to ask an RTSP server.

    all_tracks: ask for the video too, as there are cameras that send no audio without it.
    """
    # What a server describes is known without a packet: one that sends none shall not hold up the opening.
    told = {"rtsp_transport": transport, "max_ts_probe": "0"}
    # Video costs bandwidth, and takes seconds to be known in all it is.
    return told | (
        {"analyzeduration": "500000", "fpsprobesize": "0"} if all_tracks else {"allowed_media_types": "audio"}
    )


def end_reading() -> None:
    """Let who waits for a server in this process find its end; a good-bye can still be written to the server."""
    for name in set(os.listdir("/dev/fd")) - _CARRYING:
        with suppress(OSError, ValueError), socket.socket(fileno=os.dup(int(name))) as connection:
            if connection.type == socket.SOCK_STREAM and connection.family != socket.AF_UNIX:
                connection.shutdown(socket.SHUT_RD)


@contextmanager
def read_to_the_end(*connections: socket.socket) -> Iterator[None]:
    """Keep connections from `end_reading`: they carry FFmpeg's good-bye."""
    names = {str(connection.fileno()) for connection in connections}
    _CARRYING.update(names)
    try:
        yield
    finally:
        _CARRYING.difference_update(names)


def told(error: Any, url: str, trust: Trust) -> CaptureError:
    """Say what FFmpeg found; its own messages may hold the URL, its descriptions of error codes do not."""
    kind, text = type(error).__name__, error.strerror
    reason = _REASONS.get(kind, "error")
    if kind == "HTTPOtherClientError":  # RTSP 454, for example, where we ask for the audio of a camera without any
        text = "the server refuses the request; is there audio in this stream?"
    elif reason == "unauthorized" and is_rtsp(url) and wants_sha256(url, trust):
        text = "this camera wants SHA-256 digests, which FFmpeg does not have: set it to MD5 or Basic in the camera"
    elif reason == "error" and not resolves(url):
        reason, text = "unresolved", "this name has no address: check it, and the network"
    return CaptureError(reason, f"{redact(url)}: {text}")
