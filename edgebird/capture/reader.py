"""What is at an HTTP address, as a file for FFmpeg: a stream, a recording, HLS, or what a playlist leads to."""

from __future__ import annotations

import io
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from typing import Any, TypeAlias

from edgebird.capture.addresses import redact
from edgebird.capture.frames import demuxer_of
from edgebird.capture.hls import HlsFile
from edgebird.capture.links import Links
from edgebird.capture.playlists import kind_of, places_in
from edgebird.capture.serve import CaptureError
from edgebird.capture.web import Answer, Web

_LEVELS = 3  # playlists that lead to playlists
_HEAD = 4096  # bytes that tell what it is
_SIGNATURE = 64
_SIGNATURES = (b"OggS", b"fLaC", b"RIFF", b"RF64", b"\x1a\x45\xdf\xa3", b".snd", b"FORM")
_PLAYLIST_BYTES = 1 << 20
_LARGEST = 1 << 31  # bytes of a recording: cameras call endless streams as long as they can write
_PAGE = "this is a web page, not a stream: look in it for the stream's own address"


class StreamFile:
    """An answer as a file that is read once, from its beginning, piece by piece (see `Links`).

    head: bytes of it that were read already. failure: why it ended, if it was not the server that said so.
    """

    resume: dict[str, Any] | None = None
    lost_s: float | None = None
    patience_s = 0.0  # beyond the timeout

    def __init__(self, web: Web, answer: Answer, head: bytes) -> None:
        self.demuxer = demuxer_of(head)  # of FFmpeg, empty where it finds out itself
        self._web, self._body, self.name = web, answer.body, web.name
        self._head = head
        self.failure: CaptureError | None = None
        spacing = answer.header("icy-metaint")  # titles between the sound, which nobody has asked for
        self._spacing = int(spacing) if spacing.isdecimal() else 0
        self._until_title = self._spacing
        self._links = Links(head, self._sound) if Links.possible(head) else None

    def read(self, size: int) -> bytes:
        """Give what has come, at most `size` bytes; nothing at the end of a piece."""
        return self._links.read(size) if self._links else self._sound(size)

    def go_on(self) -> bool:
        """Go on with the next piece of the stream; False if there is none."""
        return bool(self._links and self._links.go_on())

    def _sound(self, size: int) -> bytes:
        if not self._spacing:
            return self._bytes(size)
        if not self._until_title:
            self._skip_title()
        data = self._bytes(min(size, self._until_title))
        self._until_title -= len(data)
        return data

    def _skip_title(self) -> None:
        left = 16 * sum(self._bytes(1))
        while left and (data := self._bytes(left)):
            left -= len(data)
        self._until_title = self._spacing

    def _bytes(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        if self.failure:
            return b""
        try:
            data = self._body.read1(size)
            if not data and self._body.length:
                raise IncompleteRead(b"")
        except (OSError, HTTPException, ValueError) as error:
            self.failure = self._web.fault(error)
            return b""
        return data


class RecordingFile(StreamFile):
    """An answer that can be read from anywhere, as the end of some files says where their sound is."""

    def __init__(self, web: Web, answer: Answer, head: bytes) -> None:
        super().__init__(web, answer, head)
        self._url, self._size = answer.url, int(answer.header("Content-Length"))
        self._at = self._wanted = 0

    def tell(self) -> int:
        """Where the next byte is from."""
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte; it is asked for when it is read."""
        self._wanted = offset + (0, self._wanted, self._size)[whence]
        return self._wanted

    def read(self, size: int) -> bytes:
        """Give what has come, at most `size` bytes; nothing at the end."""
        if self._wanted >= self._size:
            return b""
        if self._wanted != self._at:
            try:
                self._body.close()
                answer = self._web.open(self._url, {"Range": f"bytes={self._wanted}-"})
                if answer.body.status != 206:
                    raise CaptureError("error", f"{self._web.name}: the server does not give parts of it")
            except CaptureError as error:
                self.failure = error
                return b""
            self._body, self._head, self._at = answer.body, b"", self._wanted
        data = super().read(size)
        self._at = self._wanted = self._at + len(data)
        return data


class LeftToFFmpeg(Exception):  # noqa: N818 - it is no error
    """What is there is read by FFmpeg alone. url: its address. what: for a person."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(what)
        self.url, self.what = url, what


WebFile: TypeAlias = StreamFile | HlsFile


def open_web(web: Web, url: str, beat: Callable[[], None], resume: dict[str, Any] | None) -> WebFile:
    """Open what is at an address of HTTP, following playlists. Raises CaptureError and LeftToFFmpeg.

    beat: called every second while HLS waits. resume: what `resume` of the file before said, None for the first.
    """
    for _ in range(_LEVELS + 1):
        answer = web.open(url)
        head = _head(web, answer)
        kind = kind_of(head)
        if not kind:
            whole = _is_recording(answer) and not Links.possible(head)  # which are read from their beginning anyway
            return (RecordingFile if whole else StreamFile)(web, answer, head)
        if kind == "page":
            raise CaptureError("error", f"{web.name}: {_PAGE}")
        if kind == "dash":
            raise LeftToFFmpeg(answer.url, "DASH")
        text = (head + _rest(web, answer)).decode("utf-8", "replace")
        if kind == "hls" or "#EXT-X-" in text:
            file = HlsFile(web, answer.url, text, beat, (resume or {}).get("hls"))
            if file.encrypted:
                raise LeftToFFmpeg(answer.url, "encrypted HLS")
            return file
        places = places_in(text)
        if not places:
            raise CaptureError("error", f"{web.name}: this is a playlist without an address in it")
        url = web.leads_to(answer.url, places[0])
    raise CaptureError("error", f"{web.name}: this is a playlist of playlists, which leads to {redact(url)}")


def _head(web: Web, answer: Answer) -> bytes:
    """The first bytes, enough to tell what they are."""
    head = b""
    try:
        while len(head) < _HEAD and (data := answer.body.read1(_HEAD - len(head))):
            head += data
            if demuxer_of(head) or (len(head) >= _SIGNATURE and head.startswith(_SIGNATURES)):
                break
    except (OSError, HTTPException, ValueError) as error:
        raise web.fault(error) from None
    return head


def _rest(web: Web, answer: Answer) -> bytes:
    try:
        return answer.body.read(_PLAYLIST_BYTES)
    except (OSError, HTTPException, ValueError) as error:
        raise web.fault(error) from None


def _is_recording(answer: Answer) -> bool:
    length = answer.header("Content-Length")
    ranges = answer.header("Accept-Ranges").lower() == "bytes" and not answer.header("icy-metaint")
    return ranges and length.isdecimal() and 0 < int(length) < _LARGEST
