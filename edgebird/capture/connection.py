"""How a stream is reached: HTTP is read here, RTSP over TLS goes through a tunnel, all else is FFmpeg's own.

So every certificate is looked at here: FFmpeg itself takes any, and is kept from all TLS unless `verify` is false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgebird.capture.addresses import NoAddressError, parts_of, redact
from edgebird.capture.certificates import Trust
from edgebird.capture.opening import is_rtsp, open_container, rtsp_options
from edgebird.capture.serve import CaptureError, Options

if TYPE_CHECKING:
    from av.container import InputContainer

    from edgebird.capture.reader import WebFile
    from edgebird.capture.tunnel import Tunnel

_TLS = ("https", "tls", "dtls", "rtmps", "rtmpts", "ftps", "gophers")  # FFmpeg's protocols that look at no certificate

_OURS = ("http:", "https:", "rtsp:", "rtsps:")  # those whose servers have names; FFmpeg knows others


@dataclass
class Connection:
    """An open stream. note: what is to be said of its certificate."""

    container: InputContainer
    note: str = ""
    file: WebFile | None = None
    tunnel: Tunnel | None = None

    @property
    def segmented(self) -> bool:
        """Whether it comes in pieces of seconds, as HLS does."""
        return self.container.format.name in ("hls", "dash") or bool(self.resume)

    @property
    def failure(self) -> CaptureError | None:
        """Why it ended, where it was not FFmpeg who saw that."""
        way = self.file or self.tunnel
        return way.failure if way else None

    @property
    def resume(self) -> dict[str, Any]:
        """What the next capture of this stream is to be told, see wire.py."""
        return (self.file.resume if self.file else None) or {}

    def failed(self, otherwise: CaptureError) -> CaptureError:
        """Why it ended, `otherwise` if nobody knows better, with what the next capture is to be told."""
        error = self.failure or otherwise
        error.resume = self.resume
        return error

    def patience_s(self, timeout_s: float) -> float:
        """How long nothing may come of it, in seconds, where `timeout_s` is what was set."""
        return max(timeout_s, self.file.patience_s) if self.file else timeout_s

    def close(self) -> None:
        """Close it; a camera is told good-bye."""
        self.container.close()
        if self.tunnel:
            self.tunnel.finish()

    def go_on(self, av: Any) -> bool:
        """Open the next piece of the stream, as a radio's next track may be one; False if there is none."""
        if not (self.file and self.file.go_on()):
            return False
        self.container = _opened(av, self.file)
        return True

    @property
    def lost_s(self) -> float | None:
        """Seconds of sound between the capture before and this one; None if that is not known."""
        return self.file.lost_s if self.file else None


def connect(av: Any, options: Options, all_tracks: bool, beat: Callable[[], None]) -> Connection:
    """Open a stream; options: see stream.py. all_tracks: see `rtsp_options`. Raises CaptureError and FFmpegError.

    beat: called every second while a server lets us wait as long as it may.
    """
    url, timeout_s = options["url"], options["timeout_s"]
    trust, scheme = Trust.of(options["verify"]), _scheme(url)
    if scheme in ("http", "https"):
        return _of_web(av, options, trust, beat)
    demuxing = rtsp_options(options["transport"], all_tracks) if is_rtsp(url) else {}
    if scheme == "rtsps":
        from edgebird.capture.tunnel import rtsps_tunnel

        tunnel = rtsps_tunnel(url, trust, timeout_s)
        demuxing = {**demuxing, "rtsp_transport": "tcp", "protocol_whitelist": "tcp"}
        try:
            container = open_container(av, tunnel.url, timeout_s, demuxing)
        except av.error.FFmpegError as error:
            tunnel.finish()
            raise tunnel.failure or error from None
        return Connection(container, trust.note, tunnel=tunnel)
    return Connection(open_container(av, url, timeout_s, demuxing | _kept(trust, scheme, redact(url))))


def _scheme(url: str) -> str:
    """The scheme of an address that can be used. Raises CaptureError for others."""
    try:
        ours = url.lower().startswith(_OURS)
        parts = parts_of(url) if ours else urlsplit(url)
        if ours and not parts.hostname:
            raise NoAddressError
    except ValueError:
        raise CaptureError("error", f"{redact(url)}: {NoAddressError.text}") from None
    return parts.scheme.lower()


def _of_web(av: Any, options: Options, trust: Trust, beat: Callable[[], None]) -> Connection:
    from edgebird.capture.reader import LeftToFFmpeg, open_web
    from edgebird.capture.web import Web

    url, timeout_s = options["url"], options["timeout_s"]
    name = redact(url)
    note = trust.note if urlsplit(url).scheme.lower() == "https" else ""
    try:
        file = open_web(Web(trust, timeout_s, name), url, beat, options["resume"])
    except LeftToFFmpeg as left:
        kept = _kept(trust, urlsplit(left.url).scheme, f"{name}: {left.what}")
        return Connection(open_container(av, left.url, timeout_s, kept), note)
    return Connection(_opened(av, file), note, file)


def _opened(av: Any, file: WebFile) -> InputContainer:
    try:
        container: InputContainer = av.open(file, format=file.demuxer or None)
    except av.error.FFmpegError as error:
        if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
            raise file.failure or CaptureError("error", f"{file.name}: this is no sound that FFmpeg knows") from None
        raise file.failure or error from None
    return container


def _kept(trust: Trust, scheme: str, name: str) -> dict[str, str]:
    """Options that keep FFmpeg from TLS, as it takes any certificate. Raises CaptureError where it would need some."""
    if trust == Trust(False):
        return {}
    if scheme in _TLS:
        text = f"certificates of {scheme} cannot be verified here: verify = false takes them as they are"
        raise CaptureError("untrusted", f"{name}: {text}")
    return {"protocol_blacklist": ",".join(_TLS)}
