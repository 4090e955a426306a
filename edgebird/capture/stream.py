"""`python -m edgebird.capture.stream`: the capture process of a network stream (RTSP, HTTP, HLS, ...), see wire.py.

Options: {"url": "rtsp://user:pass@host/path", "transport": "tcp" | "udp", "timeout_s": 5, "block_s": 0.1, "verbose":
false}; the transport is that of RTSP. The first audio of the stream is decoded at its own rate and channels. A stream
that ends is `ended`, whatever the reason: a server that dies and one that has finished look alike. Its address comes
over stdin because everyone can read the arguments of a process, and credentials are in no message.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from edgebird.capture import wire
from edgebird.capture.blocks import SHORTEST_S, Boundaries
from edgebird.capture.serve import CaptureError, Options, serve

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

_NO_AV = "streams need PyAV: pip install 'edgebird[stream]'"

_JITTER_S = 0.02  # timestamps may be so far off without a meaning
_FORGET_S = 60.0  # time constant of what is not a jump: 100 ppm between the sender's clocks stay below 6 ms
_SLACK_S = 1.0  # audio may arrive so much earlier than ever before
_AHEAD_S = 10.0  # servers begin with some seconds from their memory; more is a recording, which is read as it sounds
_CATCH_UP = 1.01  # seconds of a recording read in a second: more than a live source's clock can be fast

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

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<authority>[^\s/?#'\"]*)(?P<rest>[^\s'\"]*)", re.IGNORECASE)
# Such as ?token=..., &pwd=..., and /user=admin_password=..., as some cameras want it.
_SECRET = re.compile(
    r"(?P<name>[/?&;][^=&;/?\s]*(?:pass|pwd|token|key|secret|auth|sig|session|user|usr|login|account|credential)"
    r"[^=&;/?\s]*=)[^&;#\s'\"]*",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a URL, or a text with URLs in it, without the credentials: `rtsp://***@host/path?token=***`."""
    return _URL.sub(_redacted, text)


def _redacted(url: re.Match[str]) -> str:
    scheme, authority, rest = url["scheme"], url["authority"], url["rest"]
    port = authority.rpartition(":")[2]
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    elif "@" in rest and ":" in authority and not port.isdecimal():  # a password with a slash that is not escaped
        authority, rest = "***@", rest.rpartition("@")[2]
    return scheme + authority + _SECRET.sub(r"\g<name>***", rest)


class Timeline:
    """Where decoded audio belongs, in frames since the first, by its timestamps: a jump ahead is audio that was lost.

    Timestamps jitter and drift a little, and jump without a loss where a server starts again: lost is only what can
    have sounded, by the clock, since the stream was opened.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._next = 0  # the position after the last frames
        self._base: float | None = None  # the timestamp of position 0
        self._opened = 0.0
        self._most_ahead_s = 0.0
        self.ahead_s = 0.0  # audio received so far, minus the time that it took

    def place(self, stamp: int | None, frames: int, now: float) -> int:
        """Return the position of the next frames. stamp: in frames, None if unknown. now: monotonic seconds."""
        if self._next == 0:
            self._opened = now
        if stamp is not None:
            self._next += self._lost(stamp, frames, now)
        position, self._next = self._next, self._next + frames
        self.ahead_s = self._ahead(0, now)
        self._most_ahead_s = max(self._most_ahead_s, self.ahead_s)
        return position

    def _lost(self, stamp: int, frames: int, now: float) -> int:
        if self._base is None:
            self._base = stamp - self._next
        offset = stamp - self._base - self._next
        if abs(offset) <= _JITTER_S * self._rate:
            self._base += offset * frames / (self._rate * _FORGET_S)
        elif offset > 0 and self._ahead(offset, now) <= self._most_ahead_s + _SLACK_S:
            return round(offset)
        else:
            self._base += offset
        return 0

    def _ahead(self, more: float, now: float) -> float:
        return (self._next + more) / self._rate - (now - self._opened)


class _Sender:
    """Sends decoded audio to the parent as interleaved float32, at the rate and channels of its first frame."""

    def __init__(self, pipe: BinaryIO, name: str, first: AudioFrame, block_s: float) -> None:
        from av import AudioResampler

        self._pipe, self._name = pipe, name
        self._block, self._at = bytearray(), 0.0
        self._rate, self._channels = first.sample_rate, first.layout.nb_channels
        self._format = _format(first)
        self._convert = AudioResampler(format="flt")  # the sample format alone
        self._timeline, self._boundaries = Timeline(self._rate), Boundaries(self._rate, block_s)
        self._next = 0  # position after what waits
        self._opened = time.monotonic()
        wire.say(pipe, wire.OPEN, rate=self._rate, channels=self._channels, device=name)

    def send(self, frame: AudioFrame) -> None:
        """Send a frame; wait if the server is far ahead of the clock. Raises CaptureError if the format changed."""
        if _format(frame) != self._format:
            changed = f"the stream changed from {self._format} to {_format(frame)}"
            raise CaptureError("ended", f"{self._name}: {changed}")
        now = time.monotonic()
        stamp = None
        if frame.pts is not None and frame.time_base is not None:
            stamp = round(frame.pts * frame.time_base * self._rate)
        position = self._timeline.place(stamp, frame.samples, now)
        if position > self._next:
            self.flush()
            self._boundaries.begin(position)
            self._next = position
        self._at = now
        for converted in self._convert.resample(frame):
            self._block += bytes(converted.planes[0])[: converted.samples * self._channels * 4]  # planes are padded
            self._next += converted.samples
        if self._boundaries.advance(self._next):
            self.flush()
        surplus = self._timeline.ahead_s - _AHEAD_S - (_CATCH_UP - 1) * (now - self._opened)
        if surplus > 0:
            time.sleep(surplus)

    def flush(self) -> None:
        """Send what waits for its block to be full."""
        if self._block:
            start = self._next - len(self._block) // (4 * self._channels)
            wire.write(self._pipe, wire.Message(wire.DATA, bytes(self._block), self._at, start))
            self._block.clear()


def capture(options: Options, pipe: BinaryIO) -> None:
    """Decode until it ends. Raises CaptureError."""
    av = _load_av()
    url, timeout_s = options["url"], options.get("timeout_s", 5)
    name = redact(url)
    sender, heard = None, time.monotonic()
    try:
        container = _open(av, url, options.get("transport", "tcp"), timeout_s)
        try:
            for frame in _frames(av, container, name):
                sender = sender or _Sender(pipe, name, frame, options.get("block_s", SHORTEST_S))
                sender.send(frame)
                heard = time.monotonic()
        finally:
            if sender:
                sender.flush()
    except av.error.FFmpegError as error:
        if time.monotonic() - heard < timeout_s:
            raise _told(error, url) from error  # which keeps the container: to close it may wait for the server
    if time.monotonic() - heard < timeout_s:
        raise CaptureError("ended", f"{name}: the stream ended")
    # Our timeout interrupts FFmpeg, which then calls it what it likes: damaged data, for example.
    raise CaptureError("stalled", f"{name}: nothing came for {timeout_s:g} s")


def _load_av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise CaptureError("error", _NO_AV) from None
    return av


def _open(av: Any, url: str, transport: str, timeout_s: float) -> InputContainer:
    options = {}
    if url.lower().startswith(("rtsp:", "rtsps:")):
        options = {"rtsp_transport": transport, "allowed_media_types": "audio"}  # a camera's video stays there
    container: InputContainer = av.open(url, options=options, timeout=(timeout_s, timeout_s))
    return container


def _frames(av: Any, container: InputContainer, name: str) -> Iterator[AudioFrame]:
    """Decode the first audio; packets that are damaged leave a hole in the timestamps."""
    if not container.streams.audio:
        raise CaptureError("error", f"{name}: there is no audio in this stream")
    for packet in container.demux(container.streams.audio[0]):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def _format(frame: AudioFrame) -> str:
    return f"{frame.sample_rate} Hz, {frame.layout.name}, {frame.format.name}"


def _told(error: Any, url: str) -> CaptureError:
    """Say what FFmpeg found; its own messages may hold the URL, its descriptions of error codes do not."""
    kind, text = type(error).__name__, error.strerror
    reason = _REASONS.get(kind, "error")
    if kind == "HTTPOtherClientError":  # RTSP 454, for example, where we ask for the audio of a camera without any
        text = "the server refuses the request; is there audio in this stream?"
    elif reason == "error" and not _resolves(url):
        reason, text = "unresolved", "this name has no address: check it, and the network"
    return CaptureError(reason, f"{redact(url)}: {text}")


def _resolves(url: str) -> bool:
    """Tell whether the host has an address: FFmpeg does not tell this error from others."""
    try:
        host = urlsplit(url).hostname
        return host is None or bool(socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    serve(capture)
