"""HLS (RFC 8216): a playlist that grows, and its segments one after the other, as one file.

A segment is fetched whole, so that every segment is either heard or not. Numbers say which one is next, also after the
stream was opened again: none is heard twice, and what is missing is known. Where the sender begins anew, a piece
ends; where segments are missing, the stream is opened again behind them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urldefrag

from edgebird.capture.playlists import Segment, SegmentList, segments_in, variants_in
from edgebird.capture.serve import CaptureError
from edgebird.capture.web import Web

_PATIENCE = 3.0  # target durations without a new segment: servers are allowed to be late by one and a half
_BEHIND = 3  # segments before the end of a live playlist, where RFC 8216 wants us to begin
_BEAT_S, _RETRY_S = 1.0, 1.0
_FINAL = ("unauthorized", "untrusted")  # what will not be otherwise in a moment
_PLAYLIST_BYTES = 1 << 22


class HlsFile:
    """The segments of a playlist as one file. beat: called every second while it waits for the server.

    failure: why it ended, if not with the playlist. lost_s: what is missing between the capture before, whose `resume`
    is given, and the beginning; None if that is not known. demuxer: FFmpeg finds it out itself, from whole segments.
    """

    demuxer = ""

    def __init__(self, web: Web, url: str, text: str, beat: Callable[[], None], resume: dict[str, Any] | None) -> None:
        self._web, self._beat, self.name = web, beat, web.name
        self.failure: CaptureError | None = None
        self._data, self._at = b"", 0
        self._url, self._list = self._media(url, text)
        self._loaded = time.monotonic()
        self._header: tuple[str, tuple[int, int] | None] | None = None  # of the segment before
        self._begun = self._anew = self._piece_ended = False
        self._starting = True  # a piece
        self._fetched_at = 0.0  # when the last segment was here
        self._heard = [0.0, 0]  # seconds, segments
        self._next, self.lost_s = self._first(resume)
        self._missing_s = 0.0  # of segments that are named, and not there

    @property
    def encrypted(self) -> bool:
        """Whether its segments are encrypted."""
        return any(segment.encrypted for segment in self._list.segments)

    @property
    def resume(self) -> dict[str, Any]:
        """Where another capture can go on, in JSON. reach_s: how far back the server reaches.

        Where the playlist began anew its numbers say nothing of what was lost: nobody knows where to go on.
        """
        reach_s = sum(segment.seconds for segment in self._list.segments)
        told = {"next": self._next, "missing_s": self._missing_s, "heard": self._heard, "at": time.monotonic()}
        return {"reach_s": reach_s} if self._anew else {"hls": told, "reach_s": reach_s}

    def read(self, size: int) -> bytes:
        """Give the next bytes, at most `size`; nothing at the end, and then `failure` may say why."""
        while self._at >= len(self._data):
            try:
                data = self._following()
            except CaptureError as error:
                self.failure = error
                data = None
            if data is None:
                return b""
            self._data, self._at = data, 0
        part = self._data[self._at : self._at + size]
        self._at += len(part)
        return part

    def go_on(self) -> bool:
        """See `StreamFile`: a piece ends where the sender begins anew."""
        ended, self._piece_ended = self._piece_ended, False
        self._starting = self._starting or ended
        return ended

    # ----------------------------------------------------------------------------------------------------------- inside
    def _media(self, url: str, text: str) -> tuple[str, SegmentList]:
        """Go from a master playlist to one of segments."""
        for place in variants_in(text)[:1]:
            url, data = self._web.fetch(self._web.leads_to(url, place), most=_PLAYLIST_BYTES)
            text = data.decode("utf-8", "replace")
        return url, self._read(text)

    def _read(self, text: str) -> SegmentList:
        try:
            return segments_in(text)
        except ValueError as error:
            raise CaptureError("error", f"{self._web.name}: its HLS playlist cannot be read: {error}") from None

    def _first(self, resume: dict[str, Any] | None) -> tuple[int, float | None]:
        """Where to begin, and what was lost before."""
        segments, target_s = self._list.segments, self._list.target_s
        if not segments:
            return 0, None
        first, last = segments[0].sequence, segments[-1].sequence
        if resume:
            wanted, elapsed_s = int(resume["next"]), time.monotonic() - resume["at"]
            missed = max(0, first - wanted)
            begins = next((segment for segment in segments if segment.sequence >= wanted), None)
            slack_s = _PATIENCE * target_s
            if wanted <= last + 1 and missed * target_s <= elapsed_s + slack_s:
                self._heard = list(resume["heard"])
                lost_s = missed * self._mean_s()
                came_s = lost_s + sum(segment.seconds for segment in segments if segment.sequence >= wanted)
                late = came_s + slack_s < elapsed_s and not self._list.ended
                certain = not (late or (begins and begins.broken))  # else the sender itself was away for a time
                return max(first, wanted), resume["missing_s"] + lost_s if certain else None
        return (first if self._list.ended else max(first, last + 1 - _BEHIND)), None

    def _mean_s(self) -> float:
        """The length of a segment that was not seen, in seconds."""
        (seconds, count), segments = self._heard, self._list.segments
        return float((seconds + sum(segment.seconds for segment in segments)) / (count + len(segments)))

    def _following(self) -> bytes | None:
        """Fetch the next segment; None at the end, also of a piece."""
        deadline = time.monotonic() + self.patience_s
        while not self._piece_ended:
            segment = next((one for one in self._list.segments if one.sequence >= self._next), None)
            if segment and self._begun and self._breaks(segment) and not self._starting:
                self._piece_ended = True
                break
            if segment and segment.sequence > self._next:  # before the first: others are not there any more
                self._lose((segment.sequence - self._next) * self._mean_s(), segment.sequence)
            if segment is None and self._list.ended:
                return None
            try:
                if segment:
                    return self._fetched(segment)
                self._reload()
            except CaptureError as error:
                if segment and error.reason == "not_found":
                    self._lose(segment.seconds, segment.sequence + 1)
                elif error.reason in _FINAL or time.monotonic() > deadline:
                    raise
                self._wait(_RETRY_S)
            if self._anew:
                raise CaptureError("ended", f"{self._web.name}: the playlist begins anew")
            if time.monotonic() > deadline:
                text = f"no new segment for {self.patience_s:g} s"
                raise CaptureError("stalled", f"{self._web.name}: {text}")
        return None

    def _lose(self, seconds: float, further: int) -> None:
        """Take that segments before the number `further` are lost: what precedes the first one is told by `lost_s`."""
        self._next = further
        if self._begun:
            self._missing_s += seconds
        elif self.lost_s is not None:
            self.lost_s += seconds

    @property
    def patience_s(self) -> float:
        """How long it waits for a new segment, in seconds."""
        return max(_PATIENCE * self._list.target_s, self._web.timeout_s)

    def _breaks(self, segment: Segment) -> bool:
        """Tell whether a segment begins a piece. Raises CaptureError where nothing says how much is missing before it.

        A sender that begins anew was not away if the segment is here as soon as another would have been.
        """
        why = ""
        broken = segment.broken or segment.header != self._header
        waited_s = time.monotonic() - self._fetched_at
        if segment.sequence > self._next or self._missing_s:
            why = "segments are missing"
        elif segment.encrypted:
            why = "it is encrypted from now on"
        elif broken and not self._starting and waited_s > segment.seconds + self._list.target_s:
            why = "the stream begins anew (discontinuity)"
        if why:
            raise CaptureError("ended", f"{self._web.name}: {why}")
        return broken

    def _fetched(self, segment: Segment) -> bytes:
        data = self._bytes(segment.place, segment.span)
        if segment.header and self._starting:
            data = self._bytes(*segment.header) + data
        self._fetched_at = time.monotonic()
        self._next, self._begun, self._starting = segment.sequence + 1, True, False
        self._header = segment.header
        self._heard = [self._heard[0] + segment.seconds, self._heard[1] + 1]
        return data

    def _bytes(self, place: str, span: tuple[int, int] | None) -> bytes:
        url = urldefrag(self._web.leads_to(self._url, place)).url
        if span is None:
            return self._web.fetch(url)[1]
        start, size = span
        _, data = self._web.fetch(url, {"Range": f"bytes={start}-{start + size - 1}"})
        return data if len(data) == size else data[start : start + size]  # a server may send all of it

    def _reload(self) -> None:
        """Read the playlist again, when that is due, and look whether it begins anew."""
        due = self._loaded + self._list.target_s / 2
        self._wait(due - time.monotonic())
        self._loaded = time.monotonic()
        _, data = self._web.fetch(self._url, most=_PLAYLIST_BYTES)
        self._list = self._read(data.decode("utf-8", "replace"))
        segments = self._list.segments
        if segments and not self._begun and self._next == 0:
            self._next = self._first(None)[0]
        else:
            self._anew = bool(segments) and segments[-1].sequence + len(segments) < self._next

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _BEAT_S))
            self._beat()
